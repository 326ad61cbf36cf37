"""Every format vector, good and bad, against the code; and the promise that vectors are never changed."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from auditlog.core import canonical
from auditlog.core.anchor import open_devnet_anchor
from auditlog.core.bodies import check_body
from auditlog.core.capability import receipt_capability
from auditlog.core.commitment import commit_body, field_leaves, field_root
from auditlog.core.content import field_text
from auditlog.core.disclosure import WholeDisclosure, read_disclosure
from auditlog.core.entry import encode_entry, parse_entry
from auditlog.core.fold import fold
from auditlog.core.folds import fold_v2
from auditlog.core.head import open_head, verify_head_path
from auditlog.core.losses import declared_lost_covers, gap_covers
from auditlog.core.merkle import hash_leaf
from auditlog.core.note import Ed25519Verifier
from auditlog.core.opening import SAME_TEXT, verify_field, verify_whole
from auditlog.core.promise import check_promise_bytes, open_promise
from auditlog.core.receipt import format_receipt, parse_receipt
from auditlog.core.signed import open_one
from auditlog.core.statements import open_rotation, parse_instance_text, parse_producer_text
from auditlog.core.trust import format_trust, parse_trust
from auditlog.errors import ConfigurationError, EvidenceError
from auditlog.verify.expectation_text import parse_expectations
from auditlog.verify.verifier import Verifier
from tests.support.build_format_vectors import FOLDERS, VECTORS, all_vectors


def _cases(*folders: str) -> list[Any]:
    files = sorted(file for folder in folders for file in (VECTORS / folder).glob("*.json"))
    return [pytest.param(file, id=f"{file.parent.name}/{file.stem}") for file in files]


def _read(file: Path) -> dict[str, Any]:
    vector: dict[str, Any] = json.loads(file.read_bytes())
    assert vector["ok"] == (not file.stem.startswith("bad-")), "a vector is named after what it is"
    return vector


def _bytes(vector: dict[str, Any], name: str) -> bytes:
    return base64.b64decode(vector[name + "_b64"])


def _hexed(value: Any) -> dict[str, Any]:
    return {name: item.hex() if isinstance(item, bytes) else item for name, item in asdict(value).items()}


def _canonical(vector: dict[str, Any]) -> None:
    data = _bytes(vector, "data")
    assert canonical.encode(canonical.parse(data)) == data


def _entry(vector: dict[str, Any]) -> dict[str, Any]:
    data = _bytes(vector, "data")
    if vector.get("fails") == "body":
        parse_entry(data)  # the envelope is good; what follows must refuse
    entry = parse_entry(data)
    unknown = sorted(check_body(entry.kind, entry.body) if entry.understood else entry.body)
    assert encode_entry(entry) == data
    return {
        "leaf_hash": hash_leaf(data).hex(),
        "kind": entry.kind,
        "understood": entry.understood,
        "not_understood": unknown,
    }


def _capability(vector: dict[str, Any]) -> dict[str, Any]:
    return {"capability": receipt_capability(_bytes(vector, "key"), vector["id"])}


def _commitment(vector: dict[str, Any]) -> dict[str, Any]:
    key, body, data = _bytes(vector, "key"), vector["body"], _bytes(vector, "data")
    text = field_text(data, vector["form"])
    fields = field_root(key, body, text, vector["form"]) if text is not None else None
    leaves = field_leaves(text or b"")[: len(vector["expect"]["first_leaves"])]
    return {
        "commitment": commit_body(key, body, data).hex(),
        "fields": fields and fields.member(),
        "first_leaves": [
            {"pointer": pointer, "value_b64": base64.b64encode(value).decode()} for pointer, value in leaves
        ],
    }


def _fold(vector: dict[str, Any]) -> dict[str, Any]:
    text = fold(vector["dialect"], _bytes(vector, "stream"))
    return {"text": text and text.decode()}


def _fold2(vector: dict[str, Any]) -> dict[str, Any]:
    text = fold_v2(vector["dialect"], _bytes(vector, "stream"))
    assert text == field_text(_bytes(vector, "stream"), f"fold:{vector['dialect']}@v2")
    return {"text": text and text.decode()}


def _covers(vector: dict[str, Any]) -> dict[str, Any]:
    entry = parse_entry(_bytes(vector, "entry"))
    asked = {name: vector[name] for name in ("producer", "instance", "seq")}
    return {"covers": gap_covers(entry, **asked) or declared_lost_covers(entry, **asked)}


def _rotation(vector: dict[str, Any]) -> dict[str, Any]:
    keys = [Ed25519Verifier.from_vkey(vkey) for vkey in vector["keys"]]
    key = open_rotation(vector["body"], origin=vector["origin"], producer=vector["producer"], keys=keys)
    return {"vkey": key.vkey}


def _disclosure(vector: dict[str, Any]) -> dict[str, Any]:
    shown = read_disclosure(vector["disclosure"])
    if isinstance(shown, WholeDisclosure):
        return {"fields": verify_whole(shown, vector["member"])}
    verify_field(shown, vector["member"])
    return {}


def _key(vector: dict[str, Any]) -> Ed25519Verifier:
    return Ed25519Verifier.from_vkey(vector["vkey"])


def _producer(vector: dict[str, Any]) -> dict[str, Any]:
    origin, name = parse_producer_text(open_one(vector["note"], _key(vector)))
    return {"origin": origin, "name": name}


def _instance(vector: dict[str, Any]) -> dict[str, Any]:
    return asdict(parse_instance_text(open_one(vector["note"], _key(vector))))


def _head(vector: dict[str, Any]) -> dict[str, Any]:
    head = open_head(vector["note"], _key(vector))
    if "path" in vector:
        path = [base64.b64decode(item) for item in vector["path"]]
        verify_head_path(head, seq=vector["seq"], leaf_hash=bytes.fromhex(vector["leaf_hash"]), path=path)
    return _hexed(head)


def _promise(vector: dict[str, Any]) -> dict[str, Any]:
    promise = open_promise(vector["note"], _key(vector))
    if "exchange_key_b64" in vector:
        check_promise_bytes(
            promise,
            exchange_key=_bytes(vector, "exchange_key"),
            request=_bytes(vector, "request"),
            response=_bytes(vector, "response"),
        )
    return _hexed(promise)


def _devnet(vector: dict[str, Any]) -> dict[str, Any]:
    anchor = open_devnet_anchor(vector["note"], _key(vector))
    chain = {name: "0x" + getattr(anchor, name).hex() for name in ("contract", "tx", "block_hash")}
    return {**_hexed(anchor), **chain, "log_id": anchor.log_id.hex()}


def _trust(vector: dict[str, Any]) -> dict[str, Any]:
    trust = parse_trust(_bytes(vector, "data"))
    again = parse_trust(format_trust(trust))
    assert (again.require, again.issuer, again.policy.text) == (
        trust.require,
        trust.issuer,
        trust.policy.text,
    )
    return {
        "issuer": asdict(trust.issuer),
        "require": list(trust.require),
        "devnet": trust.devnet and trust.devnet.vkey,
        "retired": len(trust.retired),
        "anchors": len(trust.anchors),
        "blocks": len(trust.blocks),
    }


RUN = {
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


@pytest.mark.parametrize("file", _cases(*RUN))
def test_vector(file: Path) -> None:
    """A good vector gives what it says; a bad one is refused with an evidence error."""
    vector = _read(file)
    run = RUN[file.parent.name]
    if vector["ok"]:
        assert run(vector) == vector.get("expect")
    else:
        with pytest.raises(EvidenceError) as refused:
            run(vector)
        if "same_text" in vector:
            assert (SAME_TEXT in str(refused.value)) is vector["same_text"]


@pytest.mark.parametrize("file", _cases("receipt"))
def test_receipt_vector_parses_or_not(file: Path) -> None:
    """A receipt that parses has exactly one spelling; one that is no receipt is refused as evidence."""
    vector = _read(file)
    data = _bytes(vector, "receipt")
    if vector["parses"]:
        assert format_receipt(parse_receipt(data)) == data
    else:
        with pytest.raises(EvidenceError):
            parse_receipt(data)


@pytest.mark.parametrize("file", _cases("receipt"))
def test_receipt_vector_verdict(file: Path) -> None:
    """The verifier answers with the exit code the vector demands, and fails at the step it names."""
    vector = _read(file)
    beside = _bytes(vector, "disclosures") if "disclosures_b64" in vector else None
    try:
        expect = parse_expectations(vector.get("expect", []))
    except ConfigurationError:
        assert vector["exit_code"] == 2
        return
    report = Verifier(parse_trust(_bytes(vector, "trust"))).verify(
        _bytes(vector, "receipt"), disclosures=beside, expect=expect
    )
    failure = report.first_failure
    assert (report.exit_code, failure and failure.number) == (vector["exit_code"], vector.get("failed_step"))
    if "evidence" in vector:
        assert report.to_json()["evidence"] == vector["evidence"]
    if "model_by" in vector:
        assert any(
            vector["model_by"] in by for by in [fact.by for fact in report.facts if fact.name == "model"]
        )
    if "claims" in vector:
        assert report.claimed_time == vector["claims"]


@pytest.mark.parametrize("file", _cases("proof"))
def test_bare_proof_vector_verdict(file: Path) -> None:
    """A tlog-proof or COSE receipt has the exit code the vector demands, and fails at the step it names."""
    vector = _read(file)
    verifier = Verifier(parse_trust(_bytes(vector, "trust")))
    report = verifier.verify_proof(_bytes(vector, "proof"), _bytes(vector, "entry"))
    failure = report.first_failure
    assert (report.exit_code, failure and failure.number) == (vector["exit_code"], vector.get("failed_step"))


def test_vectors_are_what_the_builder_writes() -> None:
    """No vector was changed, lost or added by hand: the builder gives every file, byte for byte."""
    built = dict(all_vectors())
    stored = {f"{folder}/{file.name}" for folder in FOLDERS for file in (VECTORS / folder).iterdir()}
    assert stored == built.keys()
    assert [path for path, data in built.items() if (VECTORS / path).read_bytes() != data] == []
