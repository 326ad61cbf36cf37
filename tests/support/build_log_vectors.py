"""Builds tests/vectors/log/: one JSON file per vector, good or bad, a bad one named after its fault.

    python -m tests.support.build_log_vectors

Vectors are append-only: an existing file is never changed, and a test fails if this program would write
another. Members: `what` (one sentence), `operation`, `input`, `ok`, and `value` (what a reader reads) where
ok. Hashes are hex, other bytes base64, notes and texts plain strings.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.support import log_vectors_groups as nested
from tests.support import log_vectors_signed as signed
from tests.support import log_vectors_tree as tree
from tests.support.log_vectors_common import Vector

FOLDER = Path(__file__).parent.parent / "vectors" / "log"
_PARTS = (
    tree.roots,
    tree.inclusion,
    tree.consistency,
    tree.tile_paths,
    signed.notes,
    signed.checkpoints,
    signed.policies,
    nested.groups,
    signed.proof_files,
    signed.batches,
)


def build() -> dict[str, Vector]:
    """Every vector by file name, without its ending."""
    vectors: dict[str, Vector] = {}
    for part in _PARTS:
        for name, vector in part():
            if name in vectors:
                raise ValueError(f"expected new names, found {name} twice")
            vectors[name] = vector
    return vectors


def text_of(vector: Vector) -> str:
    """The file content of a vector."""
    return json.dumps(vector, indent=1, sort_keys=True, ensure_ascii=True) + "\n"


def main() -> None:
    """Write the vectors that are not there yet."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, vector in build().items():
        path = FOLDER / f"{name}.json"
        if not path.exists():
            path.write_text(text_of(vector), encoding="utf-8")


if __name__ == "__main__":
    main()
