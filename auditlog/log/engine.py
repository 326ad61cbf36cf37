"""The engine: a few threads that do the work of many logs.

Spec: design section 6, "Several logs". Steps of one log exclude each other by their own locks, so any thread
may run any step. One more thread keeps the time for what is planned for later. Must never: be made at
import, or hold a step back because another log is slow, as long as a thread is free.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

logger = logging.getLogger("auditlog.log")

Step = Callable[[], object]


class Workers(Protocol):
    """What runs the steps of a log."""

    def soon(self, step: Step) -> None:
        """Run the step as soon as a thread is free. After `close`: nothing."""

    def later(self, delay_s: float, step: Step) -> None:
        """Run the step after that many seconds. After `close`: nothing."""


class Engine:
    """Workers on real threads and real time."""

    def __init__(self, threads: int = 4) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="auditlog")
        self._due: list[tuple[float, int, Step]] = []
        self._order = itertools.count()
        self._wake = threading.Condition()
        self._closed = False
        self._timer = threading.Thread(target=self._keep_time, name="auditlog-time", daemon=True)
        self._timer.start()

    def soon(self, step: Step) -> None:
        """Run the step as soon as a thread is free."""
        with self._wake:
            if not self._closed:
                self._pool.submit(_guarded, step)

    def later(self, delay_s: float, step: Step) -> None:
        """Run the step after that many seconds."""
        if delay_s <= 0:
            self.soon(step)
            return
        with self._wake:
            heapq.heappush(self._due, (time.monotonic() + delay_s, next(self._order), step))
            self._wake.notify()

    def close(self) -> None:
        """Finish the steps that run and forget those that are planned. Close the logs first."""
        with self._wake:
            self._closed = True
            self._due.clear()
            self._wake.notify()
        self._timer.join()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _keep_time(self) -> None:
        with self._wake:
            while not self._closed:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    self._pool.submit(_guarded, heapq.heappop(self._due)[2])
                else:
                    self._wake.wait(wait)


def _guarded(step: Step) -> None:
    """A step that fails for a reason nobody foresaw must be seen: the executor would swallow it."""
    try:
        step()
    except Exception:
        logger.exception("a step of the engine failed")
