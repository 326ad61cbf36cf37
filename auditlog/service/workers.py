"""What runs beside the requests: anchoring. (Sequencing and publishing are threads of the engine itself.)

Promises: one run at a time over all logs, on one thread; an error is counted and logged and the next run
tries again; an anchor that does not become final shows as a metric, and once as a warning; a stop waits
for the run it interrupts, since a half-sent transaction would only have to be found again. Must never:
stop the service because a chain is away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from auditlog.anchoring.scheduler import State, Turn
from auditlog.errors import AuditLogError
from auditlog.service.hosting import HostedLog, Hosting, Opener
from auditlog.service.metrics import Metrics

ANCHORED = "anchored"
ANCHOR_FAILED = "anchor_failed"
ANCHOR_STALLED = "anchor_stalled"


class AnchoringWorker:
    """Gives every log its turn at the chain, every `interval_s`."""

    def __init__(
        self,
        opener: Opener,
        hosting: Hosting,
        metrics: Metrics,
        *,
        interval_s: float,
        stalled_after_s: float,
    ) -> None:
        self._opener = opener
        self._hosting = hosting
        self._metrics = metrics
        self._interval_s = interval_s
        self._stalled_after_s = stalled_after_s
        self._since: dict[str, float] = {}
        """By log: when the wait for the anchor now due began, on the monotonic clock."""
        self._told: set[str] = set()
        """Logs whose stall was told: once is enough, the metric goes on."""
        self._stopping = asyncio.Event()
        self._logger: structlog.typing.FilteringBoundLogger = structlog.get_logger("auditlog.service")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run until the block ends, then wait for the run in progress."""
        task = asyncio.create_task(self._run(), name="auditlog-anchoring")
        try:
            yield
        finally:
            self._stopping.set()
            await task

    async def _run(self) -> None:
        """Turns, with a rest between that a stop cuts short."""
        while not self._stopping.is_set():
            for hosted in self._hosting.all():
                if self._stopping.is_set():
                    return
                await asyncio.to_thread(self._anchor, hosted)
            try:
                await asyncio.wait_for(self._stopping.wait(), self._interval_s)
            except TimeoutError:
                continue

    def _anchor(self, hosted: HostedLog) -> None:
        """One turn of one log. The first builds the ledger, which takes a second or two for the devnet."""
        if hosted.fault is not None:
            return
        try:
            anchorer = self._opener.anchorer(hosted.log)
            if anchorer is None:
                return
            turn = anchorer.run_once()
        except AuditLogError as error:
            self._metrics.anchor_runs.labels(hosted.name, error.code).inc()
            self._logger.warning(ANCHOR_FAILED, log=hosted.name, problem=error.code, error=str(error))
            self._wait(hosted.name, 0.0)
        except Exception as error:
            self._metrics.anchor_runs.labels(hosted.name, "unexpected").inc()
            self._logger.error(ANCHOR_FAILED, log=hosted.name, exc_info=error)
            self._wait(hosted.name, 0.0)
        else:
            self._metrics.anchor_runs.labels(hosted.name, "ok").inc()
            self._follow(hosted.name, turn)

    def _follow(self, name: str, turn: Turn) -> None:
        """Say what a turn came to."""
        if turn.state is State.WAITING:
            self._wait(name, turn.waited_s)
            return
        self._since.pop(name, None)
        self._told.discard(name)
        self._metrics.anchor_waiting.labels(name).set(0)
        if turn.state is State.ANCHORED:
            self._logger.info(ANCHORED, log=name, size=turn.size, waited_s=round(turn.waited_s, 3))

    def _wait(self, name: str, known_s: float) -> None:
        """Nothing final yet. A wait goes on through failed turns, and through a restart by `known_s`."""
        now = time.monotonic()
        since = self._since[name] = min(self._since.get(name, now), now - known_s)
        self._metrics.anchor_waiting.labels(name).set(now - since)
        if now - since >= self._stalled_after_s and name not in self._told:
            self._told.add(name)
            self._logger.warning(ANCHOR_STALLED, log=name, waited_s=round(now - since, 3))
