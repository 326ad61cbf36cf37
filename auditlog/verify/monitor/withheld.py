"""Parts of a signed tree that cannot be reached for long while the log serves others: withheld, politely.

Spec: auditlog/spec/monitor.md, "A look". Promises: a log that is down is not accused, for its checkpoint
cannot be had either, and little time without looks counts; one that answers 503, or not at all, for one part
alone is.
"""

from __future__ import annotations

from typing import Final

from auditlog.verify.monitor.following import Follower, Look
from auditlog.verify.monitor.raised import Raised

LOOKS: Final = 8
"""Looks in vain at least: between two of them no more than this part of the whole time counts."""


def check_withheld(follower: Follower, look: Look, stale_s: float) -> None:
    """Count the time for which the log served a new checkpoint and not what is needed of its tree."""
    books, now_us = follower.books, follower.clock_us()
    standing, met = books.standing, books.unreached
    for what in list(standing.stuck):
        is_read = look.is_current and (what != "bundle" or not standing.entries_why)
        if what not in met and (is_read or standing.stuck[what][0] != _place(follower, what)):
            del standing.stuck[what]
    limit_us = int(stale_s * 1_000_000)
    for what, (detail, note) in met.items():
        place = _place(follower, what)
        at, last_us, passed_us = standing.stuck.get(what, (place, now_us, 0))
        if at != place:
            last_us, passed_us = now_us, 0
        passed_us += min(max(0, now_us - last_us), limit_us // LOOKS)
        standing.stuck[what] = (place, now_us, passed_us)
        if passed_us >= limit_us // LOOKS * LOOKS:
            text = f"for {stale_s:.0f} s the log has served its checkpoints, and not what is theirs: {detail}"
            key = f"tiles_withheld:stalled:{what}:{place}"
            books.book.take(Raised(alarm="tiles_withheld", key=key, detail=text, notes=(note,)))


def _place(follower: Follower, what: str) -> int:
    """How far the monitor has got with that kind of part: further on it is another occasion."""
    standing = follower.books.standing
    return standing.entries_size if what == "bundle" else standing.tree_size
