"""Counters of the capture layer: what was recorded, dropped, refused or failed. Nothing is ever lost
uncounted.

Thread-safe; names are stable (they become metric labels). It knows no metrics library: `snapshot` is read by
whoever exports it.
"""

from __future__ import annotations

import threading


class Counters:
    """Named integers that only grow, and gauges that are set."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, int] = {}

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
