"""Waiting for a decision to be durable and promised, without blocking the event loop (spec/promise.md).

The writer settles a whole group at once and wakes each event loop once for it, however many of its requests
wait. Who stopped waiting (time-out, cancelled) is settled all the same: the promise that came too late for
the answer is posted to the log instead. Must never: block, raise anything but CancelledError, or leave a
waiter that nobody will settle.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from auditlog.capture.observation import Observation, Settled

if TYPE_CHECKING:
    from auditlog.capture.recorder import Recorder

LOST = Settled(None, is_durable=False)


class Waiter:
    """One decision that a coroutine waits for."""

    __slots__ = ("_future", "_on_late", "loop", "since_s")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_late: Callable[[Settled], None]) -> None:
        """`on_late` is told what nobody waited for any more, from the loop's or the writer's thread."""
        self.loop = loop
        self.since_s = time.monotonic()
        self._future: asyncio.Future[Settled | None] = loop.create_future()
        self._on_late = on_late

    def __await__(self) -> Generator[Any, None, Settled | None]:
        return self._future.__await__()

    def give_up(self) -> None:
        """Stop waiting: the answer is None. In the loop's thread."""
        if not self._future.done():
            self._future.set_result(None)

    def settle(self, settled: Settled) -> None:
        """Give the answer. In the loop's thread."""
        if self._future.done():
            self.came_late(settled)
        else:
            self._future.set_result(settled)

    def came_late(self, settled: Settled) -> None:
        """Nobody waits here any more."""
        self._on_late(settled)


class ThreadWaiter(Waiter):
    """One decision that a thread waits for, or a coroutine on whatever event loop. Nobody is told what came
    late: in process there is no caller with whom a promise travels.
    """

    __slots__ = ("_answer",)

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.since_s = time.monotonic()
        self._answer: Future[Settled] = Future()

    def settle(self, settled: Settled) -> None:
        """Give the answer, from any thread."""
        if self._answer.set_running_or_notify_cancel():
            self._answer.set_result(settled)

    def wait(self, within_s: float) -> Settled | None:
        """Block this thread until it is settled; None if that took longer."""
        try:
            return self._answer.result(within_s)
        except TimeoutError:
            return None

    async def wait_here(self, within_s: float) -> Settled | None:
        """The same without blocking an event loop of asyncio's; another one is blocked."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self.wait(within_s)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self._answer), within_s)
        except TimeoutError:
            return None


def settle_all(answers: Iterable[tuple[Waiter, Settled]]) -> None:
    """Settle from any thread: one wake-up for each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Waiter, Settled]]] = {}
    for waiter, settled in answers:
        if isinstance(waiter, ThreadWaiter):
            waiter.settle(settled)
            continue
        by_loop.setdefault(waiter.loop, []).append((waiter, settled))
    for loop, those in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, those)
        except RuntimeError:  # the loop is closed, and whoever waited in it is gone
            for waiter, settled in those:
                waiter.came_late(settled)


def _settle(answers: list[tuple[Waiter, Settled]]) -> None:
    for waiter, settled in answers:
        waiter.settle(settled)


async def record_and_wait(
    recorder: Recorder, observation: Observation, *, wait_s: float | None
) -> Settled | None:
    """Hand an observation over and wait until it is durable (or acknowledged, AUDITLOG_DURABILITY=log).

    Returns None on time-out: the entry may still come, and its promise is then posted to the log. Without
    `wait_s` it waits for as long as it takes. An observation that cannot be kept is answered at once
    (`is_durable` False). Raises CancelledError only; the observation is recorded all the same.
    """
    waiter = recorder.record_awaited(observation)
    if waiter is None:
        return LOST
    if wait_s is None:
        return await waiter
    timer = waiter.loop.call_later(wait_s, waiter.give_up)
    try:
        settled = await waiter
    finally:
        timer.cancel()
    if settled is None:
        recorder.metrics.add("deferred")
    return settled
