"""The fast gate reads exactly what the strict parser of core reads, and refuses exactly what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditlog.core.entry import LOG_KINDS, Entry, encode_entry, parse_entry
from auditlog.errors import MalformedError
from auditlog.log.envelope import Envelope, read_envelope, read_indexed
from tests.support.testlog import ORIGIN, decision_body

MEMBERS = ("body", "instance", "kind", "origin", "prev", "producer", "seq", "time", "v")


def entry(**changes: Any) -> bytes:
    """A decision entry, some members changed."""
    members: dict[str, Any] = {
        "kind": "decision",
        "origin": ORIGIN,
        "producer": "ab" * 32,
        "instance": "cd" * 16,
        "seq": 7,
        "prev": "ef" * 32,
        "time": "2026-01-01T00:00:00.000000Z",
        "body": decision_body(1),
    }
    return encode_entry(Entry(**(members | changes)))


def admitted(read: Callable[[bytes], Any], data: bytes) -> dict[str, Any] | None:
    """What a reader makes of an entry, after the comparisons that admission makes; None if it is refused."""
    try:
        found = read(data)
    except MalformedError:
        return None
    members = {name: getattr(found, name) for name in MEMBERS}
    wanted = {"origin": ORIGIN, "producer": "ab" * 32, "instance": "cd" * 16, "seq": 7, "prev": "ef" * 32}
    if found.kind in LOG_KINDS or any(members[name] != value for name, value in wanted.items()):
        return None
    return members


def agree(data: bytes) -> None:
    """Gate and judge let the same entries in, with the same members."""
    assert admitted(read_envelope, data) == admitted(parse_entry, data)


def test_an_ordinary_entry_takes_the_fast_way() -> None:
    """A decision as capturing hosts write it does not need the slow parser."""
    assert isinstance(read_envelope(entry()), Envelope)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": "\u00e9\u2028\U0001f600"},
        {"text": 'quote " backslash \\ newline \n control \x01'},
        {"deep": [[[[[[[[1]]]]]]]]},
        {"least": -(2**53 - 1), "most": 2**53 - 1, "zero": 0},
        {"empty": [{}, [], "", None, True, False]},
        {"delete": "\x7f", "slash": "/"},
    ],
)
def test_odd_but_canonical_bodies_are_read(body: dict[str, Any]) -> None:
    """What the strict parser accepts, the gate accepts, the fast way or the slow."""
    data = entry(body=body)
    assert read_envelope(data).body == body
    agree(data)


GOOD = entry().decode()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"seq":7', '"seq":7.0'),
        ('"seq":7', '"seq":-0'),
        ('"seq":7', '"seq":07'),
        ('"seq":7', '"seq":true'),
        ('"seq":7', '"seq":9007199254740992'),
        ('"seq":7', '"seq":7,"seq":7'),
        ('"status":200', '"status":2e2'),
        ('"status":200', '"status":200.5'),
        ('"status":200', '"status":99999999999999999999'),
        ('"v":1', '"v":1,"w":1'),
        (',"v":1', ""),
        ('"kind":"decision"', '"kind":"Decision"'),
        ('"kind":"decision"', '"kind":"genesis"'),
        ('{"body"', '{ "body"'),
        ('"asgi"', '"as\\u0067i"'),
        ('"asgi"', '"as\x01gi"'),
        ("2026-01-01T00", "2026-13-01T00"),
        ("00:00:00.000000Z", "00:00:60.000000Z"),
        ("00:00:00.000000Z", "00:00:00.000000z"),
        ('"prev":"ef', '"prev":"EF'),
    ],
)
def test_what_is_not_canonical_is_refused(old: str, new: str) -> None:
    """Every other spelling of an entry is refused by the gate as by the judge."""
    data = GOOD.replace(old, new).encode()
    assert data != GOOD.encode()
    assert admitted(read_envelope, data) is None
    agree(data)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'"text"', b"null", GOOD.encode() + b"\n"])
def test_what_is_no_entry_is_refused(data: bytes) -> None:
    """Anything else is refused too."""
    agree(data)
    with pytest.raises(MalformedError):
        read_envelope(data)


def test_unknown_kinds_and_versions_are_kept() -> None:
    """A kind or version this code does not know is read and left to the reader."""
    assert read_envelope(entry(kind="weather")).kind == "weather"
    assert read_envelope(entry(v=2)).v == 2


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(body=st.dictionaries(st.text(max_size=5), values, max_size=4), spaced=st.booleans())
def test_gate_and_judge_agree_on_any_body(body: dict[str, Any], spaced: bool) -> None:
    """For arbitrary JSON in the body, written in either of two ways, both readers say the same."""
    separators = (", ", ": ") if spaced else (",", ":")
    text = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=separators)
    data = GOOD.replace(json.dumps(decision_body(1), sort_keys=True, separators=(",", ":")), text)
    agree(data.encode("utf-8", "surrogatepass"))


@settings(max_examples=500, deadline=None)
@given(place=st.integers(0, len(GOOD) - 1), byte=st.integers(0, 255))
def test_gate_and_judge_agree_on_any_changed_byte(place: int, byte: int) -> None:
    """One byte of an entry changed: both readers say the same."""
    data = bytearray(GOOD.encode())
    data[place] = byte
    agree(bytes(data))


def test_the_index_reads_any_entry_of_the_log() -> None:
    """What admission let in, the index can read, whatever the members of the body are."""
    for body in ({}, {"id": 5}, {"id": None, "start": [1]}, {"text": "\u00e9"}):
        assert read_indexed(entry(body=body)).body.id == body.get("id")
    with pytest.raises(MalformedError):
        read_indexed(b"damage")
