"""Growing a tiled tree: leaf hashes in, finished tiles and a new root out. The only code that makes tiles.

Spec: `auditlog/spec/log.md`, "Tiles". A `RightEdge` is the partial tiles of a tree, which is all that is
needed to go on: what it hands out as full never changes again. Nothing is stored or read here. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from auditlog.core.merkle import hash_pairs, root_hash
from auditlog.core.proofs import EMPTY_ROOT, MAX_TREE_SIZE
from auditlog.core.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    TilePath,
    decode_tile,
    encode_tile,
    partial_width,
)
from auditlog.errors import MalformedError


@dataclass(frozen=True, slots=True)
class Tile:
    """A hash tile and where it goes."""

    path: TilePath
    data: bytes


class RightEdge:
    """The partial tiles at the right of a tree, level by level. Not safe to share between threads."""

    __slots__ = ("_levels", "_size")

    def __init__(self, size: int = 0, levels: Sequence[Sequence[bytes]] = ()) -> None:
        """Resume at `size`; `levels[l]` is the hashes of the partial tile of level l, none where it is empty.

        Raises:
            MalformedError: the widths do not fit the size.
        """
        if not 0 <= size <= MAX_TREE_SIZE:
            raise MalformedError(f"expected a tree size from 0 to {MAX_TREE_SIZE}, found another")
        widths = [partial_width(level, size) for level in range(level_count(size))]
        if [len(level) for level in levels] != widths:
            raise MalformedError(f"expected partial tiles of widths {widths}, found others")
        self._size = size
        self._levels = [list(level) for level in levels]

    @classmethod
    def read(cls, size: int, read_tile: Callable[[TilePath], bytes]) -> RightEdge:
        """Resume from stored tiles: at most one is read a level.

        Raises:
            MalformedError: a tile is not as long as the size says.
        """
        levels: list[list[bytes]] = []
        for level in range(level_count(size)):
            width = partial_width(level, size)
            path = TilePath(level, size >> (TILE_HEIGHT * (level + 1)), width) if width else None
            levels.append(decode_tile(read_tile(path), width) if path else [])
        return cls(size, levels)

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    def extend(self, leaf_hashes: Sequence[bytes]) -> list[Tile]:
        """Add leaves; return the tiles that became full, lower levels first. They never change again."""
        finished: list[Tile] = []
        hashes, level, size = list(leaf_hashes), 0, self._size
        while hashes:
            if level == len(self._levels):
                self._levels.append([])
            first = size >> (TILE_HEIGHT * (level + 1))
            row = self._levels[level] + hashes
            whole = len(row) // TILE_WIDTH * TILE_WIDTH
            self._levels[level] = row[whole:]
            for at in range(0, whole, TILE_WIDTH):
                path = TilePath(level, first + at // TILE_WIDTH)
                finished.append(Tile(path, encode_tile(row[at : at + TILE_WIDTH])))
            hashes = _tile_roots(row[:whole])
            level += 1
        self._size += len(leaf_hashes)
        return finished

    def partials(self) -> list[Tile]:
        """The partial tiles of exactly this size, which a published checkpoint of it needs."""
        found: list[Tile] = []
        for level, hashes in enumerate(self._levels):
            if hashes:
                path = TilePath(level, self._size >> (TILE_HEIGHT * (level + 1)), len(hashes))
                found.append(Tile(path, encode_tile(hashes)))
        return found

    def levels(self) -> tuple[tuple[bytes, ...], ...]:
        """The hashes of the partial tiles, as the constructor takes them."""
        return tuple(tuple(level) for level in self._levels)

    def root_hash(self) -> bytes:
        """Root of the tree so far."""
        right: list[bytes] = []
        for hashes in self._levels:
            # What is right of the complete subtrees of a level is its last node, however few leaves it has.
            row = hashes + right
            right = [root_hash(row)] if row else []
        return right[0] if right else EMPTY_ROOT


def level_count(size: int) -> int:
    """Levels of tiles in a tree: 0 for the empty tree, 1 up to 255 leaves, 2 from 256 on."""
    return -(-size.bit_length() // TILE_HEIGHT)


def _tile_roots(hashes: list[bytes]) -> list[bytes]:
    for _ in range(TILE_HEIGHT):
        hashes = hash_pairs(hashes)
    return hashes
