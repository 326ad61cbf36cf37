"""A monitor in a test: a clock to move, a log to change under it, and what it has told so far."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from auditlog.core.anchor import log_id
from auditlog.core.head import Head, sign_head
from auditlog.core.keys import Ed25519Signer
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.core.scalars import format_time
from auditlog.core.signed import sign_one
from auditlog.core.statements import producer_key_name, producer_text
from auditlog.core.trust import Trust
from auditlog.verify.monitor.alarms import CHANNELS
from auditlog.verify.monitor.beside import Beside
from auditlog.verify.monitor.clocks import Limits
from auditlog.verify.monitor.following import Follower
from auditlog.verify.monitor.outbox import Channel, Outbox
from auditlog.verify.monitor.promised import Promised
from auditlog.verify.monitor.prove import Prover
from auditlog.verify.monitor.reading import Readers
from auditlog.verify.monitor.running import Monitor, Watch
from auditlog.verify.monitor.status import LogStatus
from auditlog.verify.monitor.store import Store
from auditlog.verify.sources import LogSource
from auditlog.verify.steps import LogTrust
from tests.support.memory_source import MemorySource
from tests.support.promise_world import Kept, World
from tests.support.tlog_writer import ORIGIN

START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z

MONITOR_KEY = Ed25519Signer.from_seed("monitor/test", b"\x55" * 32)


class Bench:
    """One monitor of one log; `restart` is a new process on the same folder."""

    def __init__(
        self,
        folder: Path,
        trust: Trust,
        source: LogSource,
        *,
        origin: str,
        beside: Beside | None = None,
        promises: Path | None = None,
        channels: dict[str, Channel] | None = None,
        limits: Limits | None = None,
        readers: Readers | None = None,
    ) -> None:
        self.readers = readers
        self.folder, self.trust, self.source, self.origin = folder, trust, source, origin
        self.now_us = START_US
        self.beside, self.promises, self.channels = beside, promises, channels or {}
        self.limits = limits or Limits()
        self.start()

    def start(self) -> None:
        """Open everything on the folder."""
        keys = tuple(log.verifier for log in self.trust.policy.logs if log.verifier.name == self.origin)
        store = Store(self.folder)
        follower = Follower(
            LogTrust(self.origin, keys, self.trust),
            self.source,
            store,
            Prover(self.trust, MONITOR_KEY, lambda: self.now_us),
            clock_us=lambda: self.now_us,
            channels=",".join([CHANNELS, *self.channels]),
            readers=self.readers,
        )
        promised = None if self.promises is None else Promised(self.promises, None)
        watch = Watch(follower, self.beside, promised, limits=self.limits)
        self.monitor = Monitor(store, [watch], Outbox(store, self.channels))

    def restart(self) -> None:
        """Another process."""
        self.monitor.close()
        self.start()

    def look(self, after_s: float = 0) -> LogStatus:
        """One look, some time later."""
        self.now_us += int(after_s * 1_000_000)
        self.monitor.once()
        return self.monitor.statuses[self.origin]

    def lines(self) -> list[dict[str, Any]]:
        """What is in alarms.jsonl."""
        path = self.folder / "alarms.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def words(self) -> list[str]:
        """The alarms told so far, in their order."""
        return [line["alarm"] for line in self.lines()]

    def evidence(self, line: dict[str, Any]) -> bytes:
        """The file of an alarm."""
        return (self.folder / line["file"]).read_bytes()

    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything remembered but clock readings, to compare two monitors."""
        store = self.monitor.store
        return {
            "producer": store.read("SELECT origin, form, id, content FROM producer ORDER BY 1, 2, 3"),
            "instance": store.read("SELECT * FROM instance ORDER BY 1, 2, 3"),
            "alarm": store.read("SELECT key, alarm, line FROM alarm ORDER BY key"),
        }

    def close(self) -> None:
        """Close everything."""
        self.monitor.close()


