"""The Merkle tree of RFC 6962 section 2.1 (unchanged in RFC 9162 section 2.1), with SHA-256.

Spec: `auditlog/spec/log.md`, "Tree".

    leaf hash = SHA-256(0x00 || entry)
    node hash = SHA-256(0x01 || left || right)
    MTH(D[n]) = node(MTH(D[0:k]), MTH(D[k:n])), k the largest power of two below n; MTH() = SHA-256("")

Hashes are `bytes` of length 32, indices count from 0. Whatever grows a tree or proves something stands here;
whatever believes a proof stands in `auditlog.core.proofs` and is offered here too, under the same names.
Pure: no clock, randomness, files or sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from auditlog.core.proofs import (
    EMPTY_ROOT,
    HASH_BYTES,
    MAX_TREE_SIZE,
    hash_children,
    hash_leaf,
    root_from_inclusion,
    split_point,
    verify_consistency,
    verify_inclusion,
)
from auditlog.errors import MalformedError

__all__ = [
    "EMPTY_ROOT",
    "HASH_BYTES",
    "MAX_TREE_SIZE",
    "CompactRange",
    "NodeReader",
    "hash_children",
    "hash_leaf",
    "hash_leaves",
    "hash_pairs",
    "prove_consistency",
    "prove_consistency_from",
    "prove_inclusion",
    "prove_inclusion_from",
    "range_hash",
    "root_from_inclusion",
    "root_hash",
    "verify_consistency",
    "verify_inclusion",
]

NodeReader = Callable[[int, int], bytes]
"""`node(level, index)`: hash of the complete subtree of 2**level leaves from leaf index * 2**level on."""


_LEAF = sha256(b"\x00")


def hash_leaves(entries: Iterable[bytes]) -> list[bytes]:
    """Leaf hashes of entries, as `hash_leaf` gives each: without a copy of the entry behind its prefix."""
    begin, found = _LEAF.copy, []
    for entry in entries:
        state = begin()
        state.update(entry)
        found.append(state.digest())
    return found


def hash_pairs(hashes: Sequence[bytes]) -> list[bytes]:
    """The level above an even number of sibling hashes. This loop is where a log spends its hashing time."""
    pairs = iter(hashes)
    return [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]


def root_hash(leaf_hashes: Sequence[bytes]) -> bytes:
    """Merkle tree hash over leaf hashes, level by level: about one SHA-256 a leaf, O(n) memory.

    Raises:
        MalformedError: a leaf hash is not 32 bytes.
    """
    _check_hashes(leaf_hashes)
    if not leaf_hashes:
        return EMPTY_ROOT
    level: Sequence[bytes] = leaf_hashes
    while len(level) > 1:
        # A last node without a sibling moves up unchanged: what the split at a power of two amounts to.
        odd = level[-1] if len(level) % 2 else None
        above = hash_pairs(level[:-1] if odd is not None else level)
        if odd is not None:
            above.append(odd)
        level = above
    return level[0]


def prove_inclusion(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Inclusion proof (RFC 6962 section 2.1.1) of leaf `index` in the tree of exactly these leaves.

    O(n) hashes. For a stored tree use `prove_inclusion_from`, which reads O(log n) nodes.

    Raises:
        ValueError: `index` is outside the tree; asking is a caller's mistake, not evidence.
    """
    return prove_inclusion_from(_node_of(leaf_hashes), index, len(leaf_hashes))


def prove_consistency(leaf_hashes: Sequence[bytes], old_size: int) -> list[bytes]:
    """Consistency proof (RFC 6962 section 2.1.2) from the first `old_size` of these leaves to all of them.

    Empty when `old_size` is 0 or all of them. O(n) hashes.

    Raises:
        ValueError: `old_size` is negative or above the number of leaves.
    """
    return prove_consistency_from(_node_of(leaf_hashes), old_size, len(leaf_hashes))


def prove_inclusion_from(node: NodeReader, index: int, tree_size: int) -> list[bytes]:
    """Inclusion proof from stored complete subtrees: at most 2 * log2(tree_size) calls of `node`.

    Raises:
        ValueError: `index` is outside the tree.
        MalformedError: `node` gave something that is not 32 bytes.
    """
    if not 0 <= index < tree_size:
        raise ValueError(f"expected an index below the tree size {tree_size}, found {index}")
    low, high, path = 0, tree_size, []
    while high - low > 1:
        middle = low + split_point(high - low)
        if index < middle:
            path.append(range_hash(node, middle, high))
            high = middle
        else:
            path.append(range_hash(node, low, middle))
            low = middle
    path.reverse()
    return path


