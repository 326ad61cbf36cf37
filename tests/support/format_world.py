"""One small log with fixed keys, salts and times: what the format vectors and the examples in spec/ are made
of.

Everything is derived from names, so two runs give the same bytes. Must never be used for anything but
examples: the private keys are public.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from auditlog.core.anchor import DevnetAnchor, sign_devnet_anchor
from auditlog.core.checkpoint import Checkpoint, format_checkpoint, sign_checkpoint
from auditlog.core.commitment import commit_body, field_root
from auditlog.core.content import field_text
from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.entry import ZERO_HASH_HEX, Entry, encode_entry, format_time, parse_entry
from auditlog.core.head import Head, sign_head
from auditlog.core.merkle import hash_leaf, prove_inclusion, root_hash
from auditlog.core.note import Ed25519Signer
from auditlog.core.receipt import Receipt, ReceiptAnchor, ReceiptHead, Related
from auditlog.core.signed import sign_one
from auditlog.core.statements import instance_text, producer_key_name, producer_text
from auditlog.core.tlogproof import TlogProof

ORIGIN = "log.example/loans"
PRODUCER = "gpu-0"
START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
WITNESS_TIMES = (1_767_225_900, 1_767_225_960)

LOAN_REQUEST = (
    b'{"income": 4200.50, "amount": 180000, "term_months": 360, "self_employed": false, "notes": null}'
)
LOAN_RESPONSE = (
    b'{"decision":"approved","score":0.8731,"reasons":["income","history"],"embedding":[0.1,-2,3e5]}'
)
LOAN_FACTS = b'{"label":"approved","subject":"applicant 17","reasons":["income","history"]}'
CHAT_REQUEST = (
    b'{"model":"smol","messages":[{"role":"user","content":"Name a colour."}],'
    b'"temperature":0.7,"stream":true}'
)
CHAT_RESPONSE = (
    b": ready\n\n"
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1767225610,"model":"smol",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1767225610,"model":"smol",'
    b'"choices":[{"index":0,"delta":{"content":"Blue "},"finish_reason":null}]}\n\n'
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1767225610,"model":"smol",'
    b'"choices":[{"index":0,"delta":{"content":"\\ud83d"},"finish_reason":null}]}\n\n'
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1767225610,"model":"smol",'
    b'"choices":[{"index":0,"delta":{"content":"\\udc99"},"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1767225610,"model":"smol",'
    b'"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}\n\n'
    b"data: [DONE]\n\n"
)


def seed(name: str) -> bytes:
    """32 bytes that belong to a name."""
    return hashlib.sha256(b"auditlog format vectors " + name.encode()).digest()


def signer(name: str) -> Ed25519Signer:
    """The key of a name."""
    return Ed25519Signer.from_seed(name, seed(name))


def committed(key: bytes, name: str, data: bytes, form: str = "json") -> dict[str, Any]:
    """The member of an entry's body that commits to some bytes."""
    member: dict[str, Any] = {"commitment": commit_body(key, name, data).hex()}
    text = field_text(data, form)
    fields = field_root(key, name, text, form) if text is not None else None
    if fields is not None:
        member["fields"] = fields.member()
    return member


def decision_id(number: int) -> str:
    """A UUIDv7 for the n-th decision."""
    millis = f"{START_US // 1000 + 10_000 + number:012x}"
    return f"{millis[:8]}-{millis[8:]}-7000-8000-{number:012x}"


@dataclass
class Chain:
    """One writer's entries, numbered and linked."""

    producer: str
    instance: str
    prev: str
    seq: int = 0

    def add(self, world: World, kind: str, body: dict[str, Any]) -> int:
        """Seal an entry and append it to the log; returns its index."""
        entry = Entry(
            kind=kind,
            origin=world.entry_origin(),
            producer=self.producer,
            instance=self.instance,
            seq=self.seq,
            prev=self.prev,
            time=format_time(START_US + 1_000_000 * len(world.entries)),
            body=body,
        )
        world.entries.append(encode_entry(entry))
        self.prev = world.leaf(len(world.entries) - 1).hex()
        self.seq += 1
        return len(world.entries) - 1


