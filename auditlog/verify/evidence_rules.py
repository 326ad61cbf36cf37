"""Rules that every honest log keeps, each of few entries: is it broken by those shown?

Spec: auditlog/spec/evidence.md, "ENTRIES", where each rule stands in words. Everything here was proven to be
in the log before, and is attacker-controlled all the same. Promises: pure; each rule returns a sentence about
what is wrong, or raises a `VerificationError`. Must never: hold for entries that an honest log could have,
whatever its hosts suffered.
"""

from __future__ import annotations

from collections.abc import Sequence

from auditlog.core.anchor import log_id
from auditlog.core.bodies import check_body
from auditlog.core.entry import Entry
from auditlog.errors import MalformedError, VerificationError
from auditlog.verify.steps_chain import Placed


def is_whole(entry: Entry, kind: str) -> bool:
    """Whether an entry is of this kind, understood and well formed."""
    if entry.kind != kind or not entry.understood:
        return False
    try:
        check_body(kind, entry.body)
    except MalformedError:
        return False
    return True


def expect(found: Sequence[object], *counts: int) -> None:
    """Refuse another number of entries than the rule is about; raises VerificationError."""
    if len(found) not in counts:
        wanted = " or ".join(map(str, counts))
        raise VerificationError(f"entries: expected {wanted} for this rule, found {len(found)}")


def duplicate_number(found: Sequence[Placed]) -> str:
    """Two entries with one place in one chain."""
    expect(found, 2)
    a, b = found
    if _place(a) != _place(b):
        raise VerificationError("entries: expected two with one number of one writer, found others")
    return f"Entries {a.index} and {b.index} have the same number {a.entry.seq} of one writer."


def foreign_anchor(found: Sequence[Placed]) -> str:
    """An anchor entry that names another log, or a tree larger than the log was."""
    expect(found, 1)
    entry, index = found[0].entry, found[0].index
    if not is_whole(entry, "anchor"):
        raise VerificationError("entries: expected an anchor that is well formed, found another entry")
    if entry.body["log_id"] != log_id(entry.origin).hex():
        return f"Entry {index} names an anchor of another log."
    if entry.body["size"] > index:
        return f"Entry {index} names an anchor of {entry.body['size']} entries, more than were before it."
    raise VerificationError("entries: expected an anchor of another log or a later tree, found one of this")


def after_retirement(found: Sequence[Placed]) -> str:
    """A producer's entry behind its end."""
    expect(found, 2)
    end, later = found
    if not is_whole(end.entry, "retirement"):
        raise VerificationError("entries: expected a retirement that is well formed first, found another")
    named = end.entry.body.get("producer")
    ended = named if end.entry.by_log else end.entry.producer
    if not end.entry.by_log and named not in (None, end.entry.producer):
        raise VerificationError("entries: expected a producer to retire itself, found another named")
    if ended is None or later.entry.producer != ended:
        raise VerificationError("entries: expected an entry of the retired producer, found another")
    return f"Entry {later.index} is by a producer that had ended at entry {end.index}."


def unknown_producer(found: Sequence[Placed], leaves: Sequence[bytes] | None) -> str:
    """An entry whose writer was not enrolled before it."""
    if leaves is not None:
        expect(found, 1)
        one = found[0]
        if one.entry.by_log or bytes.fromhex(one.entry.producer) in leaves[: one.index]:
            raise VerificationError(
                "entries: expected one by a producer not in the log before, found another"
            )
        return f"Entry {one.index} is by a producer that nothing before it in the log enrols."
    expect(found, 2)
    for writer, other in (found, found[::-1]):
        if writer.entry.producer != other.leaf_hash.hex():
            continue
        if other.index > writer.index:
            return f"Entry {writer.index} is by a producer enrolled only later, by entry {other.index}."
        if other.entry.kind != "producer":
            return f"Entry {writer.index} names entry {other.index} as its producer, which enrols nobody."
    raise VerificationError("entries: expected an entry of a producer that was not enrolled, found none")


