"""The framing of a posted batch."""

from __future__ import annotations

import pytest

from auditlog.core.batch import MAX_HEAD_BYTES, decode_batch, encode_batch
from auditlog.errors import MalformedError, TooLargeError


def test_a_batch_is_read_back() -> None:
    """Head and entries survive, whatever bytes the entries are."""
    entries = [b"", b"\x00\xff", b"x" * 65_535]
    assert decode_batch(encode_batch("häd\n", entries)) == ("häd\n", entries)
    assert encode_batch("h", [b"ab"]) == b"\x00\x00\x00\x01h\x00\x02ab"


def test_what_cannot_be_read_is_not_written() -> None:
    """No entries, an entry too long, a head too long."""
    with pytest.raises(ValueError, match="at least one entry"):
        encode_batch("h", [])
    with pytest.raises(TooLargeError):
        encode_batch("h", [b"x" * 65_536])
    with pytest.raises(TooLargeError):
        encode_batch("h" * (MAX_HEAD_BYTES + 1), [b"x"])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\x00\x00",
        b"\x00\x00\x00\x01",
        b"\x00\x00\x00\x01h",
        b"\x00\x00\x00\x01h\x00",
        b"\x00\x00\x00\x01h\x00\x02a",
        b"\x00\x00\x00\x01\xff\x00\x00",
        b"\x00\x01\x00\x01" + b"h" * 65_537 + b"\x00\x00",
        b"\xff\xff\xff\xff",
    ],
)
def test_a_batch_cut_short_is_malformed(data: bytes) -> None:
    """Cut anywhere, without entries, with a head that is no text or over its limit."""
    with pytest.raises(MalformedError):
        decode_batch(data)
