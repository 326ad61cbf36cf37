"""A real log engine under everything that may happen to it: crashes, store faults, producers who restart,
rotate, lose their disks, and producers who cheat.

`BusyLog` runs a list of steps, drawn by hypothesis or at random. The log is always honest; producers whose
name begins with "honest" are too, and every heartbeat and head of theirs is true. What comes out is what an
honest log can hold, and so what no evidence may convict.
"""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Callable
from typing import Any

from auditlog.core.anchor import log_id
from auditlog.core.canonical import encode
from auditlog.core.checkpoint import parse_checkpoint
from auditlog.core.entry import format_time, parse_entry
from auditlog.core.note import Ed25519Signer, sign_note, split_note
from auditlog.core.statements import instance_text
from auditlog.errors import AuditLogError
from auditlog.storage.memory import Fault
from tests.support.clock import ManualClock
from tests.support.log_audit import audit
from tests.support.rotated_world import coverage, heartbeat
from tests.support.testlog import FakeProducer, TestBench, next_key, rotation_body

NAMES = ("honest-0", "honest-1", "cheat-0", "cheat-1")


class BusyLog:
    """A bench, its producers, and what each honest one has counted and signed."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.bench = TestBench()
        self.bench.create()
        self.producers: dict[str, FakeProducer] = {}
        self.heads: list[str] = []
        self.turns = dict.fromkeys(NAMES, 0)
        self._recorded = dict.fromkeys(NAMES, 0)
        self._sent: dict[str, list[Any]] = {name: [] for name in NAMES}
        self._number = 0

    def steps(self) -> dict[str, Callable[[], object]]:
        """Everything that can happen, by name; each draws who and what from the random numbers."""
        return {
            "decide": self._decide,
            "beat": self._beat,
            "restart producer": self._restart_producer,
            "rotate": self._rotate,
            "retire": self._retire,
            "retired by the log": self._retired_by_log,
            "declared lost": self._lost,
            "again": self._again,
            "cheat": self._cheat,
            "clock": self._clock,
            "own notice": self._notice,
            "anchor": self._anchor,
            "crash": self._crash,
            "fault": self._fault,
        }

    def run(self, names: list[str]) -> list[bytes]:
        """Take the steps; the entries of the log at the end, rebuilt from its stores."""
        steps = self.steps()
        for name in names:
            try:
                steps[name]()
            except AuditLogError:
                # Refused, or lost in a fault: both happen, and the log says which.
                self._recover()
        self.bench.fault = None
        self.bench.restart()
        self.bench.publish()
        return audit(self.bench)

    def _recover(self) -> None:
        self.bench.fault = None
        if self.bench.log is None or self.bench.log.fault is not None:
            self.bench.restart()

    def _who(self) -> FakeProducer:
        """A producer, enrolled and started if it is new."""
        name = self.rng.choice(NAMES)
        if name not in self.producers:
            self.producers[name] = self.bench.enrol(name)
            # Its clock is its own, and may be anywhere.
            self.producers[name].clock = ManualClock(1_700_000_000_000_000 + self.rng.randrange(10**12))
            self._send(name, lambda producer: [producer.start()])
        return self.producers[name]

    def _send(self, name: str, make: Callable[[FakeProducer], list[bytes]], *, counts: int = 0) -> None:
        """Seal and send; a batch that is refused was never sealed, one that was lost is sent again."""
        producer = self.producers[name]
        before = copy.copy(producer)
        batch = producer.batch(make(producer))
        if name.startswith("honest"):
            self.heads.append(batch.head_note)
        assert self.bench.log is not None
        for _ in range(3):
            future = self.bench.log.submit(batch)
            self.bench.settle()
            if future.done() and future.exception() is None:
                self._recorded[name] += counts
                self._sent[name].append(batch)
                return
            error = future.exception() if future.done() else None
            self._recover()
            if error is None:
                continue
        self.producers[name] = before

    def _decide(self) -> None:
        producer, count = self._who(), self.rng.randint(1, 3)
        first, self._number = self._number, self._number + count
        self._send(
            producer.name,
            lambda each: [each.decide(first + more) for more in range(count)],
            counts=count,
        )

    def _beat(self) -> None:
        producer = self._who()
        recorded = self._recorded[producer.name]
        if producer.name.startswith("cheat"):
            recorded = self.rng.randrange(9)
        calls = {"started": recorded, "finished": recorded, "failed": 0, "in_flight": 0, "refused": 0}
        body = {**heartbeat(recorded), **calls, "deferred": 0}
        kind, body = self.rng.choice([("heartbeat", body), ("heartbeat", body), ("coverage", coverage())])
        self._send(producer.name, lambda each: [each.seal(kind, body)])

    def _restart_producer(self) -> None:
        producer = self._who()
        lost = {"instance": producer.instance, "after_seq": producer.seq, "count": "unknown"}
        times = {"from": format_time(0), "to": format_time(1)}
        self._send(producer.name, lambda each: [each.start(), each.seal("gap", {**lost, **times})])
        self._recorded[producer.name] = 0

    def _rotate(self) -> None:
        producer = self._who()
        self.turns[producer.name] += 1
        following = next_key(producer, self.turns[producer.name])
        self._send(producer.name, lambda each: [each.seal("rotation", rotation_body(each, following))])
        if self.producers[producer.name] is producer:
            producer.signer = following

    def _retire(self) -> None:
        producer = self._who()
        last = {"instance": producer.instance, "seq": producer.seq, "leaf_hash": producer.prev.hex()}
        self._send(producer.name, lambda each: [each.seal("retirement", {"last": last})])

    def _retired_by_log(self) -> None:
        assert self.bench.log is not None
        self.bench.wait(self.bench.log.retire(self._who().producer))

    def _lost(self) -> None:
        assert self.bench.log is not None
        self.bench.wait(self.bench.log.declare_lost(self._who().producer, None))

    def _again(self) -> None:
        """An old spool is sent again: an answer was lost, or a host came back."""
        name = self._who().name
        if self._sent[name] and self.bench.log is not None:
            self.bench.wait(self.bench.log.submit(self.rng.choice(self._sent[name])))

    def _clock(self) -> None:
        self.bench.clock.advance(self.rng.choice([-86_400.0, 0.5, 3600.0]))
        self.bench.publish()

    def _notice(self) -> None:
        assert self.bench.log is not None
        self.bench.wait(self.bench.log.append_own("notice", {"what": "restored"}))

    def _anchor(self) -> None:
        """The newest published checkpoint is anchored, and the log says so."""
        assert self.bench.log is not None
        tree = parse_checkpoint(split_note(self.bench.log.published())[0])
        body = {
            "type": "devnet@v0",
            "chain_id": 1337,
            "contract": "0x" + "ab" * 20,
            "log_id": log_id(tree.origin).hex(),
            "size": tree.tree_size,
            "root": tree.root_hash.hex(),
            "tx": "0x" + "ab" * 32,
            "block_number": 1,
            "block_hash": "0x" + "ab" * 32,
            "block_time": format_time(0),
        }
        self.bench.wait(self.bench.log.append_own("anchor", body))

    def _crash(self) -> None:
        self.bench.restart()

    def _fault(self) -> None:
        """A store fails once, before or after it has stored."""
        left = [self.rng.randrange(6), self.rng.choice(list(Fault))]

        def fail(_operation: str, _path: str) -> Fault | None:
            left[0] -= 1
            return left[1] if left[0] == 0 else None

        self.bench.fault = fail
        self._decide()
        self.bench.fault = None

    def _cheat(self) -> None:
        """A producer tries what no log takes, or what it takes and no reader likes."""
        self._who()
        cheats = [name for name in self.producers if name.startswith("cheat")]
        if not cheats:
            return
        name = self.rng.choice(cheats)
        self._send(name, self.rng.choice(_CHEATS))


def _skip(producer: FakeProducer) -> list[bytes]:
    producer.seq += 1
    return [producer.decide(1)]


def _branch(producer: FakeProducer) -> list[bytes]:
    producer.prev = bytes(32)
    return [producer.decide(1)]


def _back(producer: FakeProducer) -> list[bytes]:
    producer.seq = 0
    return [producer.decide(1)]


def _foreign(producer: FakeProducer) -> list[bytes]:
    producer.origin = "other.example/log"
    return [producer.decide(1)]


def _stolen(producer: FakeProducer) -> list[bytes]:
    producer.signer = Ed25519Signer.from_seed(producer.signer.name, bytes(32))
    return [producer.decide(1)]


def _forged_start(producer: FakeProducer) -> list[bytes]:
    """A start whose note another key signed, in a batch under the producer's own."""
    other = Ed25519Signer.from_seed(producer.signer.name, bytes(32))
    instance = "ab" * 16
    text = instance_text(producer.origin, producer.producer.hex(), instance, producer.prev.hex())
    producer.instance, producer.seq = instance, -1
    return [producer.seal("instance", {"note": sign_note(text, [other]), "software": "none"})]


