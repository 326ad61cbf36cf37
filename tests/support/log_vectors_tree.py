"""Vectors of the tree: roots, inclusion, consistency, tile paths and bundles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from auditlog.core.merkle import EMPTY_ROOT, prove_consistency, prove_inclusion, root_hash
from auditlog.core.tiles import encode_bundle, paths_for_size
from tests.support.log_vectors_common import LEAVES, Vector, accepted, base64_of, hex_of, refused


def roots() -> Iterator[tuple[str, Vector]]:
    """Roots of trees of some sizes."""
    for size in (0, 1, 2, 3, 7, 8, 255, 256, 257, 300):
        yield (
            f"root-of-{size}",
            accepted(
                f"Root over {size} entries.",
                "root_hash",
                root_hash(LEAVES[:size]).hex(),
                entry_prefix="entry ",
                size=size,
            ),
        )


def _included(index: int, size: int, /, **changed: Any) -> Vector:
    """Input of one inclusion check."""
    given: dict[str, Any] = {
        "leaf_hash": LEAVES[index].hex(),
        "index": index,
        "tree_size": size,
        "proof": hex_of(prove_inclusion(LEAVES[:size], index)),
        "root_hash": root_hash(LEAVES[:size]).hex(),
    }
    return given | changed


def inclusion() -> Iterator[tuple[str, Vector]]:
    """Inclusion proofs, good and bad."""
    operation = "verify_inclusion"
    for index, size in ((0, 1), (0, 2), (6, 7), (7, 8), (7, 12), (255, 256), (256, 257), (299, 300)):
        yield (
            f"inclusion-{index}-of-{size}",
            accepted(f"Leaf {index} of {size}.", operation, None, **_included(index, size)),
        )
    # A root does not commit to its size: this is why size and root come from one signed checkpoint, never
    # apart.
    yield (
        "inclusion-alias-under-an-unsigned-size",
        accepted(
            "The proof of 7 of 8 is, hash for hash, one of 11 of 12 for the same root; "
            "only a signature tells the size.",
            operation,
            None,
            **_included(7, 8, index=11, tree_size=12),
        ),
    )
    path = hex_of(prove_inclusion(LEAVES[:8], 7))
    bad = {
        "index-alias": (
            "Index 11 beside the signed size 8 and the proof of index 7.",
            _included(7, 8, index=11),
        ),
        "index-equals-size": ("An index outside the tree.", _included(7, 8, index=8)),
        "index-negative": ("A negative index.", _included(7, 8, index=-1)),
        "index-boolean": ("true in the place of index 1.", _included(1, 8, index=True)),
        "index-huge": ("An index above 2**63-1.", _included(7, 8, index=2**64 + 7)),
        "index-of-sibling": ("The proof of a leaf under its sibling's index.", _included(6, 8, index=7)),
        "size-zero": (
            "The empty tree includes nothing.",
            _included(0, 1, tree_size=0, root_hash=EMPTY_ROOT.hex()),
        ),
        "size-other": ("A proof for size 8 under size 7.", _included(6, 8, tree_size=7)),
        "path-truncated": ("The last proof hash is missing.", _included(7, 8, proof=path[:-1])),
        "path-extended": ("One proof hash too many.", _included(7, 8, proof=[*path, path[0]])),
        "path-reversed": ("The proof hashes from the root down.", _included(7, 8, proof=path[::-1])),
        "path-hash-short": ("A proof hash of 31 bytes.", _included(7, 8, proof=[path[0][:-2], *path[1:]])),
        "leaf-hash-short": ("A leaf hash of 31 bytes.", _included(0, 1, leaf_hash=LEAVES[0].hex()[:-2])),
        "leaf-hash-other": ("Another entry's leaf hash.", _included(7, 8, leaf_hash=LEAVES[8].hex())),
        "leaf-is-a-node": (
            "An inner node passed off as the leaf of a smaller tree.",
            _included(0, 2, leaf_hash=root_hash(LEAVES[:2]).hex(), root_hash=root_hash(LEAVES[:4]).hex()),
        ),
        "root-other": ("The root of another size.", _included(7, 8, root_hash=root_hash(LEAVES[:9]).hex())),
        "root-short": ("A root of 31 bytes.", _included(0, 1, root_hash=LEAVES[0].hex()[:-2])),
    }
    for name, (what, given) in bad.items():
        yield f"inclusion-bad-{name}", refused(what, operation, **given)


def _consistent(old: int, new: int, /, **changed: Any) -> Vector:
    """Input of one consistency check."""
    given: dict[str, Any] = {
        "old_size": old,
        "new_size": new,
        "proof": hex_of(prove_consistency(LEAVES[:new], old)),
        "old_root": root_hash(LEAVES[:old]).hex(),
        "new_root": root_hash(LEAVES[:new]).hex(),
    }
    return given | changed


def consistency() -> Iterator[tuple[str, Vector]]:
    """Consistency proofs, good and bad."""
    operation = "verify_consistency"
    for old, new in (
        (0, 0),
        (0, 8),
        (1, 2),
        (1, 8),
        (3, 7),
        (4, 8),
        (6, 8),
        (8, 8),
        (255, 256),
        (256, 300),
        (257, 300),
    ):
        yield (
            f"consistency-{old}-to-{new}",
            accepted(
                f"The tree of {old} is a prefix of the tree of {new}.",
                operation,
                None,
                **_consistent(old, new),
            ),
        )
    path = hex_of(prove_consistency(LEAVES[:8], 3))
    other = LEAVES[0].hex()
    bad = {
        "fork-at-equal-size": ("Two roots for size 8.", _consistent(8, 8, new_root=other)),
        "old-root-other": ("Another root for the old size.", _consistent(3, 8, old_root=other)),
        "new-root-other": ("Another root for the new size.", _consistent(3, 8, new_root=other)),
        "shrunk": ("A log that became smaller.", _consistent(4, 8) | {"old_size": 8, "new_size": 4}),
        "old-size-negative": ("A negative size.", _consistent(3, 8, old_size=-3)),
        "old-size-boolean": ("true in the place of size 1.", _consistent(1, 8, old_size=True)),
        "new-size-huge": ("A size above 2**63-1.", _consistent(3, 8, new_size=2**64)),
        "proof-from-zero": ("From size 0 the proof is empty.", _consistent(0, 8, proof=[other])),
        "root-of-zero-other": (
            "Size 0 with a root other than SHA-256 of nothing.",
            _consistent(0, 8, old_root=other),
        ),
        "proof-at-equal-size": ("Between equal sizes the proof is empty.", _consistent(8, 8, proof=[other])),
        "proof-missing": ("No proof where one is needed.", _consistent(3, 8, proof=[])),
        "path-truncated": ("The last proof hash is missing.", _consistent(3, 8, proof=path[:-1])),
        "path-extended": ("One proof hash too many.", _consistent(3, 8, proof=[*path, other])),
        "path-hash-short": ("A proof hash of 31 bytes.", _consistent(3, 8, proof=[path[0][:-2], *path[1:]])),
        "power-of-two-with-old-root": (
            "From a power of two the old root is left out of the proof, not repeated in it.",
            _consistent(4, 8, proof=[root_hash(LEAVES[:4]).hex(), *hex_of(prove_consistency(LEAVES[:8], 4))]),
        ),
    }
    for name, (what, given) in bad.items():
        yield f"consistency-bad-{name}", refused(what, operation, **given)


def tile_paths() -> Iterator[tuple[str, Vector]]:
    """Tile paths and bundles."""
    for size in (0, 1, 255, 256, 257, 70_000):
        yield (
            f"tile-paths-of-{size}",
            accepted(
                f"All paths of a tree of {size}.", "paths_for_size", list(paths_for_size(size)), size=size
            ),
        )
    good = {
        "plain": ("tile/0/x001/x234/067.p/5", [0, 1_234_067, 5]),
        "entries": ("tile/entries/273.p/112", [None, 273, 112]),
        "full": ("tile/2/000", [2, 0, 256]),
    }
    for name, (path, value) in good.items():
        yield f"tile-path-{name}", accepted("A path and its coordinates.", "parse_path", value, path=path)
    bad = {
        "index-unpadded": "tile/0/5",
        "index-leading-group": "tile/0/x000/005",
        "level-leading-zero": "tile/00/005",
        "level-too-high": "tile/64/005",
        "width-zero": "tile/0/005.p/0",
        "width-full": "tile/0/005.p/256",
        "width-leading-zero": "tile/0/005.p/07",
        "parent-folder": "tile/0/../005",
        "trailing-newline": "tile/0/005\n",
    }
    for name, path in bad.items():
        yield f"tile-path-bad-{name}", refused("Another spelling of a path.", "parse_path", path=path)
    bundle = encode_bundle([b"", b"entry", b"x" * 300])
    yield (
        "bundle-of-three",
        accepted(
            "An empty, a short and a longer entry.",
            "decode_bundle",
            [base64_of(e) for e in (b"", b"entry", b"x" * 300)],
            bundle=base64_of(bundle),
        ),
    )
    for name, data in {
        "cut-in-entry": bundle[:-1],
        "cut-in-length": bundle + b"\x00",
        "over-end": b"\xff\xffx",
    }.items():
        yield (
            f"bundle-bad-{name}",
            refused("A bundle that ends too early.", "decode_bundle", bundle=base64_of(data)),
        )
