"""Vectors of bare proofs: `.tlog-proof` files and COSE receipts, honest ones and what a stranger may send.

A vector has `proof_b64`, `entry_b64`, `trust_b64`, `exit_code` and, where it is 1, `failed_step`. Faults of a
COSE receipt are made on its parts and, where it says so, signed again by the log's own key: then only the
reader's own checks stand against them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from auditlog.core import cbor
from auditlog.core.checkpoint import open_checkpoint
from auditlog.core.cose import CHECKPOINT_LABEL, sign_cose_receipt
from auditlog.core.keys import Ed25519Signer
from auditlog.core.receipt import Receipt
from auditlog.core.scalars import encode_base64
from auditlog.core.tlogproof import TlogProof, format_tlog_proof
from tests.support import format_world as fixed
from tests.support.format_world import ORIGIN, World
from tests.support.vectors_signed import trust_value
from tests.support.vectors_values import Vector

_ALG, _KID, _CLAIMS, _TYP, _VDS, _VDP = 1, 4, 15, 16, 395, 396
_SIZE = "tree-size"

Parts = list[Any]
Change = Callable[[Parts], None]


class Proofs:
    """Writes vectors about one entry of the world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.receipt: Receipt = world.receipt(world.at["decision"])
        self.trust = json.dumps(trust_value(world) | {"require": ["quorum"]}).encode()
        self.checkpoint, _ = open_checkpoint(self.receipt.proof.checkpoint, [world.log_key.verifier])
        self.cose = sign_cose_receipt(self.receipt.proof, self.checkpoint, world.log_key)
        self.root = self.checkpoint.root_hash

    def vector(
        self, name: str, proof: bytes, code: int = 0, step: int | None = None, *, entry: bytes | None = None
    ) -> Vector:
        """One vector."""
        made: dict[str, Any] = {
            "proof_b64": encode_base64(proof),
            "entry_b64": encode_base64(self.receipt.entry if entry is None else entry),
            "trust_b64": encode_base64(self.trust),
            "ok": code != 1,
            "exit_code": code,
        }
        return "proof", name, made if step is None else made | {"failed_step": step}

    def resigned(self, change: Change, key: Ed25519Signer | None = None) -> bytes:
        """The COSE receipt with its parts changed, and then signed: [protected map, unprotected map]."""
        message = cbor.decode(self.cose).value
        parts = [cbor.decode(message[0]), message[1]]
        change(parts)
        protected = cbor.encode(parts[0])
        signed = cbor.encode(["Signature1", protected, b"", self.root])
        signature = (key or self.world.log_key).sign_binary(signed)
        return cbor.encode(cbor.Tag(18, [protected, parts[1], None, signature]))

    def with_proof(self, change: Callable[[Parts], Any]) -> bytes:
        """The COSE receipt with another inclusion proof; `change` gets [size, index, path]."""

        def put(parts: Parts) -> None:
            proof = cbor.decode(parts[1][_VDP][-1][0])
            parts[1][_VDP][-1][0] = cbor.encode(change(proof))

        return self.resigned(put)


def proof_vectors(world: World) -> Iterator[Vector]:
    """All vectors of bare proofs."""
    proofs = Proofs(world)
    yield from _tlog_proofs(proofs)
    yield from _cose_good(proofs)
    yield from _cose_protected(proofs)
    yield from _cose_unprotected(proofs)
    yield from _cose_bytes(proofs)


def _tlog_proofs(proofs: Proofs) -> Iterator[Vector]:
    world, proof = proofs.world, proofs.receipt.proof
    text = format_tlog_proof(proof).encode()
    yield proofs.vector("good-tlog-proof", text)
    extra = TlogProof(proof.index, proof.hashes, proof.checkpoint, b"anything")
    yield proofs.vector("good-tlog-proof-with-extra", format_tlog_proof(extra).encode())
    size = proofs.checkpoint.tree_size
    genesis = format_tlog_proof(TlogProof(0, world.proof(0, size), proof.checkpoint)).encode()
    yield proofs.vector("good-tlog-proof-of-genesis", genesis, entry=world.entries[0])
    alone = world.receipt(world.at["decision"], witnesses=1)
    yield proofs.vector("open-tlog-proof-without-quorum", format_tlog_proof(alone.proof).encode(), 3)
    yield proofs.vector("bad-tlog-proof-of-other-entry", text, 1, 6, entry=world.entries[1])
    yield proofs.vector("bad-tlog-proof-of-no-entry", text, 1, 1, entry=b"")
    moved = TlogProof(proof.index ^ 1, proof.hashes, proof.checkpoint)
    yield proofs.vector("bad-tlog-proof-at-other-index", format_tlog_proof(moved).encode(), 1, 6)
    beyond = TlogProof(size, proof.hashes, proof.checkpoint)
    yield proofs.vector("bad-tlog-proof-index-is-size", format_tlog_proof(beyond).encode(), 1, 6)
    longer = TlogProof(proof.index, (*proof.hashes, proof.hashes[0]), proof.checkpoint)
    yield proofs.vector("bad-tlog-proof-extra-hash", format_tlog_proof(longer).encode(), 1, 6)
    larger = proof.checkpoint.replace(f"\n{size}\n", "\n4096\n", 1)
    yield proofs.vector(
        "bad-tlog-proof-larger-size",
        format_tlog_proof(TlogProof(proof.index, proof.hashes, larger)).encode(),
        1,
        3,
    )
    yield proofs.vector("bad-tlog-proof-no-utf-8", text[:-1] + b"\xff", 1, 1)


