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

from auditlog.core import canonical
from auditlog.core.entry import MAX_ENTRY_BYTES
from auditlog.core.members import Members
from auditlog.core.note import split_note
from auditlog.core.proofs import HASH_BYTES
from auditlog.core.receipt import Related
from auditlog.core.scalars import encode_base64, parse_base64
from auditlog.core.signed import check_one
from auditlog.core.statements import MAX_ROTATIONS
from auditlog.core.tiles import TILE_WIDTH
from auditlog.errors import MalformedError

EVIDENCE_VERSION: Final = "auditlog/evidence@v1"

MAX_EVIDENCE_BYTES: Final = 192 * 1024 * 1024
"""Room for the leaf hashes of about 4.7 million entries."""

_MAX_TILES: Final = MAX_EVIDENCE_BYTES // (TILE_WIDTH * HASH_BYTES)
_MAX_PROOF: Final = 126
"""No inclusion or consistency proof has more hashes."""


class EvidenceTooLargeError(MalformedError):
    """The tree has too many entries for a file with all its leaf hashes."""


class Cause(StrEnum):
    """What the evidence shows. Words of the format: never changed, never taken away."""

    CONFLICT = "CONFLICT"
    SKIPPED = "SKIPPED"
    LATE = "LATE"
    ABSENT = "ABSENT"
    DECLARED_LOST = "DECLARED_LOST"
    FORK = "FORK"


@dataclass(frozen=True, slots=True)
class Leaf:
    """Where a leaf hash, known from elsewhere, is in the tree."""

    index: int
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Earlier:
    """Another checkpoint of the log, and a consistency proof from its size to `checkpoint`.

    `root` is None where the earlier checkpoint's own root is meant; in FORK it is the root that the newer
    tree has at that size.
    """

    checkpoint: str
    proof: tuple[bytes, ...]
    root: bytes | None = None


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
    if len(data) > MAX_EVIDENCE_BYTES:
        raise MalformedError(f"evidence: expected at most {MAX_EVIDENCE_BYTES} bytes, found {len(data)}")
    if not data.endswith(b"\n"):
        raise MalformedError("evidence: expected one newline at the end, found none")
    value = canonical.parse(data[:-1], max_bytes=MAX_EVIDENCE_BYTES)
    if type(value) is not dict or value.get("v") != EVIDENCE_VERSION:
        raise MalformedError(f"evidence: expected an object with v {EVIDENCE_VERSION}, found another")
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
    read: dict[str, Any] = {"verdict": cause, "checkpoint": _note(members, "checkpoint")}
    if cause is not Cause.FORK:
        read["promise"] = _promise(members)
        read["producer"] = _related(members.value("producer"))
        read["rotations"] = tuple(map(_related, members.array("rotations", most=MAX_ROTATIONS)))
    read |= {name: _related(members.value(name)) for name in own.intersection(_PROVEN)}
    others: dict[str, Callable[[], Any]] = {
        "leaf": lambda: _leaf(members.value("leaf")),
        "earlier": lambda: _earlier(members.value("earlier"), has_root=cause is Cause.FORK),
        "leaves": lambda: _leaves(members),
    }
    read |= {name: others[name]() for name in own.intersection(others)}
    return Evidence(**read)


def _promise(members: Members) -> str:
    """The member `promise`: a note with one signature line."""
    note = members.text("promise")
    check_one(note)
    return note


def _note(members: Members, name: str) -> str:
    note = members.text(name)
    split_note(note)
    return note


def _related(value: Any) -> Related:
    members = Members(value, "evidence entry", required=("entry", "index", "proof"))
    entry = members.data("entry")
    if not 0 < len(entry) <= MAX_ENTRY_BYTES:
        raise members.error("entry", f"1 to {MAX_ENTRY_BYTES} bytes")
    return Related(entry, members.natural("index"), members.hashes("proof", most=_MAX_PROOF))


def _leaf(value: Any) -> Leaf:
    members = Members(value, "evidence leaf", required=("index", "proof"))
    return Leaf(members.natural("index"), members.hashes("proof", most=_MAX_PROOF))


