"""Proofs from the reader's cache: those of the whole tree, whatever is cached, at every size it ever had."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from auditlog.core.integrate import RightEdge
from auditlog.core.merkle import prove_consistency, prove_inclusion, root_hash
from auditlog.errors import NotFoundError, StorageError
from auditlog.log import reader as module
from auditlog.log.reader import Reader
from auditlog.log.tree import Tree

LEAVES = [bytes([number % 251, number // 251 % 256]) * 16 for number in range(70_000)]


class Tiles:
    """A store of the full tiles of a tree, counting reads."""

    def __init__(self, size: int) -> None:
        edge = RightEdge()
        self.files = {str(tile.path): tile.data for tile in edge.extend(LEAVES[:size])}
        self.tree = Tree(size, edge.root_hash(), edge.levels(), (), None)
        self.reads = 0

    def get(self, path: str) -> bytes | None:
        """One of them."""
        self.reads += 1
        return self.files.get(path)


def reader_of(tiles: Tiles) -> Reader:
    """A reader of that tree."""
    live: Any = SimpleNamespace(tree=tiles.tree, layout=SimpleNamespace(store_of=lambda _path: tiles))
    return Reader(live)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 700, 70_000])
def test_proofs_are_those_of_the_tree(size: int) -> None:
    """Inclusion, consistency and roots at random places and sizes, and at the corners."""
    reader, pick = reader_of(Tiles(size)), random.Random(size)
    for _ in range(5):
        smaller = pick.randint(1, size)
        index = pick.randrange(smaller)
        assert reader.inclusion(index, smaller) == prove_inclusion(LEAVES[:smaller], index)
        assert reader.consistency(smaller, size) == prove_consistency(LEAVES[:size], smaller)
        assert reader.root_at(smaller) == root_hash(LEAVES[:smaller])
    assert reader.inclusion(size - 1, size) == prove_inclusion(LEAVES[:size], size - 1)


def test_a_tile_is_read_once_and_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same proof again reads nothing; beyond its bound the cache reads again, and proves the same."""
    tiles = Tiles(70_000)
    reader = reader_of(tiles)
    first = reader.inclusion(5, 70_000)
    reads = tiles.reads
    assert reader.inclusion(5, 70_000) == first
    assert tiles.reads == reads
    monkeypatch.setattr(module, "_CACHED_TILES", 2)
    small = reader_of(tiles)
    for index in range(0, 70_000, 999):
        assert small.inclusion(index, 70_000)[0] == LEAVES[index ^ 1]
    assert len(small._tiles._held) == 2


def test_the_edge_follows_the_tree() -> None:
    """A grown tree is proven by its own edge, not by that of the tree before."""
    before, after = Tiles(300), Tiles(411)
    live: Any = SimpleNamespace(tree=before.tree, layout=SimpleNamespace(store_of=lambda _path: after))
    reader = Reader(live)
    assert reader.inclusion(299, 300) == prove_inclusion(LEAVES[:300], 299)
    live.tree = after.tree
    assert reader.inclusion(299, 411) == prove_inclusion(LEAVES[:411], 299)
    assert reader.consistency(300, 411) == prove_consistency(LEAVES[:411], 300)


def test_what_is_outside_or_gone_is_said() -> None:
    """An index or size the tree does not have; a tile the store lost."""
    tiles = Tiles(700)
    reader = reader_of(tiles)
    for index, size in ((700, 700), (0, 701), (5, 5), (-1, 3)):
        with pytest.raises(NotFoundError):
            reader.inclusion(index, size)
    tiles.files.clear()
    with pytest.raises(StorageError):
        reader.inclusion(0, 700)