def _cose_good(proofs: Proofs) -> Iterator[Vector]:
    world = proofs.world
    yield proofs.vector("good-cose", proofs.cose)
    alone = world.receipt(world.at["decision"], witnesses=0).proof
    unwitnessed = sign_cose_receipt(alone, proofs.checkpoint, world.log_key)
    yield proofs.vector("open-cose-without-quorum", unwitnessed, 3)
    yield proofs.vector("bad-cose-of-other-entry", proofs.cose, 1, 6, entry=world.entries[1])
    stranger = fixed.signer("stranger.example")
    yield proofs.vector("bad-cose-signed-by-stranger", proofs.resigned(lambda _: None, stranger), 1, 3)
    yield proofs.vector("bad-cose-signature-changed", proofs.cose[:-1] + bytes([proofs.cose[-1] ^ 1]), 1, 3)
    witness = proofs.resigned(lambda parts: parts[0].update({_KID: b"\x07" * 32}))
    yield proofs.vector("bad-cose-other-kid", witness, 1, 3)


def _cose_protected(proofs: Proofs) -> Iterator[Vector]:
    def claims(**changes: Any) -> Change:
        names = {"iss": 1, "sub": 2, "size": _SIZE}

        def change(parts: Parts) -> None:
            parts[0][_CLAIMS] |= {names[name]: value for name, value in changes.items()}

        return change

    def header(label: Any, value: Any) -> Change:
        return lambda parts: parts[0].update({label: value})

    size = proofs.checkpoint.tree_size
    cases: dict[str, tuple[Change, int]] = {
        "alg-es256": (header(_ALG, -7), 1),
        "alg-ed25519-of-rfc-9864": (header(_ALG, -19), 1),
        "alg-as-text": (header(_ALG, "EdDSA"), 1),
        "vds-2": (header(_VDS, 2), 1),
        "vds-only-unprotected": (lambda parts: parts[1].update({_VDS: parts[0].pop(_VDS)}), 1),
        "other-typ": (header(_TYP, "application/cose"), 1),
        "crit": (header(2, [_TYP]), 1),
        "short-kid": (header(_KID, b"\x07" * 31), 1),
        "issuer-of-other-log": (claims(iss="other.example", sub="other.example"), 3),
        "other-subject": (claims(sub="other.example"), 1),
        "claim-more": (lambda parts: parts[0][_CLAIMS].update({6: 1}), 1),
        "no-tree-size": (lambda parts: parts[0][_CLAIMS].pop(_SIZE), 1),
        "tree-size-only-in-claims": (claims(size=size + 1), 1),
        "tree-size-0": (claims(size=0), 1),
        "tree-size-2-to-the-63": (claims(size=2**63), 1),
        "tree-size-as-text": (claims(size=str(size)), 1),
        "attached-root": (lambda parts: parts[1].update({"payload": proofs.root}), 1),
    }
    for name, (change, step) in cases.items():
        yield proofs.vector(f"bad-cose-{name}", proofs.resigned(change), 1, step)

    def both(parts: Parts) -> None:
        parts[0][_CLAIMS][_SIZE] = size + 1
        proof = cbor.decode(parts[1][_VDP][-1][0])
        parts[1][_VDP][-1][0] = cbor.encode([size + 1, *proof[1:]])

    yield proofs.vector("bad-cose-tree-size-unlike-the-checkpoint", proofs.resigned(both), 1, 3)


