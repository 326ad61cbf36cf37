"""Where the monitor stands with one log: what it keeps between two looks, and how it is written.

Spec: auditlog/spec/monitor.md, "State". Promises: its size does not grow with the log.
"""

from __future__ import annotations

from typing import Any

import msgspec

from auditlog.core.merkle import CompactRange
from auditlog.verify.monitor.store import Store


class Standing(msgspec.Struct):
    """One log. Times are microseconds since 1970 by this machine's clock, if nothing else is said."""

    note: str = ""
    """The newest checkpoint shown to extend all before it; empty before the first."""
    note_us: int = 0
    """When it was first seen."""
    tree_size: int = 0
    """Leaves whose hashes were checked, in order."""
    peaks: list[bytes] = []
    """Their compact range."""
    entries_size: int = 0
    """Entries that were read and folded, in order."""
    entries_why: str = ""
    """Why the entries after those could not be read; empty if they can."""
    kept_days: int = 0
    """Days that the log said it keeps entries, when it was last looked at; 0: it named none."""
    fold: dict[str, Any] | None = None
    mark: tuple[int, str, str] | None = None
    """(size, instant, note) of the newest checkpoint that a quorum had cosigned by then, and that was read
    to its end: what comes after it was not in the log by then.
    """
    anchored: tuple[int, int, str] | None = None
    """(size, entry, block time) of the newest anchor checked."""
    anchor_due_us: int = 0
    """Since when there are entries that no anchor covers; 0 while there are none."""
    anchored_decisions: int = 0
    """Decisions there were when it was met."""
    anchors_checked: int = 0
    claims: list[tuple[int, int, str, str, int, str, str]] = []
    """Anchors that entries name and that were not compared yet."""
    looked_us: int = 0
    """When the log was last read without any trouble."""
    stuck: dict[str, tuple[int, int, int]] = {}
    """Of each kind of part that could not be reached: (how far the monitor had got, when it was last asked
    for in vain, microseconds for which it has been).
    """
    ahead: dict[str, tuple[str, int]] = {}
    """By witness or peer: a checkpoint that the log signed and has not reached here, and since when."""
    anchors_ahead: dict[str, tuple[int, str, str, int]] = {}
    """Anchors of more entries than the log showed: (size, root, note, when it was read)."""
    outages: list[tuple[int, int]] = []
    """Stretches in which the log could not be read: from the first look in vain to the first whole one with a
    checkpoint of since then; the end of one that goes on is 0.
    """
    suppressed: dict[str, int] = {}
    """Alarms of a word that were too many to tell one by one."""

    def range(self) -> CompactRange:
        """The compact range of the leaves checked."""
        return CompactRange(self.tree_size, self.peaks)


def load_standing(store: Store, origin: str) -> tuple[str, Standing] | None:
    """The keys a log was followed under, one a line, and where it stands; None if it is new."""
    rows = store.read("SELECT vkeys, standing FROM log WHERE origin = ?", (origin,))
    if not rows:
        return None
    return rows[0][0], msgspec.msgpack.decode(rows[0][1], type=Standing)


def encode_standing(standing: Standing) -> bytes:
    """As `load_standing` reads it."""
    return msgspec.msgpack.encode(standing)
