"""Waiting for a decision to be durable and promised, without blocking the event loop (spec/promise.md).

The writer settles a whole group at once and wakes each event loop once for it, however many of its requests
wait. Who stopped waiting (time-out, cancelled) is settled all the same: the promise that came too late for
the answer is posted to the log instead. Must never: block, raise anything but CancelledError, or leave a
waiter that nobody will settle.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from contextvars import Context
from typing import TYPE_CHECKING, Any

from auditlog.capture.observation import Observation, Settled

if TYPE_CHECKING:
    from auditlog.capture.recorder import Recorder

LOST = Settled(None, is_durable=False)
_TIMER_S = 0.000_5
"""So much too early a timer may ring."""


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

    @property
    def is_over(self) -> bool:
        """Whether nobody waits any more: settled, given up or cancelled."""
        return self._future.done()

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


class Deadlines:
    """When those give up who wait on the event loops of one recorder.

    Each loop has one timer, for the one who has waited longest there. Nearly all are settled in time: a timer
    for each would cost more than it is worth.
    """

    __slots__ = ("_lines", "_newest")

    def __init__(self) -> None:
        """Nobody waits."""
        self._lines: dict[tuple[asyncio.AbstractEventLoop, float], _Line] = {}
        self._newest: _Line | None = None

    def add(self, waiter: Waiter, wait_s: float) -> None:
        """This one gives up after `wait_s` seconds. In its loop's thread."""
        line = self._newest
        if line is None or line.loop is not waiter.loop or line.wait_s != wait_s:
            line = self._newest = self._line(waiter.loop, wait_s)
        line.add(waiter)

    def _line(self, loop: asyncio.AbstractEventLoop, wait_s: float) -> _Line:
        line = self._lines.get((loop, wait_s))
        if line is None:
            for known in list(self._lines):
                if known[0].is_closed():
                    self._lines.pop(known, None)
            line = self._lines[loop, wait_s] = _Line(loop, wait_s)
        return line


class _Line:
    """Those who wait equally long on one loop, in the order they came."""

    __slots__ = ("_context", "_has_timer", "_waiting", "loop", "wait_s")

    def __init__(self, loop: asyncio.AbstractEventLoop, wait_s: float) -> None:
        self.loop, self.wait_s = loop, wait_s
        self._waiting: deque[Waiter] = deque()
        self._context = Context()
        self._has_timer = False

    def add(self, waiter: Waiter) -> None:
        waiting = self._waiting
        while waiting and waiting[0].is_over:
            waiting.popleft()
        waiting.append(waiter)
        if not self._has_timer:
            self._has_timer = True
            self._arm(self.wait_s)

    def _arm(self, seconds: float) -> None:
        # In no request's context: the timer outlives all of them.
        self.loop.call_later(seconds, self._ring, context=self._context)

    def _ring(self) -> None:
        # One turn later: what came while the loop was busy with something else is given to whoever waits.
        self.loop.call_soon(self._expire)

    def _expire(self) -> None:
        waiting, since_s = self._waiting, time.monotonic() - self.wait_s + _TIMER_S
        while waiting and (waiting[0].is_over or waiting[0].since_s <= since_s):
            waiting.popleft().give_up()
        self._has_timer = bool(waiting)
        if waiting:
            self._arm(waiting[0].since_s + _TIMER_S - since_s)


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
    if wait_s is not None:
        recorder.deadlines.add(waiter, wait_s)
    settled = await waiter
    if settled is None:
        recorder.defer(observation.exchange)
    return settled
