"""The two clocks the engine asks, as an argument: wall time for entries, monotonic time for intervals."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the time is. Tests give one that stands still."""

    def unix_us(self) -> int:
        """Microseconds since 1970 UTC. May jump; written into entries, never subtracted."""

    def monotonic(self) -> float:
        """Seconds from an unknown start, never backwards."""


class SystemClock:
    """The clocks of this machine, for composition roots."""

    def unix_us(self) -> int:
        """Wall time of this machine."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Monotonic time of this process."""
        return time.monotonic()
