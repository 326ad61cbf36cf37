"""Write the format vectors: `python -m tests.support.build_format_vectors`.

Append-only: a vector that exists is never changed, since it says what a released format means. A vector
that would come out otherwise stops the run; give the new case a new name instead.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support import (
    vectors_bodies,
    vectors_claims,
    vectors_claims_bad,
    vectors_evidence,
    vectors_evidence_bad,
    vectors_evidence_lines,
    vectors_evidence_whose,
    vectors_evidence_wrong,
    vectors_expect,
    vectors_folds,
    vectors_lives,
    vectors_proofs,
    vectors_receipt,
    vectors_signed,
    vectors_strict,
    vectors_values,
)
from tests.support.format_world import World

VECTORS = Path(__file__).resolve().parents[1] / "vectors"

FOLDERS = (
    "canonical",
    "capability",
    "commitment",
    "covers",
    "devnet",
    "disclosure",
    "entry",
    "evidence",
    "fold",
    "fold2",
    "head",
    "instance",
    "producer",
    "promise",
    "proof",
    "receipt",
    "rotation",
    "trust",
)


def all_vectors() -> Iterator[tuple[str, bytes]]:
    """Yield (path below tests/vectors, file content) of every format vector."""
    world = World()
    sources = (
        vectors_values.canonical_vectors(),
        vectors_values.entry_vectors(world),
        vectors_values.capability_vectors(),
        vectors_bodies.commitment_vectors(),
        vectors_bodies.fold_vectors(),
        vectors_bodies.disclosure_vectors(world),
        vectors_signed.statement_vectors(world),
        vectors_signed.head_vectors(world),
        vectors_signed.promise_vectors(world),
        vectors_signed.devnet_vectors(world),
        vectors_signed.trust_vectors(world),
        vectors_receipt.receipt_vectors(world),
        vectors_strict.strict_vectors(world),
        vectors_folds.fold2_vectors(),
        vectors_folds.stream_vectors(),
        vectors_lives.life_entry_vectors(),
        vectors_lives.rotation_vectors(),
        vectors_lives.covers_vectors(),
        vectors_lives.rotated_receipt_vectors(),
        vectors_evidence.evidence_vectors(),
        vectors_evidence_bad.evidence_vectors(),
        vectors_evidence_lines.evidence_vectors(),
        vectors_evidence_whose.evidence_vectors(),
        vectors_evidence_wrong.evidence_vectors(),
        vectors_evidence_whose.promise_vectors(),
        vectors_claims.evidence_vectors(),
        vectors_claims_bad.evidence_vectors(),
        vectors_expect.expectation_vectors(world),
        vectors_expect.pending_vectors(),
        vectors_proofs.proof_vectors(world),
    )
    for source in sources:
        for folder, name, vector in source:
            yield f"{folder}/{name}.json", _file(vector)


def _file(vector: dict[str, Any]) -> bytes:
    return json.dumps(vector, ensure_ascii=False, indent=1, sort_keys=True).encode("utf-8") + b"\n"


def main() -> int:
    """Write what is missing; refuse to change what is there."""
    changed = []
    for path, data in all_vectors():
        file = VECTORS / path
        if file.exists():
            if file.read_bytes() != data:
                changed.append(path)
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    for path in changed:
        print(f"{path}: exists with other content; vectors are append-only, give the new case a new name")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
