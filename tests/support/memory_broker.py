"""A broker in memory that a test can make forget, repeat and delay; and the contract every broker keeps."""

from __future__ import annotations

import asyncio
from collections import deque

from auditlog.errors import BrokerError, Pushback
from auditlog.ingest.ports import AWAY, NO_QUEUE, Consumer, Delivery


class MemoryBroker:
    """Keeps batches until they are done. `room` bounds what waits in one log. A queue that `lose` took is
    made again while `can_make`.
    """

    def __init__(self, *, room: int = 1000) -> None:
        self.room = room
        self.is_connected = True
        self.can_make = True
        self.kept: dict[str, dict[int, bytes]] = {}
        self.consumers: dict[str, MemoryConsumer] = {}
        self._positions = 0

    async def start(self, logs: list[str]) -> None:
        """Make the queues."""
        for log in logs:
            self.kept.setdefault(log, {})

    def fault(self, log: str) -> str | None:
        """What a test has done to it."""
        if not self.is_connected:
            return AWAY
        return None if log in self.kept or self.can_make else NO_QUEUE

    def lose(self, log: str) -> None:
        """The queue is gone with all that it held; positions begin anew."""
        del self.kept[log]
        self._positions = 0
        if log in self.consumers:
            self.consumers.pop(log).end()

    def _mend(self, log: str) -> None:
        if log not in self.kept:
            if not self.can_make:
                raise BrokerError("expected a queue, found none")
            self.kept[log] = {}

    async def publish(self, log: str, batch: bytes) -> int:
        """Keep it, and hand it to whoever consumes."""
        if not self.is_connected:
            raise BrokerError("expected a broker, found it away")
        self._mend(log)
        if len(self.kept[log]) >= self.room:
            raise Pushback("expected room, found none", retry_after_s=2)
        self._positions += 1
        self.kept[log][self._positions] = batch
        if log in self.consumers:
            self.consumers[log].offer(self._positions)
        return self._positions

    async def consume(self, log: str) -> Consumer:
        """Begin anew."""
        self._mend(log)
        if log in self.consumers:
            self.consumers[log].end()
        consumer = self.consumers[log] = MemoryConsumer(self.kept[log])
        return consumer

    async def close(self) -> None:
        """Nothing is held."""


class MemoryConsumer:
    """The deliveries of one log."""

    def __init__(self, kept: dict[int, bytes]) -> None:
        self._kept = kept
        self._due: deque[int] = deque(sorted(kept))
        self._wake = asyncio.Event()
        self._is_over = False

    def offer(self, position: int) -> None:
        """Deliver this one."""
        self._due.append(position)
        self._wake.set()

    def end(self) -> None:
        """Another took the place."""
        self._is_over = True
        self._wake.set()

    async def next(self, most: int) -> list[Delivery]:
        """Wait for deliveries."""
        while True:
            if self._is_over:
                raise BrokerError("expected to be the consumer, found another")
            found = [each for each in self._due if each in self._kept][:most]
            for each in found:
                self._due.remove(each)
            if found:
                return [MemoryDelivery(self, self._kept, each) for each in found]
            self._wake.clear()
            await self._wake.wait()

    async def close(self) -> None:
        """Nothing is held."""


class MemoryDelivery:
    """One delivery."""

    def __init__(self, consumer: MemoryConsumer, kept: dict[int, bytes], position: int) -> None:
        self._consumer = consumer
        self._kept = kept
        self.position = position
        self.data = kept[position]

    async def done(self) -> None:
        """Forget it."""
        self._kept.pop(self.position, None)

    async def later(self, delay_s: float) -> None:
        """Offer it again."""
        asyncio.get_running_loop().call_later(delay_s / 100, self._consumer.offer, self.position)


async def keeps_the_contract(broker: MemoryBroker | object, log: str) -> None:
    """What every broker promises; it must be started and the queue of `log` empty."""
    publish, consume = broker.publish, broker.consume  # type: ignore[union-attr]
    positions = [await publish(log, data) for data in (b"a", b"b", b"a")]
    assert positions == sorted(set(positions)), "the same bytes again are a second batch, behind the first"
    first = await consume(log)
    delivered = await take(first, 3)
    assert [(each.position, each.data) for each in delivered] == list(
        zip(positions, (b"a", b"b", b"a"), strict=True)
    )
    await delivered[0].done()
    await delivered[1].later(0.1)
    assert [each.data for each in await take(first, 1)] == [b"b"], "given up for a while, it comes again"
    second = await consume(log)
    again = await take(second, 2)
    assert [each.data for each in again] == [b"b", b"a"], "what is not done goes to whoever consumes next"
    await publish(log, b"c")
    assert [each.data for each in await take(second, 1)] == [b"c"]
    try:
        while True:
            await asyncio.wait_for(first.next(1), 10)
    except BrokerError:
        pass
    for each in again:
        await each.done()


async def take(consumer: Consumer, count: int) -> list[Delivery]:
    """So many deliveries."""
    found: list[Delivery] = []
    while len(found) < count:
        found += await asyncio.wait_for(consumer.next(count - len(found)), 10)
    return found
