"""The queue between the application's threads and the writer: bounded, never blocking, losses counted.

`offer` costs a lock and an append. When the writer cannot keep up (a stuck disk) what does not fit is
refused and counted with its first and last instant, so that the writer can declare it in a `gap` entry. Must
never: block the caller, or drop anything without counting it.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Losses:
    """How many observations were lost, and between which instants (Unix microseconds)."""

    count: int
    first_us: int
    last_us: int

    def merged(self, other: Losses | None) -> Losses:
        """Both together."""
        if other is None:
            return self
        return Losses(
            self.count + other.count, min(self.first_us, other.first_us), max(self.last_us, other.last_us)
        )


class Intake(Generic[_T]):
    """A queue with two bounds, on items and on the bytes they say they hold."""

    def __init__(self, *, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._condition = threading.Condition(threading.Lock())
        self._items: deque[tuple[_T, int]] = deque()
        self._bytes = 0
        self._losses: Losses | None = None
        self._is_waiting = False
        self._is_closed = False

    def offer(self, item: _T, size: int, now_us: int) -> bool:
        """Add `item` unless the queue is full or closed; then count it as lost at `now_us` and
        return False.
        """
        with self._condition:
            is_full = len(self._items) >= self._max_items or self._bytes + size > self._max_bytes
            if self._is_closed or (is_full and self._items):
                self._lose(now_us)
                return False
            self._items.append((item, size))
            self._bytes += size
            if self._is_waiting:
                self._condition.notify()
            return True

    def push(self, item: _T) -> None:
        """Add a message of the layer itself, whatever the bounds, even when closed."""
        with self._condition:
            self._items.append((item, 0))
            self._condition.notify()

    def take(self, max_items: int, timeout_s: float) -> list[_T]:
        """Up to `max_items` in order; waits at most `timeout_s` for the first. Empty on time-out."""
        with self._condition:
            if not self._items and timeout_s > 0:
                self._is_waiting = True
                self._condition.wait(timeout_s)
                self._is_waiting = False
            taken: list[_T] = []
            while self._items and len(taken) < max_items:
                item, size = self._items.popleft()
                self._bytes -= size
                taken.append(item)
            return taken

    def take_losses(self) -> Losses | None:
        """What was lost since the last call; the caller now owes its declaration."""
        with self._condition:
            losses, self._losses = self._losses, None
            return losses

    def close(self) -> None:
        """Refuse further offers (each then counts as lost) and wake the writer; it may still
        `push` and `take`.
        """
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed

    def __len__(self) -> int:
        return len(self._items)

    def _lose(self, now_us: int) -> None:
        self._losses = Losses(1, now_us, now_us).merged(self._losses)
