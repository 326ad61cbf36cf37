"""What must hold after any chaos, computed from what the callers hold and what the log shows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from auditlog.core.entry import Entry, encode_entry, parse_time
from auditlog.core.merkle import hash_leaf
from auditlog.core.note import Ed25519Verifier
from auditlog.core.promise import Promise, open_promise
from tests.support.chaos_clients import Callers, Received

RUNNING_US = 60_000_000
"""A loss is noticed when a call ends, or at the next start: it may lie this long before or after."""


@dataclass(frozen=True)
class Verdict:
    """The counts of one run, for whoever reads the test's output."""

    received: int
    decisions: int
    in_gaps: int
    cut: int
    promises: int


def judge(callers: Callers, entries: list[Entry], *, warm_ups: int, is_closed: bool = False) -> Verdict:
    """Check every claim; the message of a failed assertion says which does not hold."""
    chains_are_whole(entries)
    ids = Counter(str(entry.body["id"]) for entry in entries if entry.kind == "decision")
    assert all(count == 1 for count in ids.values()), "no decision is counted twice"
    promises = {each.number: check_promise(each, entries) for each in callers.received if each.promise}
    missing = [each for each in callers.received if each.id is None or each.id not in ids]
    assert not [each for each in missing if each.promise], "no promised decision is missing"
    if is_closed:
        assert not missing, "fail_closed: every whole answer has its entry"
    lie_in_gaps(missing, entries)
    known = {each.id for each in callers.received} | set(callers.cut)
    unknown = [id_ for id_ in ids if id_ not in known]
    # A cut or failed call may have an entry or none: that is all the two counts may differ by.
    assert len(unknown) <= len(callers.cut) + callers.failed + callers.refused + warm_ups
    return Verdict(len(callers.received), len(ids), len(missing), len(callers.cut), len(promises))


def chains_are_whole(entries: list[Entry]) -> None:
    """Every producer's entries follow each other, number by number and hash by hash."""
    tips: dict[str, tuple[str, int, str]] = {}
    for entry in entries:
        if entry.producer == "log":
            continue
        instance, seq, leaf = tips.get(entry.producer, ("", -1, entry.producer))
        assert entry.prev == leaf, f"number {entry.seq} of {entry.instance} follows"
        assert entry.seq == (seq + 1 if entry.instance == instance else 0)
        tips[entry.producer] = (entry.instance, entry.seq, hash_leaf(encode_entry(entry)).hex())


def check_promise(received: Received, entries: list[Entry]) -> Promise:
    """The promise is by an enrolled producer, about this answer, and was kept."""
    assert received.promise is not None
    producers = {
        hash_leaf(encode_entry(entry)).hex(): str(entry.body["vkey"])
        for entry in entries
        if entry.kind == "producer"
    }
    by = received.promise.split("\n")[2]
    promise = open_promise(received.promise, Ed25519Verifier.from_vkey(producers[by]))
    kept = [
        entry
        for entry in entries
        if (entry.producer, entry.instance, entry.seq) == (promise.producer, promise.instance, promise.seq)
    ]
    assert len(kept) == 1, "the promised number is in the log"
    assert hash_leaf(encode_entry(kept[0])) == promise.leaf_hash, "and holds the promised bytes"
    assert kept[0].body["id"] == received.id, "which are about this answer"
    return promise


def lie_in_gaps(missing: list[Received], entries: list[Entry]) -> None:
    """Each missing answer lies in the time of a gap, and no gap has more of them than it says."""
    gaps = [entry for entry in entries if entry.kind == "gap"]
    room = [_room(gap) for gap in gaps]
    for each in sorted(missing, key=lambda received: received.at_us):
        fitting = [n for n, gap in enumerate(gaps) if room[n] > 0 and _spans(gap, each.at_us)]
        assert fitting, f"answer {each.number} ({each.id}) lies in a signed gap"
        # The gap that ends first: the others can still take what comes later.
        chosen = min(fitting, key=lambda n: parse_time(gaps[n].body["to"]))
        room[chosen] -= 1


def _spans(gap: Entry, at_us: int) -> bool:
    return parse_time(gap.body["from"]) - RUNNING_US <= at_us <= parse_time(gap.body["to"]) + RUNNING_US


def _room(gap: Entry) -> int:
    count = gap.body["count"]
    return int(gap.body.get("at_most", 1 << 30)) if count == "unknown" else int(count)
