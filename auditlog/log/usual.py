"""Whether all decisions of some are of the usual form, told of their ids and starts as columns.

Spec: `auditlog/spec/bodies.md`, "decision". An id is a UUIDv7 whose first 48 bits are the milliseconds of the
start. One by one that costs more than to read the entry; here every step is one call for all of them.

Why a piece of a joined text can be judged by its place: all have one length, so the character at place p of
each stands at p, p + length, ... of the whole, and nowhere else.

Promises: too strict, never too lax: True means that each id is visible ASCII and fits its start, as
`indexing` would judge them one by one; False means that somebody has to. Ids and starts are strangers' words
and may be anything. Must never: raise.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from operator import sub
from typing import Any

import msgspec

from auditlog.core.entry import parse_time
from auditlog.errors import MalformedError

ID_TOLERANCE_MS = 1
"""So far the time of an id may be from that of the start."""

_ID_CHARS = 36
_ID_DIGITS = (*range(8), *range(9, 13))
"""Where the 48 bits of time stand in a UUID."""
_VISIBLE = bytes(range(0x21, 0x7F))
_TIME_CHARS = 27
_MINUTE_CHARS = 17
_POINT, _END = 19, 26
_MILLISECOND_DIGITS = (17, 18, 20, 21, 22)
"""Where the milliseconds after the minute stand in a time: two digits of seconds, three of a fraction."""
_ONE = 100_000
"""Stands before those five digits: JSON has no numbers that begin with 0."""
_WHOLE_NUMBERS = msgspec.json.Decoder(list[int])


def are_usual(ids: Sequence[Any], starts: Sequence[Any]) -> bool:
    """Whether each id is one that a host writes for its start; as many of one as of the other."""
    try:
        is_long = {*map(len, ids)} == {_ID_CHARS} and {*map(len, starts)} == {_TIME_CHARS}
        joined_ids, joined_starts = "".join(ids), "".join(starts)
    except TypeError:
        return False
    if not is_long or not joined_ids.isascii() or not joined_starts.isascii():
        return False
    base = _minute_ms(starts)
    after = _after_minute(joined_starts.encode())
    made = _id_ms(joined_ids.encode())
    if base is None or after is None or made is None:
        return False
    return all(abs(apart - base) <= ID_TOLERANCE_MS for apart in {*map(sub, made, after)})


def _minute_ms(starts: Sequence[str]) -> int | None:
    """The milliseconds of the minute that all begin in, less `_ONE`; None if they begin in several."""
    minute = min(starts)[:_MINUTE_CHARS]
    # What lies between two texts with the same beginning has it too.
    if max(starts)[:_MINUTE_CHARS] != minute:
        return None
    try:
        return parse_time(f"{minute}00.000000Z") // 1000 - _ONE
    except MalformedError:
        return None


def _after_minute(times: bytes) -> list[int] | None:
    """The milliseconds after the minute, and `_ONE`, of times that begin well; None if one ends badly."""
    count = len(times) // _TIME_CHARS
    points, ends = times[_POINT::_TIME_CHARS], times[_END::_TIME_CHARS]
    if points != b"." * count or ends != b"Z" * count:
        return None
    rest = b"".join(times[place::_TIME_CHARS] for place in range(_MINUTE_CHARS, _END) if place != _POINT)
    if not rest.isdigit() or max(rest[:count]) > ord("5"):
        return None
    numbers = bytearray(b"1ssmmm," * count)
    for place, digit in enumerate(_MILLISECOND_DIGITS, 1):
        numbers[place::7] = times[digit::_TIME_CHARS]
    numbers[-1:] = b"]"
    return _WHOLE_NUMBERS.decode(b"[" + numbers)


def _id_ms(ids: bytes) -> tuple[int, ...] | None:
    """The milliseconds in ids; None if one has a character that is not visible, or no number there."""
    if ids.translate(None, _VISIBLE):
        return None
    count = len(ids) // _ID_CHARS
    digits = bytearray(b"0" * 16 * count)
    for place, digit in enumerate(_ID_DIGITS, 4):
        digits[place::16] = ids[digit::_ID_CHARS]
    try:
        return struct.unpack(f">{count}Q", bytes.fromhex(digits.decode()))
    except ValueError:
        return None
