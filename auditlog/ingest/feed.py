"""The feed: takes the batches of one log from the broker to the running log, in order, and acknowledges them
to the broker after their commit.

Spec: auditlog/spec/api.md, "Several processes". Every batch goes through `Log.submit` like one that came over
HTTP: what a replica checked is checked again, since a broker is not a place to trust. A batch that cannot be
true is dropped, counted and logged, and never holds up the ones behind it. One that begins above the head
waits a bounded time for what comes before it. Dying anywhere loses nothing: what was not committed is
delivered again, what was is skipped as an equal prefix. Must never: tell the broker `done` before the commit.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor, Future

from auditlog.core.batch import decode_batch
from auditlog.errors import (
    AuditLogError,
    BrokerError,
    ChainConflictError,
    EvidenceError,
    LogHalted,
    MalformedError,
    Pushback,
    SubmissionRefused,
)
from auditlog.ingest.ports import Broker, Consumer, Delivery
from auditlog.log.admission import Accepted, Batch

logger = logging.getLogger("auditlog.ingest")

MOST = 64
"""Deliveries that are submitted in one go on the admission thread."""
PREDECESSOR_WAIT_S = 2.0
AGAIN_S = 0.25
HALTED_S = 1.0
_GAPS = 4096

Submit = Callable[[Batch], "Future[Accepted]"]
Count = Callable[[str], None]


class Feed:
    """Feeds one log. `run` until cancelled."""

    def __init__(
        self,
        broker: Broker,
        log: str,
        submit: Submit,
        *,
        threads: Executor,
        monotonic: Callable[[], float],
        count: Count = lambda _: None,
    ) -> None:
        """`count` is told what became of each delivery: `committed`, or why it was dropped or put off."""
        self._broker = broker
        self._log = log
        self._submit = submit
        self._threads = threads
        self._monotonic = monotonic
        self._count = count
        self._gaps: OrderedDict[int, float] = OrderedDict()
        """When a position was first seen above its head."""
        self._settling: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Consume until cancelled; a broker that is away is asked again."""
        while True:
            consumer: Consumer | None = None
            try:
                consumer = await self._broker.consume(self._log)
                self._gaps.clear()  # a queue that was made again counts its positions anew
                while True:
                    await self._take(await consumer.next(MOST))
            except BrokerError as error:
                logger.warning("%s: no deliveries, asking again: %s", self._log, error)
                await asyncio.sleep(HALTED_S)
            finally:
                if consumer is not None:
                    await consumer.close()

    async def settle(self) -> None:
        """Wait for what was submitted, after `run` has ended: a stop that leaves little to do twice."""
        if self._settling:
            await asyncio.wait(self._settling)

    async def _take(self, deliveries: list[Delivery]) -> None:
        loop = asyncio.get_running_loop()
        while deliveries:
            outcomes = await loop.run_in_executor(self._threads, self._submit_all, deliveries)
            for delivery, outcome in zip(deliveries, outcomes, strict=False):
                if isinstance(outcome, Future):
                    task = asyncio.create_task(self._finish(delivery, outcome))
                    self._settling.add(task)
                    task.add_done_callback(self._settling.discard)
                else:
                    await self._refused(delivery, outcome)
            deliveries = deliveries[len(outcomes) :]
            if deliveries:
                # The pool is full: the rest waits here, in order, and the broker delivers no more meanwhile.
                self._count("pushback")
                await asyncio.sleep(AGAIN_S)

    def _submit_all(self, deliveries: list[Delivery]) -> list[Future[Accepted] | AuditLogError]:
        """On the admission thread, in order, up to the first that the log cannot take now."""
        outcomes: list[Future[Accepted] | AuditLogError] = []
        for delivery in deliveries:
            try:
                head_note, entries = decode_batch(delivery.data)
                outcomes.append(self._submit(Batch(head_note, entries)))
            except Pushback:
                break
            except AuditLogError as error:
                outcomes.append(error)
            except Exception:
                # A fault of ours that one batch brings out must not keep the ones behind it waiting for ever.
                logger.exception("%s: batch %d could not be looked at", self._log, delivery.position)
                outcomes.append(MalformedError("expected a batch that can be checked, found one that cannot"))
        return outcomes

    async def _finish(self, delivery: Delivery, future: Future[Accepted]) -> None:
        try:
            await asyncio.wrap_future(future)
        except (Pushback, LogHalted) as error:
            # Nothing was committed, or nobody knows: delivered again, it is skipped or committed then.
            self._count(error.code)
            await delivery.later(AGAIN_S if isinstance(error, Pushback) else HALTED_S)
        except AuditLogError as error:
            await self._refused(delivery, error)
        else:
            self._gaps.pop(delivery.position, None)
            self._count("committed")
            await delivery.done()

    async def _refused(self, delivery: Delivery, error: AuditLogError) -> None:
        if isinstance(error, ChainConflictError) and error.may_follow and self._waits(delivery.position):
            self._count("early")
            await delivery.later(AGAIN_S)
        elif isinstance(error, SubmissionRefused | EvidenceError):
            self._gaps.pop(delivery.position, None)
            self._count(error.code)
            logger.warning("%s: dropped batch %d: %s", self._log, delivery.position, error)
            await delivery.done()
        else:
            self._count(error.code)
            await delivery.later(HALTED_S)

    def _waits(self, position: int) -> bool:
        """Whether a batch above its head still has time for what comes before it."""
        now = self._monotonic()
        since = self._gaps.setdefault(position, now)
        while len(self._gaps) > _GAPS:
            self._gaps.popitem(last=False)
        return now - since < PREDECESSOR_WAIT_S
