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

from auditlog.core.merkle import (
    hash_leaf,
    hash_pairs,
    prove_consistency_from,
    prove_inclusion_from,
    range_hash,
)
from auditlog.core.proofs import EMPTY_ROOT, HASH_BYTES
from auditlog.core.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    TilePath,
    decode_bundle,
    decode_tile,
    encode_bundle,
    encode_tile,
)
from auditlog.errors import EntryPruned, NotFoundError, StorageError
from auditlog.log.keeping import read_kept
from auditlog.log.live import Live
from auditlog.log.staging import Staged
from auditlog.log.tree import Tree

_CACHED_TILES = 512
"""16 kB each with the nodes above their hashes: 8 MB, the hash tiles of 130,000 entries."""
_CACHED_BUNDLES = 64
_CACHED_LEAVES = 128
"""8 kB each: level 0 alone, for who needs no proof."""

V = TypeVar("V")

Rows = list[bytes]
"""The hashes of a tile one after the other, then the nodes over pairs of them, and so on to the root of a
full one. As bytes they take less than half of what as many objects do, and lie together.
"""


class Reader:
    """Reads of one log."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._tiles: _Cache[Rows] = _Cache(_CACHED_TILES)
        self._bundles: _Cache[list[bytes]] = _Cache(_CACHED_BUNDLES)
        self._leaves: _Cache[bytes] = _Cache(_CACHED_LEAVES)
        self._kept: _Cache[dict[int, bytes]] = _Cache(_CACHED_BUNDLES)
        self._edge: tuple[Tree, dict[int, Rows]] = (live.tree, {})

    def entry(self, index: int) -> bytes:
        """The entry at `index` of the committed tree.

        Raises:
            NotFoundError: the tree is smaller. EntryPruned: its retention is over.
            StorageError: the bundle is gone or damaged.
        """
        tree = self._live.tree
        _check_index(tree, index)
        if index >= tree.tail_start:
            return tree.tail[index - tree.tail_start]
        number, place = divmod(index, TILE_WIDTH)
        try:
            return self._full_bundle(number)[place]
        except EntryPruned:
            kept = self.kept(number).get(place)
            if kept is None:
                raise
            return kept

    def kept(self, number: int) -> dict[int, bytes]:
        """What is left of a pruned bundle, by place: what receipts of later entries need.

        Raises: StorageError.
        """
        return self._kept.get((-2, number), lambda: self._load_kept(number))

    def kept_between(self, start: int, end: int) -> dict[int, bytes]:
        """What is left of pruned bundles from `start` to `end`-1, by index. Raises: StorageError."""
        return {
            number * TILE_WIDTH + place: entry
            for number in range(start // TILE_WIDTH, -(-end // TILE_WIDTH))
            for place, entry in self.kept(number).items()
            if start <= number * TILE_WIDTH + place < end
        }

    @property
    def minimum(self) -> int:
        """Entries below may be pruned."""
        return self._live.minimum

    def _load_kept(self, number: int) -> dict[int, bytes]:
        found = read_kept(self._live.stores.private, number)
        for place, entry in found.items():
            if hash_leaf(entry) != self.leaf_hash(number * TILE_WIDTH + place):
                raise StorageError(f"expected kept entries of bundle {number} as in the tree, found others")
        return found

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
        at = index % TILE_WIDTH * HASH_BYTES
        return self._rows(tree, 0, index // TILE_WIDTH)[0][at : at + HASH_BYTES]

    def leaf_hashes(self, start: int, end: int) -> list[bytes]:
        """Leaf hashes `start`..`end`-1. Raises: as `entry`."""
        tree = self._live.tree
        if start < end:
            _check_index(tree, start)
            _check_index(tree, end - 1)
        found: list[bytes] = []
        while start < end:
            number, place = divmod(start, TILE_WIDTH)
            row = self._leaf_row(tree, number)[place * HASH_BYTES : (place + end - start) * HASH_BYTES]
            piece = decode_tile(row, len(row) // HASH_BYTES)
            found += piece
            start += len(piece)
        return found

    def keep(self, staged: Staged) -> None:
        """Take over what a commit finished, once it is applied: whoever follows the log reads it next. These
        are bytes that were read back and checked; what is not held any more is read from the stores.
        """
        for path, data in staged.full:
            if path.level == 0:
                self._leaves.put((0, path.index), data)
        for number, entries in staged.bundles.items():
            self._bundles.put((-1, number), entries)

    def tile(self, level: int, index: int, width: int = TILE_WIDTH) -> bytes:
        """Bytes of a tile of at least `width` hashes in the committed tree, cut to `width`.

        Raises:
            NotFoundError: the tree has no such tile. StorageError: it is gone or damaged.
        """
        tree = self._live.tree
        full = tree.size >> (TILE_HEIGHT * (level + 1))
        is_there = index < full or (index == full and level < len(tree.levels))
        row = self._rows(tree, level, index)[0] if is_there else b""
        if not 1 <= width <= len(row) // HASH_BYTES:
            raise NotFoundError(
                f"expected a tile of level {level} in the tree, found none at {index}/{width}"
            )
        return row[: width * HASH_BYTES]

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
            at = (index & ((TILE_WIDTH >> height) - 1)) * HASH_BYTES
            return rows[height][at : at + HASH_BYTES]

        return node

    def _rows(self, tree: Tree, level: int, index: int) -> Rows:
        """A tile the tree has, with the nodes above its hashes."""
        if index < tree.size >> (TILE_HEIGHT * (level + 1)):
            return self._tiles.get((level, index), lambda: _expand(self._hashes(tree, level, index)))
        # The edge of one tree, replaced whole: two threads at different trees take turns, and both are right.
        of, edge = self._edge
        if of is not tree:
            self._edge = of, edge = tree, {}
        rows = edge.get(level)
        if rows is None:
            rows = edge[level] = _expand(list(tree.levels[level]))
        return rows

    def _hashes(self, tree: Tree, level: int, index: int) -> list[bytes]:
        data = self._read(TilePath(level, index)) if level else self._leaf_row(tree, index)
        return decode_tile(data, TILE_WIDTH)

    def _leaf_row(self, tree: Tree, index: int) -> bytes:
        """A tile of level 0 that the tree has, without the nodes above it."""
        if index >= tree.size >> TILE_HEIGHT:
            return encode_tile(tree.levels[0])

        def load() -> bytes:
            data = self._read(TilePath(0, index))
            decode_tile(data, TILE_WIDTH)  # of the right length, or refused
            return data

        return self._leaves.get((0, index), load)

    def _full_bundle(self, index: int) -> list[bytes]:
        path = TilePath(None, index)
        if (index + 1) * TILE_WIDTH <= self._live.minimum:
            raise EntryPruned(f"expected an entry from {self._live.minimum} on, found a pruned one")
        try:
            entries = self._bundles.get((-1, index), lambda: decode_bundle(self._read(path)))
        except StorageError:
            # Another process may have pruned it: the minimum is durable before the first bundle goes.
            committed = self._live.stores.state.read()
            if committed is None or (index + 1) * TILE_WIDTH > committed.minimum:
                raise
            self._live.minimum = max(self._live.minimum, committed.minimum)
            raise EntryPruned(f"expected an entry from {committed.minimum} on, found a pruned one") from None
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
    rows = [encode_tile(hashes)]
    while len(hashes) > 1:
        hashes = hash_pairs(hashes[: len(hashes) // 2 * 2])
        rows.append(encode_tile(hashes))
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
        self.put(key, value)
        return value

    def put(self, key: tuple[int, int], value: V) -> None:
        with self._lock:
            self._held[key] = value
            if len(self._held) > self._limit:
                self._held.popitem(last=False)


def _check_index(tree: Tree, index: int) -> None:
    if not 0 <= index < tree.size:
        raise NotFoundError(f"expected an index below the tree size {tree.size}, found {index}")
