"""Leaving one entry out of a log and making the rest fit, as an operator with every key can.

Hashes of what was changed are followed through everything after, the numbers of its writer and the counts it
states as well; what its writer signs is signed again. `auditlog fsck` passes over the outcome, and so does
`auditlog completeness`. Nothing in the log shows that an entry is missing; only the promise of it does.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from auditlog.core.canonical import encode, parse
from auditlog.core.keys import Ed25519Signer
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.core.signed import sign_one
from auditlog.core.statements import instance_text

Fields = dict[str, Any]


def give_number_away(entries: list[bytes], at: int) -> list[bytes]:
    """Leave out the entry at index `at`; every later one of its life moves up by one number."""
    victim = parse(entries[at])
    log = _Rewriting(entries[:at])
    log.replace_hash(hash_leaf(entries[at]), victim["prev"])

    def move_up(fields: Fields) -> None:
        fields["seq"] -= 1
        if fields["kind"] == "heartbeat":
            _say_less(fields["body"], by=1)

    for entry in entries[at + 1 :]:
        log.add(entry, move_up if _is_same_life(entry, victim) else None)
    return log.entries


def pretend_crash(entries: list[bytes], at: int, signer: Ed25519Signer) -> list[bytes]:
    """Put a new process life and a gap in the place of the entry; what followed it belongs to that life."""
    victim = parse(entries[at])
    life = sha256(entries[at]).hexdigest()[:32]
    log = _Rewriting(entries[:at])
    text = instance_text(victim["origin"], victim["producer"], life, victim["prev"])
    start = victim | {"kind": "instance", "instance": life, "seq": 0}
    log.put(start | {"body": {"note": sign_one(text, signer), "software": _software(entries)}})
    lost = {"instance": victim["instance"], "after_seq": victim["seq"] - 1, "count": 1}
    lost |= {"from": victim["time"], "to": victim["time"]}
    prev = hash_leaf(log.entries[-1]).hex()
    log.put(victim | {"kind": "gap", "instance": life, "seq": 1, "prev": prev, "body": lost})
    log.replace_hash(hash_leaf(entries[at]), hash_leaf(log.entries[-1]).hex())
    before = sum(_is_decision(entry) and _is_same_life(entry, victim) for entry in entries[: at + 1])

    def belong(fields: Fields) -> None:
        fields["instance"], fields["seq"] = life, fields["seq"] - victim["seq"] + 1
        if fields["kind"] == "heartbeat":
            _say_less(fields["body"], by=before)

    for entry in entries[at + 1 :]:
        log.add(entry, belong if _is_same_life(entry, victim) else None)
    return log.entries


def hold_back(entries: list[bytes], at: int) -> tuple[list[bytes], list[bytes]]:
    """The log without the entry at `at` and whatever its writer added after it, and these entries."""
    victim = parse(entries[at])
    held = [entry for entry in entries[at:] if parse(entry)["producer"] == victim["producer"]]
    log = _Rewriting(entries[:at])
    for entry in entries[at:]:
        if entry not in held:
            log.add(entry, None)
    return log.entries, held


class _Rewriting:
    """A log being written anew from one index on."""

    def __init__(self, kept: list[bytes]) -> None:
        self.entries = list(kept)
        self._honest = len(kept)
        self._hashes: dict[bytes, bytes] = {}

    def replace_hash(self, old: bytes, new: str) -> None:
        """What names `old` names `new` from now on."""
        self._hashes[old.hex().encode()] = new.encode()

    def put(self, fields: Fields) -> None:
        """Add an entry that the honest log does not have."""
        self.entries.append(encode(fields))

    def add(self, entry: bytes, change: Callable[[Fields], None] | None) -> None:
        """Add an entry of the honest log, standing on what is there now."""
        data = entry
        for old, new in self._hashes.items():
            data = data.replace(old, new)
        fields = parse(data)
        if change is not None:
            change(fields)
        if fields["kind"] == "anchor" and fields["body"]["size"] > self._honest:
            self._anchor(fields["body"])
        data = encode(fields)
        if data != entry:
            self.replace_hash(hash_leaf(entry), hash_leaf(data).hex())
        self.entries.append(data)

    def _anchor(self, body: Fields) -> None:
        """The devnet is the operator's: it may as well have anchored this tree."""
        body["size"] = min(body["size"], len(self.entries))
        body["root"] = root_hash([hash_leaf(entry) for entry in self.entries[: body["size"]]]).hex()


def _say_less(heartbeat: Fields, *, by: int) -> None:
    for name in ("recorded", "started", "finished"):
        heartbeat[name] = max(0, heartbeat[name] - by)
    heartbeat.pop("head", None)


def _is_same_life(entry: bytes, victim: Fields) -> bool:
    fields = parse(entry)
    return (fields["producer"], fields["instance"]) == (victim["producer"], victim["instance"])


def _is_decision(entry: bytes) -> bool:
    return bool(parse(entry)["kind"] == "decision")


def _software(entries: list[bytes]) -> str:
    starts = (fields for fields in map(parse, entries) if fields["kind"] == "instance")
    return str(next(starts)["body"]["software"])
