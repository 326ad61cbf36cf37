"""A verifier written from the specification pages alone agrees with every vector, one by one."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.second import (
    canonical,
    commitment,
    entry,
    evidence_judge,
    fields,
    fold,
    fold2,
    merkle,
    note,
    policy,
    receipt,
    tiles,
)
from tests.conformance.second import trust as trusts
from tests.conformance.second.canonical import Malformed
from tests.conformance.second.verification import verify
from tests.conformance.second_verifier import main

VECTORS = Path(__file__).parents[1] / "vectors"
FILES = sorted(VECTORS.glob("*/*.json"))

Vector = dict[str, Any]


def _bytes(vector: Vector, name: str) -> bytes:
    return base64.b64decode(vector[f"{name}_b64"], validate=True)


def _plain(said: Any) -> Vector:
    """A named tuple as the vectors write it: hashes in hex, `leaf` in full."""
    names = {"leaf": "leaf_hash"}
    return {
        names.get(name, name): value.hex() if isinstance(value, bytes) else value
        for name, value in said._asdict().items()
    }


def _canonical(vector: Vector) -> None:
    canonical.parse(_bytes(vector, "data"))


def _capability(vector: Vector) -> Vector:
    return {"capability": commitment.capability(_bytes(vector, "key"), vector["id"])}


def _commitment(vector: Vector) -> Vector:
    key, name, data, form = _bytes(vector, "key"), vector["body"], _bytes(vector, "data"), vector["form"]
    try:
        leaves = commitment.leaves_by_form(data, form)
    except Malformed:
        leaves = []
    salts = commitment.salts_of(key, name, len(leaves))
    root = commitment.field_root(salts, leaves).hex()
    first = [
        {"pointer": leaf.pointer.decode(), "value_b64": base64.b64encode(leaf.value).decode()}
        for leaf in leaves[: len(vector["expect"]["first_leaves"])]
    ]
    return {
        "commitment": commitment.commitment_of(salts[:32], name, data).hex(),
        "fields": {"form": form, "root": root, "size": len(leaves)} if leaves else None,
        "first_leaves": first,
    }


def _devnet(vector: Vector) -> Vector:
    opened = note.open_one(vector["note"], note.parse_vkey(vector["vkey"]))
    return _plain(entry.parse_devnet(opened.text))


def _disclosure(vector: Vector) -> Vector:
    opened = commitment.parse_disclosure(vector["disclosure"])
    how = commitment.check_disclosure(vector["member"], opened)
    return {"fields": how} if opened.kind == "whole" else {}


def _entry(vector: Vector) -> Vector:
    read = entry.read_entry(_bytes(vector, "data"))
    return {
        "kind": read.kind,
        "leaf_hash": read.leaf.hex(),
        "not_understood": read.not_understood,
        "understood": read.understood,
    }


def _fold(vector: Vector) -> Vector:
    try:
        text = fold.fold(_bytes(vector, "stream"), vector["dialect"]).decode()
    except Malformed:
        return {"text": None}
    return {"text": text}


def _fold2(vector: Vector) -> Vector:
    try:
        return {"text": fold2.fold2(_bytes(vector, "stream"), vector["dialect"]).decode()}
    except Malformed:
        return {"text": None}


def _covers(vector: Vector) -> Vector:
    try:
        read = entry.read_entry(_bytes(vector, "entry"))
    except entry.BodyError:
        return {"covers": False}
    return {"covers": entry.covers(read, vector["producer"], vector["instance"], vector["seq"])}


def _rotation(vector: Vector) -> Vector:
    keys = [note.parse_vkey(vkey) for vkey in vector["keys"]]
    entry.check_rotation(vector["body"], vector["origin"], vector["producer"], keys)
    return {"vkey": vector["body"]["vkey"]}


def _head(vector: Vector) -> Vector:
    opened = note.open_one(vector["note"], note.parse_vkey(vector["vkey"]))
    head = entry.parse_head(opened.text)
    if "path" in vector:
        path, leaf = canonical.hashes(vector["path"]), bytes.fromhex(vector["leaf_hash"])
        entry.check_in_batch(head, vector["seq"], leaf, path)
    return _plain(head)


def _instance(vector: Vector) -> Vector:
    return _plain(entry.read_start(vector["note"], note.parse_vkey(vector["vkey"])))


def _producer(vector: Vector) -> Vector:
    return _plain(entry.read_enrolment(vector["note"], note.parse_vkey(vector["vkey"])))


def _promise(vector: Vector) -> Vector:
    said = entry.read_promise(vector["note"], note.parse_vkey(vector["vkey"]))
    if "exchange_key_b64" in vector:
        given = (_bytes(vector, name) for name in ("exchange_key", "request", "response"))
        canonical.need(evidence_judge.is_about(said, *given), "other bytes")
    return _plain(said)


def _kind_and_key(key: note.Key) -> str:
    return base64.b64encode(bytes([key.kind]) + key.public).decode()


def _trust(vector: Vector) -> Vector:
    read = trusts.parse_trust(_bytes(vector, "data"))
    return {
        "issuer": read.issuer,
        "require": read.require,
        "devnet": None
        if read.devnet is None
        else f"{read.devnet.name}+{read.devnet.key_id.hex()}+" + _kind_and_key(read.devnet),
        "retired": len(read.retired),
        "anchors": len(read.anchors),
        "blocks": len(read.blocks),
    }


FORMATS: dict[str, Callable[[Vector], Vector | None]] = {
    "canonical": _canonical,
    "capability": _capability,
    "commitment": _commitment,
    "covers": _covers,
    "devnet": _devnet,
    "disclosure": _disclosure,
    "entry": _entry,
    "fold": _fold,
    "fold2": _fold2,
    "head": _head,
    "instance": _instance,
    "producer": _producer,
    "promise": _promise,
    "rotation": _rotation,
    "trust": _trust,
}


def _keys(given: Vector) -> list[note.Key]:
    return [note.parse_vkey(vkey) for vkey in given["vkeys"]]


def _open_note(given: Vector) -> str:
    return note.open_note(given["note"], _keys(given)).text


def _open_checkpoint(given: Vector) -> Vector:
    _, opened = note.open_checkpoint(given["note"], given["origin"], _keys(given))
    return {"cosigners": [[key.name, time] for key, time in opened.cosigned.items()]}


def _parse_checkpoint(given: Vector) -> Vector:
    said = note.parse_checkpoint(given["text"])
    return {
        "origin": said.origin,
        "tree_size": said.size,
        "root_hash": said.root.hex(),
        "extensions": list(said.extensions),
    }


def _parse_vkey(given: Vector) -> Vector:
    key = note.parse_vkey(given["vkey"])
    return {"name": key.name, "key_id": key.key_id.hex(), "algorithm": key.kind}


def _parse_tlog_proof(given: Vector) -> Vector:
    proof = note.parse_tlog_proof(given["text"])
    return {
        "extra": None if proof.extra is None else base64.b64encode(proof.extra).decode(),
        "index": proof.index,
        "hashes": [item.hex() for item in proof.path],
        "checkpoint": proof.checkpoint,
    }


def _check_quorum(given: Vector) -> Vector:
    read = policy.parse_policy(given["policy"].encode())
    cosigned = note.open_note(given["note"], read.keys).cosigned
    names = {key: name for name, key in read.witnesses.items()}
    return {
        "cosigners": [[names[key], time] for key, time in cosigned.items()],
        "is_none": read.quorum is None,
        "satisfied": read.satisfied(cosigned),
    }


def _verify_inclusion(given: Vector) -> None:
    leaf, root = bytes.fromhex(given["leaf_hash"]), bytes.fromhex(given["root_hash"])
    path = [bytes.fromhex(item) for item in given["proof"]]
    merkle.check_inclusion(leaf, given["index"], given["tree_size"], path, root)


def _verify_consistency(given: Vector) -> None:
    old, new = bytes.fromhex(given["old_root"]), bytes.fromhex(given["new_root"])
    path = [bytes.fromhex(item) for item in given["proof"]]
    merkle.check_consistency(given["old_size"], old, given["new_size"], new, path)


def _root_hash(given: Vector) -> str:
    entries = [f"{given['entry_prefix']}{number}".encode() for number in range(given["size"])]
    return merkle.root_of([merkle.leaf_hash(data) for data in entries]).hex()


def _decode_batch(given: Vector) -> Vector:
    head, entries = merkle.batch(base64.b64decode(given["batch"]))
    return {"head": head, "entries": [base64.b64encode(data).decode() for data in entries]}


def _decode_bundle(given: Vector) -> list[str]:
    return [base64.b64encode(data).decode() for data in merkle.framed(base64.b64decode(given["bundle"]))]


OPERATIONS: dict[str, Callable[[Vector], Any]] = {
    "check_quorum": _check_quorum,
    "can_part": lambda given: policy.parse_policy(given["policy"].encode()).can_part(),
    "decode_batch": _decode_batch,
    "decode_bundle": _decode_bundle,
    "open_checkpoint": _open_checkpoint,
    "open_note": _open_note,
    "parse_checkpoint": _parse_checkpoint,
    "parse_path": lambda given: list(tiles.parse_path(given["path"])),
    "parse_policy": lambda given: policy.parse_policy(given["policy"].encode()) and None,
    "parse_tlog_proof": _parse_tlog_proof,
    "parse_vkey": _parse_vkey,
    "paths_for_size": lambda given: tiles.paths_for_size(given["size"]),
    "root_hash": _root_hash,
    "verify_consistency": _verify_consistency,
    "verify_inclusion": _verify_inclusion,
}


def _attempt(function: Callable[[Vector], Any], given: Vector) -> tuple[bool, Any]:
    try:
        return True, function(given)
    except Malformed as error:
        return False, error


def _read(path: Path) -> Vector:
    made: Vector = json.loads(path.read_text("utf-8"))
    return made


def _of(*folders: str) -> list[Any]:
    return [
        pytest.param(path, id=f"{path.parent.name}/{path.stem}")
        for path in FILES
        if path.parent.name in folders
    ]


def test_no_vector_is_left_out() -> None:
    """Every folder of vectors, and every operation on the log layer, has a function here; the pairs of the
    witness protocol are spoken over sockets in test_witness_protocol.
    """
    assert {path.parent.name for path in FILES} == {
        *FORMATS,
        "log",
        "receipt",
        "proof",
        "evidence",
        "witness",
    }
    assert {_read(path)["operation"] for path in FILES if path.parent.name == "log"} == {*OPERATIONS}
    assert not [path for path in VECTORS.rglob("*") if path.is_file() and path not in FILES]


@pytest.mark.parametrize("path", _of(*FORMATS))
def test_a_format_is_read_alike(path: Path) -> None:
    """Accepted or refused as the vector says, and understood alike."""
    vector = _read(path)
    ok, answer = _attempt(FORMATS[path.parent.name], vector)
    assert ok == vector["ok"], answer
    if ok and vector.get("expect"):
        assert answer == vector["expect"]
    if "same_text" in vector:
        assert (str(answer) == commitment.SAME_TEXT) is vector["same_text"]
    if "fails" in vector:
        assert isinstance(answer, entry.BodyError) == (vector["fails"] == "body"), answer


@pytest.mark.parametrize("path", _of("log"))
def test_the_log_layer_is_read_alike(path: Path) -> None:
    """Trees, proofs, notes, policies and tiles are accepted or refused as the vector says."""
    vector = _read(path)
    ok, answer = _attempt(OPERATIONS[vector["operation"]], vector["input"])
    assert ok == vector["ok"], answer
    if ok and vector.get("value") is not None:
        assert answer == vector["value"]


@pytest.mark.parametrize("path", _of("receipt"))
def test_a_receipt_gets_the_same_verdict(path: Path) -> None:
    """The same exit code, and the same first failed step."""
    vector = _read(path)
    data = _bytes(vector, "receipt")
    beside = _bytes(vector, "disclosures") if "disclosures_b64" in vector else None
    expect = [tuple(text.split("=", 1)) for text in vector.get("expect", [])]
    result = verify(data, _bytes(vector, "trust"), beside, expect)
    assert _attempt(lambda _: receipt.parse_receipt(data), {})[0] == vector["parses"]
    assert (result.exit_code, result.failed_step) == (vector["exit_code"], vector.get("failed_step")), (
        result.headline
    )
    assert (result.exit_code != 1) == vector["ok"]
    if "evidence" in vector:
        assert result.evidence == vector["evidence"]
    if "model_by" in vector:
        assert any(
            vector["model_by"] in by
            for by in [fact["by"] for fact in result.facts if fact["name"] == "model"]
        )
    if "claims" in vector:
        assert result.time["claims"] == vector["claims"]


@pytest.mark.parametrize("path", _of("proof"))
def test_a_bare_proof_gets_the_same_verdict(path: Path) -> None:
    """A tlog-proof or a COSE receipt: the same exit code, and the same first failed step."""
    vector = _read(path)
    data, entry_bytes = _bytes(vector, "proof"), _bytes(vector, "entry")
    result = verify(data, _bytes(vector, "trust"), entry=entry_bytes)
    found = (result.exit_code, result.failed_step)
    assert found == (vector["exit_code"], vector.get("failed_step")), result.headline


def test_the_program_answers_with_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line reads files and answers as the function does; a report carries the fifteen steps."""
    vector = _read(VECTORS / "receipt" / "good-discloses-all.json")
    receipt_file, trust_file = tmp_path / "receipt.json", tmp_path / "trust.json"
    receipt_file.write_bytes(_bytes(vector, "receipt"))
    trust_file.write_bytes(_bytes(vector, "trust"))
    assert main([str(receipt_file), "--trust", str(trust_file), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)["receipts"][0]
    assert [step["number"] for step in report["steps"]] == list(range(1, 16))
    assert main([str(receipt_file), "--trust", str(trust_file), "--expect", "index=9"]) == 1
    assert main([str(receipt_file), "--trust", str(trust_file), "--expect", "colour=red"]) == 2


def test_any_cut_of_a_receipt_gives_a_verdict() -> None:
    """No prefix of a receipt is a receipt, and none of them is a crash."""
    vector = _read(VECTORS / "receipt" / "good-decision.json")
    data, trust = _bytes(vector, "receipt"), _bytes(vector, "trust")
    for length in range(0, len(data), 97):
        result = verify(data[:length], trust)
        assert (result.exit_code, result.failed_step) == (1, 1)


def test_the_scanner_does_not_recurse() -> None:
    """A text of half a million open brackets, and as many closed ones, is cut into one leaf."""
    text = b"[" * 524_288 + b"]" * 524_288
    leaves = fields.leaves_of(text)
    assert [(leaf.pointer, len(leaf.value)) for leaf in leaves] == [(b"/0" * 32, len(text) - 64)]


def test_the_second_reading_shares_no_code() -> None:
    """Nothing of the product is imported by the second verifier."""
    sources = [Path(__file__).parent / "second_verifier.py", *(Path(__file__).parent / "second").glob("*.py")]
    assert len(sources) > 10
    for source in sources:
        assert not re.search(r"^\s*(?:from|import)\s+auditlog\b", source.read_text("utf-8"), re.MULTILINE), (
            source
        )
