"""Reading the commonest entries quickly: never anything the core would refuse, never another value."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlog.core.bodies import check_body
from auditlog.core.entry import parse_entry
from auditlog.errors import MalformedError
from auditlog.verify.plain_entries import READ_MEMBERS, read_plain
from tests.support.plain_entry import COMMITTED, HASH, ID, ORIGIN, entry

BODY: dict[str, Any] = {
    "capture": "asgi",
    "duration_us": 1834,
    "ended": "ok",
    "id": ID,
    "mode": "fail_open",
    "model": HASH,
    "operation": "predict",
    "request": COMMITTED,
    "response": {"commitment": HASH},
    "start": "2026-01-31T00:00:05.995000Z",
}
MORE: dict[str, Any] = {
    "adapters": ["a", "b"],
    "content_encoding": "gzip",
    "defaults": {"n": "1", "top_p": "0.5"},
    "facts": COMMITTED,
    "method": "POST",
    "parent": "p",
    "redacted": ["request"],
    "replayed_from": "x",
    "retry_of": "y",
    "route": "/decide",
    "sampling": {"temperature": "0.2"},
    "status": 200,
    "values": "kept",
}


WHOLE = entry(BODY | MORE)


def agree(data: bytes) -> bool:
    """Whether it was read quickly; if so, the core must have read the same."""
    found = read_plain(data, ORIGIN)
    if found is None:
        return False
    slow = parse_entry(data)
    check_body(slow.kind, slow.body)
    for name in ("kind", "origin", "producer", "instance", "seq", "prev", "time", "v"):
        assert getattr(found, name) == getattr(slow, name)
    assert all(slow.body[name] == value for name, value in found.body.items())
    assert set(found.body) == (set(READ_MEMBERS) if found.kind == "decision" else set())
    return True


@pytest.mark.parametrize("name", [*MORE, None])
def test_an_honest_decision_is_read_quickly(name: str | None) -> None:
    """With any one member more, and with all of them."""
    assert agree(entry(BODY | ({} if name is None else {name: MORE[name]})))
    assert agree(WHOLE)


def test_an_honest_outcome_is_read_quickly() -> None:
    """With an item and without."""
    assert agree(entry({"decision": ID, "facts": COMMITTED}, "outcome"))
    assert agree(entry({"decision": ID, "facts": COMMITTED, "item": "3"}, "outcome"))


@pytest.mark.parametrize(
    "data",
    [
        WHOLE.replace(b'"n":"1","top_p":"0.5"', b'"top_p":"0.5","n":"1"'),
        WHOLE.replace(b'"n":"1","top_p":"0.5"', b'"n":"1","n":"0.5"'),
        WHOLE.replace(b"2026-02-28T", b"2026-02-29T"),
        WHOLE.replace(b'"seq":7', b'"seq":07'),
        WHOLE.replace(b'"seq":7', b'"seq":-0'),
        WHOLE.replace(b'"size":1024', b'"size":1025'),
        WHOLE.replace(b'"status":200', b'"status":2e2'),
        WHOLE + b"\n",
        WHOLE.replace(b"/decide", b"/\\u0064ecide"),
        WHOLE.replace(b"/decide", b"/dec\nide"),
        WHOLE.replace(b'"kind":"decision"', b'"kind":"outcome"'),
    ],
)
def test_what_the_core_refuses_is_not_read(data: bytes) -> None:
    """Another spelling of the same thing is for the core to refuse."""
    assert read_plain(data, ORIGIN) is None
    with pytest.raises(MalformedError):
        check_body("outcome" if b'"kind":"outcome"' in data else "decision", parse_entry(data).body)


def test_another_origin_is_left_to_the_core() -> None:
    """An entry of another log is none of ours, however plain."""
    assert read_plain(entry(BODY, origin="log.example/other"), ORIGIN) is None


_TEXTS = st.text(st.sampled_from('aZ09 "\\/{}:,\u00e9\x7f\n'), max_size=6)
_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2**53 - 1), _TEXTS, st.lists(_TEXTS, max_size=2),
    st.dictionaries(st.text(st.characters(codec="ascii"), max_size=3), _TEXTS, max_size=3),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from([*BODY, *MORE, "zz"]), _VALUES, max_size=3))
def test_odd_members_never_part_the_two_readers(odd: dict[str, Any]) -> None:
    """Any values in any members: read quickly only if the core reads the same."""
    agree(entry(BODY | MORE | odd))


@given(st.data())
def test_changed_bytes_never_part_the_two_readers(data: st.DataObject) -> None:
    """A byte changed, taken or doubled anywhere: read quickly only if the core reads the same."""
    at = data.draw(st.integers(0, len(WHOLE) - 1))
    cut = data.draw(st.integers(0, 2))
    new = bytes(data.draw(st.lists(st.sampled_from(b' "\\0129azAZ{}[]:,-.\x00\n\x7f\xff'), max_size=2)))
    agree(WHOLE[:at] + new + WHOLE[at + cut :])


def test_the_pattern_ends_quickly_on_what_almost_fits() -> None:
    """Long lists and objects of strings without an end do not make the pattern search."""
    texts = {f"k{n:04d}": "v" for n in range(4000)}
    almost = entry(BODY | {"sampling": texts, "adapters": ["a"] * 4000})[:-2] + b"x}"
    assert read_plain(almost, ORIGIN) is None
    assert json.loads(entry(BODY))["seq"] == 7
