"""attestroot 0.2: its evidence bundle (`attestroot seal`), and the check that it ships.

`bundle` is `attestroot.verify.verify_bundle`, which takes the public key from the bundle's own manifest. The
second column is no check of the tool: a reader who kept that key from before can compare it. Spec:
auditlog/attack/README.md, "Other tools". Reads archives that are attacker-controlled.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from auditlog.attack.tools.tool import Verdict
from auditlog.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Captured:
    """One captured event: its line in the ledger, and the raw payload beside it."""

    event: dict[str, Any]
    member: str
    raw: bytes


_EVENTS: Final = "ledger/events.jsonl"
_LEAVES: Final = "leaves.jsonl"
_MANIFEST: Final = "manifest.json"
_RAW: Final = "ledger/raw/"


class Attestroot:
    """One captured event is one record."""

    name = "attestroot"
    suffix = ".arbundle"
    checks: tuple[str, ...] = ("bundle", "key (the reader)")
    claims = '"It attests that a record existed at a given time and has not been altered since"'
    not_asked = (
        "its countersignature service and Rekor anchors (network); an earlier export that a reader kept"
    )

    def version(self) -> str:
        """Of the installed package."""
        return version("attestroot")

    def read(self, path: Path) -> list[Any]:
        """Events in the order of the ledger, each with its payload."""
        members = _members(path)
        try:
            events = [json.loads(line) for line in members[_EVENTS].splitlines() if line.strip()]
            names = [f"{_RAW}{str(event['raw_ref']).rsplit('/', 1)[-1]}" for event in events]
            return [Captured(event, name, members[name]) for event, name in zip(events, names, strict=True)]
        except (KeyError, ValueError, TypeError) as error:
            raise ConfigurationError(
                f"expected a bundle with a ledger and its payloads at {path}, found: {type(error).__name__}"
            ) from error

    def edited(self, record: Captured) -> Captured:
        """Another payload was captured."""
        return replace(record, raw=record.raw + b" ")

    def store(self, source: Path, out: Path, records: list[Any]) -> None:
        """Ledger, payloads and their list are replaced; what was signed stays."""
        members = _members(source)
        kept = {name: data for name, data in members.items() if not name.startswith(_RAW)}
        lines = [record.event for record in records]
        _write(out, kept | _captured(records, lines))

    def sign(self, source: Path, out: Path, records: list[Any], key: str) -> None:
        """Numbered, chained, listed, rooted and signed anew, by its own functions."""
        from attestroot.canon import canonical_bytes, sha256_hex
        from attestroot.crypto import ed25519
        from attestroot.merkle import MerkleAccumulator, leaf_hash
        from attestroot.signing import SIG_SELF, signing_payload

        members = _members(source)
        numbered = [
            replace(record, member=f"{_RAW}{number:06d}.json") for number, record in enumerate(records)
        ]
        previous, events = None, []
        for number, record in enumerate(numbered):
            event = record.event | {"seq": number, "prev": previous, "sha256": sha256_hex(record.raw)}
            event["raw_ref"] = record.member.removeprefix("ledger/")
            previous = sha256_hex(canonical_bytes(event))
            events.append(event)
        tree = MerkleAccumulator()
        for record in numbered:
            tree.add_leaf_hash(leaf_hash(record.raw))
        manifest = json.loads(members[_MANIFEST])
        count = len(records)
        manifest |= {"merkle_root": tree.root_hex(), "leaf_count": count, "event_count": count}
        manifest |= {"captured_tool_calls": count, "chain": manifest["chain"] | {"count": count}}
        seed = hashlib.sha256(f"attestroot {key}".encode()).digest()
        signature = ed25519.sign(seed, signing_payload(manifest))
        public = ed25519.secret_to_public(seed).hex()
        manifest["signatures"] = [
            {"type": SIG_SELF, "alg": "ed25519", "pubkey": public, "sig": signature.hex(), "backend": "suite"}
        ]
        kept = {name: data for name, data in members.items() if not name.startswith(_RAW)}
        kept[_MANIFEST] = canonical_bytes(manifest) + b"\n"
        _write(out, kept | _captured(numbered, events))

    def verify(self, path: Path, reference: Path) -> list[Verdict]:
        """Its own check; and whether the key in the manifest is the one of before."""
        from attestroot.verify import verify_bundle

        report = verify_bundle(path)
        failed = [check.line() for check in report.failures()] if not report.ok else []
        said = "; ".join(failed) or f"VERIFIED, {len(report.checks)} checks pass"
        is_same = _keys(path) == _keys(reference)
        words = "the manifest's public key is the same" if is_same else "another public key"
        return [Verdict("bundle", bool(report.ok), said), Verdict("key (the reader)", is_same, words)]


def _keys(path: Path) -> list[str]:
    manifest = json.loads(_members(path)[_MANIFEST])
    return [str(each.get("pubkey")) for each in manifest.get("signatures") or []]


def _captured(records: list[Captured], events: list[dict[str, Any]]) -> dict[str, bytes]:
    """The members that hold the records."""
    from attestroot.canon import canonical_bytes, sha256_hex

    leaves = [
        {"i": at, "kind": "raw_event", "ref": each.member, "sha256": sha256_hex(each.raw),
         "bytes": len(each.raw)}
        for at, each in enumerate(records)
    ]  # fmt: skip
    found = {each.member: each.raw for each in records}
    found[_EVENTS] = b"".join(canonical_bytes(event) + b"\n" for event in events)
    found[_LEAVES] = b"".join(canonical_bytes(leaf) + b"\n" for leaf in leaves)
    return found


def _members(path: Path) -> dict[str, bytes]:
    import tarfile

    from attestroot.bundle import BundleReader

    try:
        with BundleReader(path) as bundle:
            return {name: bundle.read(name) or b"" for name in bundle.names()}
    except (OSError, tarfile.TarError) as error:
        raise ConfigurationError(
            f"expected a bundle of attestroot at {path}, found: {type(error).__name__}"
        ) from error


def _write(path: Path, members: dict[str, bytes]) -> None:
    from attestroot.bundle import BundleWriter

    with BundleWriter(path) as bundle:
        for name, data in members.items():
            bundle.add_bytes(name, data)