class HostWorld(World):
    """A log with a host that counts, covers and beats as the capture layer does."""

    def __init__(self, witnesses: int = 2) -> None:
        super().__init__(witnesses)
        self.started = 0
        self.cover()

    def cover(self, **changed: Any) -> None:
        """A coverage entry."""
        route = {"method": "POST", "path": "/decide", "record": "values", "operation": "predict"}
        body = {
            "mode": "fail_open",
            "durability": "local",
            "routes": [route],
            "ports": [8000],
            "workers": 1,
            "version": "test",
            "model": "unregistered",
            "wait_ms": 20,
            "heartbeat_s": 10,
            "others": "record",
        }
        self.write("coverage", body | changed)

    def model(self, root: str = "ab" * 32) -> None:
        """A model entry."""
        self.write(
            "model", {"name": "m", "fingerprint": {"method": "files-sha256@v1", "root": root, "files": 1}}
        )

    def beat(self, seconds: int = 10, **changed: Any) -> None:
        """A heartbeat, so many seconds later."""
        self.now_s += seconds
        counts = dict.fromkeys(("failed", "in_flight", "refused", "deferred", "lost", "late_hangups"), 0)
        counts |= {"started": self.started, "finished": self.started, "recorded": self.started}
        spool = {"entries": 0, "bytes": 0, "oldest_ms": 0}
        self.write("heartbeat", {"interval_s": 10, **counts, "spool": spool} | changed)

    def answer(self, times: int = 1) -> Kept:
        """Decisions, counted; returns the last."""
        for _ in range(times - 1):
            self.decide()
        self.started += times
        return self.decide()

    def head(self, first: int, **changed: Any) -> str:
        """A signed head over the current life's entries from number `first` to the newest."""
        count = self.seq - first + 1
        hashes = [hash_leaf(entry) for entry in self.entries[-count:]]
        members: dict[str, Any] = {
            "origin": ORIGIN,
            "producer": self.identity,
            "instance": self.instance,
            "first_seq": first,
            "seq": self.seq,
            "leaf_hash": hashes[-1],
            "root": root_hash(hashes),
        }
        return sign_head(Head(**(members | changed)), self.key)

    def stop(self) -> None:
        """An orderly end."""
        self.write("notice", {"what": "stopped"})

    def again(self) -> None:
        """A new life counts from nothing."""
        self.restart()
        self.started = 0
        self.cover()

    def enrol(self, name: str, /, **changed: Any) -> str:
        """Another producer."""
        key = Ed25519Signer.from_seed(producer_key_name(ORIGIN, name), name.encode().ljust(32, b"\3"))
        note = sign_one(producer_text(ORIGIN, name), key)
        return self.write_log("producer", {"name": name, "vkey": key.vkey, "note": note} | changed)

    def anchor(self, size: int, root: str | None = None, **changed: Any) -> None:
        """The log says that it anchored its tree of that size."""
        leaves = [hash_leaf(entry) for entry in self.entries[:size]]
        body = {
            "type": "devnet@v0",
            "chain_id": 31337,
            "contract": "0x" + "ab" * 20,
            "log_id": log_id(ORIGIN).hex(),
            "size": size,
            "root": root or root_hash(leaves).hex(),
            "tx": "0x" + "cd" * 32,
            "block_number": 7,
            "block_hash": "0x" + "ef" * 32,
            "block_time": format_time(self.now_s * 1_000_000),
        }
        self.write_log("anchor", body | changed)

    def serve(self, into: MemorySource | None = None, **options: Any) -> MemorySource:
        """Publish, and put what is served now into a source."""
        self.publish()
        source = self.source(**options)
        if into is None:
            return source
        into.files = source.files
        return into


def honest(steps: int = 3) -> HostWorld:
    """An honest host that has worked for a while."""
    world = HostWorld()
    for _ in range(steps):
        world.answer(3)
        world.beat()
    return world


def eventful() -> HostWorld:
    """A log of some tiles in which a lot happens, good and bad."""
    world = honest()
    for number in range(6):
        world.answer(90)
        first = world.seq
        world.answer(2)
        world.beat(head=world.head(first))
        if number == 1:
            world.again()
        if number == 2:
            world.rotate()
            world.model()
        if number == 3:
            world.model("cd" * 32)
            world.anchor(100)
            world.beat(recorded=world.started + 1)
        if number == 4:
            world.entries.append(b"no entry")
            world.enrol("gpu-1")
            world.anchor(200, "ee" * 32)
    return world


def comparable(monitor: Bench) -> dict[str, Any]:
    """What two monitors of one log must agree on: all but the files, which are of the tree looked at."""
    tables = monitor.tables()
    lines = [(key, alarm, json.loads(line)["detail"]) for key, alarm, line in tables["alarm"]]
    status = monitor.monitor.statuses[ORIGIN]
    facts = (status.tree_size, status.entries_size, status.kinds, status.declared, status.facts)
    return {"alarms": lines, "producer": tables["producer"], "instance": tables["instance"], "facts": facts}
