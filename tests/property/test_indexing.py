"""What the index keeps of many entries at once is what it keeps of each of them, told the plain way."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditlog.core.entry import format_time
from auditlog.core.merkle import hash_leaf
from auditlog.errors import MalformedError
from auditlog.log.indexing import index_rows
from auditlog.log.usual import are_usual
from tests.support.plain_index import plain_rows

START_MS = 1_767_225_599_000
"""A second before a minute, an hour, a day and a year are over."""
HOSTS = ("ab" * 32, "cd" * 32)


def usual(number: int, apart_ms: int = 0) -> dict[str, Any]:
    """Members of a decision of the usual shape, a millisecond after the one before."""
    start_ms = START_MS + number
    stamp = f"{start_ms + apart_ms:012x}"
    body = {
        "id": f"{stamp[:8]}-{stamp[8:]}-7000-8000-{number:012x}",
        "start": format_time(start_ms * 1000 + number % 1000),
        "model": "ef" * 32,
        "operation": "chat",
        "status": 200,
        "ended": "ok",
    }
    time = format_time(start_ms * 1000)
    envelope = {"instance": "12" * 16, "kind": "decision", "origin": "o/log", "prev": "ef" * 32}
    return {
        **envelope,
        "producer": HOSTS[number // 300 % 2],
        "seq": number,
        "time": time,
        "v": 1,
        "body": body,
    }


def sealed(members: Sequence[dict[str, Any]]) -> list[bytes]:
    """Their canonical bytes, near enough."""
    return [json.dumps(each, sort_keys=True, separators=(",", ":")).encode() for each in members]


def agree(members: Sequence[dict[str, Any]], start: int = 0, before: int = 0) -> None:
    """The fast way and the plain way give the same rows; the first `before` of them come before `start`."""
    entries = sealed(members)
    early, entries = entries[:before], entries[before:]
    hashes = [hash_leaf(entry) for entry in entries]
    rows = index_rows(start, entries, hashes, early)
    assert rows == plain_rows(start, entries, hashes, early)
    assert pickle.loads(pickle.dumps(rows)) == rows


texts = st.text(max_size=40)
times = st.sampled_from(
    [
        *("1969-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z", "2025-02-30T00:00:00.000000Z"),
        *("2025-12-31T23:59:60.000000Z", "2025-12-31T23:59:59.00000Z", "2025-12-31T23:59:59.0000000Z"),
        *("2025-12-31T23:59:59,000000Z", "2025-12-31T23:59:59.000000z", "2025-12-31T23:59:69.000000Z"),
        *(
            "2025-12-31T23:59:59.00\u0660000Z",
            "2025-12-31T23:59:5\u0669.000000Z",
            "2025-12-31 23:59:59.000000Z",
        ),
    ]
)
odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 1001),
    texts,
    st.lists(texts, max_size=2),
    st.just("unregistered"),
)
pieces = st.text("0123456789abcdefABCDEF-_x+ \u0663", min_size=1, max_size=4)
moments = st.integers(-70_000, 70_000).map(lambda ms: format_time((START_MS + ms) * 1000))


@st.composite
def odd_decisions(draw: st.DrawFn, number: int) -> dict[str, Any]:
    """A decision that is not as others: another id, start or word, or none."""
    members = usual(number, draw(st.integers(-3, 3)))
    body: dict[str, Any] = members["body"]
    change = draw(st.sampled_from(("apart", "splice", "id", "start", "odd", "drop", "v", "kind")))
    if change == "splice":
        name = draw(st.sampled_from(("id", "start")))
        text, piece = body[name], draw(pieces)
        at = draw(st.integers(0, len(text) - len(piece)))
        body[name] = text[:at] + piece + text[at + len(piece) :]
    elif change == "id":
        body["id"] = draw(texts | st.just("x" * 200) | st.just("x" * 201))
    elif change == "start":
        body["start"] = draw(times | moments)
    elif change == "odd":
        body[draw(st.sampled_from(sorted(body)))] = draw(odd)
    elif change == "drop":
        del body[draw(st.sampled_from(sorted(body)))]
    elif change == "v":
        members["v"] = 2
    elif change == "kind":
        members["kind"] = draw(st.sampled_from(("weather", "outcome", "notice", "weights")))
    return members


@st.composite
def others(draw: st.DrawFn, number: int) -> dict[str, Any]:
    """An entry of a kind of which the index keeps something else."""
    members = usual(number)
    members["kind"] = draw(st.sampled_from(("model", "coverage", "gap")))
    moment, counts = times | moments | odd, st.integers(-3, 9) | odd
    names = {"from": moment, "to": moment, "count": counts, "after_seq": counts}
    instances = st.sampled_from(("12" * 16, "34" * 16, "nobody")) | odd
    members["body"] = draw(st.fixed_dictionaries({}, optional={**names, "instance": instances, "model": odd}))
    return members


@st.composite
def runs(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Usual decisions, some of them replaced."""
    count = draw(st.integers(0, 12))
    members = [usual(draw(st.integers(0, 3000)), draw(st.integers(-1, 1))) for _ in range(count)]
    for at in draw(st.sets(st.integers(0, max(0, count - 1)), max_size=2)) if count else ():
        members[at] = draw(odd_decisions(at) | others(at))
    return members


