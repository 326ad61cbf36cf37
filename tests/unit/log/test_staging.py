"""What is staged is hashed again from the stored bytes: a wrong hash of the tree is not signed."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from auditlog.core.integrate import RightEdge
from auditlog.core.merkle import hash_leaf
from auditlog.core.tiles import TILE_WIDTH
from auditlog.errors import DamagedStoreError
from auditlog.log.staging import stage
from auditlog.log.tree import EMPTY_TREE, grow
from auditlog.storage.memory import MemoryStore

ENTRIES = [b"entry %d" % number for number in range(TILE_WIDTH + 3)]
HASHES = [hash_leaf(entry) for entry in ENTRIES]
WRONG = sha256(b"a bit that flipped").digest()


def test_what_was_grown_is_staged() -> None:
    """Entries and hashes that belong together pass."""
    tree, full = grow(EMPTY_TREE, ENTRIES, HASHES)
    _, staged = stage(MemoryStore(), EMPTY_TREE, tree, full, HASHES)
    assert staged.tree == tree


@pytest.mark.parametrize("place", [0, TILE_WIDTH - 1, TILE_WIDTH + 1])
def test_a_leaf_hash_that_changed_while_the_tree_grew(place: int) -> None:
    """A tree of other hashes than its entries have is refused, in a full tile and in the partial one."""
    tree, full = grow(EMPTY_TREE, ENTRIES, [*HASHES[:place], WRONG, *HASHES[place + 1 :]])
    with pytest.raises(DamagedStoreError):
        stage(MemoryStore(), EMPTY_TREE, tree, full, HASHES)


def test_a_node_that_was_computed_wrong() -> None:
    """A tile whose hash is not the one in the level above is refused, though the root fits that level."""
    tree, full = grow(EMPTY_TREE, ENTRIES, HASHES)
    levels = (tree.levels[0], (WRONG,))
    wrong = replace(tree, levels=levels, root_hash=RightEdge(tree.size, levels).root_hash())
    with pytest.raises(DamagedStoreError):
        stage(MemoryStore(), EMPTY_TREE, wrong, full, HASHES)


def test_an_entry_that_changed_while_it_waited() -> None:
    """An entry of another hash than admission computed is refused, though tree and entry fit each other."""
    changed = [*ENTRIES[:-1], b"another"]
    hashes = [hash_leaf(entry) for entry in changed]
    tree, full = grow(EMPTY_TREE, changed, hashes)
    with pytest.raises(DamagedStoreError):
        stage(MemoryStore(), EMPTY_TREE, tree, full, HASHES)
