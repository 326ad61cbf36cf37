"""What a log prunes, as a monitor sees it: under its own policy, and not what came in a short while ago.

Spec: auditlog/spec/monitor.md, "Pruned entries". Promises: an honest document raises nothing, however much
was pruned under it; one that is not the log's, or breaks its own rule, excuses nothing and is told. A rule of
days is held against when this monitor saw the log grow, and a change of the rule against the one before.
"""

from __future__ import annotations

from typing import Final

from auditlog.core.retention import DAY_US, Retention
from auditlog.verify.monitor.books import Books
from auditlog.verify.monitor.raised import Raised
from auditlog.verify.retention import Told

SLACK_US: Final = DAY_US
"""Clocks differ, and a copy of a log may be hours behind it."""


def check_pruned(books: Books, told: Told) -> int:
    """Raise what is wrong with the document; returns below which index bundles may be gone."""
    document, note = told.document, told.note
    notes = (books.standing.note, note) if document is not None else (books.standing.note,)
    if told.fault:
        key = f"retention:{0 if document is None else document.minimum}:{told.fault[:40]}"
        _raise(books, key, told.fault, notes)
        return 0
    if document is None:
        return 0
    standing = books.standing
    days, standing.kept_days = standing.kept_days or document.policy.days or 0, document.policy.days or 0
    young = _young(books, document, days)
    if young is not None:
        text = (
            f"it says that entries below {document.minimum} were pruned and that it keeps {days} days; less "
            f"than that before, it showed a tree of {young} entries here"
        )
        _raise(books, f"retention:{document.minimum}:young", text, notes)
        return 0
    return told.minimum


def _young(books: Books, document: Retention, days: int) -> int | None:
    """The size of a tree that was the newest here so lately that what came after it must still be kept."""
    if not days or not document.marks:
        return None
    since_us = document.marks[-1].at_us - days * DAY_US + SLACK_US
    query = "SELECT min(size) FROM checkpoint WHERE origin = ? AND size < ? AND seen_us > ?"
    rows = books.store.read(query, (books.origin, document.minimum, since_us))
    return None if not rows or rows[0][0] is None else int(rows[0][0])


def _raise(books: Books, key: str, detail: str, notes: tuple[str, ...]) -> None:
    text = f"the log prunes what it must keep: {detail}"
    books.book.take(Raised(alarm="tiles_withheld", key=key, detail=text, notes=notes))
