"""Tiles, their paths and the framing of entry bundles: C2SP tlog-tiles.

Spec: `auditlog/spec/log.md`, "Tiles". A tile holds up to 256 hashes of one level of the tree:

    tile (level L, index N), hash i = MTH(D[(N*256 + i) * 256**L : (N*256 + i + 1) * 256**L])
    path  tile/<L>/<N>[.p/<W>]   and   tile/entries/<N>[.p/<W>]
    <N>   three-digit groups, all but the last with an x before: 1234067 -> x001/x234/067
    entry bundle = (uint16 big-endian length || entry)*

Only nodes over complete subtrees are ever in a tile: a full tile never changes and a partial one only grows.
Paths and bundles may come from anyone: `parse_path` and `decode_bundle` accept one spelling of a thing. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import Struct

from auditlog.core.decimals import parse_decimal
from auditlog.core.proofs import HASH_BYTES, MAX_TREE_SIZE
from auditlog.errors import MalformedError, TooLargeError

TILE_WIDTH = 256
"""Hashes in a full tile, entries in a full bundle."""

TILE_HEIGHT = 8
"""Levels of the tree between two levels of tiles."""

MAX_TILE_LEVEL = 63
"""Highest level the path grammar allows; a tree of 2**63 leaves needs level 7."""

MAX_ENTRY_BYTES = 65_535
"""What the two length bytes of a bundle can say."""

_LENGTH = Struct(">H")
_GROUPS = re.compile(r"(?:x[0-9]{3}/){0,6}[0-9]{3}")
_MAX_PATH_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class TilePath:
    """Where a tile or bundle lies. `level` is None for an entry bundle; `width` is 1 to 256 (full)."""

    level: int | None
    index: int
    width: int = TILE_WIDTH

    def __str__(self) -> str:
        if self.level is None:
            return bundle_path(self.index, self.width)
        return tile_path(self.level, self.index, self.width)

    @property
    def is_partial(self) -> bool:
        """Whether the tile may still grow."""
        return self.width < TILE_WIDTH

    @property
    def full(self) -> TilePath:
        """The full tile that replaces this one in time."""
        return TilePath(self.level, self.index)


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Path of a hash tile below the log's prefix, such as `tile/0/x001/x234/067.p/5`.

    Raises:
        ValueError: a coordinate no tile has; coordinates are the caller's own.
    """
    if not 0 <= level <= MAX_TILE_LEVEL:
        raise ValueError(f"expected a tile level from 0 to {MAX_TILE_LEVEL}, found {level}")
    return f"tile/{level}/{_index_and_width(index, width)}"


def bundle_path(index: int, width: int = TILE_WIDTH) -> str:
    """Path of an entry bundle below the log's prefix, such as `tile/entries/005`.

    Raises:
        ValueError: a coordinate no bundle has.
    """
    return f"tile/entries/{_index_and_width(index, width)}"


def _index_and_width(index: int, width: int) -> str:
    if not 0 <= index <= MAX_TREE_SIZE // TILE_WIDTH:
        raise ValueError(f"expected a tile index from 0 to {MAX_TREE_SIZE // TILE_WIDTH}, found {index}")
    if not 1 <= width <= TILE_WIDTH:
        raise ValueError(f"expected a tile width from 1 to {TILE_WIDTH}, found {width}")
    text = f"{index % 1000:03d}"
    while index := index // 1000:
        text = f"x{index % 1000:03d}/{text}"
    return text if width == TILE_WIDTH else f"{text}.p/{width}"


