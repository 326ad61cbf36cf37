"""Heartbeats whose counts contradict the entries, or one another.

Spec: auditlog/spec/evidence.md, "ENTRIES", `counter_mismatch`; auditlog/spec/entry.md, "heartbeat". All of
it is the word of one producer, so this is said against it or the log that could have written in its name.
Promises: pure; returns a sentence or raises a `VerificationError`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

from auditlog.errors import VerificationError
from auditlog.verify.evidence_rules import is_whole
from auditlog.verify.steps_chain import Placed

_ONLY_GROW: Final = (
    "started",
    "finished",
    "failed",
    "refused",
    "deferred",
    "lost",
    "late_hangups",
    "recorded",
)


def counter_mismatch(found: Sequence[Placed]) -> str:
    """One heartbeat, two, or all entries of a life between two of them or from its start."""
    first, last = found[0], found[-1]
    lives = {(item.entry.producer, item.entry.instance) for item in found}
    numbers = [item.entry.seq for item in found]
    if len(lives) != 1 or numbers != sorted(set(numbers)) or not is_whole(last.entry, "heartbeat"):
        raise VerificationError("entries: expected those of one life up to a heartbeat, found others")
    text = _alone(last) if len(found) == 1 else None
    if len(found) == 2 and is_whole(first.entry, "heartbeat"):
        text = _between(first, last)
    if text is None and len(found) > 1:
        text = _counted(found)
    if text is None:
        raise VerificationError("entries: expected counts that do not fit, found none")
    return text


def _alone(one: Placed) -> str | None:
    """(1)."""
    body, seq = one.entry.body, one.entry.seq
    if body["finished"] + body["failed"] + body["in_flight"] > body["started"]:
        return f"By entry {one.index} more calls have ended or are in flight than started."
    over = [name for name in ("recorded", "in_flight", "deferred") if body[name] > body["started"]]
    if over:
        return f"By entry {one.index} the count {over[0]} is above the calls that started."
    if body["recorded"] > max(seq - 1, 0):
        return f"By entry {one.index} more was recorded than there are numbers before it."
    return None


def _between(a: Placed, b: Placed) -> str | None:
    """(2)."""
    before, after = a.entry.body, b.entry.body
    fell = [name for name in _ONLY_GROW if after[name] < before[name]]
    if fell:
        return f"From entry {a.index} to entry {b.index}, in one life, the count {fell[0]} has fallen."
    if after["recorded"] - before["recorded"] > b.entry.seq - a.entry.seq - 1:
        return f"Between the entries {a.index} and {b.index} more was recorded than there are numbers."
    return None


def _counted(found: Sequence[Placed]) -> str | None:
    """(3)."""
    first, last = found[0], found[-1]
    for a, b in itertools.pairwise(found):
        if b.entry.seq != a.entry.seq + 1 or b.entry.prev != a.leaf_hash.hex():
            return None
    is_start = first.entry.kind == "instance" and first.entry.seq == 0
    if not is_start and not is_whole(first.entry, "heartbeat"):
        return None
    before = 0 if is_start else first.entry.body["recorded"]
    counted = before + sum(item.entry.kind == "decision" for item in found[1:-1])
    stated = last.entry.body["recorded"]
    if stated == counted:
        return None
    return f"Entry {last.index} says that {stated} were recorded; by the entries before it {counted} were."
