"""Telling who waits what became of its decision, once it is durable or the log has it.

With AUDITLOG_DURABILITY=local that is when the group is on disk; with `log`, when the log's 200 covers it:
the answers then wait here for the sender. Who wants the promise shown but waits for nothing has it posted.
Used by the writer's thread and the sender's. Must never: settle before the entry is durable, or keep a waiter
after it is settled.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from auditlog.capture.awaiting import LOST, Waiter, settle_all
from auditlog.capture.messages import LostError, Observed
from auditlog.capture.observation import Settled
from auditlog.capture.pace import Pace


@dataclass(slots=True)
class Written:
    """One durable observation: its number in the spool (None: a draft) and its promise, if one was made."""

    message: Observed
    number: int | None
    promise: str | None


class Settling:
    """Answers those who wait for one slot's records."""

    def __init__(self, *, waits_for_log: bool, pace: Pace, post: Callable[[str, str], None]) -> None:
        """`post` has a promise shown at the log, by decision id."""
        self._waits_for_log = waits_for_log
        self._pace = pace
        self._post = post
        self._lock = threading.Lock()
        self._held: deque[tuple[int, Waiter, Settled]] = deque()
        self._acknowledged = 0

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for the log's acknowledgement."""
        return bool(self._held)

    def written(self, group: list[Written]) -> None:
        """These are durable."""
        answers: list[tuple[Waiter, Settled]] = []
        for one in group:
            message = one.message
            if message.durable is not None:
                settle_future(message.durable, None)
            if message.waiter is not None:
                settled = Settled(one.promise, is_durable=True)
                if not self._waits_for_log:
                    answers.append((message.waiter, settled))
                elif one.number is None:
                    # A draft: nobody knows when there will be a log to acknowledge it.
                    answers.append((message.waiter, LOST))
                elif not self._hold(one.number, message.waiter, settled):
                    answers.append((message.waiter, settled))
            elif one.promise is not None:
                self._post(message.observation.exchange.id, one.promise)
        self._answer(answers)

    def lost(self, messages: list[Observed], failure: LostError) -> None:
        """These will never be recorded."""
        for message in messages:
            if message.durable is not None:
                settle_future(message.durable, failure)
        settle_all([(message.waiter, LOST) for message in messages if message.waiter is not None])

    def acknowledged(self, number: int) -> None:
        """The log has every record before `number`; from the sender's thread."""
        answers = []
        with self._lock:
            self._acknowledged = max(self._acknowledged, number)
            while self._held and self._held[0][0] < number:
                _, waiter, settled = self._held.popleft()
                answers.append((waiter, settled))
        self._answer(answers)

    def end(self) -> None:
        """Nobody will acknowledge anything any more: whoever still waits hears that it is on disk only."""
        with self._lock:
            answers = [(waiter, LOST) for _, waiter, _ in self._held]
            self._held.clear()
        settle_all(answers)

    def _hold(self, number: int, waiter: Waiter, settled: Settled) -> bool:
        with self._lock:
            if number < self._acknowledged:
                return False  # The sender was quicker than this thread.
            self._held.append((number, waiter, settled))
            return True

    def _answer(self, answers: list[tuple[Waiter, Settled]]) -> None:
        if answers and self._waits_for_log:
            self._pace.took(time.monotonic() - answers[0][0].since_s)
        settle_all(answers)


def settle_future(future: Future[None], failure: Exception | None) -> None:
    """Tell who waits; who has stopped waiting (a cancelled future) is not told."""
    if not future.set_running_or_notify_cancel():
        return
    if failure is None:
        future.set_result(None)
    else:
        future.set_exception(failure)
