"""Vectors of the notes one key signs (statements, heads, promises, devnet anchors) and of trust files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from auditlog.core.anchor import format_devnet_text, log_id, sign_devnet_anchor
from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.head import Head, format_head_text
from auditlog.core.merkle import prove_inclusion, root_hash
from auditlog.core.note import Ed25519Signer
from auditlog.core.promise import Promise, format_promise_text
from auditlog.core.scalars import encode_base64, format_time
from auditlog.core.signed import sign_one
from auditlog.core.statements import instance_text, producer_text
from tests.support import format_world as fixed
from tests.support.format_world import ORIGIN, World
from tests.support.vectors_values import Vector

STRANGER = "stranger.example"


def _noted(folder: str, name: str, key: Ed25519Signer, note: str, expect: dict[str, Any] | None) -> Vector:
    vector: dict[str, Any] = {"note": note, "vkey": key.vkey, "ok": expect is not None}
    if expect is not None:
        vector["expect"] = expect
    return folder, name, vector


def _text_faults(text: str) -> Iterator[tuple[str, str]]:
    """Faults any of our signed texts can have, whatever it says."""
    header, second, rest = text.split("\n", 2)
    yield "bad-other-header", f"{header[:-1]}2\n{second}\n{rest}"
    yield "bad-second-line-decimal", f"{header}\n14\n{rest}"
    yield "bad-extra-line", text + "more\n"
    yield "bad-line-missing", text[: text.rstrip("\n").rindex("\n") + 1]
    yield "bad-empty-origin", f"{header}\n\n{rest}"


def _faulty_notes(folder: str, key: Ed25519Signer, text: str) -> Iterator[Vector]:
    good = sign_one(text, key)
    for name, faulty in _text_faults(text):
        yield _noted(folder, name, key, sign_one(faulty, key), None)
    other = Ed25519Signer.from_seed(key.name, fixed.seed("another key"))
    yield _noted(folder, "bad-other-key", key, sign_one(text, other), None)
    swapped = text.replace("\n", "\n", 1)[:-2] + ("A" if text[-2] != "A" else "B") + "\n"
    yield _noted(folder, "bad-text-changed", key, swapped + good[len(text) :], None)
    second_line = fixed.signer(STRANGER).sign(text)
    yield _noted(folder, "bad-second-signature-line", key, good + second_line, None)
    yield _noted(folder, "bad-no-signature", key, text + "\n", None)
    yield _noted(folder, "bad-carriage-return", key, good.replace("\n", "\r\n"), None)
    yield _noted(folder, "bad-cut", key, good[:-10], None)


def statement_vectors(world: World) -> Iterator[Vector]:
    """Enrolment and start of a producer."""
    key = world.producer_key
    text = producer_text(ORIGIN, fixed.PRODUCER)
    expect = {"origin": ORIGIN, "name": fixed.PRODUCER}
    yield _noted("producer", "good-producer", key, sign_one(text, key), expect)
    yield from _faulty_notes("producer", key, text)
    named = text.replace(fixed.PRODUCER, "gpu 0")
    yield _noted("producer", "bad-name-with-space", key, sign_one(named, key), None)
    producer, instance = world.leaf(1).hex(), fixed.seed("instance 1")[:16].hex()
    text = instance_text(ORIGIN, producer, instance, producer)
    expect = {"origin": ORIGIN, "producer": producer, "instance": instance, "prev": producer}
    yield _noted("instance", "good-first-instance", key, sign_one(text, key), expect)
    yield from _faulty_notes("instance", key, text)
    upper = text.replace(instance, instance.upper())
    yield _noted("instance", "bad-instance-upper-case", key, sign_one(upper, key), None)


def head_vectors(world: World) -> Iterator[Vector]:
    """Heads, and paths into the batch of one."""
    key = world.producer_key
    first, last = world.at["instance"], world.at["outcome"]
    head = world.head(first, last)
    text = format_head_text(head)
    yield _noted("head", "good-batch-of-five", key, sign_one(text, key), _head_expect(head))
    alone = world.head(first, first)
    yield _noted(
        "head", "good-batch-of-one", key, sign_one(format_head_text(alone), key), _head_expect(alone)
    )
    yield from _faulty_notes("head", key, text)
    numbers = f"\n{head.first_seq}\n{head.seq}\n"
    for name, faulty in {
        "bad-first-after-last": "\n5\n4\n",
        "bad-leading-zero": "\n00\n4\n",
        "bad-negative": "\n-1\n4\n",
        "bad-plus-sign": "\n+0\n4\n",
        "bad-seq-2-to-the-53": "\n0\n9007199254740992\n",
    }.items():
        yield _noted("head", name, key, sign_one(text.replace(numbers, faulty), key), None)
    respelt = text.replace(encode_base64(head.root), encode_base64(head.root)[:-2] + "F=")
    yield _noted("head", "bad-base64-padding-bits", key, sign_one(respelt, key), None)
    yield from _head_paths(world, head, first, last)


def _head_paths(world: World, head: Head, first: int, last: int) -> Iterator[Vector]:
    note = sign_one(format_head_text(head), world.producer_key)
    index = world.at["decision"]
    path = [encode_base64(value) for value in prove_inclusion(world.leaves[first : last + 1], index - first)]
    given = {
        "note": note,
        "vkey": world.producer_key.vkey,
        "seq": 2,
        "leaf_hash": world.leaf(index).hex(),
        "path": path,
    }
    yield "head", "good-path", {**given, "ok": True, "expect": _head_expect(head)}
    yield "head", "bad-path-other-seq", {**given, "seq": 1, "ok": False}
    yield "head", "bad-path-seq-beyond", {**given, "seq": 5, "ok": False}
    yield "head", "bad-path-short", {**given, "path": path[:-1], "ok": False}
    yield "head", "bad-path-other-leaf", {**given, "leaf_hash": world.leaf(index + 1).hex(), "ok": False}
    # The last leaf is named twice, by the head's own line and by its tree: both must be this entry's.
    lying = Head(**{**asdict(head), "leaf_hash": world.leaf(first)})
    whole = [encode_base64(value) for value in prove_inclusion(world.leaves[first : last + 1], last - first)]
    lie = {
        **given,
        "note": sign_one(format_head_text(lying), world.producer_key),
        "seq": 4,
        "leaf_hash": world.leaf(last).hex(),
        "path": whole,
    }
    yield "head", "bad-path-last-leaf-contradicts", {**lie, "ok": False}


def _head_expect(head: Head) -> dict[str, Any]:
    return {**asdict(head), "leaf_hash": head.leaf_hash.hex(), "root": head.root.hex()}


def promise_vectors(world: World) -> Iterator[Vector]:
    """Promises, and whether they are about the bytes in hand."""
    key, body = world.producer_key, fixed.committed
    promise = Promise(
        origin=ORIGIN,
        producer=world.leaf(world.at["producer"]).hex(),
        instance=fixed.seed("instance 1")[:16].hex(),
        seq=2,
        leaf_hash=world.leaf(world.at["decision"]),
        model=world.leaf(world.at["model"]).hex(),
        request=bytes.fromhex(body(world.exchange_key, "request", fixed.LOAN_REQUEST)["commitment"]),
        response=bytes.fromhex(body(world.exchange_key, "response", fixed.LOAN_RESPONSE)["commitment"]),
        time=format_time(fixed.START_US + 10_003_000),
        merge_by=format_time(fixed.START_US + 70_003_000),
    )
    text = format_promise_text(promise)
    expect = {
        **asdict(promise),
        "leaf_hash": promise.leaf_hash.hex(),
        "request": promise.request.hex(),
        "response": promise.response.hex(),
    }
    yield _noted("promise", "good-promise", key, sign_one(text, key), expect)
    pending = text.replace(promise.model, "pending")
    yield _noted("promise", "good-pending-model", key, sign_one(pending, key), {**expect, "model": "pending"})
    yield from _faulty_notes("promise", key, text)
    faults = {
        "bad-merge-by-before-time": text.replace(promise.merge_by, format_time(fixed.START_US)),
        "bad-model-word": text.replace(promise.model, "perhaps"),
        "bad-request-hex": text.replace(encode_base64(promise.request), promise.request.hex()),
    }
    for name, faulty in faults.items():
        yield _noted("promise", name, key, sign_one(faulty, key), None)
    bytes_in_hand = {
        "exchange_key_b64": encode_base64(world.exchange_key),
        "request_b64": encode_base64(fixed.LOAN_REQUEST),
        "response_b64": encode_base64(fixed.LOAN_RESPONSE),
    }
    given = {"note": sign_one(text, key), "vkey": key.vkey, **bytes_in_hand}
    yield "promise", "good-about-these-bytes", {**given, "ok": True, "expect": expect}
    for name, change in {
        "bad-other-request": {"request_b64": encode_base64(fixed.LOAN_REQUEST + b" ")},
        "bad-other-response": {"response_b64": encode_base64(b"{}")},
        "bad-other-exchange-key": {"exchange_key_b64": encode_base64(bytes(32))},
    }.items():
        yield "promise", name, {**given, **change, "ok": False}


def devnet_vectors(world: World) -> Iterator[Vector]:
    """Anchors on a development chain."""
    key, anchor = world.devnet_key, world.anchor(8)
    text = format_devnet_text(anchor)
    expect = {
        "origin": anchor.origin,
        "log_id": anchor.log_id.hex(),
        "chain_id": anchor.chain_id,
        "contract": "0x" + anchor.contract.hex(),
        "size": anchor.size,
        "root": anchor.root.hex(),
        "tx": "0x" + anchor.tx.hex(),
        "block_number": anchor.block_number,
        "block_hash": "0x" + anchor.block_hash.hex(),
        "block_time": anchor.block_time,
    }
    yield _noted("devnet", "good-anchor", key, sign_devnet_anchor(anchor, key), expect)
    yield from _faulty_notes("devnet", key, text)
    faults = {
        "bad-log-id-of-another-log": text.replace(anchor.log_id.hex(), log_id("other.example").hex()),
        "bad-size-0": text.replace("\n8\n", "\n0\n"),
        "bad-address-upper-case": text.replace(anchor.contract.hex(), anchor.contract.hex().upper()),
        "bad-tx-without-0x": text.replace("0x" + anchor.tx.hex(), anchor.tx.hex()),
        "bad-block-time-seconds": text.replace(anchor.block_time, "1767226000"),
        "bad-root-hex": text.replace(encode_base64(anchor.root), anchor.root.hex()),
    }
    for name, faulty in faults.items():
        yield _noted("devnet", name, key, sign_one(faulty, key), None)


def trust_value(world: World) -> dict[str, Any]:
    """The trust file the receipt vectors are checked with."""
    w1, w2 = world.witnesses
    policy = (
        f"# the log, and both its witnesses\nlog {world.log_key.vkey}\n"
        f"witness w1 {w1.vkey}\nwitness w2 {w2.vkey}\ngroup both all w1 w2\nquorum both\n"
    )
    return {
        "v": "auditlog/trust@v1",
        "issuer": {"name": "the format vectors", "role": "self"},
        "policy": policy,
        "require": ["quorum"],
        "devnet": world.devnet_key.vkey,
    }


def trust_vectors(world: World) -> Iterator[Vector]:
    """Trust files."""
    base = trust_value(world)
    pins = {
        "anchors": [
            {
                "chain_id": 1,
                "contract": "0x" + "ab" * 20,
                "code_hash": "0x" + "cd" * 32,
                "owner": "0x" + "ef" * 20,
            }
        ],
        "blocks": [{"chain_id": 1, "number": 19_000_000, "hash": "0x" + "12" * 32}],
        "retired": [{"origin": "old.example", "size": 7, "root": root_hash([bytes(32)]).hex()}],
    }
    minimal = {name: base[name] for name in ("v", "issuer", "policy")}
    none = {**base, "policy": f"log {world.log_key.vkey}\nquorum none\n", "require": []}
    good = {
        "good-all-members": {**base, **pins},
        "good-minimal": minimal,
        "good-requires-nothing": {**base, "require": []},
        "good-quorum-none": none,
    }
    for name, value in good.items():
        yield _trust(name, json.dumps(value, indent=1).encode(), value)
    spread = json.dumps(dict(reversed(base.items())), indent=7).encode() + b"\n\n"
    yield _trust("good-any-order-and-white-space", spread, base)
    for name, faulty in _bad_trust_values(base, pins).items():
        yield _trust(name, json.dumps(faulty).encode(), None)
    for name, faulty in _bad_trust_keys(world, base).items():
        yield _trust(name, json.dumps(faulty).encode(), None)
    text = json.dumps(base)
    for name, data in {
        "bad-empty": b"",
        "bad-repeated-member": (text[:-1] + ', "require": []}').encode(),
        "bad-byte-order-mark": b"\xef\xbb\xbf" + text.encode(),
        "bad-utf16": text.encode("utf-16"),
        "bad-array": b"[]",
        "bad-two-values": (text * 2).encode(),
    }.items():
        yield _trust(name, data, None)


def _bad_trust_values(base: dict[str, Any], pins: dict[str, Any]) -> dict[str, dict[str, Any]]:
    pin, block, retired = pins["anchors"][0], pins["blocks"][0], pins["retired"][0]
    return {
        "bad-version": {**base, "v": "auditlog/trust@v2"},
        "bad-unknown-member": {**base, "requires": ["quorum"]},
        "bad-without-policy": {name: value for name, value in base.items() if name != "policy"},
        "bad-without-issuer": {name: value for name, value in base.items() if name != "issuer"},
        "bad-issuer-role": {**base, "issuer": {"name": "x", "role": "friend"}},
        "bad-issuer-name-empty": {**base, "issuer": {"name": "", "role": "self"}},
        "bad-policy-without-log": {**base, "policy": "quorum none\n"},
        "bad-policy-without-quorum": {**base, "policy": base["policy"].replace("quorum both\n", "")},
        "bad-require-word": {**base, "require": ["quorums"]},
        "bad-require-twice": {**base, "require": ["quorum", "quorum"]},
        "bad-require-text": {**base, "require": "quorum"},
        "bad-devnet-not-a-key": {**base, "devnet": "devnet.example"},
        "bad-pin-contract-upper-case": {**base, "anchors": [{**pin, "contract": "0x" + "AB" * 20}]},
        "bad-pin-chain-id-text": {**base, "anchors": [{**pin, "chain_id": "1"}]},
        "bad-pin-unknown-member": {**base, "anchors": [{**pin, "name": "x"}]},
        "bad-block-hash-short": {**base, "blocks": [{**block, "hash": "0x12"}]},
        "bad-retired-root-base64": {**base, "retired": [{**retired, "root": encode_base64(bytes(32))}]},
        "bad-retired-size-real": {**base, "retired": [{**retired, "size": 7.0}]},
        "bad-retired-twice": {**base, "retired": [retired, {**retired, "size": 8}]},
    }


def _bad_trust_keys(world: World, base: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """One public key in two roles, under whatever name."""
    same = fixed.seed(ORIGIN)
    devnet, witness = Ed25519Signer.from_seed("devnet.example", same), CosignatureSigner.from_seed("w", same)
    seen = Ed25519Signer.from_seed("devnet.example", fixed.seed(world.witnesses[0].name))
    log = f"log {world.log_key.vkey}\n"
    return {
        "bad-devnet-key-is-the-logs": {**base, "devnet": devnet.vkey},
        "bad-devnet-key-is-a-witness": {**base, "devnet": seen.vkey},
        "bad-log-is-its-own-witness": {**base, "policy": f"{log}witness w {witness.vkey}\nquorum w\n"},
    }


def _trust(name: str, data: bytes, value: dict[str, Any] | None) -> Vector:
    vector: dict[str, Any] = {"data_b64": encode_base64(data), "ok": value is not None}
    if value is not None:
        vector["expect"] = {
            "issuer": value["issuer"],
            "require": value.get("require", ["quorum", "anchor"]),
            "devnet": value.get("devnet"),
            "retired": len(value.get("retired", [])),
            "anchors": len(value.get("anchors", [])),
            "blocks": len(value.get("blocks", [])),
        }
    return "trust", name, vector
