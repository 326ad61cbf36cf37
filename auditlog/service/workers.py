"""What runs beside the requests: anchoring. (Sequencing and publishing are threads of the engine itself.)

Promises: one run at a time over all logs, on one thread; an error is counted and logged and the next run
tries again;
a stop waits for the run it interrupts, since a half-sent transaction would only have to be found again.
Must never: stop the service because a chain is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from auditlog.errors import AuditLogError
from auditlog.service.hosting import HostedLog, Hosting, Opener
from auditlog.service.metrics import Metrics

ANCHOR_FAILED = "anchor_failed"


class AnchoringWorker:
    """Gives every log its turn at the chain, every `interval_s`."""

    def __init__(self, opener: Opener, hosting: Hosting, metrics: Metrics, *, interval_s: float) -> None:
        self._opener = opener
        self._hosting = hosting
        self._metrics = metrics
        self._interval_s = interval_s
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
            anchorer.run_once()
        except AuditLogError as error:
            self._metrics.anchor_runs.labels(hosted.name, error.code).inc()
            self._logger.warning(ANCHOR_FAILED, log=hosted.name, problem=error.code, error=str(error))
        except Exception as error:
            self._metrics.anchor_runs.labels(hosted.name, "unexpected").inc()
            self._logger.error(ANCHOR_FAILED, log=hosted.name, exc_info=error)
        else:
            self._metrics.anchor_runs.labels(hosted.name, "ok").inc()
