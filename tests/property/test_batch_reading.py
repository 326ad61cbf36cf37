"""Reading a batch at once lets in what `core.entry.parse_entry` lets in, entry by entry, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditlog.core.entry import LOG_KINDS, Entry, encode_entry, parse_entry, parse_time
from auditlog.errors import MalformedError
from auditlog.log.reading import Decision, DecisionBody, are_times, read_all
from tests.support.testlog import ORIGIN, decision_body

MEMBERS = ("body", "instance", "kind", "origin", "prev", "producer", "seq", "time", "v")
HELD = {"origin": ORIGIN, "producer": "ab" * 32, "instance": "cd" * 16, "prev": "ef" * 32}
"""What admission compares with the head and the entry before: the gate leaves the form of these to it."""


def entry(seq: int = 7, **changes: Any) -> bytes:
    """A decision entry, some members changed."""
    members: dict[str, Any] = {
        **HELD,
        "kind": "decision",
        "seq": seq,
        "time": "2026-01-01T00:00:00.000000Z",
        "body": decision_body(1),
    }
    return encode_entry(Entry(**(members | changes)))


def judged(entries: Sequence[bytes]) -> list[dict[str, Any]] | None:
    """What the strict parser makes of each; None if it refuses one."""
    try:
        return _held([{name: getattr(parse_entry(each), name) for name in MEMBERS} for each in entries])
    except MalformedError:
        return None


def gated(entries: Sequence[bytes]) -> list[dict[str, Any]] | None:
    """What the gate makes of them."""
    try:
        found = read_all(entries)
    except MalformedError:
        return None
    plain = [{name: msgspec.to_builtins(getattr(each, name)) for name in MEMBERS} for each in found]
    return _held(plain)


def _held(found: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    fits = all(
        each[name] == value and each["seq"] >= 0 and each["kind"] not in LOG_KINDS
        for each in found
        for name, value in HELD.items()
    )
    return found if fits else None


def agree(entries: Sequence[bytes]) -> None:
    """Gate and judge say the same."""
    assert gated(entries) == judged(entries)


words = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=6)
numbers = st.integers(-(2**53), 2**53)
committed = st.fixed_dictionaries(
    {},
    optional={
        "commitment": words,
        "fields": st.fixed_dictionaries({}, optional={"form": words, "root": words, "size": numbers}),
    },
)
SHAPES: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(DecisionBody.__struct_fields__, words),
    **dict.fromkeys(("duration_us", "status"), numbers),
    **dict.fromkeys(("request", "response", "facts"), committed),
    **dict.fromkeys(("sampling", "defaults"), st.dictionaries(words, words, max_size=3)),
    **dict.fromkeys(("adapters", "redacted"), st.lists(words, max_size=3)),
}
odd = st.none() | st.booleans() | numbers | st.text(max_size=3) | st.lists(words, max_size=2)
bodies = st.fixed_dictionaries({}, optional={name: shape | odd for name, shape in SHAPES.items()})
usual_bodies = st.fixed_dictionaries({}, optional=SHAPES)


def test_members_stand_in_canonical_order() -> None:
    """The shape of a decision names its members in the order in which canonical JSON writes them."""
    names = DecisionBody.__struct_encode_fields__
    assert list(names) == sorted(names)
    assert Decision.__struct_encode_fields__ == MEMBERS


def test_usual_decisions_take_the_fast_way() -> None:
    """Decisions as capturing hosts write them are read some at a time; another kind costs its neighbours."""
    usual = [entry(seq) for seq in range(200)]
    assert {type(each) for each in read_all(usual)} == {Decision}
    found = read_all([*usual[:100], entry(100, kind="heartbeat"), *usual[101:]])
    assert [each.seq for each in found] == list(range(200))
    assert type(found[0]) is type(found[-1]) is Decision


@settings(max_examples=200, deadline=None)
@given(found=st.lists(usual_bodies, min_size=1, max_size=4))
def test_every_body_of_the_shape_is_read(found: list[dict[str, Any]]) -> None:
    """Whatever members a decision has and whatever they hold, gate and judge agree, spelled canonically."""
    agree([_spelled(body, seq) for seq, body in enumerate(found)])


@settings(max_examples=200, deadline=None)
@given(found=st.lists(bodies, min_size=1, max_size=4), spaces=st.sampled_from([(",", ":"), (", ", ":")]))
def test_members_of_other_forms_are_left_to_the_judge(
    found: list[dict[str, Any]], spaces: tuple[str, str]
) -> None:
    """Values of other types, other text, and other spellings: the same entries get in, with equal members."""
    agree([_spelled(body, seq, separators=spaces) for seq, body in enumerate(found)])


def _spelled(body: dict[str, Any], seq: int, *, separators: tuple[str, str] = (",", ":")) -> bytes:
    members = {**HELD, "kind": "decision", "seq": seq, "time": "2026-01-01T00:00:00.000000Z", "v": 1}
    text = json.dumps({**members, "body": body}, ensure_ascii=False, sort_keys=True, separators=separators)
    return text.encode("utf-8", "surrogatepass")


GOOD = [entry(seq) for seq in range(3)]


@settings(max_examples=400, deadline=None)
@given(which=st.integers(0, 2), place=st.integers(0, min(map(len, GOOD)) - 1), byte=st.integers(0, 255))
def test_any_changed_byte_is_judged_alike(which: int, place: int, byte: int) -> None:
    """One byte of a real batch changed: both say the same."""
    changed = [bytearray(each) for each in GOOD]
    changed[which][place] = byte
    agree([bytes(each) for each in changed])


@settings(max_examples=300, deadline=None)
@given(
    which=st.integers(0, 2),
    start=st.integers(0, len(GOOD[0])),
    length=st.integers(0, 40),
    put=st.sampled_from(
        [b"", b"\n", b" ", b",", b"{}", b'"', b"\\", b"\r\n", b"0", b".0", b"e0", b"\xc3\xa9"]
    ),
)
def test_any_cut_and_insertion_is_judged_alike(which: int, start: int, length: int, put: bytes) -> None:
    """A piece of a real batch cut out or replaced: both say the same."""
    changed = list(GOOD)
    changed[which] = changed[which][:start] + put + changed[which][start + length :]
    agree(changed)


@settings(max_examples=300, deadline=None)
@given(cut=st.integers(1, len(GOOD[0]) - 1), glue=st.sampled_from([b"", b"\n", b" "]))
def test_borders_between_entries_cannot_be_moved(cut: int, glue: bytes) -> None:
    """Bytes that read as three entries, cut at other places, are refused: nothing is read across a border."""
    moved = [GOOD[0] + glue + GOOD[1][:cut], GOOD[1][cut:], GOOD[2]]
    assert gated(moved) is None
    assert judged(moved) is None
    assert gated([b"\n".join(GOOD[:2]), GOOD[2]]) is None
    assert gated([GOOD[0], b"", GOOD[2]]) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"status":200', '"status":200.0'),
        ('"status":200', '"status":2e2'),
        ('"status":200', '"status":-0'),
        ('"status":200', '"status":0200'),
        ('"status":200', '"status":9007199254740992'),
        ('"status":200', '"status":200,"status":200'),
        ('"status":200', '"status":200,"stray":1'),
        ('"status":200', '"status":null'),
        ('"v":1', '"v":2'),
        ('"v":1', '"v":1.0'),
        ('"v":1', '"v":true'),
        ('"kind":"decision"', '"kind":"decision","kind":"decision"'),
        ('"kind":"decision"', '"kind":"genesis"'),
        ('"kind":"decision"', '"kind":"weather"'),
        ("00.000000Z", "60.000000Z"),
        ("00.000000Z", "00.00000\u0660Z"),
        ("00.000000Z", "00.0000000"),
        ("2026-01-01", "2026-02-30"),
        ("2026-01-01", "1969-12-31"),
    ],
)
def test_other_spellings_are_judged_alike(old: str, new: str) -> None:
    """Forms that JSON readers are lax about, in one entry of a batch."""
    changed = GOOD[1].decode().replace(old, new).encode()
    assert changed != GOOD[1]
    agree([GOOD[0], changed, GOOD[2]])


DAY = r"(19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]"
TIME = rf"{DAY}T[0-2][0-9]:00:[0-6][0-9]\.[0-9]{{5,7}}Z?"


@settings(max_examples=200, deadline=None)
@given(times=st.lists(st.from_regex(TIME, fullmatch=True), min_size=1, max_size=4))
def test_times_are_read_together_as_one_by_one(times: list[str]) -> None:
    """All times of a batch stand if each does."""
    assert are_times(times) == all(_is_time(each) for each in times)


def _is_time(text: str) -> bool:
    try:
        parse_time(text)
    except MalformedError:
        return False
    return True
