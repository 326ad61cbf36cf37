"""Reading the envelope of an entry at the speed a log needs, with `core.entry` as the judge of every doubt.

Spec: `auditlog/spec/entry.md`. The gate decodes into a typed structure (no floats, integers in range, few
levels), encodes again and compares: bytes that pass are canonical. Whatever does not pass goes to
`core.entry.parse_entry`, which accepts it or says why not. So the gate can only be too strict, never too lax;
`tests/unit/log/test_envelope.py` holds the two against each other. 4 us instead of 45.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from auditlog.core.entry import ENTRY_VERSION, KINDS, Entry, parse_entry, parse_time
from auditlog.errors import MalformedError

_Integer = Annotated[int, msgspec.Meta(ge=-(2**53 - 1), le=2**53 - 1)]
_Scalar = str | _Integer | bool | None
_Level1 = _Scalar | dict[str, _Scalar] | list[_Scalar]
_Level2 = _Scalar | dict[str, _Level1] | list[_Level1]
_Level3 = _Scalar | dict[str, _Level2] | list[_Level2]
_Level4 = _Scalar | dict[str, _Level3] | list[_Level3]


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """The nine members of an entry, in canonical order."""

    body: dict[str, _Level4]
    instance: str
    kind: str
    origin: str
    prev: str
    producer: str
    seq: _Integer
    time: str
    v: _Integer


_decoder = msgspec.json.Decoder(Envelope)
_encoder = msgspec.json.Encoder(order="deterministic")


def read_envelope(data: bytes) -> Envelope | Entry:
    """Read one entry of a producer; `data` is attacker-controlled. Both results have the same members.

    The caller compares origin, producer, instance, seq and prev with what they must be: equality there is
    stricter than any check of form.

    Raises:
        MalformedError: as `parse_entry`.
    """
    # Escapes and non-ASCII text are rare in commitments and have corner cases: leave them to the judge.
    if not data.isascii() or b"\\" in data:
        return parse_entry(data)
    try:
        envelope = _decoder.decode(data)
        parse_time(envelope.time)
    except (msgspec.MsgspecError, MalformedError):
        return parse_entry(data)
    if envelope.kind not in KINDS or envelope.v != ENTRY_VERSION or _encoder.encode(envelope) != data:
        return parse_entry(data)
    return envelope


class IndexedBody(msgspec.Struct, gc=False):
    """What the index wants of a body, whatever else is in it. JSON holds no cycles: `gc=False`."""

    id: Any = None
    start: Any = None
    model: Any = None
    instance: Any = None
    from_: Any = msgspec.field(default=None, name="from")
    to: Any = None
    count: Any = None
    after_seq: Any = None
    operation: Any = None
    status: Any = None
    ended: Any = None


class Indexed(msgspec.Struct, gc=False):
    """What the index wants of an entry that is already in the log."""

    kind: str
    producer: str
    instance: str
    seq: int
    time: str
    v: int
    body: IndexedBody


_indexed = msgspec.json.Decoder(Indexed)


def read_indexed(data: bytes) -> Indexed:
    """Read what the index wants from an entry of the log.

    Raises:
        MalformedError: not an entry; the log would not hold it, so the store is damaged.
    """
    return read_indexed_all([data])[0]


def read_indexed_all(entries: Sequence[bytes]) -> list[Indexed]:
    """As `read_indexed`, of each. One by one: joining them first would cost more than it saves."""
    try:
        return list(map(_indexed.decode, entries))
    except msgspec.MsgspecError as error:
        raise MalformedError(f"expected an entry of the log, found: {error}") from error
