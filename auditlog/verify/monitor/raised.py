"""What a check raises before it is a finding: the word, a key that names the occasion, and what shows it.

Spec: auditlog/spec/monitor.md, "Alarms". Promises: one occasion has one key, whenever and however often it
is met, so that it is raised once. Must never: hold a clock reading in a key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """One thing found wrong, or worth knowing."""

    alarm: str
    """A word of `auditlog.verify.finding.ALARMS`."""
    key: str
    detail: str
    index: int | None = None
    other: int | None = None
    """The entry that the one at `index` contradicts, differs from or does not follow."""
    notes: tuple[str, ...] = ()
    """Signed notes of others that show it, beside the newest checkpoint."""
    evidence: bytes | None = None
    """The whole file, where whoever found it could already write it."""


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to know that no alarm has a word for."""

    kind: str
    producer: str
    text: str


Raise = Callable[[Raised], None]
"""Takes one."""