def _cose_unprotected(proofs: Proofs) -> Iterator[Vector]:
    size = proofs.checkpoint.tree_size
    changed: dict[str, tuple[Callable[[Parts], Any], int]] = {
        "index-is-size": (lambda proof: [size, size, proof[2]], 1),
        "index-over-size": (lambda proof: [size, 2**64 - 1, proof[2]], 1),
        "other-index": (lambda proof: [size, proof[1] ^ 1, proof[2]], 6),
        "negative-index": (lambda proof: [size, -1, proof[2]], 1),
        "unsigned-size": (lambda proof: [size + 1, proof[1], proof[2]], 1),
        "path-too-long": (lambda proof: [size, proof[1], [*proof[2], proof[2][0]]], 6),
        "path-too-short": (lambda proof: [size, proof[1], proof[2][:-1]], 6),
        "empty-path": (lambda proof: [size, proof[1], []], 1),
        "path-of-64": (lambda proof: [size, proof[1], [b"\x00" * 32] * 64], 1),
        "hash-of-31-bytes": (lambda proof: [size, proof[1], [proof[2][0][:-1], *proof[2][1:]]], 1),
        "hash-as-text": (lambda proof: [size, proof[1], ["0" * 32, *proof[2][1:]]], 1),
        "proof-of-four": (lambda proof: [*proof, 0], 1),
        "proof-as-map": (lambda proof: dict(enumerate(proof)), 1),
    }
    for name, (change, step) in changed.items():
        yield proofs.vector(f"bad-cose-{name}", proofs.with_proof(change), 1, step)
    note = proofs.receipt.proof.checkpoint
    other = proofs.world.note(proofs.checkpoint.tree_size - 1)
    headers: dict[str, tuple[Change, int]] = {
        "two-inclusion-proofs": (lambda parts: parts[1][_VDP][-1].append(parts[1][_VDP][-1][0]), 1),
        "no-inclusion-proof": (lambda parts: parts[1][_VDP][-1].clear(), 1),
        "consistency-proof-more": (lambda parts: parts[1][_VDP].update({-2: []}), 1),
        "proof-not-wrapped": (lambda parts: parts[1][_VDP].update({-1: [[size, 0, [b"\x00" * 32]]]}), 1),
        "header-more": (lambda parts: parts[1].update({"note": note}), 1),
        "no-checkpoint": (lambda parts: parts[1].pop(CHECKPOINT_LABEL), 1),
        "checkpoint-in-bytes": (lambda parts: parts[1].update({CHECKPOINT_LABEL: note.encode()}), 1),
        "checkpoint-of-other-size": (lambda parts: parts[1].update({CHECKPOINT_LABEL: other}), 3),
        "checkpoint-no-note": (lambda parts: parts[1].update({CHECKPOINT_LABEL: f"{ORIGIN}\n"}), 1),
    }
    for name, (put, step) in headers.items():
        yield proofs.vector(f"bad-cose-{name}", proofs.resigned(put), 1, step)


def _cose_bytes(proofs: Proofs) -> Iterator[Vector]:
    """Spellings no encoder of ours writes, and lengths that lie."""
    protected, unprotected, _, signature = cbor.decode(proofs.cose).value
    body = cbor.encode(protected) + cbor.encode(unprotected)
    signed = cbor.encode(signature)
    cases = {
        "untagged": proofs.cose[1:],
        "tag-98": b"\xd8\x62" + proofs.cose[1:],
        "two-byte-tag": b"\xd8\x12" + proofs.cose[1:],
        "indefinite-array": b"\xd2\x9f" + body + b"\xf6" + signed + b"\xff",
        "payload-undefined": b"\xd2\x84" + body + b"\xf7" + signed,
        "payload-false": b"\xd2\x84" + body + b"\xf4" + signed,
        "payload-empty": b"\xd2\x84" + body + b"\x40" + signed,
        "payload-attached": b"\xd2\x84" + body + cbor.encode(proofs.root) + signed,
        "array-of-five": b"\xd2\x85" + body + b"\xf6" + signed + b"\xf6",
        "short-signature": b"\xd2\x84" + body + b"\xf6" + cbor.encode(signature[:-1]),
        "trailing-byte": proofs.cose + b"\x00",
        "cut": proofs.cose[:-1],
        "tag-alone": b"\xd2",
        "giant-array": b"\xd2\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        "giant-bytes": b"\xd2\x84\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
        "giant-map": b"\xd2\x84\x40\xbb\x00\x00\x00\x01\x00\x00\x00\x00",
        "deep": b"\xd2" + b"\x81" * 5000 + b"\xf6",
        "deep-tags": b"\xd2" * 5000 + b"\xf6",
        "reserved-head": b"\xd2\x84\x5c" + proofs.cose[3:],
        "float": b"\xd2\x84" + body + b"\xfa\x00\x00\x00\x00" + signed,
    }
    for name, data in cases.items():
        yield proofs.vector(f"bad-cose-{name}", data, 1, 1)
    yield from _cose_maps(proofs, protected, unprotected)


def _cose_maps(proofs: Proofs, protected: bytes, unprotected: dict[Any, Any]) -> Iterator[Vector]:
    """Protected maps in another spelling, signed as they stand: alg is the first pair, 01 27."""
    pair = b"\x01\x27"
    assert protected[:3] == b"\xa5" + pair
    rest = protected[3:]
    spellings = {
        "alg-twice": b"\xa6" + pair + pair + rest,
        "keys-in-other-order": b"\xa5" + rest + pair,
        "long-integer": b"\xa5\x18\x01\x27" + rest,
        "long-alg": b"\xa5\x01\x38\x07" + rest,
        "indefinite-map": b"\xbf" + pair + rest + b"\xff",
        "map-too-small": b"\xa4" + pair + rest,
        "protected-trailing-byte": protected + b"\x00",
        "key-is-array": b"\xa6" + pair + rest + b"\x80\x00",
    }
    for name, spelt in spellings.items():
        signed = b"\x84" + cbor.encode("Signature1") + cbor.encode(spelt) + b"\x40" + cbor.encode(proofs.root)
        signature = proofs.world.log_key.sign_binary(signed)
        data = cbor.encode(cbor.Tag(18, [spelt, unprotected, None, signature]))
        yield proofs.vector(f"bad-cose-{name}", data, 1, 1)
