"""All that changes together about one log, and the one transaction it changes in.

Spec: auditlog/spec/monitor.md, "State". Promises: after a kill at any instant the books are those of the last
commit, whole. Must never: tell anybody of an alarm before it is in the book.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass, field

from auditlog.verify.monitor.alarms import AlarmBook
from auditlog.verify.monitor.fold import EntryFold
from auditlog.verify.monitor.kept import Producers
from auditlog.verify.monitor.prove import Sight
from auditlog.verify.monitor.standing import Standing, encode_standing
from auditlog.verify.monitor.store import Store


@dataclass(slots=True)
class Books:
    """All that changes together: one log's standing, its producers, its fold, its alarms."""

    store: Store
    origin: str
    vkeys: str
    standing: Standing
    producers: Producers
    fold: EntryFold
    book: AlarmBook
    clock_us: Callable[[], int]
    unreached: dict[str, tuple[str, str]] = field(default_factory=dict)
    """What could not be reached in this look though the log was there, by kind: a sentence, and the signed
    note that it belongs to.
    """

    def commit(self, sight: Sight | None) -> int:
        """Write everything since the last commit, alarms with their evidence; returns how many were new."""
        prepared = self.book.prepare(self.standing.note, sight)
        self.standing.fold = self.fold.standing()
        self.standing.claims = [astuple(claim) for claim in self.fold.chains.anchored]
        for word, count in self.book.suppressed.items():
            self.standing.suppressed[word] = self.standing.suppressed.get(word, 0) + count
        self.book.suppressed.clear()
        now_us = self.clock_us()
        with self.store.transaction() as connection:
            self.producers.save(connection, now_us)
            self.book.write(connection, prepared, now_us)
            connection.execute(
                "INSERT OR REPLACE INTO log VALUES (?, ?, ?)",
                (self.origin, self.vkeys, encode_standing(self.standing)),
            )
        # Dying before this line, or after it, is the same: all of it is on disk, and memory is gone.
        self.producers.saved()
        self.book.written()
        return len(prepared)