def parse_path(path: str) -> TilePath:
    """Read a tile or bundle path; `path` is attacker-controlled (a URL, a name in a folder).

    Raises:
        MalformedError: not exactly what `tile_path` or `bundle_path` writes for some coordinates.
    """
    if len(path) > _MAX_PATH_CHARACTERS:
        raise MalformedError(
            f"expected a path of at most {_MAX_PATH_CHARACTERS} characters, found {len(path)}"
        )
    prefix, _, rest = path.partition("/")
    kind, _, place = rest.partition("/")
    if prefix != "tile":
        raise MalformedError("expected a path that begins with tile/, found another")
    level = None if kind == "entries" else parse_decimal(kind, "tile level", maximum=MAX_TILE_LEVEL)
    groups, partial, width_text = place.partition(".p/")
    width = parse_decimal(width_text, "tile width", maximum=TILE_WIDTH - 1) if partial else TILE_WIDTH
    if not _GROUPS.fullmatch(groups) or width == 0:
        raise MalformedError(
            "expected an index in groups of three digits and a width from 1 to 255, found others"
        )
    index = int(groups.replace("/", "").replace("x", ""))
    if index > MAX_TREE_SIZE // TILE_WIDTH:
        raise MalformedError(f"expected a tile index of at most {MAX_TREE_SIZE // TILE_WIDTH}, found {index}")
    parsed = TilePath(level, index, width)
    if str(parsed) != path:
        raise MalformedError(f"expected the path {parsed}, found another spelling of it")
    return parsed


def partial_width(level: int, tree_size: int) -> int:
    """Hashes in the partial tile at the right of a level; 0 when it ends with a full tile or is empty."""
    return (tree_size >> (TILE_HEIGHT * level)) % TILE_WIDTH


def tiles_for_size(tree_size: int) -> Iterator[TilePath]:
    """Every hash tile of a tree, level by level from the leaves, left to right."""
    level = 0
    while nodes := tree_size >> (TILE_HEIGHT * level):
        yield from _row(level, nodes)
        level += 1


def bundles_for_size(tree_size: int) -> Iterator[TilePath]:
    """Every entry bundle of a tree, left to right."""
    return _row(None, tree_size)


def paths_for_size(tree_size: int, *, entries: bool = True) -> Iterator[str]:
    """Every path below the log's prefix that a tree of this size consists of, the checkpoint aside.

    With `entries=False` the hash tiles only, as in a log whose bundles are not public.
    """
    yield from map(str, tiles_for_size(tree_size))
    if entries:
        yield from map(str, bundles_for_size(tree_size))


def _row(level: int | None, nodes: int) -> Iterator[TilePath]:
    full, rest = divmod(nodes, TILE_WIDTH)
    for index in range(full):
        yield TilePath(level, index)
    if rest:
        yield TilePath(level, full, rest)


def encode_tile(hashes: Iterable[bytes]) -> bytes:
    """Bytes of a hash tile: its hashes one after the other."""
    return b"".join(hashes)


def decode_tile(data: bytes, width: int) -> list[bytes]:
    """Hashes of a tile; `data` is attacker-controlled until it was checked against a checkpoint.

    Raises:
        MalformedError: not `width` hashes.
    """
    if len(data) != width * HASH_BYTES:
        raise MalformedError(f"expected a tile of {width * HASH_BYTES} bytes, found {len(data)}")
    return [data[start : start + HASH_BYTES] for start in range(0, len(data), HASH_BYTES)]


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """Frame entries one after the other; a bundle of the tree holds at most 256 of them.

    Raises:
        TooLargeError: an entry is over `MAX_ENTRY_BYTES`.
    """
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise TooLargeError(f"expected an entry of at most {MAX_ENTRY_BYTES} bytes, found {len(entry)}")
        parts += (_LENGTH.pack(len(entry)), entry)
    return b"".join(parts)


def decode_bundle(data: bytes) -> list[bytes]:
    """Entries of a framed sequence of any length; `data` is attacker-controlled, the count not checked.

    Raises:
        MalformedError: the last entry is cut short.
    """
    entries: list[bytes] = []
    at, end = 0, len(data)
    while at + 2 <= end:
        start = at + 2
        at = start + (data[at] << 8 | data[at + 1])
        entries.append(data[start:at])
    if at != end:
        raise MalformedError(f"expected {at} bytes or more of framed entries, found {end}")
    return entries
