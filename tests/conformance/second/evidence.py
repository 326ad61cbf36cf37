"""evidence.md, "File", for the verdicts about promises and FORK; nothing is proven by reading it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from . import canonical as c
from .canonical import need, refuse
from .note import parse_note

VERDICTS = ("CONFLICT", "SKIPPED", "LATE", "ABSENT", "DECLARED_LOST", "FORK")
MOST_BYTES = 192 * 1_048_576
MOST_SMALL_BYTES = 16 * 1_048_576
MOST_MARKS = 1_048_576
MOST_ROTATIONS = 61
MOST_HASHES = 126
_ABOUT_A_PROMISE = "v verdict checkpoint promise producer rotations"
_SETS = {
    "CONFLICT": ("entry",),
    "SKIPPED": ("successor", "gap", "start base", "start base life"),
    "LATE": ("leaf earlier",),
    "ABSENT": ("leaves",),
    "DECLARED_LOST": ("notice",),
}
_PROVEN = ("producer", "entry", "successor", "gap", "start", "base", "life", "notice")


class Placed(NamedTuple):
    """P of the page: bytes said to be an entry, at an index, with the proof of it."""

    entry: bytes
    index: int
    path: list[bytes]


class Earlier(NamedTuple):
    """An older checkpoint and what joins it to the one of the file; `root` in FORK alone."""

    checkpoint: str
    path: list[bytes]
    root: bytes | None


@dataclass
class Evidence:
    """A file, parsed."""

    verdict: str
    checkpoint: str
    promise: str = ""
    rotations: list[Placed] = field(default_factory=list)
    placed: dict[str, Placed] = field(default_factory=dict)
    leaf: tuple[int, list[bytes]] | None = None
    earlier: Earlier | None = None
    leaves: list[bytes] = field(default_factory=list)


def check_room(data: bytes) -> None:
    """How large a file may be, by how it ends, and how many values it may have, by its punctuation."""
    is_large = data.endswith((b'"verdict":"ABSENT"}\n', b'"verdict":"ENTRIES"}\n'))
    need(len(data) <= (MOST_BYTES if is_large else MOST_SMALL_BYTES), "too large for its verdict")
    need(sum(byte in b",[{" for byte in data) <= MOST_MARKS, "too many values")


def parse_evidence(data: bytes) -> Evidence:
    """Bytes that are an evidence file, or Malformed."""
    check_room(data)
    need(data.endswith(b"\n"), "no final newline")
    value = c.parse(data[:-1])
    if not isinstance(value, dict):
        refuse("not an object")
    need(value.get("v") == "auditlog/evidence@v1", "not auditlog/evidence@v1")
    verdict = value.get("verdict")
    if not isinstance(verdict, str) or verdict not in VERDICTS:
        refuse("not a verdict")
    _members(value, verdict)
    parse_note(value["checkpoint"])
    made = Evidence(verdict, value["checkpoint"])
    made.placed = {name: _placed(value[name]) for name in _PROVEN if name in value}
    if "earlier" in value:
        made.earlier = _earlier(value["earlier"], fork=verdict == "FORK")
    if verdict == "FORK":
        return made
    need(len(parse_note(value["promise"]).lines) == 1, "a promise with another number of signature lines")
    made.promise = value["promise"]
    made.rotations = [_placed(item) for item in c.array(value["rotations"], MOST_ROTATIONS)]
    if verdict == "LATE":
        leaf = c.members(value["leaf"], "index proof")
        need(c.is_int(leaf["index"]), "index")
        made.leaf = (leaf["index"], c.hashes(leaf["proof"], MOST_HASHES))
    if verdict == "ABSENT":
        made.leaves = _tiles(value["leaves"])
    return made


def _members(value: dict[str, Any], verdict: str) -> None:
    if verdict == "FORK":
        c.members(value, "v verdict checkpoint earlier")
        return
    allowed = [set(f"{_ABOUT_A_PROMISE} {more}".split()) for more in _SETS[verdict]]
    need(set(value) in allowed, f"not the members of {verdict}")


def _placed(value: Any) -> Placed:
    c.members(value, "entry index proof")
    data = c.unbase64(value["entry"])
    need(1 <= len(data) <= 65_535, "an entry has 1 to 65,535 bytes")
    need(c.is_int(value["index"]), "index")
    return Placed(data, value["index"], c.hashes(value["proof"], MOST_HASHES))


def _earlier(value: Any, *, fork: bool) -> Earlier:
    c.members(value, "checkpoint root proof" if fork else "checkpoint proof")
    parse_note(value["checkpoint"])
    root = c.unbase64_hash(value["root"]) if fork else None
    return Earlier(value["checkpoint"], c.hashes(value["proof"], MOST_HASHES), root)


def _tiles(value: Any) -> list[bytes]:
    """The leaf hashes of all tiles in order; only the last tile may be short, and none is empty."""
    if not isinstance(value, list):
        refuse("not an array of tiles")
    tiles = [c.unbase64(item) for item in value]
    need(all(len(tile) == 256 * 32 for tile in tiles[:-1]), "a tile before the last is not whole")
    last = len(tiles[-1]) if tiles else 32
    need(last % 32 == 0 and 32 <= last <= 256 * 32, "the last tile does not have 1 to 256 hashes")
    return [tile[at : at + 32] for tile in tiles for at in range(0, len(tile), 32)]
