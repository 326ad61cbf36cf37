"""Evidence that a promise was broken, as a file that anyone can check: `auditlog/evidence@v1`.

Spec: auditlog/spec/evidence.md. Canonical JSON and one newline. Every proof leads into `checkpoint`.

    {v, verdict, checkpoint, promise, producer: P, rotations: [P], ...}     P = {entry, index, proof}
      CONFLICT       entry: P
      SKIPPED        successor: P  |  gap: P  |  start: P, base: P, life: P?
      LATE           leaf: {index, proof}, earlier: {checkpoint, proof}
      ABSENT         leaves: [base64 of the hashes of a tile]
      DECLARED_LOST  notice: P
    {v, verdict: FORK, checkpoint, earlier: {checkpoint, proof, root}}

Promises: `parse_evidence` is total and strict, `format_evidence(parse_evidence(b)) == b`. Must never: decide
whether any of it is true (`auditlog.verify.promise_proofs` does).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from auditlog.core.members import Members
from auditlog.core.receipt import Related
from auditlog.core.statements import MAX_ROTATIONS
from auditlog.errors import MalformedError
from auditlog.verify.evidence_parts import (
    EVIDENCE_VERSION,
    MAX_EVIDENCE_BYTES,
    Earlier,
    EvidenceTooLargeError,
    Leaf,
    check_leaves,
    earlier_value,
    hash_texts,
    leaves_size,
    leaves_value,
    read_earlier,
    read_file,
    read_leaf,
    read_leaves,
    read_note,
    read_related,
    read_signed,
    related_value,
    write_file,
)

__all__ = [
    "EVIDENCE_VERSION",
    "MAX_EVIDENCE_BYTES",
    "Cause",
    "Earlier",
    "Evidence",
    "EvidenceTooLargeError",
    "Leaf",
    "evidence_size",
    "format_evidence",
    "parse_evidence",
]


class Cause(StrEnum):
    """What the evidence shows. Words of the format: never changed, never taken away."""

    CONFLICT = "CONFLICT"
    SKIPPED = "SKIPPED"
    LATE = "LATE"
    ABSENT = "ABSENT"
    DECLARED_LOST = "DECLARED_LOST"
    FORK = "FORK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A parsed evidence file, not believed. Which members are set follows from `verdict`."""

    verdict: Cause
    checkpoint: str
    promise: str | None = None
    producer: Related | None = None
    rotations: tuple[Related, ...] = ()
    entry: Related | None = None
    successor: Related | None = None
    gap: Related | None = None
    start: Related | None = None
    base: Related | None = None
    life: Related | None = None
    leaf: Leaf | None = None
    earlier: Earlier | None = None
    leaves: tuple[bytes, ...] = ()
    """Leaf hashes of the whole tree, joined tile by tile."""
    notice: Related | None = None


_SHAPES: Final[dict[Cause, tuple[frozenset[str], ...]]] = {
    Cause.CONFLICT: (frozenset({"entry"}),),
    Cause.SKIPPED: (
        frozenset({"successor"}),
        frozenset({"gap"}),
        frozenset({"start", "base"}),
        frozenset({"start", "base", "life"}),
    ),
    Cause.LATE: (frozenset({"leaf", "earlier"}),),
    Cause.ABSENT: (frozenset({"leaves"}),),
    Cause.DECLARED_LOST: (frozenset({"notice"}),),
    Cause.FORK: (frozenset({"earlier"}),),
}
_PROVEN: Final = ("entry", "successor", "gap", "start", "base", "life", "notice")


def parse_evidence(data: bytes) -> Evidence:
    """Read an evidence file: attacker-controlled.

    Raises:
        MalformedError: anything `format_evidence` would not write.
    """
    value = read_file(data)
    word = value.get("verdict")
    if type(word) is not str or word not in Cause.__members__:
        raise MalformedError(f"evidence verdict: expected one of {list(Cause)}, found another")
    return _read(value, Cause(word))


def _read(value: dict[str, Any], cause: Cause) -> Evidence:
    common = {"v", "verdict", "checkpoint"}
    if cause is not Cause.FORK:
        common |= {"promise", "producer", "rotations"}
    own = frozenset(value.keys() - common)
    if own not in _SHAPES[cause]:
        raise MalformedError(f"evidence: expected the members of {cause}, found others")
    members = Members(value, "evidence", required=common | own)
    read: dict[str, Any] = {"verdict": cause, "checkpoint": read_note(members, "checkpoint")}
    if cause is not Cause.FORK:
        read["promise"] = read_signed(members, "promise")
        read["producer"] = read_related(members.value("producer"))
        read["rotations"] = tuple(map(read_related, members.array("rotations", most=MAX_ROTATIONS)))
    read |= {name: read_related(members.value(name)) for name in own.intersection(_PROVEN)}
    others: dict[str, Callable[[], Any]] = {
        "leaf": lambda: read_leaf(members.value("leaf")),
        "earlier": lambda: read_earlier(members.value("earlier"), has_root=cause is Cause.FORK),
        "leaves": lambda: read_leaves(members),
    }
    read |= {name: others[name]() for name in own.intersection(others)}
    return Evidence(**read)


def evidence_size(evidence: Evidence) -> int:
    """About how many bytes the file would have: exact for the leaf hashes, which alone make one large."""
    return leaves_size(len(evidence.leaves))


def format_evidence(evidence: Evidence) -> bytes:
    """Write an evidence file: canonical JSON and one newline.

    Raises:
        EvidenceTooLargeError: more than `MAX_EVIDENCE_BYTES`, because of the leaf hashes of ABSENT.
        MalformedError: members that do not belong to the verdict.
    """
    check_leaves(len(evidence.leaves))
    value: dict[str, Any] = {
        "v": EVIDENCE_VERSION,
        "verdict": evidence.verdict.value,
        "checkpoint": evidence.checkpoint,
    }
    if evidence.verdict is not Cause.FORK and evidence.producer is not None:
        value["promise"] = evidence.promise
        value["producer"] = related_value(evidence.producer)
        value["rotations"] = [related_value(item) for item in evidence.rotations]
    for name in _PROVEN:
        item = getattr(evidence, name)
        if item is not None:
            value[name] = related_value(item)
    if evidence.leaf is not None:
        value["leaf"] = {"index": evidence.leaf.index, "proof": hash_texts(evidence.leaf.proof)}
    if evidence.earlier is not None:
        value["earlier"] = earlier_value(evidence.earlier)
    if evidence.verdict is Cause.ABSENT:
        value["leaves"] = leaves_value(evidence.leaves)
    data = write_file(value)
    parse_evidence(data)
    return data
