"""What a slot still owes the log, read from its files alone: for `doctor`, and for who drains what is left.

`sending.json` is the sender's last word: its state, what it met, and the number before which the log has
everything. It is not flushed; lost or old, it only makes the backlog look larger than it is, and sending an
entry twice is harmless. Nothing here changes a segment, so it may be read while another process writes it.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from auditlog.capture.durable import write_whole
from auditlog.capture.frames import HEADER_BYTES, decode_header, scan_frames
from auditlog.capture.segments import list_segments
from auditlog.errors import MalformedError

NOTE_NAME = "sending.json"
REFUSED, STOPPED, RETIRED = "refused", "stopped", "retired"
"""States of a sender that need a person; of a retired producer a new start is enough."""


@dataclass(frozen=True, slots=True)
class SendingNote:
    """The sender's last word. `acknowledged` is the number of the first record the log may not have."""

    state: str = "never"
    detail: str = ""
    acknowledged: int = 0


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in a slot: sealed entries and drafts, since when (Unix microseconds), and the last end."""

    unsent: int
    drafts: int
    oldest_us: int | None
    is_clean: bool
    note: SendingNote

    @property
    def waiting(self) -> int:
        """Entries that the log does not have."""
        return self.unsent + self.drafts


def write_note(directory: Path, state: str, detail: str, acknowledged: int | None) -> None:
    """Keep the sender's word; without a number the last one stands. A failing disk is no reason to stop."""
    with contextlib.suppress(OSError):
        if acknowledged is None:
            acknowledged = read_note(directory).acknowledged
        members = {"v": 1, "state": state, "detail": detail, "acknowledged": acknowledged}
        write_whole(directory / NOTE_NAME, json.dumps(members, indent=1).encode() + b"\n")


def read_note(directory: Path) -> SendingNote:
    """The sender's last word; "never" if there is none that can be read."""
    try:
        members = json.loads((directory / NOTE_NAME).read_bytes())
        acknowledged = members["acknowledged"]
        if type(acknowledged) is int:
            return SendingNote(str(members["state"]), str(members["detail"]), acknowledged)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return SendingNote()


def read_backlog(directory: Path) -> Backlog:
    """Read the segments of a slot without touching them. Raises OSError."""
    note = read_note(directory)
    sealed, is_clean = _times(directory / "spool")
    drafts, is_drafted_clean = _times(directory / "drafts")
    unsent = {number: time_us for number, time_us in sealed.items() if number >= note.acknowledged}
    times = [*unsent.values(), *drafts.values()]
    return Backlog(
        unsent=len(unsent),
        drafts=len(drafts),
        oldest_us=min(times, default=None),
        is_clean=is_drafted_clean if drafts else is_clean,
        note=note,
    )


def _times(directory: Path) -> tuple[dict[int, int], bool]:
    """The time of each record by its number, and whether the last thing said is the mark of a clean end."""
    times: dict[int, int] = {}
    is_clean = True
    for path in list_segments(directory):
        try:
            content = path.read_bytes()
            number = decode_header(content).first
        except FileNotFoundError:  # sent and dropped while we looked
            continue
        except MalformedError:
            return times, False
        end = HEADER_BYTES
        for scanned in scan_frames(content, HEADER_BYTES):
            end, is_clean = scanned.end, scanned.record is None
            if scanned.record is not None:
                times[number] = scanned.record.time_us
                number += 1
        is_clean = is_clean and end == len(content)
    return times, is_clean
