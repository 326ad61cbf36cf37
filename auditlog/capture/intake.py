"""The queue between the application's threads and the writer: bounded, never blocking, losses counted.

`offer` costs a lock and an append. When the writer cannot keep up, bodies go first: an item whose bytes no
longer fit is taken in its lighter form. Only a queue full of items (a stuck disk) refuses; that is counted
with its first and last instant, so that the writer can declare it in a `gap` entry. Must never: block the
caller, or drop anything without counting it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Losses:
    """How many observations were lost (None: unknown), and between which instants (Unix microseconds).

    `attempts` of them have a mark as begun calls of this life (`attempts`).
    """

    count: int | None
    first_us: int
    last_us: int
    attempts: int = 0

    def merged(self, other: Losses | None) -> Losses:
        """Both together."""
        if other is None:
            return self
        count = None if self.count is None or other.count is None else self.count + other.count
        first_us, last_us = min(self.first_us, other.first_us), max(self.last_us, other.last_us)
        return Losses(count, first_us, last_us, self.attempts + other.attempts)


class Intake(Generic[_T]):
    """A queue with two bounds, on items and on the bytes of the bodies they say they hold."""

    def __init__(self, *, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._condition = threading.Condition(threading.Lock())
        self._items: deque[tuple[_T, int]] = deque()
        self._bytes = 0
        self._reserved = 0
        self._losses: Losses | None = None
        self._is_waiting = self._is_lingering = False
        self._is_urgent = False
        self._is_closed = False

    def offer(
        self,
        item: _T,
        size: int,
        now_us: int,
        *,
        lighten: Callable[[_T], _T] | None = None,
        attempts: int = 0,
        is_reserved: bool = False,
        is_awaited: bool = False,
    ) -> bool:
        """Add `item`, or what `lighten` makes of it where its `size` bytes do not fit: that has none.

        A queue full of items, or closed, counts it as lost at `now_us` and returns False; an item that has a
        place reserved uses that. One that somebody waits for ends a `linger`.
        """
        with self._condition:
            has_place = is_reserved and self._reserved > 0
            self._reserved -= has_place
            is_full = len(self._items) + self._reserved >= self._max_items and not has_place
            if self._is_closed or is_full:
                self._lose(now_us, attempts)
                return False
            if self._items and size and self._bytes + size > self._max_bytes:
                if lighten is None:
                    self._lose(now_us, attempts)
                    return False
                item, size = lighten(item), 0
            self._items.append((item, size))
            self._bytes += size
            self._is_urgent = self._is_urgent or is_awaited
            if self._is_waiting or (self._is_lingering and is_awaited):
                self._condition.notify()
            return True

    def reserve(self) -> bool:
        """Keep a place for one item that will be offered as reserved, or released; False if there is none."""
        with self._condition:
            if self._is_closed or len(self._items) + self._reserved >= self._max_items:
                return False
            self._reserved += 1
            return True

    def release(self) -> None:
        """Give a reserved place back."""
        with self._condition:
            self._reserved = max(0, self._reserved - 1)

    @property
    def reserved(self) -> int:
        """How many places are reserved."""
        return self._reserved

    def lose(self, now_us: int, *, attempts: int) -> None:
        """Count one that will never be offered; the writer declares it."""
        with self._condition:
            self._lose(now_us, attempts)
            self._condition.notify()

    def push(self, item: _T) -> None:
        """Add a message of the layer itself, whatever the bounds, even when closed."""
        with self._condition:
            self._items.append((item, 0))
            self._condition.notify()

    def take(self, max_items: int, timeout_s: float, *, max_bytes: int = 1 << 62) -> list[_T]:
        """Up to `max_items` in order, no more once they hold `max_bytes`; waits at most `timeout_s` for the
        first. Empty on time-out.
        """
        with self._condition:
            if not self._items and timeout_s > 0:
                self._is_waiting = True
                self._condition.wait(timeout_s)
                self._is_waiting = False
            taken: list[_T] = []
            while self._items and len(taken) < max_items and max_bytes > 0:
                item, size = self._items.popleft()
                self._bytes -= size
                max_bytes -= size
                taken.append(item)
            self._is_urgent = self._is_urgent and bool(self._items)
            return taken

    def linger(self, timeout_s: float) -> None:
        """Let more come, until somebody waits for one of them."""
        with self._condition:
            self._is_lingering = True
            self._condition.wait_for(lambda: self._is_urgent or self._is_closed, timeout_s)
            self._is_lingering = False

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

    def _lose(self, now_us: int, attempts: int) -> None:
        self._losses = Losses(1, now_us, now_us, attempts).merged(self._losses)