def broken_chain(found: Sequence[Placed], leaves: Sequence[bytes] | None) -> str:
    """Entries that cannot follow one another as they say; the forms 1 to 8 of the page."""
    if leaves is not None:
        expect(found, 1)
        return _follows_nothing(found[0], leaves)
    expect(found, 1, 2, 3)
    if len(found) == 1:
        text = _alone(found[0])
    elif len(found) == 2:
        text = _pair(*found)
    else:
        text = _came_back(*found)
    if text is None:
        raise VerificationError("entries: expected a chain that is broken, found nothing wrong with these")
    return text


def _follows_nothing(one: Placed, leaves: Sequence[bytes]) -> str:
    """(3)."""
    if one.entry.kind == "genesis" or bytes.fromhex(one.entry.prev) in leaves[: one.index]:
        raise VerificationError("entries: expected one that follows nothing in the log, found another")
    return f"Entry {one.index} says that it follows an entry that is not in the log before it."


def _alone(one: Placed) -> str | None:
    """(1) and (2): where a number cannot be."""
    entry, index = one.entry, one.index
    if entry.by_log:
        if (entry.seq == 0) != (index == 0) or index < entry.seq:
            return f"Entry {index} cannot be number {entry.seq} of the log."
        return None
    if (entry.kind == "instance") != (entry.seq == 0):
        return f"Entry {index} has the number {entry.seq}: the start of a life has 0, and nothing else has."
    if index < entry.seq + 2:
        return f"Entry {index} cannot be number {entry.seq} of a producer: so many were not before it."
    return None


def _pair(a: Placed, b: Placed) -> str | None:
    """(4) to (7)."""
    if _life(a) == _life(b) and (text := _numbers(a, b)) is not None:
        return text
    if a.entry.producer == b.entry.producer and a.entry.prev == b.entry.prev:
        return f"Entries {a.index} and {b.index} of one writer follow the same entry."
    if b.entry.prev == a.leaf_hash.hex() and not _may_follow(a, b):
        return f"Entry {b.index} follows entry {a.index}, which it may not follow."
    if a.entry.prev == b.leaf_hash.hex():
        return f"Entry {a.index} follows entry {b.index}, which comes after it."
    return None


def _numbers(a: Placed, b: Placed) -> str | None:
    """(4): of one life."""
    if b.entry.seq < a.entry.seq:
        return f"Entry {b.index} has a smaller number than entry {a.index}, which is before it."
    if b.entry.seq - a.entry.seq > b.index - a.index:
        return f"Between the numbers of entries {a.index} and {b.index} are more than between their places."
    if b.entry.seq == a.entry.seq + 1 and b.entry.prev != a.leaf_hash.hex():
        return f"Entry {b.index} has the number after entry {a.index}, and follows another entry."
    return None


def _may_follow(a: Placed, b: Placed) -> bool:
    """Whether the entry b, whose `prev` is a, may do so (6)."""
    if b.entry.by_log or b.entry.seq:
        return _life(a) == _life(b) and b.entry.seq == a.entry.seq + 1
    if a.entry.producer == b.entry.producer:
        return a.entry.instance != b.entry.instance
    return a.entry.kind == "producer" and a.leaf_hash.hex() == b.entry.producer


def _came_back(a: Placed, b: Placed, c: Placed) -> str | None:
    """(8): a life goes on after another had begun."""
    if not (a.entry.producer == b.entry.producer == c.entry.producer):
        return None
    if a.entry.instance != c.entry.instance or a.entry.instance == b.entry.instance:
        return None
    return f"Entry {c.index} goes on with a life that had ended when entry {b.index} began another."


def _life(item: Placed) -> tuple[str, str]:
    return item.entry.producer, item.entry.instance


def _place(item: Placed) -> tuple[str, str, int]:
    return item.entry.producer, item.entry.instance, item.entry.seq
