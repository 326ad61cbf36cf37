"""Every log-layer vector, read by core: good ones give their value, bad ones are refused with our error."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from auditlog.core.batch import decode_batch
from auditlog.core.checkpoint import open_checkpoint, parse_checkpoint
from auditlog.core.cosignature import cosignature_timestamp, parse_vkey
from auditlog.core.merkle import hash_leaf, root_hash, verify_consistency, verify_inclusion
from auditlog.core.note import open_note
from auditlog.core.policy import parse_policy
from auditlog.core.quorum import can_part
from auditlog.core.tiles import decode_bundle, parse_path, paths_for_size
from auditlog.core.tlogproof import format_tlog_proof, parse_tlog_proof
from auditlog.errors import EvidenceError
from tests.support.build_log_vectors import FOLDER, build, text_of


def _unhex(value: Any) -> Any:
    return [bytes.fromhex(one) for one in value] if isinstance(value, list) else bytes.fromhex(value)


def _root(given: dict[str, Any]) -> Any:
    leaves = [hash_leaf(f"{given['entry_prefix']}{number}".encode()) for number in range(given["size"])]
    return root_hash(leaves).hex()


def _verify(check: Callable[..., None], given: dict[str, Any]) -> Any:
    check(**{name: value if isinstance(value, int) else _unhex(value) for name, value in given.items()})


def _path(given: dict[str, Any]) -> Any:
    path = parse_path(given["path"])
    return [path.level, path.index, path.width]


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _vkey(given: dict[str, Any]) -> Any:
    key = parse_vkey(given["vkey"])
    return {"name": key.name, "algorithm": key.algorithm, "key_id": key.key_id.hex()}


def _checkpoint_text(given: dict[str, Any]) -> Any:
    read = parse_checkpoint(given["text"])
    return {
        "origin": read.origin,
        "tree_size": read.tree_size,
        "root_hash": read.root_hash.hex(),
        "extensions": list(read.extensions),
    }


def _checkpoint_note(given: dict[str, Any]) -> Any:
    keys = [parse_vkey(vkey) for vkey in given["vkeys"]]
    _, opened = open_checkpoint(given["note"], keys, given["origin"])
    cosigned = [line for line in opened.verified if parse_vkey(line.vkey).algorithm == 4]
    return {"cosigners": [[line.name, cosignature_timestamp(line)] for line in cosigned]}


def _quorum(given: dict[str, Any]) -> Any:
    policy = parse_policy(given["policy"])
    _, opened = open_checkpoint(given["note"], policy.verifiers())
    found = policy.check_quorum(opened.text, opened)
    cosigners = [list(one) for one in found.cosigners]
    return {"satisfied": found.satisfied, "is_none": found.is_none, "cosigners": cosigners}


def _tlog_proof(given: dict[str, Any]) -> Any:
    proof = parse_tlog_proof(given["text"])
    assert format_tlog_proof(proof) == given["text"]
    return {
        "index": proof.index,
        "hashes": [value.hex() for value in proof.hashes],
        "checkpoint": proof.checkpoint,
        "extra": None if proof.extra is None else _b64(proof.extra),
    }


def _batch(given: dict[str, Any]) -> Any:
    head, entries = decode_batch(base64.b64decode(given["batch"]))
    return {"head": head, "entries": [_b64(entry) for entry in entries]}


OPERATIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "root_hash": _root,
    "verify_inclusion": lambda given: _verify(verify_inclusion, given),
    "verify_consistency": lambda given: _verify(verify_consistency, given),
    "paths_for_size": lambda given: list(paths_for_size(given["size"])),
    "parse_path": _path,
    "decode_bundle": lambda given: [
        _b64(entry) for entry in decode_bundle(base64.b64decode(given["bundle"]))
    ],
    "open_note": lambda given: open_note(given["note"], [parse_vkey(vkey) for vkey in given["vkeys"]]).text,
    "parse_vkey": _vkey,
    "parse_checkpoint": _checkpoint_text,
    "open_checkpoint": _checkpoint_note,
    "parse_policy": lambda given: parse_policy(given["policy"]),
    "check_quorum": _quorum,
    "can_part": lambda given: can_part(parse_policy(given["policy"])),
    "parse_tlog_proof": _tlog_proof,
    "decode_batch": _batch,
}


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.json")))
def test_the_vector_is_read_as_it_says(name: str) -> None:
    """An accepted vector gives exactly its value; a refused one raises EvidenceError."""
    vector = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    read = OPERATIONS[vector["operation"]]
    if vector["ok"]:
        assert read(vector["input"]) == vector["value"]
        return
    with pytest.raises(EvidenceError):
        read(vector["input"])


def test_the_builder_writes_the_files_that_are_there() -> None:
    """Vectors are append-only: every one the builder knows exists with exactly its bytes."""
    for name, vector in build().items():
        assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == text_of(vector), name
