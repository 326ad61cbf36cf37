"""Writes a tlog-tiles log into a folder from a list of entries, in one go: the smallest honest log operator.

Uses core only, never the engine, so that readers are tested against trees the engine did not make.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from auditlog.core.checkpoint import Checkpoint, sign_checkpoint
from auditlog.core.integrate import RightEdge
from auditlog.core.merkle import hash_leaf
from auditlog.core.note import Ed25519Signer
from auditlog.core.tiles import TILE_WIDTH, bundles_for_size, encode_bundle

ORIGIN = "log.example/test"
SEED = bytes(range(32))


def log_signer(origin: str = ORIGIN) -> Ed25519Signer:
    """The fixed test key of a log."""
    return Ed25519Signer.from_seed(origin, SEED)


def numbered_entries(count: int) -> list[bytes]:
    """Distinct small entries of no particular kind."""
    return [b"entry %d" % number for number in range(count)]


def log_files(
    entries: Sequence[bytes], signer: Ed25519Signer | None = None, *, bundles: bool = True
) -> dict[str, bytes]:
    """Every file of the log's published folder, by path."""
    signer = signer or log_signer()
    edge = RightEdge()
    tiles = edge.extend([hash_leaf(entry) for entry in entries]) + edge.partials()
    files = {str(tile.path): tile.data for tile in tiles}
    if bundles:
        for path in bundles_for_size(len(entries)):
            start = path.index * TILE_WIDTH
            files[str(path)] = encode_bundle(entries[start : start + path.width])
    checkpoint = Checkpoint(signer.name, len(entries), edge.root_hash())
    files["checkpoint"] = sign_checkpoint(checkpoint, signer).encode("utf-8")
    return files


def write_log(
    folder: Path, entries: Sequence[bytes], signer: Ed25519Signer | None = None, *, bundles: bool = True
) -> None:
    """Write those files below `folder`."""
    for path, content in log_files(entries, signer, bundles=bundles).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
