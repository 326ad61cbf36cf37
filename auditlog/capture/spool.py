"""The spool: sealed entries on disk from the moment they are sealed until the log has acknowledged them.

Spec: README.md of this package, "The spool on disk". One writer appends groups (one write and one fdatasync
for the whole group) and one reader follows it. Promises: a record counts only once `append` has returned;
records come back in order, byte for byte, after any kill; a segment goes only when all of it was
acknowledged; the newest segment stays, since it knows the tip. Must never: hand the reader a record that is
not yet durable, for the log would then know an entry that a crash makes us forget.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auditlog.capture.chain import Tip
from auditlog.capture.durable import create_private_dir, pad, sync_dir, write_all
from auditlog.capture.frames import (
    HEADER_BYTES,
    Header,
    Record,
    decode_header,
    encode_clean_mark,
    encode_header,
    encode_record,
    scan_frames,
)
from auditlog.capture.segments import NEW_SUFFIX, Recovery, Segment, recover, segment_path
from auditlog.core.merkle import hash_leaf
from auditlog.errors import StorageError

_SMALLEST_SEGMENT = 4096
_READ_SLACK = 1 << 18
"""More than the largest frame, so that one read always holds at least one whole record."""
PAD_BYTES = 1 << 18
"""So much of zeros is written ahead of the records, and cut off when the segment is full or closed."""
_MARK_US = 1_000_000
"""How finely it is remembered when records were written: a long outage must not cost memory."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the reader stands: the number of a record and where its frame begins in which segment."""

    first: int
    number: int
    offset: int


