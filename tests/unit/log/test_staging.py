"""What is staged is hashed again from the stored bytes: a wrong hash of the tree is not signed."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from auditlog.core.integrate import RightEdge
from auditlog.core.merkle import hash_leaf
from auditlog.core.tiles import TILE_WIDTH
from auditlog.errors import DamagedStoreError
from auditlog.log.staging import find_staged, stage, staged_name
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


def _of_one_tree() -> tuple[MemoryStore, list[str]]:
    store, root = MemoryStore(), HASHES[0]
    names = [staged_name(old, 300, root) for old in (9, 250, 280)]
    for name in (*names, staged_name(300, 301, root)):
        store.put_new(name, b"")
    return store, names


def test_the_object_a_commit_named_is_the_one_to_apply() -> None:
    """Of several that lead to one tree, the row tells which."""
    store, names = _of_one_tree()
    for name in names:
        assert find_staged(store, name, 300, HASHES[0]) == name


@pytest.mark.parametrize("named", [None, staged_name(250, 299, HASHES[0]), staged_name(250, 300, HASHES[1])])
def test_a_row_of_an_older_release_takes_what_holds_all(named: str | None) -> None:
    """It names none, or that of the commit before: the object from the smallest size is taken, in numbers."""
    store, names = _of_one_tree()
    assert find_staged(store, named, 300, HASHES[0]) == names[0]


def test_no_object_for_the_committed_tree() -> None:
    """The staging folder is not of the moment of the database: the operator is told what to bring back."""
    store, _ = _of_one_tree()
    with pytest.raises(DamagedStoreError, match="Bring both back together"):
        find_staged(store, None, 299, HASHES[0])
