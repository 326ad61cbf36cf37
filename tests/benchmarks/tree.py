"""The Merkle tree against raw hashing: the same number of SHA-256 calls with nothing around them."""

from __future__ import annotations

import hashlib
import os

from measure import arguments, paired, ratio_result, report

from auditlog.core.merkle import CompactRange, root_hash


def raw_hashing(leaf_hashes: list[bytes]) -> None:
    """As many node hashes as a tree of that size has, with no tree: the ceiling in this interpreter."""
    sha256, node = hashlib.sha256, b"\x01" + bytes(64)
    for _ in range(len(leaf_hashes) - 1):
        sha256(node).digest()


def main() -> None:
    """Print build and append rates with their ratios."""
    options = arguments(__doc__ or "")
    size, pairs = (1 << 16, 7) if options.quick else (1 << 20, 11)
    leaf_hashes = [os.urandom(32) for _ in range(size)]

    def append() -> None:
        tree = CompactRange()
        for leaf_hash in leaf_hashes:
            tree.append(leaf_hash)
        tree.root_hash()

    against = "raw hashlib.sha256 of as many 65-byte nodes"
    results = []
    for name, work in (("build a tree", lambda: root_hash(leaf_hashes)), ("append one by one", append)):
        ours, ceiling = paired(work, lambda: raw_hashing(leaf_hashes), pairs=pairs)
        results.append(ratio_result(name, ours, ceiling, operations=size, unit="leaves/s", against=against))
    report(results, as_json=options.json)


if __name__ == "__main__":
    main()