def _earlier(value: Any, *, has_root: bool) -> Earlier:
    names = ("checkpoint", "proof", "root") if has_root else ("checkpoint", "proof")
    members = Members(value, "evidence earlier", required=names)
    root = members.data("root") if has_root else None
    if root is not None and len(root) != HASH_BYTES:
        raise members.error("root", f"{HASH_BYTES} bytes")
    return Earlier(_note(members, "checkpoint"), members.hashes("proof", most=_MAX_PROOF), root)


def _leaves(members: Members) -> tuple[bytes, ...]:
    tiles = members.array("leaves", most=_MAX_TILES)
    found: list[bytes] = []
    for number, tile in enumerate(tiles):
        if type(tile) is not str:
            raise members.error("leaves", "an array of base64 strings")
        data = parse_base64(tile, "evidence leaves")
        count, rest = divmod(len(data), HASH_BYTES)
        is_last = number == len(tiles) - 1
        if rest or not 0 < count <= TILE_WIDTH or (count < TILE_WIDTH and not is_last):
            raise members.error("leaves", f"tiles of {TILE_WIDTH} hashes, only the last of fewer")
        found += [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]
    return tuple(found)


def evidence_size(evidence: Evidence) -> int:
    """About how many bytes the file would have: exact for the leaf hashes, which alone make one large."""
    tiles, rest = divmod(len(evidence.leaves), TILE_WIDTH)
    # Base64 of a tile with its two quotation marks and its comma.
    return tiles * (_base64_size(TILE_WIDTH) + 3) + (_base64_size(rest) + 3 if rest else 0)


def _base64_size(hashes: int) -> int:
    return -(-hashes * HASH_BYTES // 3) * 4


def format_evidence(evidence: Evidence) -> bytes:
    """Write an evidence file: canonical JSON and one newline.

    Raises:
        EvidenceTooLargeError: more than `MAX_EVIDENCE_BYTES`, because of the leaf hashes of ABSENT.
        MalformedError: members that do not belong to the verdict.
    """
    if evidence_size(evidence) > MAX_EVIDENCE_BYTES:
        raise EvidenceTooLargeError(
            f"expected evidence of at most {MAX_EVIDENCE_BYTES} bytes, found the leaf hashes of "
            f"{len(evidence.leaves)} entries: more than {evidence_size(evidence)} bytes"
        )
    value: dict[str, Any] = {
        "v": EVIDENCE_VERSION,
        "verdict": evidence.verdict.value,
        "checkpoint": evidence.checkpoint,
    }
    if evidence.verdict is not Cause.FORK and evidence.producer is not None:
        value["promise"] = evidence.promise
        value["producer"] = _related_value(evidence.producer)
        value["rotations"] = [_related_value(item) for item in evidence.rotations]
    for name in _PROVEN:
        item = getattr(evidence, name)
        if item is not None:
            value[name] = _related_value(item)
    if evidence.leaf is not None:
        value["leaf"] = {"index": evidence.leaf.index, "proof": _texts(evidence.leaf.proof)}
    if evidence.earlier is not None:
        value["earlier"] = _earlier_value(evidence.earlier)
    if evidence.verdict is Cause.ABSENT:
        value["leaves"] = [
            encode_base64(b"".join(evidence.leaves[at : at + TILE_WIDTH]))
            for at in range(0, len(evidence.leaves), TILE_WIDTH)
        ]
    data = canonical.encode(value) + b"\n"
    parse_evidence(data)
    return data


def _related_value(item: Related) -> dict[str, Any]:
    return {"entry": encode_base64(item.entry), "index": item.index, "proof": _texts(item.proof)}


def _earlier_value(item: Earlier) -> dict[str, Any]:
    value: dict[str, Any] = {"checkpoint": item.checkpoint, "proof": _texts(item.proof)}
    return value if item.root is None else value | {"root": encode_base64(item.root)}


def _texts(hashes: tuple[bytes, ...]) -> list[str]:
    return [encode_base64(item) for item in hashes]
