"""What a declared loss covers: which numbers of a chain a `gap` or a `declared_lost` notice speaks of
(spec/entry.md, "Losses").

Pure functions of entries whose place in the log the caller has proven. Promises: an entry of another kind,
another writer or a malformed body covers nothing; nothing raises.
"""

from __future__ import annotations

from auditlog.core.bodies import check_body
from auditlog.core.entry import Entry
from auditlog.errors import MalformedError


def gap_covers(gap: Entry, *, producer: str, instance: str, seq: int) -> bool:
    """Whether a `gap` entry says that number `seq` of an instance of a producer was lost.

    It must be by that producer, name that instance, with `after_seq` below the number, and stand in another
    instance or at a higher number: a loss inside a running life (after_seq = its own number - 1) covers no
    numbered entry, since the numbers went on.
    """
    if gap.kind != "gap" or gap.producer != producer or not _is_well_formed(gap):
        return False
    body = gap.body
    if body["instance"] != instance or body["after_seq"] >= seq:
        return False
    return gap.instance != instance or gap.seq > seq


def declared_lost_covers(notice: Entry, *, producer: str, instance: str, seq: int) -> bool:
    """Whether a `notice` of the log declares that number `seq` of an instance of a producer is lost with its
    host.
    """
    if notice.kind != "notice" or not notice.by_log or not _is_well_formed(notice):
        return False
    if notice.body["what"] != "declared_lost":
        return False
    lost = notice.body["detail"]
    return bool(lost["producer"] == producer and lost["instance"] == instance and lost["after_seq"] < seq)


def _is_well_formed(entry: Entry) -> bool:
    if not entry.understood:
        return False
    try:
        check_body(entry.kind, entry.body)
    except MalformedError:
        return False
    return True
