"""The parts that evidence files are made of: entries with proofs, earlier checkpoints, leaf hashes.

Spec: auditlog/spec/evidence.md, "File". Everything read is attacker-controlled. Promises: what `read_*`
accepts, `*_value` writes again byte for byte. Must never: decide whether any of it is true.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from auditlog.core import canonical
from auditlog.core.entry import MAX_ENTRY_BYTES
from auditlog.core.members import Members
from auditlog.core.note import split_note
from auditlog.core.proofs import HASH_BYTES
from auditlog.core.receipt import Related
from auditlog.core.scalars import encode_base64, parse_base64
from auditlog.core.signed import check_one
from auditlog.core.tiles import TILE_WIDTH
from auditlog.errors import MalformedError

EVIDENCE_VERSION: Final = "auditlog/evidence@v1"

MAX_EVIDENCE_BYTES: Final = 192 * 1024 * 1024
"""Of ABSENT and ENTRIES: room for the leaf hashes of about 4.7 million entries."""
MAX_SMALL_BYTES: Final = 16 * 1024 * 1024
"""Of the other verdicts."""
MAX_MARKS: Final = 1_048_576
"""How often `,`, `[` and `{` may occur, which bounds the values there can be."""

_LARGE_END: Final = re.compile(rb'"verdict":"(?:ABSENT|ENTRIES)"\}\n\Z')

_MAX_TILES: Final = MAX_EVIDENCE_BYTES // (TILE_WIDTH * HASH_BYTES)
_MAX_PROOF: Final = 126
"""No inclusion or consistency proof has more hashes."""


class EvidenceTooLargeError(MalformedError):
    """The file would be over the limit: of a tree with too many entries, or of too many entries shown."""


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


def read_file(data: bytes) -> dict[str, Any]:
    """The object in an evidence file: attacker-controlled.

    Raises:
        MalformedError: too large, not canonical, or of another format.
    """
    found = _size_problem(data)
    if found:
        raise MalformedError(f"evidence: {found}")
    if not data.endswith(b"\n"):
        raise MalformedError("evidence: expected one newline at the end, found none")
    value = canonical.parse(data[:-1], max_bytes=MAX_EVIDENCE_BYTES)
    if type(value) is not dict or value.get("v") != EVIDENCE_VERSION:
        raise MalformedError(f"evidence: expected an object with v {EVIDENCE_VERSION}, found another")
    return value


def write_file(value: dict[str, Any]) -> bytes:
    """The file of an object.

    Raises:
        EvidenceTooLargeError: over the limits of a file.
    """
    data = canonical.encode(value) + b"\n"
    found = _size_problem(data)
    if found:
        raise EvidenceTooLargeError(f"evidence: {found}")
    return data


def _size_problem(data: bytes) -> str:
    """What is too large about a file, before anything is decoded; empty if nothing is.

    Decoding takes time and memory by the value, not by the byte: a small file of empty arrays would be a
    large one in memory.
    """
    most = MAX_EVIDENCE_BYTES if _LARGE_END.search(data[-128:]) else min(MAX_SMALL_BYTES, MAX_EVIDENCE_BYTES)
    if len(data) > most:
        return f"expected at most {most} bytes for this verdict, found {len(data)}"
    marks = sum(data.count(mark) for mark in (b",", b"[", b"{"))
    if marks > MAX_MARKS:
        return f"expected at most {MAX_MARKS} of the characters , [ and {{, found {marks}"
    return ""


def read_note(members: Members, name: str) -> str:
    """A member that is a note, with any number of signature lines."""
    note = members.text(name)
    split_note(note)
    return note


def read_signed(members: Members, name: str) -> str:
    """A member that is a note with one signature line."""
    note = members.text(name)
    check_one(note)
    return note


def read_related(value: Any, *, least: int = 1) -> Related:
    """P: an entry, its index and its inclusion proof."""
    members = Members(value, "evidence entry", required=("entry", "index", "proof"))
    entry = members.data("entry")
    if not least <= len(entry) <= MAX_ENTRY_BYTES:
        raise members.error("entry", f"{least} to {MAX_ENTRY_BYTES} bytes")
    return Related(entry, members.natural("index"), members.hashes("proof", most=_MAX_PROOF))


def read_leaf(value: Any) -> Leaf:
    """An index and an inclusion proof."""
    members = Members(value, "evidence leaf", required=("index", "proof"))
    return Leaf(members.natural("index"), members.hashes("proof", most=_MAX_PROOF))


def read_earlier(value: Any, *, has_root: bool) -> Earlier:
    """An earlier checkpoint and its consistency proof; `has_root` in FORK."""
    names = ("checkpoint", "proof", "root") if has_root else ("checkpoint", "proof")
    members = Members(value, "evidence earlier", required=names)
    root = read_root(members) if has_root else None
    return Earlier(read_note(members, "checkpoint"), read_proof(members), root)


def read_root(members: Members) -> bytes:
    """The member `root`: 32 bytes."""
    root = members.data("root")
    if len(root) != HASH_BYTES:
        raise members.error("root", f"{HASH_BYTES} bytes")
    return root


def read_proof(members: Members) -> tuple[bytes, ...]:
    """The member `proof`: hashes."""
    return members.hashes("proof", most=_MAX_PROOF)


def read_leaves(members: Members) -> tuple[bytes, ...]:
    """The member `leaves`: all leaf hashes of the tree, joined tile by tile."""
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


def leaves_size(count: int) -> int:
    """Bytes that so many leaf hashes take in a file: base64 of each tile, its quotation marks and comma."""
    tiles, rest = divmod(count, TILE_WIDTH)
    return tiles * (_base64_size(TILE_WIDTH) + 3) + (_base64_size(rest) + 3 if rest else 0)


def check_leaves(count: int) -> None:
    """Refuse leaf hashes that no file has room for; raises EvidenceTooLargeError."""
    if leaves_size(count) > MAX_EVIDENCE_BYTES:
        raise EvidenceTooLargeError(
            f"expected evidence of at most {MAX_EVIDENCE_BYTES} bytes, found the leaf hashes of "
            f"{count} entries: more than {leaves_size(count)} bytes"
        )


def _base64_size(hashes: int) -> int:
    return -(-hashes * HASH_BYTES // 3) * 4


def related_value(item: Related) -> dict[str, Any]:
    """P as JSON."""
    return {"entry": encode_base64(item.entry), "index": item.index, "proof": hash_texts(item.proof)}


def earlier_value(item: Earlier) -> dict[str, Any]:
    """An earlier checkpoint as JSON."""
    value: dict[str, Any] = {"checkpoint": item.checkpoint, "proof": hash_texts(item.proof)}
    return value if item.root is None else value | {"root": encode_base64(item.root)}


def leaves_value(leaves: tuple[bytes, ...]) -> list[str]:
    """Leaf hashes as JSON, tile by tile."""
    starts = range(0, len(leaves), TILE_WIDTH)
    return [encode_base64(b"".join(leaves[at : at + TILE_WIDTH])) for at in starts]


def hash_texts(hashes: tuple[bytes, ...]) -> list[str]:
    """Hashes as JSON."""
    return [encode_base64(item) for item in hashes]
