"""The example log with more of a producer's life: heartbeats, coverage, two rotations, a loss, an end.

It goes on where `format_world.World` ends. A `fault` makes it dishonest in one way; what comes after the
fault is as good as it can be. Must never be used for anything but examples: the private keys are public.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from auditlog.core.entry import format_time, parse_entry
from auditlog.core.head import sign_head
from auditlog.core.merkle import prove_inclusion
from auditlog.core.note import Ed25519Signer
from auditlog.core.receipt import Receipt, ReceiptHead, Related
from auditlog.core.signed import sign_one
from auditlog.core.statements import instance_text, producer_key_name, rotation_text
from auditlog.core.tlogproof import TlogProof
from tests.support import format_world as fixed
from tests.support.format_world import ORIGIN, PRODUCER, START_US, Chain, World

KEY_NAME = producer_key_name(ORIGIN, PRODUCER)


def producer_keys() -> tuple[Ed25519Signer, ...]:
    """The producer's three keys, all of one name."""
    names = (KEY_NAME, "second key of gpu-0", "third key of gpu-0")
    return tuple(Ed25519Signer.from_seed(KEY_NAME, fixed.seed(name)) for name in names)


def heartbeat(recorded: int, **changes: Any) -> dict[str, Any]:
    """The body of a heartbeat."""
    counts = {"started": 9, "finished": 7, "failed": 1, "in_flight": 1, "refused": 2, "deferred": 0}
    return {
        "interval_s": 60,
        **counts,
        "lost": 0,
        "late_hangups": 0,
        "recorded": recorded,
        "spool": {"entries": 1, "bytes": 1042, "oldest_ms": 12},
        **changes,
    }


def coverage(**changes: Any) -> dict[str, Any]:
    """The body of a coverage entry."""
    routes = [
        {"method": "POST", "path": "/v1/chat/completions", "record": "values", "operation": "chat"},
        {"method": "POST", "path": "/v1/load_lora_adapter", "record": "model"},
        {"method": "POST", "path": "/tokenize", "record": "skip"},
    ]
    return {
        "mode": "fail_open",
        "durability": "local",
        "routes": routes,
        "ports": [8000],
        "workers": 2,
        "version": "auditlog 0.2.0",
        "model": "pending",
        "wait_ms": 20,
        "heartbeat_s": 60,
        "others": "record",
        **changes,
    }