def prove_consistency_from(node: NodeReader, old_size: int, new_size: int) -> list[bytes]:
    """Consistency proof from stored complete subtrees of the newer tree.

    Raises:
        ValueError: not 0 <= old_size <= new_size.
        MalformedError: `node` gave something that is not 32 bytes.
    """
    if not 0 <= old_size <= new_size:
        raise ValueError(f"expected an old size of at most {new_size}, found {old_size}")
    if old_size in (0, new_size):
        return []
    # SUBPROOF(m, D[low:high], b): `whole` is RFC 6962's b, true as long as no left child had to be proven.
    low, high, whole, path = 0, new_size, True, []
    while high != old_size:
        middle = low + split_point(high - low)
        if old_size <= middle:
            path.append(range_hash(node, middle, high))
            high = middle
        else:
            path.append(range_hash(node, low, middle))
            low, whole = middle, False
    if not whole:
        path.append(range_hash(node, low, high))
    path.reverse()
    return path


def range_hash(node: NodeReader, low: int, high: int) -> bytes:
    """MTH(D[low:high]) for `low` a multiple of the power of two at or above high - low, as in every proof."""
    size = high - low
    if size > 0 and not size & (size - 1):
        # One complete subtree, as nearly every part of a proof is.
        level = size.bit_length() - 1
        return _checked(node(level, low >> level))
    parts: list[bytes] = []
    while low < high:
        level = (high - low).bit_length() - 1
        parts.append(_checked(node(level, low >> level)))
        low += 1 << level
    return _fold(parts)


class CompactRange:
    """The right edge of a growing tree: one hash for each set bit of its size, largest subtree first.

    Enough to append and to give the root, not enough to prove. Not to be shared by threads.
    """

    __slots__ = ("_peaks", "_size")

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """Resume at `size`.

        Raises:
            MalformedError: the number of hashes does not fit the size, or one is not 32 bytes.
        """
        if not 0 <= size <= MAX_TREE_SIZE:
            raise MalformedError(f"expected a tree size from 0 to {MAX_TREE_SIZE}, found another")
        if len(hashes) != size.bit_count():
            raise MalformedError(f"expected {size.bit_count()} hashes for size {size}, found {len(hashes)}")
        _check_hashes(hashes)
        self._size = size
        self._peaks = list(hashes)

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """Roots of the complete subtrees, left to right: what the constructor takes."""
        return tuple(self._peaks)

    def append(self, leaf_hash: bytes) -> None:
        """Add one leaf hash."""
        node, size, peaks = _checked(leaf_hash), self._size, self._peaks
        while size & 1:
            node = sha256(b"\x01" + peaks.pop() + node).digest()
            size >>= 1
        peaks.append(node)
        self._size += 1

    def extend(self, leaf_hashes: Iterable[bytes]) -> None:
        """Add leaf hashes in order, whole levels at once: long runs go at nearly raw hashing speed."""
        level = list(leaf_hashes)
        _check_hashes(level)
        size, old, peaks = self._size + len(level), self._size, self._peaks
        low_first: list[bytes] = []
        while level:
            if old & 1:
                level.insert(0, peaks.pop())
            if len(level) & 1:
                low_first.append(level.pop())
            level = hash_pairs(level)
            old >>= 1
        # Peaks above the highest level reached were not touched and stay in front.
        peaks.extend(reversed(low_first))
        self._size = size

    def root_hash(self) -> bytes:
        """Root of the tree so far; SHA-256("") when empty."""
        return _fold(self._peaks)


def _fold(parts: Sequence[bytes]) -> bytes:
    """Root over complete subtrees of falling size: each is the left child of all that follows it."""
    if not parts:
        return EMPTY_ROOT
    root = parts[-1]
    for left in reversed(parts[:-1]):
        root = hash_children(left, root)
    return root


def _node_of(leaf_hashes: Sequence[bytes]) -> NodeReader:
    return lambda level, index: root_hash(leaf_hashes[index << level : (index + 1) << level])


def _checked(value: object) -> bytes:
    if not isinstance(value, bytes) or len(value) != HASH_BYTES:
        size = f"{len(value)} bytes" if isinstance(value, bytes) else type(value).__name__
        raise MalformedError(f"expected a hash of {HASH_BYTES} bytes, found {size}")
    return value


def _check_hashes(values: Sequence[bytes]) -> None:
    # `set(map(len, ...))` walks a million hashes in milliseconds; the slow walk is only for the message.
    if set(map(type, values)) <= {bytes} and set(map(len, values)) <= {HASH_BYTES}:
        return
    for value in values:
        _checked(value)
