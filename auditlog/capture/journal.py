"""The journal of one slot: the spool and the place in the chain together, for the writer's thread alone.

Before enrolment it holds drafts, after it entries; `adopt` turns the one into the other. Promises: what
`append` has taken is durable; numbers once used are never used for other bytes, whatever the disk does. Must
never: be touched by two threads (the sender reads the spool itself).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from auditlog.capture.adoption import Opening, Unclean, adopt_drafts, begin_drafts, begin_sealed
from auditlog.capture.attempts import LeftMarks, at_most, forget, read_left, total
from auditlog.capture.backlog import read_note
from auditlog.capture.books import Book, SealedBook, gap_body
from auditlog.capture.chain import Tip, empty_tip
from auditlog.capture.durable import free_bytes
from auditlog.capture.frames import DRAFTS, SEALED, Record
from auditlog.capture.intake import Losses
from auditlog.capture.metrics import Timing
from auditlog.capture.retiring import is_requested
from auditlog.capture.slots import Slot
from auditlog.capture.spool import Spool
from auditlog.capture.vitals import SpoolDepth

_UNSENT = bytes(32)
RESERVED_BYTES = 8192
"""Room kept for one record that is still to come: eight times the usual one."""
_KEPT_FREE_BYTES = 4 << 20
"""What the disk must have left beyond that: above the zeros ahead of two `keeping` files and a segment."""
_LOOK_EVERY_S = 1.0


class Journal:
    """Gives records their place and makes them durable."""

    def __init__(
        self, slot: Slot, *, segment_bytes: int, max_bytes: int, commits: Timing | None = None
    ) -> None:
        """`commits` is told how long each write with its fsync took."""
        self._slot = slot
        self._commits = commits
        # Room is freed segment by segment, so a full spool must have several.
        self._segment_bytes = min(segment_bytes, max_bytes // 4)
        self._max_bytes = max_bytes
        self._free = (-_LOOK_EVERY_S, 0)
        self._drafts: Spool | None = None
        self._book: Book | None = None
        self.spool: Spool | None = None
        """The sealed entries; None before enrolment."""

    def open(
        self,
        opening: Opening | None,
        *,
        instance: str,
        software: str,
        now_us: int,
        seen: Callable[[int], None] = lambda _us: None,
    ) -> None:
        """Recover what earlier lives left and take our place. Raises OSError: call again.

        `seen` is told the time of the newest entry that is there, before ours is made.
        """
        left = read_left(self._slot.directory, own=instance)
        if opening is None:
            if self._drafts is None:
                self._drafts = self._open_drafts()
            unclean = _unclean(self._drafts, left)
            self._book = begin_drafts(self._drafts, instance, software, now_us, unclean)
            forget(left)
            return
        spool = self._open_spool(opening)
        seen(spool.tip.time_us)
        unclean = _unclean(spool, left)
        if self._slot.drafts_dir.exists():
            drafts = self._open_drafts()
            if drafts.next > drafts.first:
                unclean = _unclean(drafts, left)
                adopt_drafts(drafts, spool, opening)
            drafts.close()
        self._book = begin_sealed(spool, opening, instance, unclean)
        # Only now: dying before it, the next life finds the marks again, beside a life of ours without any.
        forget(left)

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
        return self._taken_bytes < self._max_bytes

    def has_room_for(self, records: int) -> bool:
        """Whether the bound and the disk leave room for so many more. Any thread may ask; the disk is looked
        at once a second.
        """
        need = records * RESERVED_BYTES
        now = time.monotonic()
        if now - self._free[0] > _LOOK_EVERY_S:
            self._free = now, free_bytes(self._slot.directory)
        return self._taken_bytes + need <= self._max_bytes and self._free[1] >= need + _KEPT_FREE_BYTES

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return self._current.size_bytes

    @property
    def _taken_bytes(self) -> int:
        """What counts against the bound. The newest segment stays although all of it was acknowledged, and
        one group may be larger than a small bound: nothing would ever be written again.
        """
        return self._current.size_bytes if self._current.pending else 0

    def add(self, kind: str, body: dict[str, Any], time_us: int) -> tuple[Record, str]:
        """Give the next record its place: see `Book.add`. It is not durable before `append`."""
        assert self._book is not None
        return self._book.add(kind, body, time_us)

    def add_gap(self, losses: Losses, time_us: int, *, at_most: int | None = None) -> Record:
        """The declaration of what this process lost, as the next record."""
        assert self._book is not None
        after = Tip(self._book.instance, self._book.next_seq - 1, _UNSENT, losses.first_us)
        from_us, to_us = losses.first_us, losses.last_us
        body = gap_body(after, count=losses.count, from_us=from_us, to_us=to_us, at_most=at_most)
        return self._book.add("gap", body, time_us)[0]

    def append(self, records: list[Record]) -> None:
        """Make records durable. Raises OSError: call again with the same records, and no others."""
        begun = time.perf_counter()
        self._current.append(records)
        if self._commits is not None:
            self._commits.observe(time.perf_counter() - begun)

    def depth(self) -> SpoolDepth:
        """What the log has not acknowledged, from memory. Any thread may ask."""
        spools = [spool for spool in (self.spool, self._drafts) if spool is not None]
        waiting = [spool.waiting for spool in spools]
        return SpoolDepth(
            entries=sum(count for count, _ in waiting),
            bytes=sum(spool.size_bytes for spool in spools),
            oldest_us=min((oldest for _, oldest in waiting if oldest is not None), default=None),
        )

    def is_in_place(self) -> bool:
        """Whether what is written still lands in the slot that this process holds: nobody deleted it."""
        current = self._drafts if self._drafts is not None else self.spool
        return self._slot.is_in_place() and (current is None or current.is_in_place())

    def add_stopped(self, time_us: int) -> Record:
        """The notice that ends a life that stops in order, as the next record."""
        return self.add("notice", {"what": "stopped"}, time_us)[0]

    def add_endings(self, time_us: int) -> list[Record]:
        """What a life that stops in order says last: that it stops and, if that was asked for, that its
        producer ends.
        """
        records = [self.add_stopped(time_us)]
        if isinstance(self._book, SealedBook) and is_requested(self._slot.directory):
            records.append(self._book.add("retirement", self._book.retirement_body(), time_us)[0])
        return records

    def end(self, time_us: int) -> None:
        """End a life that was only opened to be sent, in order; durable on return. Raises OSError."""
        self.append(self.add_endings(time_us))
        self.mark_clean()

    @property
    def next(self) -> int | None:
        """The number in the spool that the next sealed record gets; None while there are only drafts."""
        return None if self._drafts is not None or self.spool is None else self.spool.next

    @property
    def oldest_unacknowledged_us(self) -> int | None:
        """The time of the oldest record that the log may not have."""
        return self._current.waiting[1]

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
            spool = Spool(self._slot.spool_dir, SEALED, segment_bytes=self._segment_bytes, start=start)
            spool.believe(read_note(self._slot.directory).acknowledged)
            self.spool = spool
        return self.spool


def _unclean(spool: Spool, left: list[LeftMarks]) -> Unclean | None:
    """An earlier life that did not end in order, or None.

    One that could never write here shows by its marks alone: it began calls and settled none.
    """
    recovery = spool.recovery
    if recovery.is_empty:
        return None
    if not recovery.is_clean:
        return Unclean(recovery.tip, at_most(left, recovery.tip.instance))
    if all(marks.outstanding == 0 for marks in left):
        return None
    return Unclean(recovery.tip, total(left))
