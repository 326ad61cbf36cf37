"""Evidence that is not of a promise, as a file: entries, anchors, notices and observations.

Spec: auditlog/spec/evidence.md, "File". Canonical JSON and one newline; P = {entry, index, proof}.

    {v, verdict: ENTRIES, alarm, checkpoint, genesis: P, entries: [P], ...}
        maybe leaves                       broken_chain, unknown_producer
        head, producer: P, rotations: [P]  broken_head
    {v, verdict: ANCHOR, checkpoint, anchored: {root, proof}, ...}
        genesis: P, entry: P  |  anchor: {type, evidence}
    {v, verdict: NOTICE, alarm, checkpoint, entries: [P], earlier: {checkpoint, proof}?}
    {v, verdict: OBSERVED, checkpoint, monitor, note, shown: [note]}

Promises: `parse_claim` is total and strict, `format_claim(parse_claim(b)) == b`. Must never: decide whether
any of it is true (`auditlog.verify.evidence_prove` does).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from auditlog.core.anchor import DEVNET_TYPE
from auditlog.core.keys import Ed25519Verifier
from auditlog.core.members import Members
from auditlog.core.note import split_note
from auditlog.core.receipt import Related
from auditlog.core.scalars import encode_base64
from auditlog.core.signed import check_one
from auditlog.core.statements import MAX_ROTATIONS
from auditlog.errors import MalformedError
from auditlog.verify.evidence_parts import (
    EVIDENCE_VERSION,
    Earlier,
    EvidenceTooLargeError,
    check_leaves,
    earlier_value,
    hash_texts,
    leaves_value,
    read_earlier,
    read_file,
    read_leaves,
    read_note,
    read_proof,
    read_related,
    read_root,
    read_signed,
    related_value,
    write_file,
)

MAX_ENTRIES: Final = 16_384
"""Entries that one file may show."""
MAX_SHOWN: Final = 16
"""Notes of others that an observation may show."""

_ANCHOR_TYPE = re.compile(r"[a-z][a-z0-9_]{0,31}@v[0-9]{1,3}")


class Claimed(StrEnum):
    """What is claimed. Words of the format: never changed, never taken away."""

    ENTRIES = "ENTRIES"
    ANCHOR = "ANCHOR"
    NOTICE = "NOTICE"
    OBSERVED = "OBSERVED"


ENTRY_ALARMS: Final = frozenset(
    {
        "entry_malformed",
        "foreign_entry",
        "duplicate_number",
        "broken_chain",
        "forged_enrolment",
        "unknown_producer",
        "wrong_key",
        "after_retirement",
        "counter_mismatch",
        "broken_head",
        "anchor_foreign",
    }
)
"""Rules of ENTRIES."""
NOTICE_ALARMS: Final = frozenset({"gap", "coverage_changed", "model_changed", "backdated", "anchor_foreign"})
"""Rules of NOTICE."""
_WITH_LEAVES: Final = frozenset({"broken_chain", "unknown_producer"})


@dataclass(frozen=True, slots=True)
class Anchored:
    """The root of the checkpoint's tree at the anchored size, and the consistency proof that shows it."""

    root: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Anchor:
    """What shows that a root is on a chain: for `devnet@v0` a note, else JSON this code cannot check."""

    type: str
    evidence: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A parsed file, not believed. Which members are set follows from `verdict` and `alarm`."""

    verdict: Claimed
    checkpoint: str
    alarm: str = ""
    genesis: Related | None = None
    entries: tuple[Related, ...] = ()
    leaves: tuple[bytes, ...] | None = None
    head: str | None = None
    producer: Related | None = None
    rotations: tuple[Related, ...] = ()
    entry: Related | None = None
    anchored: Anchored | None = None
    anchor: Anchor | None = None
    earlier: Earlier | None = None
    monitor: str | None = None
    """The vkey of who observed."""
    note: str | None = None
    shown: tuple[str, ...] = ()


def _shapes(verdict: Claimed, alarm: str) -> tuple[frozenset[str], ...]:
    """The sets of members that a file of this verdict and rule may have, beside v, verdict and checkpoint."""
    if verdict is Claimed.OBSERVED:
        return (frozenset({"monitor", "note", "shown"}),)
    if verdict is Claimed.ANCHOR:
        return (frozenset({"anchored", "genesis", "entry"}), frozenset({"anchored", "anchor"}))
    if verdict is Claimed.NOTICE:
        return (frozenset({"alarm", "entries"} | ({"earlier"} if alarm == "backdated" else set())),)
    own = frozenset({"alarm", "genesis", "entries"})
    if alarm == "broken_head":
        return (own | {"head", "producer", "rotations"},)
    return (own, own | {"leaves"}) if alarm in _WITH_LEAVES else (own,)


def parse_claim(data: bytes) -> Claim:
    """Read a file of one of these verdicts: attacker-controlled.

    Raises:
        MalformedError: anything `format_claim` would not write.
    """
    return _read(read_file(data))


def _read(value: dict[str, Any]) -> Claim:
    word, alarm = value.get("verdict"), value.get("alarm", "")
    if type(word) is not str or word not in Claimed.__members__:
        raise MalformedError("evidence verdict: expected a word of the format, found another")
    verdict = Claimed(word)
    words = {Claimed.ENTRIES: ENTRY_ALARMS, Claimed.NOTICE: NOTICE_ALARMS}.get(verdict, frozenset({""}))
    if type(alarm) is not str or alarm not in words:
        raise MalformedError(f"evidence alarm: expected a rule of {verdict}, found another")
    common = {"v", "verdict", "checkpoint"}
    own = frozenset(value.keys() - common)
    if own not in _shapes(verdict, alarm):
        raise MalformedError(f"evidence: expected the members of {verdict} {alarm}, found others")
    members = Members(value, "evidence", required=common | own)
    read: dict[str, Any] = {"verdict": verdict, "checkpoint": read_note(members, "checkpoint")}
    return Claim(**read, **{name: _READERS[name](members) for name in own})


def _entries(members: Members) -> tuple[Related, ...]:
    """Entries in ascending order of their indices; an empty one is an entry of no log, and can be shown."""
    found = tuple(read_related(item, least=0) for item in members.array("entries", most=MAX_ENTRIES))
    if not found or any(a.index >= b.index for a, b in itertools.pairwise(found)):
        raise members.error("entries", "at least one entry, in ascending order of the indices")
    return found


def _anchored(members: Members) -> Anchored:
    inner = Members(members.value("anchored"), "evidence anchored", required=("root", "proof"))
    return Anchored(read_root(inner), read_proof(inner))


def _anchor(members: Members) -> Anchor:
    inner = Members(members.value("anchor"), "evidence anchor", required=("type", "evidence"))
    kind, shown = inner.text("type"), inner.value("evidence")
    if _ANCHOR_TYPE.fullmatch(kind) is None:
        raise inner.error("type", "a name and a version, as name@v1")
    if kind == DEVNET_TYPE:
        check_one(inner.text("evidence"))
    return Anchor(kind, shown)


def _monitor(members: Members) -> str:
    vkey = members.text("monitor")
    if Ed25519Verifier.from_vkey(vkey).vkey != vkey:
        raise members.error("monitor", "an Ed25519 vkey")
    return vkey


def _shown(members: Members) -> tuple[str, ...]:
    notes = members.array("shown", most=MAX_SHOWN)
    for note in notes:
        if type(note) is not str:
            raise members.error("shown", "an array of notes")
        split_note(note)
    return tuple(notes)


_READERS: Final[dict[str, Callable[[Members], Any]]] = {
    "alarm": lambda members: members.text("alarm"),
    "genesis": lambda members: read_related(members.value("genesis")),
    "entry": lambda members: read_related(members.value("entry")),
    "entries": _entries,
    "leaves": read_leaves,
    "head": lambda members: read_signed(members, "head"),
    "producer": lambda members: read_related(members.value("producer")),
    "rotations": lambda members: tuple(map(read_related, members.array("rotations", most=MAX_ROTATIONS))),
    "anchored": _anchored,
    "anchor": _anchor,
    "earlier": lambda members: read_earlier(members.value("earlier"), has_root=False),
    "monitor": _monitor,
    "note": lambda members: read_signed(members, "note"),
    "shown": _shown,
}


def format_claim(claim: Claim) -> bytes:
    """Write a file: canonical JSON and one newline.

    Raises:
        EvidenceTooLargeError: over 192 MiB, or more than `MAX_ENTRIES` entries.
        MalformedError: members that do not belong to the verdict.
    """
    if len(claim.entries) > MAX_ENTRIES:
        raise EvidenceTooLargeError(
            f"expected evidence of at most {MAX_ENTRIES} entries, found {len(claim.entries)}"
        )
    check_leaves(len(claim.leaves or ()))
    data = write_file(_value(claim))
    parse_claim(data)
    return data


def _value(claim: Claim) -> dict[str, Any]:
    value: dict[str, Any] = {
        "v": EVIDENCE_VERSION,
        "verdict": claim.verdict.value,
        "checkpoint": claim.checkpoint,
    }
    for name in ("genesis", "entry", "producer"):
        item = getattr(claim, name)
        if item is not None:
            value[name] = related_value(item)
    for name in ("alarm", "head", "monitor", "note"):
        if getattr(claim, name):
            value[name] = getattr(claim, name)
    if claim.entries:
        value["entries"] = [related_value(item) for item in claim.entries]
    if claim.head is not None:
        value["rotations"] = [related_value(item) for item in claim.rotations]
    if claim.leaves is not None:
        value["leaves"] = leaves_value(claim.leaves)
    if claim.anchored is not None:
        value["anchored"] = {
            "root": encode_base64(claim.anchored.root),
            "proof": hash_texts(claim.anchored.proof),
        }
    if claim.anchor is not None:
        value["anchor"] = {"type": claim.anchor.type, "evidence": claim.anchor.evidence}
    if claim.earlier is not None:
        value["earlier"] = earlier_value(claim.earlier)
    if claim.monitor is not None:
        value["shown"] = list(claim.shown)
    return value
