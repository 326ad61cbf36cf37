"""Entries like one that was read before: what fits a shape is what the pattern takes, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlog.verify.plain_entries import plain_members
from auditlog.verify.plain_shapes import Shape, Shapes
from tests.support.plain_entry import COMMITTED, HASH, ID, ORIGIN, entry

BODY: dict[str, Any] = {
    "adapters": ["a" * 64],
    "capture": "asgi",
    "defaults": {HASH: "1", "id": ID, "top_p": HASH},
    "duration_us": 1834,
    "ended": "ok",
    "facts": COMMITTED,
    "id": ID,
    "mode": "fail_open",
    "model": HASH,
    "operation": "f" * 64,
    "request": COMMITTED,
    "response": {"commitment": HASH},
    "route": "/decide",
    "sampling": {"duration_us": "5", "start": "2026-01-31T00:00:05.995000Z"},
    "start": "2026-01-31T00:00:05.995000Z",
    "status": 200,
}
OUTCOME = {"decision": ID, "facts": COMMITTED, "item": "3"}


def shape_of(data: bytes) -> Shape:
    """The shape that this entry makes."""
    found = Shapes().learn(data, None)
    assert found is not None
    return found


WHOLE, ENDED = entry(BODY), entry(OUTCOME, "outcome")
SHAPES = {data: shape_of(data) for data in (WHOLE, ENDED)}


def agree(data: bytes, made_from: bytes = WHOLE, seq: int = 7, prev: str = HASH) -> bool:
    """Whether it fits; if so, the pattern must read the same from it as was asked for."""
    shape = SHAPES[made_from]
    if len(data) != shape.length or not shape.fits(data, seq, prev.encode()):
        return False
    members, model = plain_members(data, ORIGIN), plain_members(made_from, ORIGIN)
    assert members is not None
    assert model is not None
    for name in ("kind", "origin", "producer", "instance"):
        assert members[name] == model[name]
    assert (members["seq"], members["prev"]) == (seq, prev)
    return True


@pytest.mark.parametrize("made_from", [WHOLE, ENDED])
def test_the_same_entry_fits(made_from: bytes) -> None:
    """With its own number and link, and with no other."""
    assert agree(made_from, made_from)
    assert not agree(made_from, made_from, seq=8)
    assert not agree(made_from, made_from, prev="1" * 64)


def test_the_next_entry_fits() -> None:
    """Another id, other commitments, times, duration, number and link."""
    other = "fedcba9876543210" * 4
    committed = {"commitment": other, "fields": COMMITTED["fields"]}
    body = BODY | {
        "duration_us": 9999,
        "facts": committed,
        "id": ID.replace("176b", "ffff"),
        "request": committed,
        "start": "2031-12-31T23:59:59.999999Z",
    }
    assert agree(entry(body, seq=8, prev=other, time="2032-01-01T00:00:00.000000Z"), seq=8, prev=other)


@pytest.mark.parametrize(
    "changed",
    [
        {"duration_us": "1834"[:2]},
        {"start": "2026-02-30T00:00:05.995000Z"},
        {"start": "2026-01-31T24:00:05.995000Z"},
        {"start": "2026-01-31T00:00:05.99500aZ"},
        {"id": ID.upper()},
        {"model": "F" * 64},
        {"operation": "0" + "f" * 63},
        {"adapters": ["b" * 64]},
        {"defaults": {"0" * 64: "1", "id": ID, "top_p": HASH}},
    ],
)
def test_another_form_or_text_does_not_fit(changed: dict[str, Any]) -> None:
    """Whether the core would take it or not: it is read as ever."""
    assert not agree(entry(BODY | changed))


def test_a_number_that_begins_with_nought_does_not_fit() -> None:
    """No canonical JSON."""
    assert not agree(WHOLE.replace(b'"duration_us":1834', b'"duration_us":0834'))


_BYTES = b' "\\0129azfFZ{}[]:,-.\x00\n\x7f\xff'


@given(st.data())
def test_what_fits_after_any_change_the_pattern_takes(data: st.DataObject) -> None:
    """Bytes replaced anywhere: it fits only if the pattern reads what was asked for."""
    made_from = data.draw(st.sampled_from([WHOLE, ENDED]))
    changed = bytearray(made_from)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.sampled_from(_BYTES))
    agree(bytes(changed), made_from)


def test_shapes_are_not_made_over_and_over() -> None:
    """Of texts that differ every time, one in nine makes a shape; the newest is the one that is found."""
    shapes, made = Shapes(), 0
    for number in range(90):
        data = entry(BODY | {"route": f"/loans/{number:02d}"})
        made += shapes.learn(data, number) is not None
    assert made == 10
    found = shapes.find(data)
    assert found is not None
    assert found.owner == 81
