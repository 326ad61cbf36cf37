"""Reading all entries of a batch at once, at the speed a log needs; `envelope` is the judge of every doubt.

Spec: `auditlog/spec/entry.md`. Nearly every entry of a batch is a decision of the shape that capturing hosts
write. Some at a time are joined with newlines, decoded in one step into typed structures whose members stand
in canonical order, encoded again in one step and compared: a few calls for a batch, not a thousand.

Why equal bytes prove the canonical form of each entry: the joined text has no backslash and no byte above
0x7f, and exactly one newline fewer than there are entries, so no entry holds one. The encoder writes a
newline between two values and nowhere else (inside a string it would be escaped, with a backslash). Equal
texts have their newlines in equal places: each entry is the encoding of one value. Members are in ASCII
order, absent ones are left out, numbers are whole and bounded: that encoding is the canonical one.

Whatever does not pass is read one by one. So this gate can only be too strict, never too lax;
`tests/property/test_batch_reading.py` holds it against `core.entry.parse_entry`. About 2 us an entry instead
of 45. Must never: let a form pass that `parse_entry` refuses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from auditlog.core.entry import ENTRY_VERSION, Entry, parse_time
from auditlog.errors import MalformedError
from auditlog.log.envelope import Envelope, read_envelope

_Integer = Annotated[int, msgspec.Meta(ge=-(2**53 - 1), le=2**53 - 1)]
_Text = str | UnsetType
_Whole = _Integer | UnsetType
_AT_ONCE = 64
"""Entries in one step: few enough that text and values stay in the processor's cache, which halves the time;
and an entry of another kind sends no more than so many the slow way.
"""
_TIME_CHARS = 27
_SECOND_CHARS = 19
_FRACTIONS = re.compile(r"(?:\.[0-9]{6}Z)*+")


class _Shape(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """An object whose members, in ASCII order below, may each be absent. It holds no cycles: `gc=False`."""


class _Fields(_Shape):
    form: _Text = UNSET
    root: _Text = UNSET
    size: _Whole = UNSET


class _Committed(_Shape):
    commitment: _Text = UNSET
    fields: _Fields | UnsetType = UNSET


class DecisionBody(_Shape):
    """The members a decision may have (core.bodies), in ASCII order. Forms of the values are not judged."""

    adapters: list[str] | UnsetType = UNSET
    capture: _Text = UNSET
    content_encoding: _Text = UNSET
    defaults: dict[str, str] | UnsetType = UNSET
    duration_us: _Whole = UNSET
    ended: _Text = UNSET
    facts: _Committed | UnsetType = UNSET
    id: _Text = UNSET
    method: _Text = UNSET
    mode: _Text = UNSET
    model: _Text = UNSET
    operation: _Text = UNSET
    parent: _Text = UNSET
    redacted: list[str] | UnsetType = UNSET
    replayed_from: _Text = UNSET
    request: _Committed | UnsetType = UNSET
    response: _Committed | UnsetType = UNSET
    retry_of: _Text = UNSET
    route: _Text = UNSET
    sampling: dict[str, str] | UnsetType = UNSET
    start: _Text = UNSET
    status: _Whole = UNSET
    values: _Text = UNSET


class Decision(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A decision entry of the usual shape; the nine members of an envelope, in canonical order."""

    body: DecisionBody
    instance: str
    kind: str
    origin: str
    prev: str
    producer: str
    seq: _Integer
    time: str
    v: int


Read = Decision | Envelope | Entry
"""An entry that was read. All have `kind`, `origin`, `producer`, `instance`, `seq`, `prev`, `time`, `v`."""

_decoder = msgspec.json.Decoder(Decision)
_encoder = msgspec.json.Encoder(order="deterministic")


def read_all(entries: Sequence[bytes]) -> list[Read]:
    """Read the entries of a batch, in order; they are attacker-controlled.

    As with `read_envelope` the caller compares origin, producer, instance, seq and prev with what they must
    be: equality there is stricter than any check of form.

    Raises:
        MalformedError: as `core.entry.parse_entry`, of the first entry that is refused.
    """
    found: list[Read] = []
    for at in range(0, len(entries), _AT_ONCE):
        some = entries[at : at + _AT_ONCE]
        decisions = _read_decisions(some)
        found += [read_envelope(entry) for entry in some] if decisions is None else decisions
    return found


def read_decisions(entries: Sequence[bytes]) -> Iterator[tuple[int, list[Decision] | None]]:
    """Some at a time, with where they begin; None in the place of some that are not all decisions of usual
    shape. For who keeps nothing of them: that takes half the time of `read_all`.
    """
    for at in range(0, len(entries), _AT_ONCE):
        yield at, _read_decisions(entries[at : at + _AT_ONCE])


def _read_decisions(entries: Sequence[bytes]) -> list[Decision] | None:
    """All of them in one step; None if one is not a canonical decision of the usual shape."""
    lines = b"\n".join(entries)
    if not lines.isascii() or b"\\" in lines or lines.count(b"\n") != len(entries) - 1:
        return None
    try:
        found = _decoder.decode_lines(lines)
    except msgspec.MsgspecError:
        return None
    if _encoder.encode_lines(found) != lines + b"\n" or len(found) != len(entries):
        return None
    if {entry.kind for entry in found} != {"decision"} or {entry.v for entry in found} != {ENTRY_VERSION}:
        return None
    return found if are_times([entry.time for entry in found]) else None


def are_times(times: Sequence[str]) -> bool:
    """Whether each is a time that `parse_time` reads."""
    if not set(map(len, times)) <= {_TIME_CHARS}:
        return False
    # Pieces of one length in a row match a repeated pattern of that length only if each piece does.
    if _FRACTIONS.fullmatch("".join([time[_SECOND_CHARS:] for time in times])) is None:
        return False
    return all(map(_is_second, {time[:_SECOND_CHARS] for time in times}))


@lru_cache(maxsize=256)
def _is_second(text: str) -> bool:
    """Times come many to a second; a date is what costs."""
    try:
        parse_time(f"{text}.000000Z")
    except MalformedError:
        return False
    return True
