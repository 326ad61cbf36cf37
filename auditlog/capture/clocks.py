"""The time of this host, as entries and promises use it (README.md of this package, "Clocks").

Entries carry the host's clock at sealing. Set back by up to `SLACK_US` (clocks are disciplined in small
steps) it stands still until it has caught up, so that order and time agree; set back further, entries say
what the clock says: hiding the correction would be a lie about one of the two, and it is counted and told.
A new life goes on from the newest entry of its chain in the same way. Promises are judged by others' clocks:
none is made before the log's clock was heard in this life, nor while ours is behind what the log said last
and the time that has passed since, or behind the newest entry of our own.
Must never: trust the log's clock for anything but refusing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

SLACK_US = 1_000_000


class HostClock:
    """The wall clock, steadied. Thread-safe."""

    def __init__(
        self,
        wall_us: Callable[[], int],
        *,
        steady_s: Callable[[], float] = time.monotonic,
        on_jump: Callable[[], None] = lambda: None,
    ) -> None:
        """`wall_us` gives Unix microseconds, `steady_s` seconds that never go back; `on_jump` is told when
        the clock went back by more than it may.
        """
        self._on_jump = on_jump
        self._wall_us = wall_us
        self._steady_s = steady_s
        self._lock = threading.Lock()
        self._last_us = 0
        self._newest_us = 0
        self._has_heard = False
        self._anchor = (wall_us(), steady_s())
        self.jumps = 0
        """How often the clock went back by more than it may."""

    def __call__(self) -> int:
        """The time for the next entry, Unix microseconds."""
        now_us = self._wall_us()
        with self._lock:
            is_back = now_us < self._last_us
            if is_back and self._last_us - now_us <= SLACK_US:
                return self._last_us
            self._last_us = now_us
            self._newest_us = max(self._newest_us, now_us)
        if is_back:
            self._jumped()
        return now_us

    def resume(self, newest_us: int) -> None:
        """The newest entry of our chain, of an earlier life, says this: time goes on from there."""
        with self._lock:
            self._last_us = max(self._last_us, newest_us)
            self._newest_us = max(self._newest_us, newest_us)

    def compare(self, newest_us: int) -> None:
        """The newest entry of another chain that this host goes on with says this: a step back is told."""
        if self._wall_us() < newest_us - SLACK_US:
            self._jumped()

    def heard(self, log_us: int) -> None:
        """The log's clock said this, just now."""
        with self._lock:
            self._anchor = (max(log_us, self._wall_us()), self._steady_s())
            self._has_heard = True

    @property
    def is_doubtful(self) -> bool:
        """Whether nothing may be promised by this clock: the log's was not heard in this life, or ours is
        behind the newest entry of our own chain (by more than it may stand still).
        """
        return not self._has_heard or self._wall_us() < self._newest_us - SLACK_US

    def latest_us(self) -> int:
        """The latest time it may be now, as far as this host can know: its own clock, or what the log said
        (what our clock said at the start, before that) and the time that has passed since.
        """
        with self._lock:
            then_us, then_s = self._anchor
        return max(self._wall_us(), then_us + int((self._steady_s() - then_s) * 1_000_000))

    def _jumped(self) -> None:
        self.jumps += 1
        self._on_jump()
