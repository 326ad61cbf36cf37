"""Counters of the capture layer: what was recorded, dropped, refused or failed. Nothing is ever lost
uncounted.

Thread-safe; names are stable (they become metric labels). It knows no metrics library: `snapshot` is read by
whoever exports it.
"""

from __future__ import annotations

import contextlib
import threading
from bisect import bisect_left
from collections.abc import Callable

TIMING_BUCKETS_S = (0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""Upper bounds of the classes in which times are counted; the last class has none."""


class Timing:
    """How long something took: a count per class and the sum, since the process began. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = [0] * (len(TIMING_BUCKETS_S) + 1)
        self._sum_s = 0.0
        self.forward: Callable[[float], None] | None = None
        """Who else is told each time, in seconds."""

    def observe(self, seconds: float) -> None:
        """Count one."""
        with self._lock:
            self._counts[bisect_left(TIMING_BUCKETS_S, seconds)] += 1
            self._sum_s += seconds
        if self.forward is not None:
            with contextlib.suppress(Exception):  # Another's code, called in the middle of a write.
                self.forward(seconds)

    def snapshot(self) -> tuple[tuple[int, ...], float]:
        """Counts per class, not cumulated, and the sum in seconds."""
        with self._lock:
            return tuple(self._counts), self._sum_s


class Counters:
    """Named integers that only grow, and gauges that are set."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, int] = {}
        self.life = object()
        """What a call remembers of the counters that it was counted in; another one in a forked child."""
        self.commits = Timing()
        """Each write to the spool with its fsync."""

    def add(self, name: str, amount: int = 1) -> None:
        """Add `amount` to the counter `name`."""
        with self._lock:
            self._values[name] = self._values.get(name, 0) + amount

    def set(self, name: str, value: int) -> None:
        """Set the gauge `name`."""
        with self._lock:
            self._values[name] = value

    def get(self, name: str) -> int:
        """The value of `name`; 0 if it was never touched."""
        with self._lock:
            return self._values.get(name, 0)

    def snapshot(self) -> dict[str, int]:
        """All values at one instant."""
        with self._lock:
            return dict(self._values)

    def forget(self) -> None:
        """Start again from nothing, in a forked child, where the lock may be held by a thread
        that is gone.
        """
        self._lock = threading.Lock()
        self._values = {}
        self.life = object()
        self.commits = Timing()
