"""Believing, or refusing to believe, inclusion and consistency proofs: RFC 9162 sections 2.1.3.2 and 2.1.4.2.

Spec: `auditlog/spec/log.md`, "Proofs".

Every argument is attacker-controlled except the sizes and roots, which must come from a signed checkpoint
and never from beside the proof. A function returns None only if the statement is true; on anything else
(negative, huge or boolean numbers, hashes of other lengths, proofs too short or too long) it raises a
`VerificationError` and nothing else. Work is bounded by 2 * 63 hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest

from auditlog.errors import InclusionError, InconsistentLogError, VerificationError

HASH_BYTES = 32
"""Length of every hash of the log layer, in bytes."""

MAX_TREE_SIZE = 2**63 - 1
"""Largest tree size accepted anywhere: what fits the signed 64-bit integers of other implementations."""

MAX_PROOF_HASHES = 2 * MAX_TREE_SIZE.bit_length()
"""No proof in a tree of any accepted size is longer."""

EMPTY_ROOT = sha256(b"").digest()
"""Root hash of the tree without leaves."""


def hash_leaf(data: bytes) -> bytes:
    """Leaf hash of an entry's exact bytes: SHA-256(0x00 || data)."""
    return sha256(b"\x00" + data).digest()


def hash_children(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def split_point(leaves: int) -> int:
    """The largest power of two below `leaves` (at least 2): where RFC 6962 cuts a tree in two."""
    return 1 << ((leaves - 1).bit_length() - 1)


def verify_inclusion(
    leaf_hash: bytes, index: int, tree_size: int, proof: Sequence[bytes], root_hash: bytes
) -> None:
    """Check that `leaf_hash` is leaf `index` of the tree of `tree_size` leaves whose root is `root_hash`.

    Raises:
        InclusionError: it is not, or an argument is not what it has to be.
    """
    computed = root_from_inclusion(leaf_hash, index, tree_size, proof)
    if not compare_digest(computed, _hash(root_hash, "root hash", InclusionError)):
        raise InclusionError(
            f"expected the proof of index {index} in size {tree_size} to give the root {root_hash.hex()}, "
            f"found {computed.hex()}"
        )


def root_from_inclusion(leaf_hash: bytes, index: int, tree_size: int, proof: Sequence[bytes]) -> bytes:
    """The root that `proof` leads to; proves nothing until compared with a root one trusts.

    Raises:
        InclusionError: the index is outside the tree, the proof has another length than this place in this
            tree needs, or something is not a 32-byte hash.
    """
    size = _number(tree_size, "tree size", InclusionError)
    place = _number(index, "index", InclusionError)
    if place >= size:
        raise InclusionError(f"expected an index below the tree size {size}, found {place}")
    result = _hash(leaf_hash, "leaf hash", InclusionError)
    hashes = _hashes(proof, InclusionError)
    # Below the level where the path meets the right edge every level has a sibling; above it only left ones.
    inner = (place ^ (size - 1)).bit_length()
    border = (place >> inner).bit_count()
    if len(hashes) != inner + border:
        raise InclusionError(f"expected a proof of {inner + border} hashes, found {len(hashes)}")
    for level, sibling in enumerate(hashes):
        on_left = level >= inner or (place >> level) & 1
        result = hash_children(sibling, result) if on_left else hash_children(result, sibling)
    return result


def verify_consistency(
    old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Check that the tree (old_size, old_root) is a prefix of the tree (new_size, new_root).

    From size 0 the proof is empty and the old root is SHA-256(""); between equal sizes the proof is empty and
    the roots are equal (C2SP tlog-witness, RFC 9162 section 2.1.4.2).

    Raises:
        VerificationError: an argument is not what it has to be, or the proof has the wrong length.
        InconsistentLogError: well formed, but the proof does not join these two roots.
    """
    old = _number(old_size, "old size", VerificationError)
    new = _number(new_size, "new size", VerificationError)
    if old > new:
        raise VerificationError(f"expected an old size of at most the new size {new}, found {old}")
    before = _hash(old_root, "old root", VerificationError)
    after = _hash(new_root, "new root", VerificationError)
    hashes = _hashes(proof, VerificationError)
    _check_empty(old, before)
    _check_empty(new, after)
    if old in (0, new):
        if hashes:
            raise VerificationError(
                f"expected an empty proof from size {old} to {new}, found {len(hashes)} hashes"
            )
        if old == new and not compare_digest(before, after):
            raise InconsistentLogError(
                f"expected one root for size {old}, found {before.hex()} and {after.hex()}"
            )
        return
    computed_old, computed_new = _roots_from_consistency(old, new, hashes, before)
    if not compare_digest(computed_old, before):
        raise InconsistentLogError(f"expected the old root {before.hex()}, found {computed_old.hex()}")
    if not compare_digest(computed_new, after):
        raise InconsistentLogError(f"expected the new root {after.hex()}, found {computed_new.hex()}")


def _roots_from_consistency(
    old_size: int, new_size: int, hashes: list[bytes], old_root: bytes
) -> tuple[bytes, bytes]:
    """Both roots the proof leads to, for 0 < old_size < new_size. RFC 9162 section 2.1.4.2, steps 2 to 6."""
    # A power of two is itself a node of the new tree: the proof leaves it out and starts from the old root.
    if old_size & (old_size - 1) == 0:
        hashes = [old_root, *hashes]
    fn, sn = old_size - 1, new_size - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    needed = _consistency_length(fn, sn)
    if len(hashes) != needed:
        raise VerificationError(
            f"expected a proof of {needed} hashes (old root counted), found {len(hashes)}"
        )
    before = after = hashes[0]
    for sibling in hashes[1:]:
        if fn & 1 or fn == sn:
            before = hash_children(sibling, before)
            after = hash_children(sibling, after)
            while fn and not fn & 1:
                fn >>= 1
                sn >>= 1
        else:
            after = hash_children(after, sibling)
        fn >>= 1
        sn >>= 1
    return before, after


def _consistency_length(fn: int, sn: int) -> int:
    """Hashes on the path from node `fn`, itself counted, to the root; `sn` is the last node of its level."""
    inner = (fn ^ sn).bit_length()
    return 1 + inner + (fn >> inner).bit_count()


def _check_empty(size: int, root: bytes) -> None:
    if size == 0 and not compare_digest(root, EMPTY_ROOT):
        raise VerificationError(f"expected the empty root {EMPTY_ROOT.hex()} for size 0, found {root.hex()}")


def _number(value: object, what: str, error: type[VerificationError]) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise error(f"expected an integer {what}, found {type(value).__name__}")
    if not 0 <= value <= MAX_TREE_SIZE:
        raise error(f"expected a {what} from 0 to 2**63-1, found one outside")
    return value


def _hash(value: object, what: str, error: type[VerificationError]) -> bytes:
    if not isinstance(value, bytes):
        raise error(f"expected a {what} of {HASH_BYTES} bytes, found {type(value).__name__}")
    if len(value) != HASH_BYTES:
        raise error(f"expected a {what} of {HASH_BYTES} bytes, found {len(value)} bytes")
    return value


def _hashes(proof: object, error: type[VerificationError]) -> list[bytes]:
    if not isinstance(proof, (list, tuple)):
        raise error(f"expected a list of hashes, found {type(proof).__name__}")
    if len(proof) > MAX_PROOF_HASHES:
        raise error(f"expected a proof of at most {MAX_PROOF_HASHES} hashes, found {len(proof)}")
    return [_hash(value, "proof hash", error) for value in proof]
