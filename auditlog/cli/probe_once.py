"""One decision on record is one answer: who shows the same one twice, or one of another time, shows nothing.

Spec: auditlog/spec/promise.md, "Probing". Without this an endpoint could record one decision, leave out all
others, and hand the same promise to everyone. Pure. Must never: decide whether a promise was kept.
"""

from __future__ import annotations

from auditlog.cli.probe_store import Sent
from auditlog.core.scalars import format_time, parse_time

_LONGEST_US = 150 * 1_000_000
"""How long an answer may have taken, where no time of it was kept."""


class Once:
    """What the answers of one probe came with."""

    def __init__(self, slack_s: int) -> None:
        """`slack_s`: how many seconds the clock of whoever answers may be from the prober's."""
        self._slack_us = slack_s * 1_000_000
        self._entries: dict[bytes, int] = {}

    def before(self, number: int, leaf_hash: bytes) -> int | None:
        """Which earlier request came with this entry; it is remembered."""
        first = self._entries.setdefault(leaf_hash, number)
        return None if first == number else first

    def outside(self, sent: Sent, made: str) -> str | None:
        """From when to when this request was under way, if `made` (a time of an entry) is not in it, give or
        take the slack; else None.
        """
        begin = parse_time(sent.sent_at)
        end = parse_time(sent.answered_at) if sent.answered_at else begin + _LONGEST_US
        if begin - self._slack_us <= parse_time(made) <= end + self._slack_us:
            return None
        return f"from {sent.sent_at} to {format_time(end)}"