class Spool:
    """Numbered records in segment files. Numbers run on for the life of the directory, across processes."""

    def __init__(self, directory: Path, content: int, *, segment_bytes: int, start: Tip) -> None:
        """Open and recover `directory`; `start` is the tip if it holds nothing. Raises OSError."""
        create_private_dir(directory)
        self._directory = directory
        self._content = content
        self._segment_bytes = max(_SMALLEST_SEGMENT, segment_bytes)
        self._lock = threading.Lock()
        self._handle: int | None = None
        self._padded = 0
        """Where the zeros behind the newest record end."""
        self._is_appendable = True
        self._cursor: Cursor | None = None
        self.recovery: Recovery = recover(directory, start)
        self._segments: list[Segment] = list(self.recovery.segments)
        self._tip = self.recovery.tip
        self._next = self._segments[-1].next if self._segments else 0
        self._acknowledged = self._believed = self.first
        self._marks: deque[tuple[int, int]] = deque()
        if self._next > self.first:
            self._marks.append((self.first, self._first_time_us()))

    @property
    def tip(self) -> Tip:
        """The last durable record (the writer's view)."""
        return self._tip

    @property
    def tip_before_first(self) -> Tip:
        """The entry before the oldest record still here. Raises OSError, MalformedError."""
        with self._lock:
            if not self._segments:
                return self._tip
            with self._segments[0].path.open("rb") as file:
                return decode_header(file.read(HEADER_BYTES)).tip

    @property
    def first(self) -> int:
        """The number of the oldest record still here."""
        return self._segments[0].first if self._segments else self._next

    @property
    def next(self) -> int:
        """The number after the newest durable record."""
        with self._lock:
            return self._next

    @property
    def pending(self) -> int:
        """How many durable records the log has not acknowledged, as far as this process knows."""
        with self._lock:
            return self._next - self._acknowledged

    @property
    def waiting(self) -> tuple[int, int | None]:
        """How many records the log lacks, and when the oldest of them was written (Unix microseconds).

        Too early by at most a second; of records that an earlier life left, the oldest one's time is taken.
        """
        with self._lock:
            at = max(self._acknowledged, self._believed)
            while len(self._marks) > 1 and self._marks[1][0] <= at:
                self._marks.popleft()
            waits = at < self._next and bool(self._marks)
            return (self._next - at, self._marks[0][1]) if waits else (0, None)

    def believe(self, number: int) -> None:
        """Count what an earlier life noted as acknowledged as such, until the log itself has been asked."""
        with self._lock:
            self._believed = min(number, self._next)

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        with self._lock:
            return sum(segment.size for segment in self._segments)

    def is_in_place(self) -> bool:
        """Whether the segment being written still has its name: a deleted file takes writes silently."""
        with self._lock:
            return self._handle is None or os.fstat(self._handle).st_nlink > 0

    def append(self, records: Sequence[Record], *, is_whole: bool = False) -> None:
        """Write a group; all of it is durable when this returns. Of a group that `is_whole` a crash leaves
        all or nothing: it begins a segment, which gets its name last.

        Raises:
            OSError: nothing of the group counts. Call again with the same records: they go to a new segment,
            and
                whatever part of the failed write survived is passed over at recovery.
        """
        if not records:
            return
        frames = b"".join(map(encode_record, records))
        last = records[-1]
        self._write(frames, len(records), is_whole=is_whole)
        self._mark(self._next - len(records), records[0].time_us)
        self._tip = Tip(last.instance, last.seq, hash_leaf(last.payload), last.time_us)

    def mark_clean(self) -> None:
        """Note durably that this process ended in order. Any later record takes the mark back. Raises
        OSError.
        """
        if self._segments:
            self._write(encode_clean_mark(), 0)

    def read(self, number: int, *, max_records: int, max_bytes: int) -> list[Record]:
        """Durable records from `number` on; empty if there is none yet. At least one, if there is any.

        Raises:
            StorageError: `number` is no longer here, or the disk gave back other bytes than were written.
            OSError: the file cannot be read.
        """
        with self._lock:
            segment = self._segment_of(number)
            if segment is None:
                return []
            path, size, first = segment.path, segment.size, segment.first
        offset = self._offset_of(path, first, number, size)
        with path.open("rb") as file:
            file.seek(offset)
            chunk = file.read(min(size - offset, max_bytes + _READ_SLACK))
        records: list[Record] = []
        taken = end = 0
        for scanned in scan_frames(chunk, 0):
            if scanned.record is not None:
                taken += len(scanned.record.payload)
                if records and (len(records) >= max_records or taken > max_bytes):
                    break
                records.append(scanned.record)
            end = scanned.end
        if not records:
            raise StorageError(f"spool: expected record {number} to be readable, found a damaged frame")
        self._cursor = Cursor(first, number + len(records), offset + end)
        return records

    def acknowledge(self, number: int) -> None:
        """Forget the records before `number`: the log has them. Whole segments go; the newest one stays."""
        with self._lock:
            self._acknowledged = max(self._acknowledged, min(number, self._next))
            self._drop()

    def erase_all(self) -> None:
        """Delete every segment (drafts that have been sealed elsewhere); durable on return.
        Raises OSError.
        """
        with self._lock:
            self._close_handle()
            for segment in self._segments:
                segment.path.unlink(missing_ok=True)
            self._segments.clear()
            sync_dir(self._directory)

    def close(self) -> None:
        """Close the file. Idempotent; what is durable stays so."""
        with self._lock:
            self._close_handle()

    def _first_time_us(self) -> int:
        try:
            return self.read(self.first, max_records=1, max_bytes=1)[0].time_us
        except (StorageError, OSError):
            return self._tip.time_us

    def _mark(self, number: int, time_us: int) -> None:
        with self._lock:
            if self._acknowledged >= number:
                self._marks.clear()
            if not self._marks or time_us - self._marks[-1][1] >= _MARK_US:
                self._marks.append((number, time_us))

    def _write(self, frames: bytes, count: int, *, is_whole: bool = False) -> None:
        try:
            current = None if is_whole else self._appendable(len(frames))
            if current is None:
                self._write_new(frames, count)
                return
            assert self._handle is not None
            write_all(self._handle, frames)
            self._pad(self._handle, current.size + len(frames))
            # Dying here may leave any of these blocks: recovery stops at the first frame that is not whole,
            # and cuts off what follows it.
            os.fdatasync(self._handle)
        except OSError:
            self._abandon()
            raise
        with self._lock:
            current.size += len(frames)
            current.next += count
            self._next += count

    def _write_new(self, frames: bytes, count: int) -> None:
        """Begin a segment: it gets its name only once its header and first group are durable."""
        self._close_handle()
        path = segment_path(self._directory, self._next)
        new = path.with_name(path.name + NEW_SUFFIX)
        self._handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        write_all(self._handle, encode_header(Header(self._content, self._next, self._tip)) + frames)
        self._padded = 0
        self._pad(self._handle, HEADER_BYTES + len(frames))
        os.fdatasync(self._handle)
        new.rename(path)
        sync_dir(self._directory)
        with self._lock:
            if self._segments and self._segments[-1].path == path:
                self._segments.pop()  # it held no record, and the rename has just replaced it
            size = HEADER_BYTES + len(frames)
            self._segments.append(Segment(path, self._next, self._next + count, size))
            self._next += count
            self._is_appendable = True
            self._drop()

    def _appendable(self, size: int) -> Segment | None:
        """The newest segment, open for appending, or None if a new one must begin."""
        current = self._segments[-1] if self._segments else None
        if current is None or not self._is_appendable or current.size + size > self._segment_bytes:
            return None
        if self._handle is None:
            # First append after a start: recovery has cut off whatever was torn.
            self._handle = os.open(current.path, os.O_WRONLY | os.O_CLOEXEC)
            os.lseek(self._handle, current.size, os.SEEK_SET)
            self._padded = current.size
        return current

    def _pad(self, handle: int, end: int) -> None:
        """Have room behind `end` for the next records, within the segment."""
        if end > self._padded:
            self._padded = pad(handle, end, max(0, min(PAD_BYTES, self._segment_bytes - end)))

    def _abandon(self) -> None:
        """After a failed write the file's state is unknown, even to a later fsync: never append to it again.

        Whatever part of the group reached the disk is passed over at recovery, since the segment that begins
        next says with which number it begins; cutting it off here only makes that rarer.
        """
        self._close_handle()
        if self._segments and self._is_appendable:
            with contextlib.suppress(OSError):
                os.truncate(self._segments[-1].path, self._segments[-1].size)
        self._is_appendable = False

    def _segment_of(self, number: int) -> Segment | None:
        if number >= self._next:
            return None
        for segment in reversed(self._segments):
            if segment.first <= number < segment.next:
                return segment
        raise StorageError(f"spool: expected record {number} to be here, found it dropped already")

    def _offset_of(self, path: Path, first: int, number: int, size: int) -> int:
        """Where the frame of `number` begins: known when reading on, else found by walking the segment."""
        if number == first:
            return HEADER_BYTES
        if self._cursor is not None and (self._cursor.first, self._cursor.number) == (first, number):
            return self._cursor.offset
        at = first
        with path.open("rb") as file:
            content = file.read(size)
        for scanned in scan_frames(content, HEADER_BYTES):
            at += scanned.record is not None
            if at == number:
                return scanned.end
        raise StorageError(f"spool: expected record {number} to be readable, found a damaged frame")

    def _drop(self) -> None:
        while len(self._segments) > 1 and self._segments[0].next <= self._acknowledged:
            # Dying before the unlink only means sending it again, and the log skips what it has.
            self._segments[0].path.unlink(missing_ok=True)
            self._segments.pop(0)

    def _close_handle(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            if self._segments and self._is_appendable:
                with contextlib.suppress(OSError):  # zeros that stay are passed over at recovery
                    os.ftruncate(handle, self._segments[-1].size)
            os.close(handle)