@dataclass
class World:
    """The log: 14 entries, one producer with two process lives, one anchor, two witnesses."""

    entries: list[bytes] = field(default_factory=list)
    at: dict[str, int] = field(default_factory=dict)

    log_key: Ed25519Signer = field(default_factory=lambda: signer(ORIGIN))
    producer_key: Ed25519Signer = field(default_factory=lambda: signer(producer_key_name(ORIGIN, PRODUCER)))
    devnet_key: Ed25519Signer = field(default_factory=lambda: signer("devnet.example"))
    witnesses: tuple[CosignatureSigner, ...] = field(
        default_factory=lambda: tuple(
            CosignatureSigner.from_seed(name, seed(name))
            for name in ("witness.example/w1", "witness.example/w2")
        )
    )
    exchange_key: bytes = field(default_factory=lambda: seed("exchange key"))
    facts_key: bytes = field(default_factory=lambda: seed("facts key"))

    def __post_init__(self) -> None:
        self._write()

    def entry_origin(self) -> str:
        """What entries call their log; a dishonest world differs."""
        return ORIGIN

    def start_key(self) -> Ed25519Signer:
        """Who signs the start of an instance; a dishonest world differs."""
        return self.producer_key

    def enrolled_name(self) -> str:
        """The name in the producer entry; a dishonest world differs."""
        return PRODUCER

    def numbers_left_out(self) -> int:
        """How many of its own numbers the log leaves out after genesis; a dishonest world does."""
        return 0

    def leaf(self, index: int) -> bytes:
        """Leaf hash of an entry."""
        return hash_leaf(self.entries[index])

    @cached_property
    def leaves(self) -> list[bytes]:
        """All leaf hashes."""
        return [hash_leaf(entry) for entry in self.entries]

    def note(self, size: int, witnesses: int = 2) -> str:
        """The checkpoint of a size, cosigned."""
        checkpoint = Checkpoint(ORIGIN, size, root_hash([hash_leaf(entry) for entry in self.entries[:size]]))
        text = format_checkpoint(checkpoint)
        lines = [
            key.sign(text, when) for key, when in zip(self.witnesses[:witnesses], WITNESS_TIMES, strict=False)
        ]
        return sign_checkpoint(checkpoint, self.log_key) + "".join(lines)

    def proof(self, index: int, size: int) -> tuple[bytes, ...]:
        """Inclusion proof of an entry in the tree of a size."""
        return tuple(prove_inclusion(self.leaves[:size], index))

    def anchor(self, size: int, **changes: Any) -> DevnetAnchor:
        """What the devnet says of the checkpoint of a size."""
        values: dict[str, Any] = {
            "origin": ORIGIN,
            "chain_id": 1337,
            "contract": seed("contract")[:20],
            "size": size,
            "root": root_hash([hash_leaf(entry) for entry in self.entries[:size]]),
            "tx": seed("tx"),
            "block_number": 12,
            "block_hash": seed("block"),
            "block_time": format_time(START_US + 400_000_000),
        }
        return DevnetAnchor(**{**values, **changes})

    def receipt_anchor(self, index: int, size: int) -> ReceiptAnchor:
        """The anchor of a receipt for an entry."""
        evidence = sign_devnet_anchor(self.anchor(size), self.devnet_key)
        return ReceiptAnchor("devnet@v0", self.note(size, 0), self.proof(index, size), evidence)

    def head(self, first: int, last: int) -> Head:
        """The head over the entries first..last of the log, which must be one batch of one producer."""
        newest = parse_entry(self.entries[last])
        return Head(
            origin=ORIGIN,
            producer=newest.producer,
            instance=newest.instance,
            first_seq=parse_entry(self.entries[first]).seq,
            seq=newest.seq,
            leaf_hash=self.leaf(last),
            root=root_hash(self.leaves[first : last + 1]),
        )

    def receipt(self, index: int, size: int | None = None, *, witnesses: int = 2) -> Receipt:
        """The whole receipt of a producer's entry, with an anchor if the anchored size holds it."""
        size = len(self.entries) if size is None else size
        first, last, start = next(item for item in self.batches if item[0] <= index <= item[1])
        body = parse_entry(self.entries[index]).body
        related = [self.at["producer"], *([start] if start != index else [])]
        if body.get("model") == self.leaf(self.at["model"]).hex():
            related.append(self.at["model"])
        if body.get("model") == "pending":
            related.append(self.at["late_model"])
        path = prove_inclusion(self.leaves[first : last + 1], index - first)
        return Receipt(
            entry=self.entries[index],
            proof=TlogProof(index, self.proof(index, size), self.note(size, witnesses)),
            related=tuple(Related(self.entries[i], i, self.proof(i, size)) for i in related),
            head=ReceiptHead(sign_head(self.head(first, last), self.producer_key), tuple(path)),
            anchors=(self.receipt_anchor(index, 8),) if index < 8 else (),
        )

    @property
    def batches(self) -> tuple[tuple[int, int, int], ...]:
        """(first index, last index, index of the instance entry) of each batch."""
        return (self.at["instance"], self.at["outcome"], self.at["instance"]), (
            self.at["instance_2"],
            self.at["notice"],
            self.at["instance_2"],
        )

    def _write(self) -> None:
        log = Chain("log", "log", ZERO_HASH_HEX)
        genesis = {
            "vkeys": [self.log_key.vkey],
            "visibility": "hashes",
            "max_merge_delay_s": 60,
            "contact": "audit@log.example",
        }
        self.at["genesis"] = log.add(self, "genesis", genesis)
        log.seq += self.numbers_left_out()
        enrolment = sign_one(producer_text(ORIGIN, PRODUCER), self.producer_key)
        enrolled = {"name": self.enrolled_name(), "vkey": self.producer_key.vkey, "note": enrolment}
        self.at["producer"] = log.add(self, "producer", enrolled)
        producer = log.prev
        first = Chain(producer, seed("instance 1")[:16].hex(), producer)
        self.at["instance"] = self._start(first)
        self.at["model"] = first.add(self, "model", self._model("smol", b"model"))
        self.at["decision"] = first.add(self, "decision", self._loan(first.prev))
        self.at["chat"] = first.add(self, "decision", self._chat(self.leaf(self.at["model"]).hex()))
        facts = committed(seed("outcome key"), "facts", b'{"overridden":true,"by":"a person"}')
        outcome = {"decision": decision_id(1), "facts": facts, "item": "instances/0"}
        self.at["outcome"] = first.add(self, "outcome", outcome)
        self.at["log_notice"] = log.add(
            self, "notice", {"what": "restored", "detail": "from a copy of 2025-12-31"}
        )
        self.at["anchor"] = log.add(self, "anchor", self._anchor_body())
        second = Chain(producer, seed("instance 2")[:16].hex(), first.prev)
        self.at["instance_2"] = self._start(second)
        gap = {
            "instance": first.instance,
            "after_seq": first.seq - 1,
            "from": format_time(START_US + 7_000_000),
            "to": format_time(START_US + 9_000_000),
            "count": "unknown",
        }
        self.at["gap"] = second.add(self, "gap", gap)
        self.at["pending"] = second.add(self, "decision", {**self._loan("pending"), "id": decision_id(3)})
        self.at["late_model"] = second.add(self, "model", self._model("smol", b"model"))
        self.at["notice"] = second.add(self, "notice", {"what": "stopped"})

    def _start(self, chain: Chain) -> int:
        text = instance_text(ORIGIN, chain.producer, chain.instance, chain.prev)
        body = {"note": sign_one(text, self.start_key()), "software": "auditlog 0.1.0"}
        return chain.add(self, "instance", body)

    def _model(self, name: str, content: bytes) -> dict[str, Any]:
        fingerprint = {"method": "files-sha256@v1", "root": hashlib.sha256(content).hexdigest(), "files": 5}
        return {"name": name, "fingerprint": fingerprint}

    def _loan(self, model: str) -> dict[str, Any]:
        return {
            "id": decision_id(1),
            "operation": "predict",
            "capture": "asgi",
            "method": "POST",
            "route": "/decide",
            "status": 200,
            "mode": "fail_open",
            "start": format_time(START_US + 10_001_000),
            "duration_us": 1834,
            "ended": "ok",
            "model": model,
            "request": committed(self.exchange_key, "request", LOAN_REQUEST),
            "response": committed(self.exchange_key, "response", LOAN_RESPONSE),
            "facts": committed(self.facts_key, "facts", LOAN_FACTS),
            "values": "kept",
        }

    def _chat(self, model: str) -> dict[str, Any]:
        key = seed("chat exchange key")
        return {
            "id": decision_id(2),
            "operation": "chat",
            "capture": "asgi",
            "method": "POST",
            "route": "/v1/chat/completions",
            "status": 200,
            "mode": "fail_open",
            "start": format_time(START_US + 10_002_000),
            "duration_us": 912_004,
            "ended": "ok",
            "model": model,
            "sampling": {"temperature": "0.7"},
            "request": committed(key, "request", CHAT_REQUEST),
            "response": committed(key, "response", CHAT_RESPONSE, "fold:openai.chat@v1"),
            "values": "kept",
        }

    def _anchor_body(self) -> dict[str, Any]:
        anchor = self.anchor(8)
        return {
            "type": "devnet@v0",
            "chain_id": anchor.chain_id,
            "contract": "0x" + anchor.contract.hex(),
            "log_id": anchor.log_id.hex(),
            "size": anchor.size,
            "root": anchor.root.hex(),
            "tx": "0x" + anchor.tx.hex(),
            "block_number": anchor.block_number,
            "block_hash": "0x" + anchor.block_hash.hex(),
            "block_time": anchor.block_time,
        }
