"""Why there is no decision of an id: it is on its way, it was declared lost, or it will not come.

Spec: `auditlog/spec/api.md`, "Receipts". Facts, in this order: the chain of the producer, whose newest entry
says how far it has arrived; the losses it declared; the time in the id, which its producer claims and nobody
proves. So an answer may be wrong about one id, which looking again mends: once the decision is in the log it
is found, whatever was said before. Must never: be evidence of anything.
"""

from __future__ import annotations

import re
from typing import NoReturn

from auditlog.core.entry import parse_time
from auditlog.errors import DeclaredLost, EntryPruned, NeverArrived, NotFoundError, NotYetPublished
from auditlog.log.envelope import read_indexed
from auditlog.log.index import Index
from auditlog.log.indexing import id_time_ms
from auditlog.log.live import Live
from auditlog.log.publisher import Publisher
from auditlog.log.reader import Reader
from auditlog.storage.records import ChainHead, GapRow

HORIZON_S = 24 * 3600
"""An id this old does not come any more once the chain of its producer has gone on past it."""
LAST_HORIZON_S = 30 * HORIZON_S
"""An id this old does not come any more."""
RUNNING_S = 600
"""A loss is noticed when a decision ends: one lost may have begun this long before the declared time."""

_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_WAITS = ((5, 1), (30, 2), (300, 5))
"""(up to this age, ask again after), in seconds; above: `_LONGEST_WAIT_S`."""
_LONGEST_WAIT_S = 30
_GAPS_READ = 16


class Absence:
    """Explains ids that the index does not find. Safe to use from any thread."""

    def __init__(self, live: Live, reader: Reader, publisher: Publisher, index: Index) -> None:
        self._live = live
        self._reader = reader
        self._publisher = publisher
        self._index = index

    def explain(self, decision_id: str, producer: bytes) -> NoReturn:
        """Say why this producer has no decision of this id in the log.

        Raises:
            NotYetPublished: it may be on its way; with when to ask again.
            DeclaredLost: it may be one of those its producer declared lost.
            NeverArrived: it is too old to be on its way.
            NotFoundError: it is no id that a decision could have.
            StorageError: a store failed.
        """
        if _UUID7.fullmatch(decision_id) is None:
            raise NotFoundError("expected the id of a decision (a UUIDv7), found another")
        at_us = id_time_ms(decision_id) * 1000
        age_s = (self._live.clock.unix_us() - at_us) / 1_000_000
        with self._live.lock:
            head = self._live.chains.committed.get(producer)
        behind = head is not None and self._index.size <= head.index
        # Looked up again after the head was read: what came in between is not called lost.
        if behind or self._index.by_decision(decision_id, producer):
            raise NotYetPublished("expected an index of the whole chain, found one behind", retry_after_s=1)
        if head is not None:
            self._expect_not_lost(producer, head, at_us, age_s)
        self._expect_young(head, at_us, age_s)
        raise NotYetPublished(
            "expected the decision in the log, found it not yet", retry_after_s=_wait_s(age_s)
        )

    def _expect_not_lost(self, producer: bytes, head: ChainHead, at_us: int, age_s: float) -> None:
        for gap in self._index.gaps_ending(producer, at_us, _GAPS_READ):
            if self._covers(gap, head, at_us, age_s):
                lost = "unknown" if gap.lost is None else gap.lost
                raise DeclaredLost(
                    "expected the decision in the log, found a loss at its time: it may be among those "
                    f"declared lost in entry {gap.index} (how many: {lost})",
                    gap={"index": gap.index, "count": lost},
                )

    def _covers(self, gap: GapRow, head: ChainHead, at_us: int, age_s: float) -> bool:
        """Whether the gap is public, speaks of that time, and nothing from before it can still come."""
        has_gone_on = gap.of_earlier_life or head.index > gap.index
        if gap.index >= self._publisher.size or not has_gone_on:
            return False
        # What runs for long and is not lost ends within this time, so only then is its beginning counted.
        may_be_running = not gap.of_earlier_life and age_s < RUNNING_S
        first_us = gap.from_us - (0 if may_be_running else RUNNING_S * 1_000_000)
        return first_us < at_us + 1000 and at_us <= gap.to_us

    def _expect_young(self, head: ChainHead | None, at_us: int, age_s: float) -> None:
        if age_s <= HORIZON_S:
            return
        if age_s > LAST_HORIZON_S:
            raise NeverArrived(
                f"expected a decision younger than {LAST_HORIZON_S // 86400} days, found none of this id"
            )
        if head is not None and self._time_of(head) > at_us:
            raise NeverArrived(
                f"expected the decision within {HORIZON_S // 3600} hours, found that its producer has gone "
                "on without it"
            )

    def _time_of(self, head: ChainHead) -> int:
        try:
            return parse_time(read_indexed(self._reader.entry(head.index)).time)
        except EntryPruned:
            # Written that long ago: it has not gone on since.
            return 0


def _wait_s(age_s: float) -> int:
    return next((wait for limit, wait in _WAITS if age_s < limit), _LONGEST_WAIT_S)
