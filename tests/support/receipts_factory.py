"""Honest receipts of a log with fixed keys, built from core alone: the verifier's tests judge what no engine
made.

Everything follows from the arguments, so two runs give the same bytes. A `Factory` holds a log of any number
of decisions by one or more producers, cosigned by two witnesses and anchored on a devnet at the sizes asked
for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from auditlog.core.anchor import DevnetAnchor, sign_devnet_anchor
from auditlog.core.checkpoint import Checkpoint, format_checkpoint, sign_checkpoint
from auditlog.core.commitment import commit_body, field_root
from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.disclosure import Disclosure, disclose_field, disclose_whole
from auditlog.core.entry import ZERO_HASH_HEX, Entry, encode_entry, format_time, parse_entry
from auditlog.core.head import Head, sign_head
from auditlog.core.merkle import hash_leaf, prove_inclusion, root_hash
from auditlog.core.note import Ed25519Signer
from auditlog.core.receipt import Receipt, ReceiptAnchor, ReceiptHead, Related, format_receipt
from auditlog.core.signed import sign_one
from auditlog.core.statements import instance_text, producer_key_name, producer_text
from auditlog.core.tlogproof import TlogProof
from auditlog.core.trust import Trust, parse_trust

START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
COSIGNED_AT = (START_US // 1_000_000 + 300, START_US // 1_000_000 + 360)
REQUEST = b'{"applicant":{"income":4200,"kept":true},"amount":180000}'
RESPONSE = b'{"decision":"approved","score":"0.8731"}'
FACTS = b'{"label":"approved","reasons":["income","history"]}'
MODEL_ROOT = hashlib.sha256(b"the model's files").hexdigest()


def seed(*names: object) -> bytes:
    """32 bytes that belong to a name."""
    return hashlib.sha256(" ".join(map(str, ("receipts factory", *names))).encode()).digest()


def decision_id(number: int) -> str:
    """The UUIDv7 of the n-th decision; the minting time is inside it."""
    millis = f"{START_US // 1000 + number:012x}"
    return f"{millis[:8]}-{millis[8:]}-7000-8000-{number:012x}"


def exchange_key(number: int) -> bytes:
    """The exchange key of the n-th decision."""
    return seed("exchange key", number)


@dataclass
class Chain:
    """One writer's entries, numbered and linked; `pending` are the indices since its last head."""

    producer: str
    instance: str
    prev: str
    key: Ed25519Signer | None = None
    name: str = ""
    seq: int = 0
    start: int = -1
    home: int = -1
    pending: list[int] = field(default_factory=list)


