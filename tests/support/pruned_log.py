"""A log with two producers that was pruned under its own policy, with what it held before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditlog.core.retention import Policy, open_retention, sign_retention
from auditlog.log.log import Log
from tests.support.memory_source import MemorySource
from tests.support.testlog import ORIGIN, FakeProducer, TestBench

DAYS, PASSED_S = 35, 40.0 * 86400
MINIMUM = 512


@dataclass
class PrunedLog:
    """Its stores, its producer, and the public files as they were before."""

    bench: TestBench
    producer: FakeProducer
    before: dict[str, bytes]

    @property
    def log(self) -> Log:
        """The running log."""
        assert self.bench.log is not None
        return self.bench.log

    @property
    def vkey(self) -> str:
        """Its key."""
        return self.bench.signer.vkey

    def files(self) -> dict[str, bytes]:
        """What it serves now."""
        return dict(self.bench.public.objects)

    def source(self, **changes: bytes | None) -> MemorySource:
        """What it serves, with some objects changed (None: withheld)."""
        files = self.files() | {path: data for path, data in changes.items() if data is not None}
        return MemorySource(
            {path: data for path, data in files.items() if changes.get(path, b"") is not None}
        )

    def retold(self, **members: Any) -> bytes:
        """Its retention document, with other members, signed by its key."""
        from dataclasses import replace

        held = open_retention(self.files()["retention"], self.bench.signer.verifier, ORIGIN)
        return sign_retention(replace(held, **members), self.bench.signer).encode()


def aged_log(**settings: Any) -> tuple[TestBench, FakeProducer]:
    """A log with a policy: 760 entries that are old enough to go, and a young batch."""
    bench = TestBench(settings=settings or {"retention": Policy(days=DAYS)})
    log = bench.create()
    producer = bench.started("host")
    for batch in range(3):
        bench.send(producer, [producer.decide(batch * 250 + n) for n in range(250)])
    bench.publish()
    log.retention.begin()
    bench.clock.advance(PASSED_S)
    bench.send(producer, [producer.decide(5000)])
    bench.publish()
    return bench, producer


def pruned_log() -> PrunedLog:
    """The same, pruned."""
    bench, producer = aged_log()
    before = dict(bench.public.objects)
    found = PrunedLog(bench, producer, before)
    assert found.log.retention.prune().minimum == MINIMUM
    return found