@dataclass
class RotatedWorld(World):
    """24 entries; from index 14 on it goes beyond `World`."""

    fault: str = ""

    def _write(self) -> None:
        super()._write()
        self.keys = producer_keys()
        last = parse_entry(self.entries[self.at["notice"]])
        second = Chain(last.producer, last.instance, self.leaf(self.at["notice"]).hex(), last.seq + 1)
        self.at["coverage"] = second.add(self, "coverage", coverage())
        block = {"chain_id": 1, "number": 19_000_000, "hash": "0x" + fixed.seed("block").hex()}
        engine = {"vllm:request_success_total": "12", "vllm:prompt_tokens_total": "4.5e+02"}
        more = {"block": block, "engine": engine, "head": sign_head(self.head(9, 10), self.keys[0])}
        self.at["heartbeat"] = second.add(self, "heartbeat", heartbeat(1, **more))
        self.at["rotation"] = second.add(self, "rotation", self._rotation(second, 0))
        self.at["after"] = second.add(self, "decision", {**self._loan("pending"), "id": fixed.decision_id(4)})
        third = Chain(last.producer, fixed.seed("instance 3")[:16].hex(), second.prev)
        self.at["instance_3"] = self._start_with(third, self.keys[0 if self.fault == "old-start" else 1])
        gap = {
            "instance": second.instance,
            "after_seq": second.seq - 1,
            "from": format_time(START_US + 18_000_000),
            "to": format_time(START_US + 18_500_000),
            "count": "unknown",
            "at_most": 3,
        }
        self.at["gap_at_most"] = third.add(self, "gap", gap)
        self.at["rotation_2"] = third.add(self, "rotation", self._rotation(third, 1))
        redacted = {**self._loan("unregistered"), "id": fixed.decision_id(5), "redacted": ["request"]}
        self.at["redacted"] = third.add(self, "decision", redacted)
        log = self._log_chain()
        lost = {
            "producer": last.producer,
            "instance": third.instance,
            "after_seq": third.seq - 1,
            "from": format_time(START_US + 21_000_000),
            "to": format_time(START_US + 22_000_000),
        }
        self.at["declared_lost"] = log.add(self, "notice", {"what": "declared_lost", "detail": lost})
        ended = {"instance": third.instance, "seq": third.seq - 1, "leaf_hash": third.prev}
        retired = {"producer": last.producer, "last": ended}
        self.at["retirement"] = log.add(self, "retirement", retired)
        self.__dict__.pop("leaves", None)  # known too early, for the head inside the heartbeat

    def _rotation(self, chain: Chain, number: int) -> dict[str, Any]:
        """From key `number` to the next, or a rotation that is none."""
        old, new = self.keys[number], self.keys[number + 1]
        if self.fault == "to-another-name":
            new = Ed25519Signer.from_seed(f"{KEY_NAME}x", fixed.seed("x"))
        if self.fault == "back-to-the-first" and number == 1:
            new = self.keys[0]
        producer = "0" * 64 if self.fault == "of-another-producer" else chain.producer
        text = rotation_text(ORIGIN, producer, new.vkey)
        signers = {"old-twice": (old, old), "new-twice": (new, new)}.get(self.fault, (old, new))
        return {"vkey": new.vkey, "notes": [sign_one(text, signer) for signer in signers]}

    def _start_with(self, chain: Chain, key: Ed25519Signer) -> int:
        text = instance_text(ORIGIN, chain.producer, chain.instance, chain.prev)
        return chain.add(self, "instance", {"note": sign_one(text, key), "software": "auditlog 0.2.0"})

    def _log_chain(self) -> Chain:
        newest = parse_entry(self.entries[self.at["anchor"]])
        return Chain("log", "log", self.leaf(self.at["anchor"]).hex(), newest.seq + 1)

    @property
    def runs(self) -> tuple[tuple[int, int, str, int], ...]:
        """(first, last, name of the instance entry, key) of each batch behind the world's own."""
        at = self.at
        if self.fault == "batch-goes-on":
            return ((at["coverage"], at["after"], "instance_2", 1),)
        return (
            (at["coverage"], at["rotation"], "instance_2", 0),
            (at["after"], at["after"], "instance_2", 0 if self.fault == "old-head" else 1),
            (at["instance_3"], at["rotation_2"], "instance_3", 1),
            (at["redacted"], at["redacted"], "instance_3", 2),
        )

    def later_receipt(self, name: str) -> Receipt:
        """The receipt of an entry of the producer at or behind index 14, with its rotations."""
        index, size = self.at[name], len(self.entries)
        first, last, start, key = next(run for run in self.runs if run[0] <= index <= run[1])
        rotations = [at for at in (self.at["rotation"], self.at["rotation_2"]) if at < index]
        related = [self.at["producer"], *rotations, *([self.at[start]] if self.at[start] != index else [])]
        path = prove_inclusion(self.leaves[first : last + 1], index - first)
        return Receipt(
            entry=self.entries[index],
            proof=TlogProof(index, self.proof(index, size), self.note(size)),
            related=tuple(Related(self.entries[i], i, self.proof(i, size)) for i in related),
            head=ReceiptHead(sign_head(self.head(first, last), self.keys[key]), tuple(path)),
            anchors=(),
        )

    def with_related(self, receipt: Receipt, *names: str) -> Receipt:
        """The receipt with other related entries."""
        size = len(self.entries)
        places = [self.at[name] for name in names]
        related = tuple(Related(self.entries[place], place, self.proof(place, size)) for place in places)
        return replace(receipt, related=related)
