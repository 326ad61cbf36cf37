"""How much the service takes in at once: a budget of bytes, and the threads that decode and admit batches.

Spec: auditlog/spec/api.md, "Limits and overload". Promises: over the budget, or over its log's share of it, a
request is refused (Pushback: 503 with Retry-After) before its body is read, so a log that is flooded leaves
room for the others; nothing acknowledged depends on this module. What may be
written into a log is decided by `auditlog.log`, not here. Must never: block the event loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

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
        self._threads = ThreadPoolExecutor(ADMISSION_THREADS, thread_name_prefix="auditlog-admission")
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
        loop = asyncio.get_running_loop()
        future = await loop.run_in_executor(self._threads, admit)
        return await asyncio.shield(asyncio.wrap_future(future))

    def close(self) -> None:
        """Stop the threads after what they are doing."""
        self._threads.shutdown(wait=True)
