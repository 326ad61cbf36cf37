"""Who sequences the logs of a database: the lease of this process, and the feeds while it holds it.

Spec: auditlog/spec/api.md, "Several processes". One process on SQLite needs none of it (a lock on its folder
keeps a second one out). On PostgreSQL the one process of role `all` takes the lease at its start, and refuses
to start while another renews it. A `sequencer` stands by, opens its logs when the lease is its own, and feeds
them from the broker. Whoever finds the lease taken stops: its supervisor starts it again, to stand by. The
lease is liveness only; two that hold it at once harm nothing but their speed (`log.sequencer`). Must never:
open a log without the lease, or give it back before the logs are closed.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import structlog

from auditlog.errors import ConfigurationError, LeaseLost, StorageError
from auditlog.ingest.election import LOOK_S, RENEW_S, TTL_S, Candidate
from auditlog.ingest.feed import Feed
from auditlog.ingest.ports import Broker
from auditlog.service.brokers import broker_of
from auditlog.service.hosting import Hosting, Opener
from auditlog.service.metrics import Metrics
from auditlog.service.settings import Settings
from auditlog.storage.leases import Leases

STANDING_BY = "standing_by"
TOOK_LEASE = "took_lease"
LOST_LEASE = "lost_lease"
LEASE_NOT_ASKED = "lease_not_asked"
PATIENCE_S = TTL_S + 3.0
Stop = Callable[[Exception], None]


def holder_name() -> str:
    """This process, for people, and unlike any other."""
    return f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"


class Seat:
    """The lease of this process. Used from one event loop."""

    def __init__(self, leases: Leases, name: str) -> None:
        self._candidate = Candidate(
            leases,
            name,
            holder_name(),
            monotonic=time.monotonic,
            unix_us=lambda: time.time_ns() // 1000,
        )
        self._logger: structlog.typing.FilteringBoundLogger = structlog.get_logger("auditlog.service")

    @property
    def is_held(self) -> bool:
        """Whether the lease is ours, as far as we know."""
        return self._candidate.is_holder

    async def take(self, patience_s: float = PATIENCE_S) -> None:
        """Take the lease for a process that has to have it.

        Raises:
            ConfigurationError: another process renews it. StorageError.
        """
        until = time.monotonic() + patience_s
        while not await asyncio.to_thread(self._candidate.step):
            if time.monotonic() > until:
                other = self._candidate.other
                raise ConfigurationError(
                    "expected to be the only process that sequences the logs of this database, found "
                    f"{'another' if other is None else other.holder} (host:process), which is running; stop "
                    'that one first, or run several with ingest.mode = "nats", or give services with other '
                    "logs another name in ingest.lease. Nothing was signed"
                )
            await asyncio.sleep(LOOK_S)
        self._logger.info(TOOK_LEASE)

    async def wait(self) -> None:
        """Stand by until the lease is ours, through any outage of the database."""
        self._logger.info(STANDING_BY)
        while not await self._step():  # noqa: ASYNC110  the event is a row in a database
            await asyncio.sleep(LOOK_S)
        self._logger.info(TOOK_LEASE)

    @asynccontextmanager
    async def kept(self, on_lost: Stop) -> AsyncIterator[None]:
        """Renew until the block ends, then give it back. `on_lost` is told once if another has taken it."""
        task = asyncio.create_task(self._keep(on_lost), name="auditlog-lease")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            try:
                await asyncio.to_thread(self._candidate.give_back)
            except StorageError as error:
                self._logger.warning(LEASE_NOT_ASKED, error=str(error))

    async def _keep(self, on_lost: Stop) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            if not await self._step():
                error = LeaseLost(
                    "expected to hold the lease, found that another process took it while this one was "
                    "away; this one stops, and may be started again"
                )
                self._logger.error(LOST_LEASE, error=str(error))
                on_lost(error)
                return

    async def _step(self) -> bool:
        """One step; an outage changes nothing about who holds it."""
        try:
            return await asyncio.to_thread(self._candidate.step)
        except StorageError as error:
            self._logger.warning(LEASE_NOT_ASKED, error=str(error))
            return self._candidate.is_holder


class Sequencing:
    """The work of a `sequencer`: stand by, open, feed; all of it undone in reverse when it is cancelled."""

    def __init__(self, seat: Seat, hosting: Hosting, broker: Broker, metrics: Metrics, stop: Stop) -> None:
        self._seat = seat
        self._hosting = hosting
        self._broker = broker
        self._metrics = metrics
        self._stop = stop

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work in the background until the block ends."""
        task = asyncio.create_task(self._run(), name="auditlog-sequencing")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            await self._seat.wait()
            async with self._seat.kept(self._stop):
                try:
                    await _to_the_end(self._hosting.start)
                    await self._feed()
                finally:
                    await _to_the_end(self._hosting.close_logs)
        except Exception as error:  # noqa: BLE001  whatever it is, a process that cannot sequence makes room
            self._stop(error)

    async def _feed(self) -> None:
        """Feed every log until cancelled; then wait for what was submitted."""
        threads = ThreadPoolExecutor(1, thread_name_prefix="auditlog-feed")
        feeds = [
            Feed(
                self._broker,
                hosted.name,
                hosted.log.submit,
                threads=threads,
                monotonic=time.monotonic,
                count=self._counter(hosted.name),
            )
            for hosted in self._hosting.all()
            if hosted.fault is None
        ]
        tasks = [asyncio.create_task(feed.run()) for feed in feeds]
        try:
            await asyncio.gather(*tasks)
            await asyncio.Event().wait()  # no logs: hold the lease all the same
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*(feed.settle() for feed in feeds))
            threads.shutdown(wait=False)

    def _counter(self, log: str) -> Callable[[str], None]:
        return lambda outcome: self._metrics.fed.labels(log, outcome).inc()


async def _to_the_end(step: Callable[[], None]) -> None:
    """Run in a thread; a cancellation waits for it, since a log that is half open cannot be closed."""
    work = asyncio.ensure_future(asyncio.to_thread(step))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


@asynccontextmanager
async def opened(
    settings: Settings, engines: Opener, hosting: Hosting, metrics: Metrics, stop: Stop
) -> AsyncIterator[None]:
    """The logs, open or standing by for the length of the block, as the role of this process has it.

    Raises:
        AuditLogError: they cannot be opened. ConfigurationError: another process sequences them, or the
        broker is not set up so that it keeps what it accepts. BrokerError: it is away.
    """
    leases = engines.leases()
    if settings.ingest.role == "sequencer":
        assert leases is not None, "settings_ingest asks for PostgreSQL"
        broker = broker_of(settings)
        try:
            hosting.stand_by()
            await broker.start([each.name for each in hosting.known()])
            seat = Seat(leases, settings.ingest.lease)
            async with Sequencing(seat, hosting, broker, metrics, stop).running():
                yield
        finally:
            await broker.close()
    elif leases is None:
        await asyncio.to_thread(hosting.start)
        yield
    else:
        seat = Seat(leases, settings.ingest.lease)
        await seat.take()
        async with seat.kept(stop):
            try:
                await asyncio.to_thread(hosting.start)
                yield
            finally:
                await asyncio.to_thread(hosting.close_logs)
