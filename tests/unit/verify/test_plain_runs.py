"""Runs: chains that take many entries at once complain of what they would complain of one by one."""

from __future__ import annotations

import functools
from dataclasses import fields
from itertools import islice
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from auditlog.core import canonical
from auditlog.core.entry import MAX_ENTRY_BYTES, Entry, encode_entry, parse_entry
from auditlog.core.merkle import hash_leaf
from auditlog.verify.chains import ChainChecker
from auditlog.verify.lives import Complaint, ProducerLife
from auditlog.verify.plain_runs import Gathering, Run
from tests.support.long_log import LongLog
from tests.support.tlog_writer import ORIGIN, log_signer


@functools.cache
def _entries() -> tuple[bytes, ...]:
    return tuple(islice(LongLog(3).entries(), 2200))


class Followed:
    """A checker, what it complained of and where it stands."""

    def __init__(self) -> None:
        self.problems: list[Complaint] = []
        self.producers: dict[str, ProducerLife] = {}
        self.chains = ChainChecker(
            ORIGIN, self.problems.append, vkey=log_signer().vkey, producers=self.producers
        )

    def found(self) -> tuple[Any, ...]:
        """Everything there is to compare."""
        self.problems.sort(key=lambda one: one.at)
        told = [(problem.rule, problem.at, str(problem), problem.other) for problem in self.problems]
        lives = {
            name: [
                [key.vkey for key in life.keys] if field.name == "keys" else getattr(life, field.name)
                for field in fields(life)
            ]
            for name, life in self.producers.items()
        }
        return told, self.chains.standing(), lives


def one_by_one(entries: list[bytes]) -> Followed:
    """Every entry taken by itself."""
    followed = Followed()
    for index, data in enumerate(entries):
        followed.chains.take(index, hash_leaf(data), data)
    return followed


def in_runs(entries: list[bytes], cuts: tuple[int, ...]) -> Followed:
    """In sections of these sizes, one after another, and bundles of 100."""
    followed, gathering, at = Followed(), Gathering(ORIGIN), 0
    sizes = iter(cuts)
    while at < len(entries):
        end = at + next(sizes, 500)
        events = gathering.begin()
        for first in range(at, min(end, len(entries)), 100):
            part = entries[first : min(first + 100, end)]
            gathering.take(first, [hash_leaf(data) for data in part], part)
        gathering.close()
        for event in events:
            if isinstance(event, Run):
                followed.chains.take_run(event)
            else:
                followed.chains.take(event.index, event.leaf_hash, event.data)
        at = end
    return followed


def test_an_honest_log_is_a_few_runs() -> None:
    """Nothing to complain of, and a hundredth of the steps."""
    entries = list(_entries())
    gathering = Gathering(ORIGIN)
    events = gathering.begin()
    gathering.take(0, [hash_leaf(data) for data in entries], entries)
    gathering.close()
    assert len(events) < len(entries) / 50
    assert in_runs(entries, ()).found() == one_by_one(entries).found()
    assert one_by_one(entries).problems == []


def retirement(at: int) -> bytes:
    """An end of the producer of the entry at `at`, by the log."""
    gone = parse_entry(_entries()[at])
    last = {"instance": gone.instance, "seq": gone.seq, "leaf_hash": hash_leaf(_entries()[at]).hex()}
    body = {"last": last, "producer": gone.producer}
    return encode_entry(
        Entry(kind="retirement", origin=ORIGIN, producer="log", instance="log", seq=4, prev="0" * 64,
              time=gone.time, body=body)
    )  # fmt: skip


def changed(data: bytes, **members: Any) -> bytes:
    """An entry with other members."""
    return canonical.encode(canonical.parse(data) | members)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_damage_is_found_alike(data: st.DataObject) -> None:
    """Entries gone, doubled, moved, changed, of another instance or after an end; cut anywhere."""
    entries = list(_entries()[: data.draw(st.integers(20, 320))])
    for _ in range(data.draw(st.integers(1, 4))):
        at, other = (data.draw(st.integers(0, len(entries) - 1)) for _ in range(2))
        what = data.draw(st.integers(0, 8))
        if what == 0:
            del entries[at]
        elif what == 1:
            entries.insert(other, entries[at])
        elif what == 2:
            entries[at], entries[other] = entries[other], entries[at]
        elif what == 3:
            entries[at] = changed(_entries()[at], seq=data.draw(st.integers(1, 900)))
        elif what == 4:
            entries[at] = changed(_entries()[at], prev="5" * 64)
        elif what == 5:
            entries[at] = changed(_entries()[at], instance="b" * 32)
        elif what == 6:
            entries.insert(other, retirement(at))
        elif what == 7:
            entries[at] = changed(_entries()[at], producer="c" * 64, instance="d" * 32)
        else:
            entries[at] = entries[at][: data.draw(st.integers(0, 900))]
    cuts = tuple(data.draw(st.lists(st.integers(1, 300), max_size=3)))
    assert in_runs(entries, cuts).found() == one_by_one(entries).found()


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8)
    | st.sampled_from(["unknown", "0" * 64, "a" * 32, "2026-01-31T00:00:05.995000Z", ORIGIN, "", "log"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["count", "at_most", "from", "to", "instance", "after_seq", "producer", "last", "seq",
             "leaf_hash",
             "vkey", "notes", "note", "name", "what", "detail", "head", "recorded", "size", "root", "log_id",
             "vkeys", "type", "chain_id", "contract", "tx", "block_time", "model", "mode"]
        ),
        inner, max_size=6,
    ),
    max_leaves=12,
)  # fmt: skip
_KINDS = [
    "gap",
    "heartbeat",
    "rotation",
    "retirement",
    "notice",
    "instance",
    "decision",
    "outcome",
    "coverage",
]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_admitted_entry_stops_a_check(data: st.DataObject) -> None:
    """Any canonical entry with any body, of a producer or of the log: complaints or nothing, no exception."""
    entries = list(_entries()[:30])
    writer = parse_entry(entries[20])
    followed = Followed()
    for index, known in enumerate(entries):
        followed.chains.take(index, hash_leaf(known), known)
    by_log = data.draw(st.booleans())
    kind = data.draw(
        st.sampled_from(
            ["producer", "anchor", "successor", "notice", "retirement", "x"] if by_log else [*_KINDS, "x"]
        )
    )
    body = data.draw(st.dictionaries(st.sampled_from(["a", "b"]), _VALUES, max_size=1)) | data.draw(
        _VALUES.filter(lambda value: isinstance(value, dict))
    )
    producer, instance = ("log", "log") if by_log else (writer.producer, writer.instance)
    odd = canonical.encode(
        {"body": body, "instance": instance, "kind": kind, "origin": ORIGIN, "prev": writer.prev,
         "producer": producer, "seq": data.draw(st.integers(1, 2**53 - 1)), "time": writer.time,
         "v": data.draw(st.sampled_from([1, 1, 1, 2]))}
    )  # fmt: skip
    assert len(odd) <= MAX_ENTRY_BYTES
    entry = followed.chains.take(30, hash_leaf(odd), odd)
    if entry is not None and entry.kind == "heartbeat":
        followed.chains.check_embedded_head(30, entry, lambda indices: [bytes(32) for _ in indices], print)
