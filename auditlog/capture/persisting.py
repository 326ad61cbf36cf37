"""Getting records onto the disk, whatever the disk does: the writer's dealings with its journal.

Sealed bytes have used their numbers, so they are tried again until the disk takes them; if someone deletes
the slot's files that is noticed and ends it: a deleted file takes writes without a word. Used by the writer's
thread; `is_working` and `is_gone` may be asked from any. Must never: give other bytes a number once used.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from auditlog.capture.frames import Record
from auditlog.capture.journal import Journal
from auditlog.capture.metrics import Counters
from auditlog.capture.safety import Guard

RETRY_FIRST_S = 0.1
RETRY_LONGEST_S = 5.0
LOOK_EVERY_S = 0.1
"""How often it is looked, at most, whether what is written still lands in the slot: a look is three calls."""


class Persistence:
    """One journal, tried again where the disk refuses."""

    def __init__(
        self, journal: Journal, *, on_durable: Callable[[], None], metrics: Counters, guard: Guard
    ) -> None:
        """`on_durable` is called after every append."""
        self.journal = journal
        self._on_durable = on_durable
        self._metrics = metrics
        self._guard = guard
        self._deadline: float | None = None
        self._looked_s = -LOOK_EVERY_S
        self.is_working = False
        """Whether the disk took the last thing it was given; False before the first."""
        self.has_failed = False
        """Whether it ever refused anything."""
        self.is_gone = False
        """Whether someone deleted the slot's files: nothing that is handed over from now on is kept."""

    def give_up_after(self, seconds: float) -> None:
        """Stop trying again so many seconds from now."""
        self._deadline = time.monotonic() + seconds

    def append(self, records: list[Record]) -> bool:
        """Write a group until the disk takes it; False if it never did."""
        if not records:
            return True
        if self.is_gone or not self.retry("spool", lambda: self.journal.append(records)):
            return False
        if time.monotonic() - self._looked_s >= LOOK_EVERY_S and not self.is_still_there():
            return False
        self._metrics.set("spool_bytes", self.journal.size_bytes)
        self._on_durable()
        return True

    def retry(self, place: str, action: Callable[[], None]) -> bool:
        """Do `action` until it no longer raises OSError, or the deadline has passed."""
        wait_s = RETRY_FIRST_S
        while True:
            try:
                action()
            except OSError as failure:
                self.is_working, self.has_failed = False, True
                self._guard.failed(place, failure)
                if not self.is_still_there():
                    return False
            else:
                self.is_working = True
                return True
            if self._deadline is not None and time.monotonic() + wait_s > self._deadline:
                return False
            time.sleep(wait_s)
            wait_s = min(RETRY_LONGEST_S, 2 * wait_s)

    def is_still_there(self) -> bool:
        """Whether the slot is in its place; asked after a write (ten times a second at most), and idle."""
        self._looked_s = time.monotonic()
        if not self.is_gone and not self.journal.is_in_place():
            self.is_gone, self.is_working = True, False
            self._metrics.add("state_gone")
        return not self.is_gone
