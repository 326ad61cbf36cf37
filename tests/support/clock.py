"""A clock that stands still until it is told to move. The real one is forbidden in tests."""

from __future__ import annotations

START_US = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z."""


class ManualClock:
    """Wall and monotonic time that move together, by `advance` alone."""

    def __init__(self, unix_us: int = START_US) -> None:
        self._start_us = unix_us
        self._passed_us = 0

    def unix_us(self) -> int:
        """Microseconds since 1970 UTC."""
        return self._start_us + self._passed_us

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._passed_us / 1_000_000

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._passed_us += round(seconds * 1_000_000)

    def jump(self, seconds: float) -> None:
        """Set the wall clock, as somebody with the right to does; monotonic time goes on as it was."""
        self._start_us += round(seconds * 1_000_000)