class Factory:
    """A log of `decisions` decisions, one batch each `batch` entries, by `producers` producers in turn."""

    def __init__(
        self,
        *,
        origin: str = "log.example/loans",
        decisions: int = 5,
        producers: int = 1,
        batch: int = 4,
        anchored: Sequence[int] = (),
    ) -> None:
        self.origin = origin
        self.log_key = Ed25519Signer.from_seed(origin, seed(origin))
        self.devnet_key = Ed25519Signer.from_seed("devnet.example", seed("devnet"))
        self.witnesses = [
            CosignatureSigner.from_seed(f"witness.example/w{number}", seed("witness", number))
            for number in (1, 2)
        ]
        self.entries: list[bytes] = []
        self.leaves: list[bytes] = []
        self.batches: dict[int, list[int]] = {}
        self.chains: list[Chain] = []
        self.models: dict[int, int] = {}
        self.decisions: list[int] = []
        self._batch = batch
        self._log = Chain("log", "log", ZERO_HASH_HEX)
        self._begin(producers)
        for number in range(decisions):
            self._decide(self.chains[number % producers], number)
        for chain in self.chains:
            self.close_batch(chain)
        self.anchored = tuple(anchored)

    def add(self, chain: Chain, kind: str, body: dict[str, Any], *, time: str = "", v: int = 1) -> int:
        """Seal an entry of a chain and put it into the log; returns its index."""
        index = len(self.entries)
        entry = Entry(
            v=v,
            kind=kind,
            origin=self.origin,
            producer=chain.producer,
            instance=chain.instance,
            seq=chain.seq,
            prev=chain.prev,
            time=time or format_time(START_US + 1_000_000 * index),
            body=body,
        )
        self.entries.append(encode_entry(entry))
        self.leaves.append(hash_leaf(self.entries[-1]))
        chain.prev = self.leaves[-1].hex()
        chain.seq += 1
        chain.pending.append(index)
        if len(chain.pending) >= self._batch:
            self.close_batch(chain)
        return index

    def close_batch(self, chain: Chain) -> None:
        """End the batch: what was added since the last head is one batch."""
        batch, chain.pending = chain.pending, []
        self.batches |= dict.fromkeys(batch, batch)

    def enrol(self, name: str) -> Chain:
        """Write a producer's enrolment, and return the chain of its first run."""
        key = Ed25519Signer.from_seed(producer_key_name(self.origin, name), seed(self.origin, name))
        body = {"name": name, "vkey": key.vkey, "note": sign_one(producer_text(self.origin, name), key)}
        home = self.add(self._log, "producer", body)
        producer = self.leaves[home].hex()
        chain = Chain(producer, seed("run", name)[:16].hex(), producer, key, name, home=home)
        text = instance_text(self.origin, producer, chain.instance, chain.prev)
        chain.start = self.add(chain, "instance", {"note": sign_one(text, key), "software": "auditlog 0.1.0"})
        return chain

    def decision_body(self, number: int, model: str) -> dict[str, Any]:
        """The body of the n-th decision."""
        key, facts_key = exchange_key(number), seed("facts key", number)
        return {
            "id": decision_id(number),
            "operation": "predict",
            "capture": "asgi",
            "method": "POST",
            "route": "/decide",
            "status": 200,
            "mode": "fail_open",
            "start": format_time(START_US + 1000 * number),
            "duration_us": 1834,
            "ended": "ok",
            "model": model,
            "request": committed(key, "request", REQUEST),
            "response": committed(key, "response", RESPONSE),
            "facts": committed(facts_key, "facts", FACTS),
            "values": "kept",
        }

    def checkpoint(self, size: int | None = None, *, witnesses: int = 2) -> str:
        """The signed checkpoint note of a size, cosigned by the first witnesses."""
        size = len(self.entries) if size is None else size
        checkpoint = Checkpoint(self.origin, size, root_hash(self.leaves[:size]))
        text = format_checkpoint(checkpoint)
        lines = [
            key.sign(text, when) for key, when in zip(self.witnesses[:witnesses], COSIGNED_AT, strict=False)
        ]
        return sign_checkpoint(checkpoint, self.log_key) + "".join(lines)

    def path(self, index: int, size: int) -> tuple[bytes, ...]:
        """Inclusion proof of an entry in the tree of a size."""
        return tuple(prove_inclusion(self.leaves[:size], index))

    def anchor(self, index: int, size: int, /, **changes: Any) -> ReceiptAnchor:
        """A devnet anchor of the checkpoint of a size; `changes` are made before the devnet signs."""
        values: dict[str, Any] = {
            "origin": self.origin,
            "chain_id": 1337,
            "contract": seed("contract")[:20],
            "size": size,
            "root": root_hash(self.leaves[:size]),
            "tx": seed("tx", size),
            "block_number": size,
            "block_hash": seed("block", size),
            "block_time": format_time(START_US + 1_000_000 * (1000 + size)),
        }
        evidence = sign_devnet_anchor(DevnetAnchor(**{**values, **changes}), self.devnet_key)
        path = self.path(index, size) if index < size else ()
        return ReceiptAnchor("devnet@v0", self.checkpoint(size, witnesses=0), path, evidence)

    def head(self, index: int) -> ReceiptHead | None:
        """The head over the batch of an entry, and the entry's path in it; None for the log's own."""
        entry = parse_entry(self.entries[index])
        chain = next((chain for chain in self.chains if chain.producer == entry.producer), None)
        if chain is None or chain.key is None:
            return None
        batch = self.batches[index]
        last = parse_entry(self.entries[batch[-1]])
        leaves = [self.leaves[place] for place in batch]
        head = Head(
            origin=self.origin,
            producer=entry.producer,
            instance=entry.instance,
            first_seq=parse_entry(self.entries[batch[0]]).seq,
            seq=last.seq,
            leaf_hash=leaves[-1],
            root=root_hash(leaves),
        )
        return ReceiptHead(sign_head(head, chain.key), tuple(prove_inclusion(leaves, batch.index(index))))

    def related(self, index: int, size: int) -> tuple[Related, ...]:
        """The producer's, the run's and the model's entry of an entry, as far as it has them."""
        entry = parse_entry(self.entries[index])
        chain = next((chain for chain in self.chains if chain.producer == entry.producer), None)
        if chain is None:
            return ()
        places = [chain.home] + ([chain.start] if index != chain.start else [])
        if entry.kind == "decision" and index in self.models:
            places.append(self.models[index])
        return tuple(Related(self.entries[place], place, self.path(place, size)) for place in places)

    def receipt(
        self,
        index: int,
        size: int | None = None,
        *,
        witnesses: int = 2,
        anchored: Sequence[int] | None = None,
        disclosures: Sequence[Disclosure] = (),
    ) -> Receipt:
        """The receipt of an entry at the checkpoint of a size, with the anchors whose size holds it."""
        size = len(self.entries) if size is None else size
        sizes = self.anchored if anchored is None else anchored
        return Receipt(
            entry=self.entries[index],
            proof=TlogProof(index, self.path(index, size), self.checkpoint(size, witnesses=witnesses)),
            related=self.related(index, size),
            head=self.head(index),
            anchors=tuple(self.anchor(index, each) for each in sizes if index < each),
            disclosures=tuple(disclosures),
        )

    def receipt_bytes(self, index: int, size: int | None = None, **options: Any) -> bytes:
        """The same as bytes."""
        return format_receipt(self.receipt(index, size, **options))

    def trust_bytes(
        self,
        *,
        quorum: int = 0,
        require: Sequence[str] | None = (),
        devnet: bool = True,
        role: str = "self",
        **members: Any,
    ) -> bytes:
        """A trust file for this log; `quorum` of the two witnesses, 0 for none."""
        lines = [f"log {self.log_key.vkey}"]
        lines += [f"witness w{number} {key.vkey}" for number, key in enumerate(self.witnesses, 1)]
        lines += [f"group both {quorum} w1 w2", "quorum both"] if quorum else ["quorum none"]
        value: dict[str, Any] = {
            "v": "auditlog/trust@v1",
            "policy": "\n".join(lines) + "\n",
            "issuer": {"name": "the tests", "role": role},
            **members,
        }
        if require is not None:
            value["require"] = list(require)
        if devnet:
            value["devnet"] = self.devnet_key.vkey
        return json.dumps(value).encode()

    def trust(self, **options: Any) -> Trust:
        """The same, parsed."""
        return parse_trust(self.trust_bytes(**options))

    def _begin(self, producers: int) -> None:
        genesis = {
            "vkeys": [self.log_key.vkey],
            "visibility": "public",
            "max_merge_delay_s": 60,
            "contact": "audit@log.example",
        }
        self.add(self._log, "genesis", genesis)
        self.chains = [self.enrol(f"gpu-{number}") for number in range(producers)]
        for chain in self.chains:
            fingerprint = {"method": "files-sha256@v1", "root": MODEL_ROOT, "files": 5}
            self.models[-1 - chain.home] = self.add(
                chain, "model", {"name": "loan", "fingerprint": fingerprint}
            )

    def _decide(self, chain: Chain, number: int) -> None:
        model = self.models[-1 - chain.home]
        index = self.add(chain, "decision", self.decision_body(number, self.leaves[model].hex()))
        self.models[index] = model
        self.decisions.append(index)


def committed(key: bytes, name: str, data: bytes) -> dict[str, Any]:
    """The member of a body that commits to some JSON."""
    fields = field_root(key, name, data)
    assert fields is not None
    return {"commitment": commit_body(key, name, data).hex(), "fields": fields.member()}


def shown_field(number: int, pointer: str = "/amount") -> Disclosure:
    """One field of the n-th decision's request."""
    return disclose_field(exchange_key(number), "request", REQUEST, pointer)


def shown_whole(number: int, name: str = "request") -> Disclosure:
    """The whole request or response of the n-th decision."""
    return disclose_whole(exchange_key(number), name, {"request": REQUEST, "response": RESPONSE}[name])