@settings(max_examples=600, deadline=None)
@given(members=runs(), start=st.sampled_from((0, 100, 250, 2**40 + 255)))
def test_any_entries_are_indexed_as_one_by_one(members: list[dict[str, Any]], start: int) -> None:
    """Whatever is among them, and across the edge of a block."""
    agree(members, start)


@settings(max_examples=300, deadline=None)
@given(wanted=st.data())
def test_one_that_differs_is_noticed(wanted: st.DataObject) -> None:
    """One odd decision among usual ones, where only the columns could tell it."""
    members = [usual(number) for number in range(4)]
    at = wanted.draw(st.integers(0, 3))
    members[at] = wanted.draw(odd_decisions(at))
    agree(members)


@settings(max_examples=25, deadline=None)
@given(start=st.integers(0, 600), count=st.integers(0, 700), known=st.integers(0, 255), strange=st.data())
def test_blocks_are_the_same_wherever_a_chunk_begins(
    start: int, count: int, known: int, strange: st.DataObject
) -> None:
    """Facets of each block that is completed, by entries before or by these alone; else none."""
    before = min(start % 256, known) if known < 100 else start % 256
    members = [usual(number) for number in range(before + count)]
    for at in strange.draw(st.sets(st.integers(0, max(0, len(members) - 1)), max_size=6)) if members else ():
        members[at] = strange.draw(odd_decisions(at) | others(at))
    agree(members, start, before)


def test_usual_decisions_pass_as_columns() -> None:
    """What hosts write is not judged one by one: a millisecond apart, of any second of a minute."""
    bodies = [usual(1000 + number, number % 3 - 1)["body"] for number in range(0, 59_000, 230)]
    ids, starts = [body["id"] for body in bodies], [body["start"] for body in bodies]
    assert are_usual(ids, starts)
    for number, apart in ((7, 2), (200, -2)):
        wrong = [*ids]
        wrong[number] = usual(1000 + number * 230, apart)["body"]["id"]
        assert not are_usual(wrong, starts)


def test_what_only_seems_usual_is_told_apart() -> None:
    """Invisible characters, a second that no minute has, and texts that are whole only when joined."""
    for strange in (" ", "\x7f", "\x00", "\u00e9", "\u0661"):
        for at in (0, 8, 12, 13, 23, 35):
            members = [usual(number) for number in range(3)]
            id_ = members[1]["body"]["id"]
            members[1]["body"]["id"] = id_[:at] + strange + id_[at + 1 :]
            agree(members)
    # 60 s after the start of a minute, written as such.
    late = usual(1000)
    late["body"]["start"] = "2025-12-31T23:59:60.000000Z"
    agree([usual(999), late])
    for name in ("id", "start"):
        members = [usual(number) for number in range(3)]
        first, second = members[0]["body"], members[1]["body"]
        first[name], second[name] = first[name] + second[name][0], second[name][1:]
        agree(members)


def test_damage_is_refused() -> None:
    """Bytes that are no entry, though two of them together would be one."""
    whole = sealed([usual(0)])[0]
    for pair in ([whole[:50], whole[50:]], [whole + b"," + whole[:20], whole[20:]], [whole, b""]):
        with pytest.raises(MalformedError):
            index_rows(0, pair, [bytes(32)] * 2)
