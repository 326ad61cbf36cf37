"""How much the service takes in at once: a budget of bytes, and the threads that decode and admit batches.

Spec: auditlog/spec/api.md, "Limits and overload". Promises: over the budget, or over its log's share of it, a
request is refused (Pushback: 503 with Retry-After) before its body is read, so a log that is flooded leaves
room for the others; nothing acknowledged depends on this module. What may be
written into a log is decided by `auditlog.log`, not here. Must never: block the event loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from auditlog.errors import Pushback

Result = TypeVar("Result")
ADMISSION_THREADS = 2
"""Decoding holds the interpreter lock; more threads would only take turns."""


class Gate:
    """Counts the bytes of batches that are being read or wait for their commit.
    Used from the event loop only.
    """

    def __init__(self, *, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._is_closed = False
        self._answers: _Answers | None = None
        self.waiting_bytes = 0
        self._of_log: Counter[str] = Counter()

    @contextmanager
    def room_for(self, size: int, log: str, share: int | None = None) -> Iterator[None]:
        """Hold `size` bytes of the budget for a log that may have `share` of it (None: all).

        A log that holds nothing gets in whatever its share: else a batch larger than that never would.

        Raises:
            Pushback: they are not there.
        """
        held = self._of_log[log]
        if self.waiting_bytes + size > self._budget:
            raise Pushback(
                f"expected at most {self._budget} bytes waiting, found {self.waiting_bytes} and {size} more"
            )
        if share is not None and held and held + size > share:
            raise Pushback(
                f"expected at most {share} bytes waiting for one log, found {held} and {size} more"
            )
        self.waiting_bytes += size
        self._of_log[log] += size
        try:
            yield
        finally:
            self.waiting_bytes -= size
            self._of_log[log] -= size
            if not self._of_log[log]:
                del self._of_log[log]

    async def run(self, admit: Callable[[], Future[Result]]) -> Result:
        """Call `admit` on an admission thread, then wait for its future without holding a thread.

        A cancelled wait (a forced stop) never cancels the future: the engine owns it, and resolves it later.
        """
        if self._is_closed:
            raise RuntimeError("expected an open gate, found one that was closed")
        loop = asyncio.get_running_loop()
        answers = self._answers
        if answers is None or answers.loop is not loop:
            answers = self._answers = _Answers(loop)
            self._start()
        waiting: asyncio.Future[Any] = loop.create_future()

        def work() -> None:
            try:
                future = admit()
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
                future = Future()
                future.set_exception(error)
            future.add_done_callback(lambda done: answers.put(waiting, done))

        self._queue.put(work)
        result: Result = await waiting
        return result

    def _start(self) -> None:
        while len(self._threads) < ADMISSION_THREADS:
            name = f"auditlog-admission_{len(self._threads)}"
            self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
            self._threads[-1].start()

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            work()
            del work  # it holds a batch: not until the next one comes

    def close(self) -> None:
        """Stop the threads after what they have been given. Twice is once."""
        self._is_closed = True
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()


class _Answers:
    """Results on their way to an event loop: those that come together wake it once.

    A commit resolves the futures of all its batches in a row; a wake-up for each would cost more than the
    batch of one entry that waits for it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._done: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._is_called = False

    def put(self, waiting: asyncio.Future[Any], done: Future[Any]) -> None:
        """Hand over a result; from any thread."""
        self._done.append((waiting, done))
        if not self._is_called:
            self._is_called = True
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self.loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        # Before looking: who adds something from here on calls again.
        self._is_called = False
        while self._done:
            waiting, done = self._done.popleft()
            if waiting.done():
                continue  # given up
            error = done.exception()
            if error is None:
                waiting.set_result(done.result())
            else:
                waiting.set_exception(error)
