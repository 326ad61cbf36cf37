"""A log to test with: memory stores, steps run by hand, producers that chain, and an audit of the whole.

`TestBench` holds the stores and outlives the log in it, as disks outlive a process: `restart` is a crash and
a start. `audit` rebuilds everything from the stored bundles with code that shares nothing with the engine
but the hash function.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from auditlog.core.entry import Entry, encode_entry, format_time, parse_entry
from auditlog.core.head import Head, sign_head
from auditlog.core.merkle import root_hash
from auditlog.core.note import Ed25519Signer, sign_note
from auditlog.core.statements import instance_text, producer_key_name, producer_text, rotation_text
from auditlog.log import Batch, LogConfig, Stores, create_log, open_log
from auditlog.log.log import Log
from auditlog.log.rollback import SeenTree
from auditlog.log.witnesses import Witnesses
from auditlog.storage.memory import FaultHook
from tests.support.clock import ManualClock
from tests.support.contract import Contract, ContractState, ContractStore, size_of
from tests.support.log_audit import audit

ORIGIN = "log.example.org/test"
SECRET = bytes(range(32))


class ManualWorkers:
    """Workers without threads: steps wait until the test runs them."""

    def __init__(self) -> None:
        self.steps: list[Callable[[], object]] = []
        self.planned: list[tuple[float, Callable[[], object]]] = []

    def soon(self, step: Callable[[], object]) -> None:
        """Keep the step for `run`."""
        self.steps.append(step)

    def later(self, delay_s: float, step: Callable[[], object]) -> None:
        """Keep the step for `run_planned`, or for `run` if it is due already."""
        if delay_s <= 0:
            self.soon(step)
        else:
            self.planned.append((delay_s, step))

    def run(self) -> None:
        """Run what is due soon, and what that plans, until nothing is left."""
        while self.steps:
            self.steps.pop(0)()

    def run_planned(self) -> None:
        """Run what was planned for later, once."""
        planned, self.planned = self.planned, []
        for _, step in planned:
            step()


class MemorySource:
    """A rollback source that keeps the newest checkpoint in memory."""

    name = "memory source"

    def __init__(self, fault: FaultHook | None = None, contract: Contract | None = None) -> None:
        self.note: str | None = None
        self.fault = fault
        self.contract = contract

    def newest(self) -> SeenTree | None:
        """What was recorded last."""
        if self.note is None:
            return None
        lines = self.note.split("\n")
        import base64

        return SeenTree(int(lines[1]), base64.b64decode(lines[2]))

    def record(self, note: str) -> None:
        """Keep the note."""
        from auditlog.storage.memory import Fault, _raise

        if self.contract is not None:
            self.contract.may_show(note, self.name)
        fault = self.fault("record", "outside") if self.fault else None
        with self.contract.write() if self.contract else nullcontext():
            if fault in {None, Fault.STORED} and (self.note is None or size_of(self.note) <= size_of(note)):
                self.note = note
            _raise(fault, "record", "outside")


class FakeProducer:
    """A capturing host as the log sees it: a key, a chain and batches with heads."""

    def __init__(self, name: str, origin: str = ORIGIN, clock: ManualClock | None = None) -> None:
        self.name = name
        self.origin = origin
        self.clock = clock or ManualClock()
        self.signer = Ed25519Signer.from_seed(
            producer_key_name(origin, name), hashlib.sha256(name.encode()).digest()
        )
        self.producer = b""
        self.instance = ""
        self.seq = -1
        self.prev = b""
        self._starts = 0

    @property
    def note(self) -> str:
        """The enrolment note."""
        return sign_note(producer_text(self.origin, self.name), [self.signer])

    def enrolled(self, producer: bytes) -> None:
        """Take the id that the log gave."""
        self.producer = self.prev = producer

    def start(self) -> bytes:
        """Begin a new instance; return its `instance` entry."""
        self._starts += 1
        self.instance = hashlib.sha256(f"{self.name}/{self._starts}".encode()).hexdigest()[:32]
        self.seq = -1
        text = instance_text(self.origin, self.producer.hex(), self.instance, self.prev.hex())
        return self.seal("instance", {"note": sign_note(text, [self.signer]), "software": "test"})

    def seal(self, kind: str, body: dict[str, Any]) -> bytes:
        """The next entry of the chain."""
        self.seq += 1
        entry = encode_entry(
            Entry(
                kind=kind,
                origin=self.origin,
                producer=self.producer.hex(),
                instance=self.instance,
                seq=self.seq,
                prev=self.prev.hex(),
                time=format_time(self.clock.unix_us()),
                body=body,
            )
        )
        self.prev = hashlib.sha256(b"\x00" + entry).digest()
        return entry

    def decide(self, number: int, *, model: str = "unregistered", pad: int = 0) -> bytes:
        """A decision entry."""
        return self.seal("decision", decision_body(number, model=model, pad=pad))

    def batch(self, entries: Sequence[bytes]) -> Batch:
        """A batch of entries this producer sealed one after the other, with its signed head."""
        first, last = parse_entry(entries[0]), parse_entry(entries[-1])
        leaf_hashes = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries]
        head = Head(
            origin=first.origin,
            producer=first.producer,
            instance=first.instance,
            first_seq=first.seq,
            seq=last.seq,
            leaf_hash=leaf_hashes[-1],
            root=root_hash(leaf_hashes),
        )
        return Batch(sign_head(head, self.signer), list(entries))


def decision_body(number: int, *, model: str = "unregistered", pad: int = 0) -> dict[str, Any]:
    """Body of a decision as a capturing host would write it, about 600 bytes and `pad` more."""
    commitment = hashlib.sha256(str(number).encode()).hexdigest()
    fields = {"form": "json", "root": hashlib.sha256(commitment.encode()).hexdigest(), "size": 12}
    milliseconds = ManualClock().unix_us() // 1000
    body: dict[str, Any] = {
        "id": f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7000-8000-{number:012x}",
        "operation": "chat",
        "capture": "asgi",
        "method": "POST",
        "route": "/v1/chat/completions",
        "status": 200,
        "mode": "fail_open",
        "start": format_time(milliseconds * 1000),
        "duration_us": 1234,
        "ended": "ok",
        "model": model,
        "request": {"commitment": commitment, "fields": fields},
        "response": {"commitment": commitment, "fields": fields},
        "values": "kept",
    }
    if pad:
        body["sampling"] = {"pad": "x" * pad}
    return body


def next_key(producer: FakeProducer, turn: int = 1) -> Ed25519Signer:
    """A new key under the producer's key name."""
    return Ed25519Signer.from_seed(producer.signer.name, hashlib.sha256(b"next%d" % turn).digest())


