"""A log in memory behind a broker in memory: the feed, a replica, and a pump that runs the engine's steps."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from auditlog.core.batch import encode_batch
from auditlog.ingest.feed import Feed
from auditlog.ingest.published import Published
from auditlog.ingest.replica import Replica
from auditlog.log.config import Layout, Visibility
from auditlog.storage.records import ChainHead
from tests.support.held import held
from tests.support.memory_broker import MemoryBroker
from tests.support.testlog import ORIGIN, FakeProducer, TestBench


class Heads:
    """The state of a bench with the look-ups of a replica."""

    def __init__(self, state: Any) -> None:
        self._state = state

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    def heads_of(self, producers: Sequence[bytes]) -> dict[bytes, ChainHead]:
        """The heads of some."""
        return {each: head for each, head in held(self._state).heads.items() if each in producers}

    def committed_size(self) -> int:
        """The size in the committed note."""
        return int(self._state.read().note.split("\n")[1])


class FedLog:
    """A bench whose log is fed from a broker."""

    def __init__(self, bench: TestBench, broker: MemoryBroker) -> None:
        self.bench = bench
        self.broker = broker
        self.outcomes: Counter[str] = Counter()
        self.is_pumping = True
        self.replica = self.new_replica()

    def new_replica(self, wait_s: float = 0.5) -> Replica:
        """Another replica on the same stores and broker."""
        layout = Layout(self.bench.stores, Visibility(self.bench.visibility))
        return Replica(
            "test",
            ORIGIN,
            Heads(self.bench.state),
            Published(layout, ORIGIN, time.monotonic),
            self.broker,
            wait_s=wait_s,
            monotonic=time.monotonic,
        )

    def feed(self, threads: ThreadPoolExecutor) -> Feed:
        """A feed of the log as it runs now."""
        return Feed(
            self.broker,
            "test",
            lambda batch: self.bench.log.submit(batch),  # type: ignore[union-attr]  # noqa: PLW0108  a later one
            threads=threads,
            monotonic=time.monotonic,
            count=lambda outcome: self.outcomes.update([outcome]),
        )

    async def publish(self, producer: FakeProducer, entries: Sequence[bytes]) -> None:
        """Put a batch into the broker as a replica does."""
        await self.broker.publish("test", framed(producer, entries))

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait for something to be so."""
        deadline = time.monotonic() + 20
        while not reached():
            assert time.monotonic() < deadline, self.outcomes
            await asyncio.sleep(0.002)

    async def pump(self) -> None:
        """Run the engine's steps as its threads would."""
        while True:
            if self.is_pumping:
                self.bench.settle()
            await asyncio.sleep(0.001)


def framed(producer: FakeProducer, entries: Sequence[bytes]) -> bytes:
    """A batch as it is posted."""
    batch = producer.batch(entries)
    return encode_batch(batch.head_note, list(batch.entries))


@asynccontextmanager
async def fed_log(*, is_fed: bool = True) -> AsyncIterator[FedLog]:
    """A created log, fed for the length of the block."""
    bench, broker = TestBench(), MemoryBroker()
    bench.create()
    await broker.start(["test"])
    fed = FedLog(bench, broker)
    with ThreadPoolExecutor(1) as threads:
        tasks = [asyncio.create_task(fed.pump())]
        if is_fed:
            tasks.append(asyncio.create_task(fed.feed(threads).run()))
        try:
            yield fed
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def with_fed_log(work: Callable[[FedLog], Awaitable[None]], *, is_fed: bool = True) -> None:
    """Run `work` on a fed log."""

    async def run() -> None:
        async with fed_log(is_fed=is_fed) as fed:
            await work(fed)

    asyncio.run(run())
