"""A cheating operator. It has everything an operator has: the signing key, the stores, the model files.

Each cheat works on copies and does the job well: a log it edits is rebuilt whole, every tile and hash
consistent and the new checkpoint signed with the real key. Inside itself the forged log is perfect; only
evidence outside the operator's reach (a receipt in someone's hands) shows it.
"""

from __future__ import annotations

import base64
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

from auditlog.core.canonical import encode, parse
from auditlog.core.checkpoint import Checkpoint, parse_checkpoint, sign_checkpoint
from auditlog.core.merkle import hash_children, hash_leaf, root_hash
from auditlog.core.note import Ed25519Signer, split_note
from auditlog.core.tiles import TILE_WIDTH, bundle_path, decode_bundle, encode_bundle, tile_path


def read_entries(log_folder: Path) -> list[bytes]:
    """Read every entry of a public log folder, in order."""
    text = split_note((log_folder / "checkpoint").read_text(encoding="utf-8"))[0]
    size = parse_checkpoint(text).tree_size
    entries: list[bytes] = []
    for number in range(-(-size // TILE_WIDTH)):
        width = min(TILE_WIDTH, size - number * TILE_WIDTH)
        entries += decode_bundle((log_folder / bundle_path(number, width)).read_bytes())
    return entries


def write_log(folder: Path, entries: list[bytes], *, origin: str, signer: Ed25519Signer) -> None:
    """Write a complete tlog-tiles tree over `entries`, signed: what a dishonest operator would publish."""
    shutil.rmtree(folder, ignore_errors=True)
    leaf_hashes = [hash_leaf(entry) for entry in entries]
    for number in range(-(-len(entries) // TILE_WIDTH)):
        chunk = entries[number * TILE_WIDTH : (number + 1) * TILE_WIDTH]
        _write(folder / bundle_path(number, len(chunk)), encode_bundle(chunk))
    level, hashes = 0, leaf_hashes
    while hashes:
        for number in range(-(-len(hashes) // TILE_WIDTH)):
            chunk = hashes[number * TILE_WIDTH : (number + 1) * TILE_WIDTH]
            _write(folder / tile_path(level, number, len(chunk)), b"".join(chunk))
        level, hashes = level + 1, _next_tile_level(hashes)
    checkpoint = Checkpoint(origin, len(entries), root_hash(leaf_hashes))
    _write(folder / "checkpoint", sign_checkpoint(checkpoint, signer).encode())


def _next_tile_level(hashes: list[bytes]) -> list[bytes]:
    full = len(hashes) // TILE_WIDTH
    return [_subtree(hashes[i * TILE_WIDTH : (i + 1) * TILE_WIDTH]) for i in range(full)]


def _subtree(hashes: list[bytes]) -> bytes:
    while len(hashes) > 1:
        hashes = [hash_children(hashes[i], hashes[i + 1]) for i in range(0, len(hashes), 2)]
    return hashes[0]


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def edit_decision(entry: bytes) -> bytes:
    """Change what an entry says happened: the answer commitment of the first decision becomes another one."""
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


def swap_weights(weights: Path) -> None:
    """Change a model file in place: one value of its last tensor, the kind of edit no listing shows."""
    content = bytearray(weights.read_bytes())
    (value,) = struct.unpack_from("<f", content, len(content) - 4)
    struct.pack_into("<f", content, len(content) - 4, -value - 1.0)
    weights.write_bytes(bytes(content))
