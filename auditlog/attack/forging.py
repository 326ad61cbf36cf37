"""A log as whoever cheats writes it: read whole, changed, written again with every tile and hash in place.

Spec: auditlog/spec/log.md, "Reading a log". A forged log is perfect inside itself, and its checkpoint is
signed with the key given; only what is outside its writer's reach (a receipt, a witness, a monitor) shows it.
Must never: write anywhere but where it is told to.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from auditlog.core.canonical import encode, parse
from auditlog.core.checkpoint import Checkpoint, parse_checkpoint, sign_checkpoint
from auditlog.core.integrate import RightEdge
from auditlog.core.merkle import hash_leaf
from auditlog.core.note import Ed25519Signer, split_note
from auditlog.core.tiles import (
    TILE_WIDTH,
    bundle_path,
    bundles_for_size,
    decode_bundle,
    encode_bundle,
)

CHECKPOINT = "checkpoint"


def read_entries(log_folder: Path) -> list[bytes]:
    """Read every entry of a public log folder, in order."""
    text = split_note((log_folder / CHECKPOINT).read_text(encoding="utf-8"))[0]
    size = parse_checkpoint(text).tree_size
    entries: list[bytes] = []
    for number in range(-(-size // TILE_WIDTH)):
        width = min(TILE_WIDTH, size - number * TILE_WIDTH)
        entries += decode_bundle((log_folder / bundle_path(number, width)).read_bytes())
    return entries


def log_files(entries: Sequence[bytes], origin: str, signer: Ed25519Signer) -> dict[str, bytes]:
    """Every file of a log's published folder, by path, under a new checkpoint."""
    edge = RightEdge()
    tiles = edge.extend([hash_leaf(entry) for entry in entries]) + edge.partials()
    files = {str(tile.path): tile.data for tile in tiles}
    for path in bundles_for_size(len(entries)):
        start = path.index * TILE_WIDTH
        files[str(path)] = encode_bundle(entries[start : start + path.width])
    checkpoint = Checkpoint(origin, len(entries), edge.root_hash())
    files[CHECKPOINT] = sign_checkpoint(checkpoint, signer).encode("utf-8")
    return files


def write_log(folder: Path, entries: list[bytes], *, origin: str, signer: Ed25519Signer) -> None:
    """Write a complete tlog-tiles tree over `entries`, signed: what a dishonest operator would publish."""
    shutil.rmtree(folder, ignore_errors=True)
    for path, content in log_files(entries, origin, signer).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def edit_decision(entry: bytes) -> bytes:
    """Change what an entry says happened: the answer commitment of a decision becomes another one."""
    fields = parse(entry)
    fields["body"]["response"]["commitment"] = "ab" * 32
    return encode(fields)


def first_decision(entries: list[bytes], *, matching: Callable[[bytes], bool] = lambda _: True) -> int:
    """Return the index of the first decision entry that `matching` accepts."""
    return next(i for i, e in enumerate(entries) if parse(e)["kind"] == "decision" and matching(e))


def forge_receipt(receipt: bytes) -> bytes:
    """Take a real receipt and make it say another status was returned; everything else stays."""
    members = json.loads(receipt)
    fields = parse(base64.b64decode(members["entry"]))
    fields["body"]["status"] = 403
    members["entry"] = base64.b64encode(encode(fields)).decode()
    return encode(members) + b"\n"
