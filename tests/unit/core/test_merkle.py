"""The tree: edges of its functions that the property tests do not name."""

from __future__ import annotations

from typing import Any

import pytest

from auditlog.core.integrate import RightEdge, level_count
from auditlog.core.merkle import (
    EMPTY_ROOT,
    CompactRange,
    hash_children,
    hash_leaf,
    prove_consistency,
    prove_inclusion,
    range_hash,
    root_hash,
    verify_consistency,
    verify_inclusion,
)
from auditlog.errors import InclusionError, InconsistentLogError, MalformedError, VerificationError

LEAVES = [hash_leaf(b"%d" % number) for number in range(8)]
ROOT = root_hash(LEAVES)


def test_known_answers() -> None:
    """The hashes of the empty tree, the empty leaf and of two leaves are the published ones."""
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert hash_leaf(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    certificate_transparency_root_of_two = "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
    assert hash_children(hash_leaf(b""), hash_leaf(b"\x00")).hex() == certificate_transparency_root_of_two


@pytest.mark.parametrize("index", [-1, 8, 2**63, True, 1.0, "1", None])
def test_no_index_but_one_of_the_tree_is_accepted(index: Any) -> None:
    """Negative, too large, boolean and non-integer indices are refused with InclusionError."""
    with pytest.raises(InclusionError):
        verify_inclusion(LEAVES[1], index, 8, prove_inclusion(LEAVES, 1), ROOT)


@pytest.mark.parametrize("size", [0, -8, 7, 9, 16, 2**63, 2**64, True, 8.0])
def test_no_other_tree_size_is_accepted(size: Any) -> None:
    """A proof for size 8 is refused for every size whose path at that index differs, and for no-sizes."""
    with pytest.raises(InclusionError):
        verify_inclusion(LEAVES[7], 7, size, prove_inclusion(LEAVES, 7), ROOT)


def test_the_empty_tree_includes_nothing() -> None:
    """There is no index in a tree of size 0."""
    with pytest.raises(InclusionError):
        verify_inclusion(LEAVES[0], 0, 0, [], EMPTY_ROOT)


def test_the_single_leaf_is_its_own_root() -> None:
    """In a tree of size 1 the proof is empty and the root is the leaf hash."""
    verify_inclusion(LEAVES[0], 0, 1, [], LEAVES[0])
    with pytest.raises(InclusionError):
        verify_inclusion(LEAVES[0], 0, 1, [LEAVES[1]], LEAVES[0])


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_hashes_of_other_lengths_are_refused(length: int) -> None:
    """Leaf hash, root and proof hashes are 32 bytes or refused, in both verifications."""
    bad, proof = b"\x00" * length, prove_inclusion(LEAVES, 3)
    for leaf_hash, path, root in (
        (bad, proof, ROOT),
        (LEAVES[3], [bad, *proof[1:]], ROOT),
        (LEAVES[3], proof, bad),
    ):
        with pytest.raises(InclusionError):
            verify_inclusion(leaf_hash, 3, 8, path, root)
    steps = prove_consistency(LEAVES, 3)
    old = root_hash(LEAVES[:3])
    for path, before, after in (([bad, *steps[1:]], old, ROOT), (steps, bad, ROOT), (steps, old, bad)):
        with pytest.raises(VerificationError):
            verify_consistency(3, 8, path, before, after)


@pytest.mark.parametrize("wrong", ["0" * 32, bytearray(32), memoryview(bytes(32)), 0, None])
def test_only_bytes_are_hashes(wrong: Any) -> None:
    """Text, mutable buffers and numbers are not taken for hashes."""
    with pytest.raises(InclusionError):
        verify_inclusion(wrong, 0, 1, [], LEAVES[0])
    with pytest.raises(InclusionError):
        verify_inclusion(LEAVES[0], 0, 2, [wrong], LEAVES[0])
    with pytest.raises(MalformedError):
        root_hash([LEAVES[0], wrong])
    with pytest.raises(MalformedError):
        CompactRange().append(wrong)


@pytest.mark.parametrize("change", [-1, 1])
def test_proofs_that_are_too_short_or_too_long_are_refused(change: int) -> None:
    """Every proof has exactly one length."""
    for path in (prove_inclusion(LEAVES, 5), prove_consistency(LEAVES, 5)):
        changed = path[:change] if change < 0 else [*path, LEAVES[0]]
        with pytest.raises(VerificationError):
            verify_inclusion(LEAVES[5], 5, 8, changed, ROOT)
        with pytest.raises(VerificationError):
            verify_consistency(5, 8, changed, root_hash(LEAVES[:5]), ROOT)


def test_from_size_zero_only_the_empty_proof_and_the_empty_root() -> None:
    """Size 0 is a prefix of everything, with an empty proof and no other root than SHA-256 of nothing."""
    verify_consistency(0, 8, [], EMPTY_ROOT, ROOT)
    verify_consistency(0, 0, [], EMPTY_ROOT, EMPTY_ROOT)
    for proof, old, new, size in (
        ([ROOT], EMPTY_ROOT, ROOT, 8),
        ([], ROOT, ROOT, 8),
        ([], EMPTY_ROOT, ROOT, 0),
        ([], ROOT, ROOT, 0),
    ):
        with pytest.raises(VerificationError):
            verify_consistency(0, size, proof, old, new)


def test_equal_sizes_need_equal_roots_and_no_proof() -> None:
    """Two roots at one size are a fork; a proof between equal sizes is refused."""
    verify_consistency(8, 8, [], ROOT, ROOT)
    with pytest.raises(InconsistentLogError):
        verify_consistency(8, 8, [], LEAVES[0], ROOT)
    with pytest.raises(VerificationError):
        verify_consistency(8, 8, [ROOT], ROOT, ROOT)


def test_a_log_never_shrinks() -> None:
    """An old size above the new one is refused whatever the proof."""
    with pytest.raises(VerificationError):
        verify_consistency(8, 4, [], ROOT, root_hash(LEAVES[:4]))


def test_a_fork_with_a_proof_of_the_right_shape_is_inconsistency() -> None:
    """A well-formed proof that leads to other roots is InconsistentLogError, for either root."""
    proof, old = prove_consistency(LEAVES, 3), root_hash(LEAVES[:3])
    for before, after in ((LEAVES[0], ROOT), (old, LEAVES[0])):
        with pytest.raises(InconsistentLogError):
            verify_consistency(3, 8, proof, before, after)


@pytest.mark.parametrize("old", [2**62, 2**63 - 2, 3])
def test_the_largest_sizes_cost_no_more_than_their_bits(old: int) -> None:
    """Sizes to 2**63-1 are handled; a noise proof of any length is refused quickly."""
    for length in (0, 1, 62, 63, 64, 126, 127, 1000):
        with pytest.raises(VerificationError):
            verify_consistency(old, 2**63 - 1, [ROOT] * length, ROOT, LEAVES[0])
        with pytest.raises(VerificationError):
            verify_inclusion(ROOT, old - 1, 2**63 - 1, [ROOT] * length, LEAVES[0])


def test_asking_for_a_proof_outside_the_tree_is_a_callers_mistake() -> None:
    """Proving is for one's own tree: a wrong question is a ValueError."""
    for index in (-1, 8):
        with pytest.raises(ValueError, match="expected an index"):
            prove_inclusion(LEAVES, index)
    for old in (-1, 9):
        with pytest.raises(ValueError, match="expected an old size"):
            prove_consistency(LEAVES, old)


def test_a_reader_that_gives_short_nodes_is_noticed() -> None:
    """A node that is not 32 bytes does not get into a proof."""
    with pytest.raises(MalformedError):
        range_hash(lambda _level, _index: b"short", 0, 3)


@pytest.mark.parametrize(
    ("size", "hashes"), [(3, [ROOT]), (0, [ROOT]), (1, []), (1, [b"x"]), (-1, []), (2**63, [ROOT])]
)
def test_a_compact_range_refuses_what_no_tree_has(size: int, hashes: list[bytes]) -> None:
    """The number of hashes is the number of set bits of the size."""
    with pytest.raises(MalformedError):
        CompactRange(size, hashes)


@pytest.mark.parametrize(
    ("size", "levels"), [(1, []), (1, [[]]), (2, [[ROOT]]), (256, [[]]), (-1, []), (2**63, [])]
)
def test_a_right_edge_refuses_widths_that_do_not_fit(size: int, levels: list[list[bytes]]) -> None:
    """The partial tiles of a size have one shape."""
    with pytest.raises(MalformedError):
        RightEdge(size, levels)


def test_level_counts() -> None:
    """Levels of tiles at the sizes where one is added."""
    assert [level_count(size) for size in (0, 1, 255, 256, 65535, 65536)] == [0, 1, 1, 2, 2, 3]
