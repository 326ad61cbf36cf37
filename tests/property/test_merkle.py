"""The tree against a naive recursive RFC 6962 tree: every size to 300, then random larger ones."""

from __future__ import annotations

import functools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditlog.core.integrate import RightEdge
from auditlog.core.merkle import (
    EMPTY_ROOT,
    CompactRange,
    hash_leaf,
    prove_consistency,
    prove_consistency_from,
    prove_inclusion,
    prove_inclusion_from,
    root_hash,
    verify_consistency,
    verify_inclusion,
)
from auditlog.core.tiles import paths_for_size
from auditlog.errors import VerificationError
from tests.support.naive_tree import NaiveTree, leaf

ALL_SIZES = 300


@functools.cache
def _tree() -> NaiveTree:
    return NaiveTree([leaf(b"%d" % number) for number in range(4096)])


def _node(level: int, index: int) -> bytes:
    return _tree().mth(index << level, (index + 1) << level)


def test_leaf_and_root_hashes_are_those_of_the_rfc() -> None:
    """Roots of all sizes to 300, by root_hash, CompactRange and RightEdge, are the naive tree's."""
    tree = _tree()
    one_by_one, edge = CompactRange(), RightEdge()
    for size in range(ALL_SIZES + 1):
        expected = tree.mth(0, size)
        assert root_hash(tree.leaves[:size]) == expected
        assert one_by_one.root_hash() == edge.root_hash() == expected
        assert CompactRange(size, one_by_one.hashes).root_hash() == expected
        assert RightEdge(size, edge.levels()).root_hash() == expected
        one_by_one.append(tree.leaves[size])
        edge.extend(tree.leaves[size : size + 1])
    assert hash_leaf(b"7") == tree.leaves[7]


def test_every_inclusion_proof_to_300_is_the_naive_one_and_verifies() -> None:
    """All (index, size) pairs to size 300: the proof equals the recursion's and verifies."""
    tree = _tree()
    for size in range(1, ALL_SIZES + 1):
        root = tree.mth(0, size)
        for index in range(size):
            proof = prove_inclusion_from(_node, index, size)
            assert proof == tree.path(index, 0, size)
            verify_inclusion(tree.leaves[index], index, size, proof, root)


def test_every_consistency_proof_to_300_is_the_naive_one_and_verifies() -> None:
    """All (old, new) pairs to size 300: the proof equals the recursion's and verifies."""
    tree = _tree()
    for new in range(ALL_SIZES + 1):
        new_root = tree.mth(0, new)
        for old in range(new + 1):
            proof = prove_consistency_from(_node, old, new)
            assert proof == (tree.proof(old, new) if old else [])
            verify_consistency(old, new, proof, tree.mth(0, old), new_root)


def test_an_inclusion_proof_fits_one_index_of_one_tree_only() -> None:
    """To size 40, a proof is refused at every other index and for every other root."""
    tree = _tree()
    for size in range(1, 41):
        root = tree.mth(0, size)
        for index in range(size):
            proof = tree.path(index, 0, size)
            for other in {*range(size + 1), size + index, size * 2, 2**62} - {index}:
                with pytest.raises(VerificationError):
                    verify_inclusion(tree.leaves[index], other, size, proof, root)
            with pytest.raises(VerificationError):
                verify_inclusion(tree.leaves[index], index, size, proof, tree.mth(0, size + 1))


def test_a_consistency_proof_fits_no_other_old_root() -> None:
    """To size 40, a proof is refused with the root of any other old size in the place of the old root."""
    tree = _tree()
    for new in range(1, 41):
        for old in range(1, new + 1):
            proof = prove_consistency_from(_node, old, new)
            for other in set(range(new + 1)) - {old}:
                with pytest.raises(VerificationError):
                    verify_consistency(old, new, proof, tree.mth(0, other), tree.mth(0, new))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4096), st.data())
def test_larger_trees_agree_with_the_recursion(size: int, data: st.DataObject) -> None:
    """Random sizes to 4096: root, one inclusion and one consistency proof are the naive tree's."""
    tree = _tree()
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    leaves, root = tree.leaves[:size], tree.mth(0, size)
    assert root_hash(leaves) == root
    inclusion, consistency = prove_inclusion(leaves, index), prove_consistency(leaves, old)
    assert inclusion == tree.path(index, 0, size)
    assert consistency == tree.proof(old, size)
    verify_inclusion(leaves[index], index, size, inclusion, root)
    verify_consistency(old, size, consistency, tree.mth(0, old), root)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 700), max_size=6))
def test_growing_in_any_steps_gives_the_same_tree(steps: list[int]) -> None:
    """However leaves are grouped, the root is the same and the tiles are complete."""
    tree = _tree()
    compact, edge, tiles, size = CompactRange(), RightEdge(), {}, 0
    for step in steps:
        leaves = tree.leaves[size : size + step]
        size += len(leaves)
        compact.extend(leaves)
        tiles.update({str(tile.path): tile.data for tile in edge.extend(leaves)})
    assert compact.root_hash() == edge.root_hash() == tree.mth(0, size)
    assert (compact.size, edge.size) == (size, size)
    tiles.update({str(tile.path): tile.data for tile in edge.partials()})
    assert sorted(tiles) == sorted(paths_for_size(size, entries=False))
    assert RightEdge.read(size, lambda path: tiles[str(path)]).levels() == edge.levels()


_hashes = st.lists(st.binary(min_size=31, max_size=33), max_size=70)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(st.integers(-5, 2**70), st.booleans(), st.floats(), st.none()),
    st.one_of(st.integers(-5, 2**70), st.booleans(), st.text(max_size=3)),
    st.one_of(_hashes, st.binary(max_size=64), st.none(), st.lists(st.integers(), max_size=3)),
    st.one_of(st.binary(min_size=31, max_size=33), st.text(max_size=32), st.none()),
)
def test_verification_is_total(first: object, second: object, proof: object, value: object) -> None:
    """Whatever the arguments are, verifying noise raises VerificationError and nothing else."""
    old_or_index: int = first  # type: ignore[assignment]
    size: int = second  # type: ignore[assignment]
    hashes: list[bytes] = proof  # type: ignore[assignment]
    some: bytes = value  # type: ignore[assignment]
    with pytest.raises(VerificationError):
        verify_inclusion(some, old_or_index, size, hashes, EMPTY_ROOT)
    with pytest.raises(VerificationError):
        verify_consistency(old_or_index, size, hashes, some, hash_leaf(b"no root"))
