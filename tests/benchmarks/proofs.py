"""Proofs: making them from stored levels and believing them, against the raw hashing each needs; and what
one costs the reader of a log of 10,000 and of ten million entries, from its cache and from cold files.
"""

from __future__ import annotations

import hashlib
import os
import random
import tempfile
from pathlib import Path

from measure import arguments, paired, ratio_result, report
from proofs_stored import cached_and_cold

from auditlog.core.merkle import (
    hash_pairs,
    prove_consistency_from,
    prove_inclusion_from,
    verify_consistency,
    verify_inclusion,
)


def raw_hashing(calls: int) -> None:
    """`calls` node hashes with nothing around them: the ceiling of believing a proof."""
    sha256, node = hashlib.sha256, b"\x01" + bytes(64)
    for _ in range(calls):
        sha256(node).digest()


def main() -> None:
    """Print rates of proving and verifying in one large tree."""
    options = arguments(__doc__ or "")
    size, pairs, rounds = (1 << 16, 9, 500) if options.quick else (1 << 20, 15, 2000)
    levels = [[os.urandom(32) for _ in range(size)]]
    while len(levels[-1]) > 1:
        levels.append(hash_pairs(levels[-1]))
    root, depth = levels[-1][0], len(levels) - 1
    pick = random.Random(1)
    indexes = [pick.randrange(size) for _ in range(rounds)]
    old_sizes = [pick.randrange(1, size) for _ in range(rounds)]
    node = lambda level, index: levels[level][index]  # noqa: E731 - the shape prove_*_from asks for
    inclusion = [prove_inclusion_from(node, index, size) for index in indexes]
    consistency = [prove_consistency_from(node, old, size) for old in old_sizes]
    old_roots = [_root_at(node, old) for old in old_sizes]

    def prove() -> None:
        for index in indexes:
            prove_inclusion_from(node, index, size)

    def verify() -> None:
        for index, proof in zip(indexes, inclusion, strict=True):
            verify_inclusion(levels[0][index], index, size, proof, root)

    def verify_growth() -> None:
        for old, proof, old_root in zip(old_sizes, consistency, old_roots, strict=True):
            verify_consistency(old, size, proof, old_root, root)

    cases = [
        ("verify an inclusion proof", verify, rounds * depth, "raw hashing of its path"),
        ("make an inclusion proof", prove, rounds * depth, "raw hashing of its path (it hashes nothing)"),
        (
            "verify a consistency proof",
            verify_growth,
            sum(map(len, consistency)) * 2,
            "raw hashing of both paths",
        ),
    ]
    results = []
    for name, work, hashes, against in cases:
        ours, ceiling = paired(work, lambda hashes=hashes: raw_hashing(hashes), pairs=pairs)
        results.append(ratio_result(name, ours, ceiling, operations=rounds, unit="proofs/s", against=against))
    sizes = [10_000, 1_000_000] if options.quick else [10_000, 10_000_000]
    with tempfile.TemporaryDirectory() as scratch:
        results += cached_and_cold(Path(scratch), sizes)
    report(results, as_json=options.json)


def _root_at(node, size: int) -> bytes:
    from auditlog.core.merkle import range_hash

    return range_hash(node, 0, size)


if __name__ == "__main__":
    main()
