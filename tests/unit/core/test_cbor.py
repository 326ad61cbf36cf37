"""CBOR in one spelling: what another encoder writes deterministically is read, and nothing else is."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditlog.core import cbor
from auditlog.errors import MalformedError

_KEYS = st.integers(-(2**64), 2**64 - 1) | st.text(max_size=30) | st.binary(max_size=30)
_VALUES = st.recursive(
    st.none() | _KEYS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


@settings(max_examples=300, deadline=None)
@given(_VALUES)
def test_it_writes_what_another_encoder_writes(value: Any) -> None:
    """Deterministic encoding (RFC 8949 section 4.2.1) of the same value by cbor2, and back again."""
    if _depth(value) > cbor.MAX_DEPTH:
        return
    data = cbor.encode(value)
    assert cbor2.loads(data) == value
    assert cbor.decode(data) == value
    if not _has_map_of_mixed_keys(value):  # cbor2 orders keys by length first, as RFC 7049 did
        assert cbor2.dumps(value, canonical=True) == data


def _has_map_of_mixed_keys(value: Any) -> bool:
    if isinstance(value, dict):
        lengths = {len(cbor.encode(key)) for key in value}
        return len(lengths) > 1 or any(map(_has_map_of_mixed_keys, value.values()))
    return isinstance(value, list) and any(map(_has_map_of_mixed_keys, value))


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_refused(data: bytes) -> None:
    """Total: a value whose spelling the bytes are, or one error; never more memory than bytes."""
    try:
        value = cbor.decode(data)
    except MalformedError:
        return
    assert cbor.encode(value) == data


@pytest.mark.parametrize(
    "spelling",
    [
        "",
        "1817",  # 23 in two bytes
        "190017",
        "1a00000017",
        "1b0000000000000017",
        "1900ff",
        "3817",
        "5800",
        "5f4101ff",  # indefinite
        "7f6161ff",
        "9f01ff",
        "bf0102ff",
        "ff",
        "1c",  # reserved
        "1f",
        "a2010201 03".replace(" ", ""),  # a key twice
        "a202010102",  # keys in another order
        "a1800102",  # a container as a key
        "61ff",  # no UTF-8
        "63616263 00".replace(" ", ""),  # trailing
        "4261",  # cut
        "8301",  # fewer items than said
        "a10102 03".replace(" ", ""),
        "f4",
        "f5",
        "f7",
        "f0",
        "f93c00",
        "fa3f800000",
        "fb3ff0000000000000",
        "9bffffffffffffffff",
        "5bffffffffffffffff",
        "bb8000000000000000",
        "db00000000000000ff00",  # a tag in eight bytes
        "c1" * 20 + "f6",
        "81" * 20 + "f6",
    ],
)
def test_every_other_spelling_is_refused(spelling: str) -> None:
    """Long heads, indefinite lengths, double keys, floats, lengths that lie: one error each."""
    with pytest.raises(MalformedError, match="CBOR"):
        cbor.decode(bytes.fromhex(spelling))


@pytest.mark.parametrize("value", [True, 1.5, {1, 2}, 2**64, -(2**64) - 1, "\ud800", bytearray(b"x")])
def test_what_has_no_form_is_not_written(value: Any) -> None:
    """Booleans, reals, sets, integers beyond 64 bits and lone surrogates."""
    with pytest.raises(MalformedError, match="CBOR"):
        cbor.encode(value)
