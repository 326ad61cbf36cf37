"""What was lost and is not declared yet: counted here until it stands in a durable `gap` entry.

Used by the writer's thread alone. Must never: forget a loss before its gap is durable, or count one twice.
"""

from __future__ import annotations

from collections.abc import Callable

from auditlog.capture.attempts import Attempts
from auditlog.capture.frames import Record
from auditlog.capture.intake import Losses
from auditlog.capture.journal import Journal
from auditlog.capture.metrics import Counters


class Declarations:
    """The losses of one life."""

    def __init__(
        self,
        journal: Journal,
        *,
        take_losses: Callable[[], Losses | None],
        attempts: Attempts,
        clock: Callable[[], int],
        metrics: Counters,
    ) -> None:
        """`take_losses` gives what the queue refused since it was asked last."""
        self._journal = journal
        self._take_losses = take_losses
        self._attempts = attempts
        self._clock = clock
        self._metrics = metrics
        self._owed: Losses | None = None
        self._declared = 0

    def lose(self, attempts: int) -> None:
        """One observation, which was `attempts` begun calls of this life (0 or 1), cannot be recorded."""
        now_us = self._clock()
        self._metrics.add("lost")
        self._owed = Losses(1, now_us, now_us, attempts).merged(self._owed)

    def records(self) -> list[Record]:
        """The gap entry that is owed, as the next of the chain; nothing if nothing was lost."""
        fresh = self._take_losses()
        if fresh is not None:
            self._metrics.add("lost", fresh.count or 0)
            self._owed = fresh.merged(self._owed)
        if self._owed is None:
            return []
        record = self._journal.add_gap(self._owed, self._clock())
        self._declared += self._owed.attempts
        self._owed = None
        self._metrics.add("gaps")
        return [record]

    def durable(self) -> None:
        """What `records` gave is on disk."""
        self._attempts.settle(self._declared)
        self._declared = 0

    def at_the_end(self) -> list[Record]:
        """The gap for calls that began and whose end nobody reported: they may still be running."""
        unfinished = self._attempts.outstanding - self._declared
        if unfinished <= 0:
            return []
        now_us = self._clock()
        self._metrics.add("gaps")
        return [self._journal.add_gap(Losses(None, now_us, now_us), now_us, at_most=unfinished)]
