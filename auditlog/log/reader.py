"""Reading one log: entries, bundles, tiles, and proofs made from tiles.

Spec: `auditlog/spec/log.md`. Reads the committed tree, published or not: who may see what is for the caller
to decide. Full tiles come from the stores and are kept in a small cache, the right edge from memory, both
with the nodes above their hashes, so that a proof from what is kept hashes nothing. Proofs are not checked
here; whoever hands one out checks it against the signed root first. Safe to use from any thread.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from auditlog.core.merkle import hash_pairs, prove_consistency_from, prove_inclusion_from, range_hash
from auditlog.core.proofs import EMPTY_ROOT
from auditlog.core.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    TilePath,
    decode_bundle,
    decode_tile,
    encode_bundle,
    encode_tile,
)
from auditlog.errors import NotFoundError, StorageError
from auditlog.log.live import Live
from auditlog.log.tree import Tree

_CACHED_TILES = 512
"""Some 40 kB each with the nodes above their hashes: 20 MB, the hash tiles of 130,000 entries."""
_CACHED_BUNDLES = 64

V = TypeVar("V")

Rows = list[list[bytes]]
"""The hashes of a tile, then the nodes over pairs of them, and so on to the root of a full one. Not to be
changed.
"""


class Reader:
    """Reads of one log."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._tiles: _Cache[Rows] = _Cache(_CACHED_TILES)
        self._bundles: _Cache[list[bytes]] = _Cache(_CACHED_BUNDLES)
        self._edge: tuple[Tree, dict[int, Rows]] = (live.tree, {})

    def entry(self, index: int) -> bytes:
        """The entry at `index` of the committed tree.

        Raises:
            NotFoundError: the tree is smaller. StorageError: the bundle is gone or damaged.
        """
        tree = self._live.tree
        _check_index(tree, index)
        if index >= tree.tail_start:
            return tree.tail[index - tree.tail_start]
        return self._full_bundle(index // TILE_WIDTH)[index % TILE_WIDTH]

    def entries(self, start: int, end: int) -> list[bytes]:
        """The entries `start`..`end`-1, read bundle by bundle. Raises: as `entry`."""
        found: list[bytes] = []
        tree = self._live.tree
        while start < end:
            _check_index(tree, start)
            if start >= tree.tail_start:
                _check_index(tree, end - 1)
                return found + list(tree.tail[start - tree.tail_start : end - tree.tail_start])
            number, place = divmod(start, TILE_WIDTH)
            piece = self._full_bundle(number)[place : place + end - start]
            found += piece
            start += len(piece)
        return found

    def leaf_hash(self, index: int) -> bytes:
        """Leaf hash at `index`, from level 0. Raises: as `entry`."""
        tree = self._live.tree
        _check_index(tree, index)
        return self._hashes(tree, 0, index // TILE_WIDTH)[index % TILE_WIDTH]

    def leaf_hashes(self, start: int, end: int) -> list[bytes]:
        """Leaf hashes `start`..`end`-1. Raises: as `entry`."""
        tree = self._live.tree
        if start < end:
            _check_index(tree, start)
            _check_index(tree, end - 1)
        found: list[bytes] = []
        while start < end:
            number, place = divmod(start, TILE_WIDTH)
            piece = self._hashes(tree, 0, number)[place : place + end - start]
            found += piece
            start += len(piece)
        return found

    def tile(self, level: int, index: int, width: int = TILE_WIDTH) -> bytes:
        """Bytes of a tile of at least `width` hashes in the committed tree, cut to `width`.

        Raises:
            NotFoundError: the tree has no such tile. StorageError: it is gone or damaged.
        """
        hashes = self._hashes(self._live.tree, level, index)
        if not 1 <= width <= len(hashes):
            raise NotFoundError(
                f"expected a tile of level {level} in the tree, found none at {index}/{width}"
            )
        return encode_tile(hashes[:width])

    def bundle(self, index: int, width: int = TILE_WIDTH) -> bytes:
        """Bytes of an entry bundle of at least `width` entries in the committed tree, cut to `width`.

        Raises:
            NotFoundError, StorageError: as `tile`.
        """
        tree = self._live.tree
        is_full = (index + 1) * TILE_WIDTH <= tree.size
        if not is_full and index * TILE_WIDTH + width > tree.size:
            raise NotFoundError(f"expected a bundle in the tree, found none at {index}/{width}")
        entries = self._full_bundle(index) if is_full else list(tree.tail)
        return encode_bundle(entries[:width])

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Inclusion proof of `index` in the tree of `size`. Raises: NotFoundError, StorageError."""
        tree = self._live.tree
        if not 0 <= index < size <= tree.size:
            raise NotFoundError(f"expected an index below a size up to {tree.size}, found {index} and {size}")
        return prove_inclusion_from(self._node_of(tree), index, size)

    def consistency(self, old_size: int, new_size: int) -> list[bytes]:
        """Consistency proof between two sizes. Raises: NotFoundError, StorageError."""
        tree = self._live.tree
        if not 0 <= old_size <= new_size <= tree.size:
            raise NotFoundError(f"expected two sizes up to {tree.size}, found {old_size} and {new_size}")
        return prove_consistency_from(self._node_of(tree), old_size, new_size)

    def root_at(self, size: int) -> bytes:
        """Root of the tree when it had `size` entries. Raises: NotFoundError, StorageError."""
        tree = self._live.tree
        if not 0 <= size <= tree.size:
            raise NotFoundError(f"expected a size up to {tree.size}, found {size}")
        return range_hash(self._node_of(tree), 0, size) if size else EMPTY_ROOT

    def _node_of(self, tree: Tree) -> Callable[[int, int], bytes]:
        known: dict[tuple[int, int], Rows] = {}

        def node(level: int, index: int) -> bytes:
            tile_level, height = divmod(level, TILE_HEIGHT)
            place = tile_level, index >> (TILE_HEIGHT - height)
            rows = known.get(place)
            if rows is None:
                rows = known[place] = self._rows(tree, *place)
            return rows[height][index % (TILE_WIDTH >> height)]

        return node

    def _hashes(self, tree: Tree, level: int, index: int) -> list[bytes]:
        """Hashes of a tile, as many as the tree has."""
        full = tree.size >> (TILE_HEIGHT * (level + 1))
        is_there = index < full or (index == full and level < len(tree.levels))
        return self._rows(tree, level, index)[0] if is_there else []

    def _rows(self, tree: Tree, level: int, index: int) -> Rows:
        """A tile the tree has, with the nodes above its hashes."""
        if index < tree.size >> (TILE_HEIGHT * (level + 1)):
            path = TilePath(level, index)
            return self._tiles.get((level, index), lambda: _expand(decode_tile(self._read(path), TILE_WIDTH)))
        # The edge of one tree, replaced whole: two threads at different trees take turns, and both are right.
        of, edge = self._edge
        if of is not tree:
            self._edge = of, edge = tree, {}
        rows = edge.get(level)
        if rows is None:
            rows = edge[level] = _expand(list(tree.levels[level]))
        return rows

    def _full_bundle(self, index: int) -> list[bytes]:
        path = TilePath(None, index)
        entries = self._bundles.get((-1, index), lambda: decode_bundle(self._read(path)))
        if len(entries) != TILE_WIDTH:
            raise StorageError(f"{path}: expected {TILE_WIDTH} entries, found {len(entries)}")
        return entries

    def _read(self, path: TilePath) -> bytes:
        data = self._live.layout.store_of(path).get(str(path))
        if data is None:
            raise StorageError(f"expected {path} in the store, found nothing")
        return data


def _expand(hashes: list[bytes]) -> Rows:
    """All nodes over complete subtrees of a tile: 255 hashes for a full one, once and not for each proof."""
    rows = [hashes]
    while len(rows[-1]) > 1:
        rows.append(hash_pairs(rows[-1][: len(rows[-1]) // 2 * 2]))
    return rows


class _Cache(Generic[V]):
    """The most recently used of what never changes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[int, int], V] = OrderedDict()

    def get(self, key: tuple[int, int], load: Callable[[], V]) -> V:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        value = load()
        with self._lock:
            self._held[key] = value
            if len(self._held) > self._limit:
                self._held.popitem(last=False)
        return value


def _check_index(tree: Tree, index: int) -> None:
    if not 0 <= index < tree.size:
        raise NotFoundError(f"expected an index below the tree size {tree.size}, found {index}")
