"""Segment files of one spool directory: listing, scanning and repair at start (README.md, "After a crash").

Recovery reads every segment once. A bad frame in the newest segment is the torn tail of a write that was
never acknowledged to anyone, and is cut off. A bad frame with good segments after it is damage: what follows
cannot be sent any more (its `prev` chain is broken), so those files are set aside as `....damaged` for a
person to look at, and the loss is declared in a gap entry.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from auditlog.capture.chain import Tip
from auditlog.capture.durable import sync_dir, write_durable
from auditlog.capture.frames import HEADER_BYTES, Header, Record, decode_header, scan_frames
from auditlog.core.merkle import hash_leaf
from auditlog.errors import MalformedError

SUFFIX = ".segment"
DAMAGED_SUFFIX = ".damaged"
NEW_SUFFIX = ".new"
"""Ending of a segment that is still being born; one found at start never held anything durable."""


@dataclass(slots=True)
class Segment:
    """One file of the spool as the writer and the reader know it. `next` is the number after its last
    record.
    """

    path: Path
    first: int
    next: int
    size: int


@dataclass(frozen=True, slots=True)
class Recovery:
    """What recovery found. `lost` counts records set aside with damaged files; `torn_bytes` were cut off."""

    segments: tuple[Segment, ...]
    tip: Tip
    is_clean: bool
    torn_bytes: int = 0
    lost: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether the directory held no record and knows of none before."""
        return self.tip.is_empty


def segment_path(directory: Path, first: int) -> Path:
    """The name of the segment whose first record has number `first`."""
    return directory / f"{first:020d}{SUFFIX}"


def list_segments(directory: Path) -> list[Path]:
    """The segments in order of their first record."""
    return sorted(directory.glob("*" + SUFFIX))


def recover(directory: Path, start: Tip) -> Recovery:
    """Read, repair and describe the segments of a directory; `start` is the tip when there are none.

    Raises:
        OSError: the directory cannot be read or repaired.
    """
    found = Recovery((), start, is_clean=True)
    for newborn in directory.glob("*" + SUFFIX + NEW_SUFFIX):
        newborn.unlink()
        found = replace(found, is_clean=False)
    paths = list_segments(directory)
    for position, path in enumerate(paths):
        follower = _first_of(paths[position + 1]) if position + 1 < len(paths) else None
        step = _recover_segment(path, found, follower)
        if step is None:
            found = _set_aside(paths[position:], found)
            break
        found = step
    sync_dir(directory)
    return found


def _recover_segment(path: Path, before: Recovery, follower: int | None) -> Recovery | None:
    """Scan one segment; None if the chain cannot go on into what follows it."""
    content = path.read_bytes()
    try:
        header = decode_header(content)
    except MalformedError:
        return None
    if before.segments and header.first != before.segments[-1].next:
        return None
    segment, tip, is_clean = _scan(path, content, header, limit=follower, was_clean=before.is_clean)
    if follower is not None and segment.next != follower:
        return None
    # Zeros are room for records that never came, or were never durable (`spool.PAD_BYTES`).
    torn = max(0, len(content.rstrip(b"\0")) - segment.size) if len(content) > segment.size else 0
    if len(content) > segment.size and follower is None:
        os.truncate(path, segment.size)
        _sync_file(path)
        is_clean = is_clean and not torn
    return Recovery((*before.segments, segment), tip, is_clean, before.torn_bytes + torn, before.lost)


def _scan(
    path: Path, content: bytes, header: Header, *, limit: int | None = None, was_clean: bool = False
) -> tuple[Segment, Tip, bool]:
    """Walk the good frames, at most up to record number `limit` (what a later segment wrote again).

    A segment without frames says nothing about how the process before it ended: `was_clean` stands.
    """
    segment = Segment(path, header.first, header.first, HEADER_BYTES)
    is_clean = was_clean
    last: Record | None = None
    for scanned in scan_frames(content, HEADER_BYTES):
        if limit is not None and segment.next >= limit:
            break
        segment.size = scanned.end
        is_clean = scanned.record is None
        if scanned.record is not None:
            segment.next += 1
            last = scanned.record
    tip = header.tip if last is None else Tip(last.instance, last.seq, hash_leaf(last.payload), last.time_us)
    return segment, tip, is_clean


def _set_aside(paths: list[Path], found: Recovery) -> Recovery:
    """Keep what is good of the damaged segment; rename it and all later ones out of the way."""
    content = paths[0].read_bytes()
    segments, tip = found.segments, found.tip
    total = _count_records(paths)
    kept = 0
    try:
        header = decode_header(content)
    except MalformedError:
        header = None
    # Last first: dying half-way leaves a spool that this same repair, or the cut of a torn tail, makes whole.
    for path in reversed(paths[1:]):
        path.rename(path.with_name(path.name + DAMAGED_SUFFIX))
    aside = paths[0].with_name(paths[0].name + DAMAGED_SUFFIX)
    if header is None or (segments and header.first != segments[-1].next):
        paths[0].rename(aside)
    else:
        segment, tip, _ = _scan(paths[0], content, header)
        kept = segment.next - segment.first
        write_durable(aside, content)
        # The good part stays: the log may still need it, and its header knows the tip.
        os.truncate(paths[0], segment.size)
        _sync_file(paths[0])
        segments = (*segments, segment)
    return Recovery(segments, tip, is_clean=False, torn_bytes=found.torn_bytes, lost=max(1, total - kept))


def _count_records(paths: list[Path]) -> int:
    """How many records the files held, as far as their headers and frames still tell."""
    first = _first_of(paths[0])
    last_content = paths[-1].read_bytes()
    try:
        header = decode_header(last_content)
    except MalformedError:
        return 1
    end = _scan(paths[-1], last_content, header)[0].next
    return end - (first if first is not None else header.first)


def _first_of(path: Path) -> int | None:
    try:
        with path.open("rb") as file:
            return decode_header(file.read(HEADER_BYTES)).first
    except MalformedError:
        return None


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