def _forged_rotation(producer: FakeProducer) -> list[bytes]:
    other = Ed25519Signer.from_seed(producer.signer.name, bytes(32))
    return [producer.seal("rotation", rotation_body(producer, other, other))]


def _second_start(producer: FakeProducer) -> list[bytes]:
    return [producer.seal("instance", {"note": "none", "software": "none"})]


def _later_version(kind: str) -> Callable[[FakeProducer], list[bytes]]:
    """An entry that this version does not understand: recorded, and without effect."""

    def make(producer: FakeProducer) -> list[bytes]:
        entry = parse_entry(producer.seal(kind, {"anything": 1}))
        value = {name: getattr(entry, name) for name in entry.__slots__}
        data = encode({**value, "v": 2})
        producer.prev = hashlib.sha256(b"\x00" + data).digest()
        return [data]

    return make


def _odd(kind: str) -> Callable[[FakeProducer], list[bytes]]:
    return lambda producer: [producer.seal(kind, {"last": "none", "vkey": 1})]


def _retires_another(producer: FakeProducer) -> list[bytes]:
    last = {"instance": producer.instance, "seq": producer.seq, "leaf_hash": producer.prev.hex()}
    return [producer.seal("retirement", {"last": last, "producer": "ab" * 32})]


_CHEATS: tuple[Callable[[FakeProducer], list[bytes]], ...] = (
    _skip,
    _branch,
    _back,
    _foreign,
    _stolen,
    _forged_start,
    _forged_rotation,
    _second_start,
    _retires_another,
    *(_later_version(kind) for kind in ("rotation", "retirement", "decision", "heartbeat")),
    *(_odd(kind) for kind in ("rotation", "retirement", "decision", "heartbeat", "gap", "coverage")),
)
