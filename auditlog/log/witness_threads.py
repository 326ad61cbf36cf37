"""The threads on which witnesses are asked, for all logs of a process together.

Two kinds, so that neither waits for itself: a gatherer waits for the answers of one log's witnesses, an asker
talks to one witness. Both are taken in the order of asking, and a log has one gathering at a time: many logs,
or one whose witnesses hang, take turns and no more threads. Must never: be made at import.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
GATHERERS = 4
ASKERS = 12
"""Enough for the witnesses of a few logs at once; more are started only for a log that has more."""


class WitnessThreads:
    """A bounded number of threads. `close` when no log uses them any more."""

    def __init__(self, *, gatherers: int = GATHERERS, askers: int = ASKERS) -> None:
        """`askers`: at least as many as the log with the most witnesses has."""
        self._gathering = ThreadPoolExecutor(gatherers, thread_name_prefix="auditlog-gather")
        self._asking = ThreadPoolExecutor(askers, thread_name_prefix="auditlog-witness")

    def gather(self, step: Callable[[], object]) -> None:
        """Run a step that waits for askers. After `close`: nothing."""
        try:
            self._gathering.submit(step)
        except RuntimeError:
            return

    def ask(self, call: Callable[..., T], *arguments: object) -> Future[T]:
        """Run one exchange; cancelled if `close` came first."""
        try:
            return self._asking.submit(call, *arguments)
        except RuntimeError:
            closed: Future[T] = Future()
            closed.cancel()
            return closed

    def close(self) -> None:
        """Let go of the threads; exchanges under way end by their own time-out."""
        self._gathering.shutdown(wait=False, cancel_futures=True)
        self._asking.shutdown(wait=False, cancel_futures=True)
