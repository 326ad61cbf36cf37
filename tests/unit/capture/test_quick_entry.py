"""The quick writer of decision entries writes the core's bytes, or nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlog.capture.quick_entry import encode_quickly
from auditlog.core.entry import Entry, encode_entry
from auditlog.errors import AuditLogError

ENVELOPE = {"origin": 'log.example/"q"', "producer": "ab" * 32, "instance": "cd" * 16}
REST = {"seq": 7, "prev": "ef" * 32, "time": "2026-01-01T00:00:00.000001Z"}

plain = st.recursive(
    st.text(alphabet=st.characters())
    | st.integers()
    | st.none()
    | st.floats()
    | st.lists(st.text(), max_size=2),
    lambda inner: st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


def quickly(body: dict[str, Any]) -> bytes | None:
    """What the quick writer says."""
    return encode_quickly("decision", *ENVELOPE.values(), **REST, body=body)  # type: ignore[arg-type]


def by_core(body: dict[str, Any]) -> bytes:
    """What the core says."""
    return encode_entry(Entry(kind="decision", body=body, **ENVELOPE, **REST))  # type: ignore[arg-type]


def test_every_character_is_written_as_the_core_writes_it() -> None:
    """All characters but surrogates, in a value and, where ASCII, in a key."""
    for first in range(0, 0x11000, 0x400):
        text = "".join(map(chr, range(first, first + 0x400)))
        body: dict[str, Any] = {"text": text}
        if first == 0:
            body |= {chr(code): 1 for code in range(128)}
        if 0xD800 <= first < 0xE000:
            assert quickly(body) is None
        else:
            assert quickly(body) == by_core(body)


@pytest.mark.parametrize(
    "value", [1.5, True, None, [], -1, 2**53, "\ud800", {"é": 1}, {1: 1}, {"a": {"b": {"c": {"d": {}}}}}]
)
def test_what_is_not_plain_is_left_to_the_core(value: object) -> None:
    """Anything the core might refuse, or write in a way of its own."""
    assert quickly({"value": value}) is None


@given(st.dictionaries(st.text(max_size=4), plain, max_size=4))
def test_any_body_gives_the_bytes_of_the_core_or_none(body: dict[str, Any]) -> None:
    """A quick answer is the core's answer."""
    content = quickly(body)
    if content is not None:
        try:
            assert content == by_core(body)
        except AuditLogError as refusal:
            raise AssertionError("expected the core to agree") from refusal