def rotation_body(
    producer: FakeProducer, following: Ed25519Signer, old: Ed25519Signer | None = None
) -> dict[str, Any]:
    """What both keys sign."""
    text = rotation_text(producer.origin, producer.producer.hex(), following.vkey)
    notes = [sign_note(text, [key]) for key in (old or producer.signer, following)]
    return {"vkey": following.vkey, "notes": notes}


@dataclass
class TestBench:
    """Stores that survive restarts, and the log that runs on them."""

    __test__ = False

    visibility: str = "public"
    fault: FaultHook | None = None
    clock: ManualClock = field(default_factory=ManualClock)
    settings: dict[str, Any] = field(default_factory=dict)
    witnesses: Callable[[], Witnesses] | None = None
    """Makes the witnesses of each life."""

    def __post_init__(self) -> None:
        self.signer = Ed25519Signer.from_seed(ORIGIN, bytes(32))
        self.contract = contract = Contract()
        self.public = ContractStore(contract, self._fault_in("public"))
        self.private = ContractStore(contract, self._fault_in("private"))
        self.staging = ContractStore(contract, self._fault_in("staging"))
        self.state = ContractState(contract, self._fault_in("state"))
        self.outside = MemorySource(self._fault_in("outside"), contract)
        contract.watch(self.public, self.private, self.staging, self.state)
        self.workers = ManualWorkers()
        self.log: Log | None = None
        self.acknowledged: dict[int, bytes] = {}
        """Entries that the log acknowledged, by leaf hash order of arrival: they must never be missing."""

    def _fault_in(self, where: str) -> FaultHook:
        return lambda operation, path: self.fault(f"{where}.{operation}", path) if self.fault else None

    @property
    def stores(self) -> Stores:
        """The stores as the engine wants them."""
        return Stores(self.public, self.private, self.staging, self.state)

    @property
    def config(self) -> LogConfig:
        """Settings of the log."""
        return LogConfig(origin=ORIGIN, visibility=self.visibility, receipt_secret=SECRET, **self.settings)

    def create(self) -> Log:
        """Create the log."""
        self.contract.new_life()
        self.workers = ManualWorkers()
        self.log = create_log(self.config, self.stores, self.signer, self.clock, **self._around())
        self.settle()
        return self.log

    def _around(self) -> dict[str, Any]:
        """What a life of the log has beside its stores."""
        witnesses = self.witnesses() if self.witnesses else None
        return {"outside": [self.outside], "engine": self.workers, "witnesses": witnesses}

    def restart(self) -> Log:
        """Forget the running log, as a kill does, and open it again from the stores."""
        self.contract.new_life()
        self.workers = ManualWorkers()
        self.log = open_log(self.config, self.stores, self.signer, self.clock, **self._around())
        self.settle()
        return self.log

    def settle(self) -> None:
        """Run every step that is due now."""
        self.workers.run()

    def publish(self) -> None:
        """Let an interval pass and run what was planned."""
        self.clock.advance(1.0)
        self.workers.run_planned()
        self.settle()

    def wait(self, future: Future[Any]) -> Any:
        """Run steps, then the result."""
        # At the very moment of the acknowledgement: everything it stands on must be so already.
        future.add_done_callback(lambda done: self.contract.resolved(done, self.outside.note))
        self.settle()
        return future.result(timeout=0)

    def enrol(self, name: str) -> FakeProducer:
        """A producer that is enrolled and has not started."""
        assert self.log is not None
        producer = FakeProducer(name, clock=self.clock)
        done = self.wait(self.log.enrol(name, producer.signer.vkey, producer.note))
        producer.enrolled(done.producer)
        return producer

    def started(self, name: str) -> FakeProducer:
        """A producer that is enrolled and whose first instance is in the log."""
        producer = self.enrol(name)
        self.send(producer, [producer.start()])
        return producer

    def send(self, producer: FakeProducer, entries: Sequence[bytes]) -> Any:
        """Submit and wait; note what was acknowledged."""
        assert self.log is not None
        accepted = self.wait(self.log.submit(producer.batch(entries)))
        for entry in entries:
            self.acknowledged[len(self.acknowledged)] = entry
        return accepted

    def audit(self) -> list[bytes]:
        """Check everything the stores hold; return the entries of the published tree."""
        return audit(self)
