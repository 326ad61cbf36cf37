"""The journal of one slot: the spool and the place in the chain together, for the writer's thread alone.

Before enrolment it holds drafts, after it entries; `adopt` turns the one into the other. Promises: what
`append` has taken is durable; numbers once used are never used for other bytes, whatever the disk does. Must
never: be touched by two threads (the sender reads the spool itself).
"""

from __future__ import annotations

from typing import Any

from auditlog.capture.adoption import Opening, adopt_drafts, begin_drafts, begin_sealed
from auditlog.capture.books import Book, gap_body
from auditlog.capture.chain import Tip, empty_tip
from auditlog.capture.frames import DRAFTS, SEALED, Record
from auditlog.capture.intake import Losses
from auditlog.capture.slots import Slot
from auditlog.capture.spool import Spool

_UNSENT = bytes(32)


class Journal:
    """Gives records their place and makes them durable."""

    def __init__(self, slot: Slot, *, segment_bytes: int, max_bytes: int) -> None:
        self._slot = slot
        # Room is freed segment by segment, so a full spool must have several.
        self._segment_bytes = min(segment_bytes, max_bytes // 4)
        self._max_bytes = max_bytes
        self._drafts: Spool | None = None
        self._book: Book | None = None
        self.spool: Spool | None = None
        """The sealed entries; None before enrolment."""

    def open(self, opening: Opening | None, *, instance: str, software: str, now_us: int) -> None:
        """Recover what earlier lives left and take our place. Raises OSError: call again."""
        if opening is None:
            if self._drafts is None:
                self._drafts = self._open_drafts()
            self._book = begin_drafts(self._drafts, instance, software, now_us)
            return
        spool = self._open_spool(opening)
        unclean = _unclean(spool)
        if self._slot.drafts_dir.exists():
            drafts = self._open_drafts()
            if drafts.next > drafts.first:
                unclean = _unclean(drafts)
                adopt_drafts(drafts, spool, opening)
            drafts.close()
        self._book = begin_sealed(spool, opening, instance, unclean)

    def adopt(self, opening: Opening) -> dict[int, str]:
        """Seal all drafts and go on as an enrolled producer; returns the leaf hash of each model by number.

        Raises OSError: call again, nothing is sealed twice.
        """
        assert self._drafts is not None
        book, models = adopt_drafts(self._drafts, self._open_spool(opening), opening)
        assert book is not None
        self._book = book
        self._drafts.close()
        self._drafts = None
        return models

    @property
    def has_room(self) -> bool:
        """Whether the bound on disk use leaves room for another group."""
        return self._current.size_bytes < self._max_bytes

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return self._current.size_bytes

    def add(self, kind: str, body: dict[str, Any], time_us: int) -> tuple[Record, str]:
        """Give the next record its place: see `Book.add`. It is not durable before `append`."""
        assert self._book is not None
        return self._book.add(kind, body, time_us)

    def add_gap(self, losses: Losses, time_us: int) -> Record:
        """The declaration of what this process lost, as the next record."""
        assert self._book is not None
        after = Tip(self._book.instance, self._book.next_seq - 1, _UNSENT, losses.first_us)
        body = gap_body(after, count=losses.count, from_us=losses.first_us, to_us=losses.last_us)
        return self._book.add("gap", body, time_us)[0]

    def append(self, records: list[Record]) -> None:
        """Make records durable. Raises OSError: call again with the same records, and no others."""
        self._current.append(records)

    def is_in_place(self) -> bool:
        """Whether what is written still lands in the slot that this process holds: nobody deleted it."""
        current = self._drafts if self._drafts is not None else self.spool
        return self._slot.is_in_place() and (current is None or current.is_in_place())

    def mark_clean(self) -> None:
        """Note that nothing was lost up to here. Raises OSError."""
        self._current.mark_clean()

    def close(self) -> None:
        """Close the files. Idempotent."""
        for spool in (self.spool, self._drafts):
            if spool is not None:
                spool.close()

    @property
    def _current(self) -> Spool:
        current = self._drafts if self._drafts is not None else self.spool
        assert current is not None
        return current

    def _open_drafts(self) -> Spool:
        start = empty_tip(_UNSENT)
        return Spool(self._slot.drafts_dir, DRAFTS, segment_bytes=self._segment_bytes, start=start)

    def _open_spool(self, opening: Opening) -> Spool:
        if self.spool is None:
            start = empty_tip(opening.enrolment.leaf_hash)
            self.spool = Spool(self._slot.spool_dir, SEALED, segment_bytes=self._segment_bytes, start=start)
        return self.spool


def _unclean(spool: Spool) -> Tip | None:
    """The last record of an earlier life that did not end in order, or None."""
    return None if spool.recovery.is_clean or spool.recovery.is_empty else spool.recovery.tip
