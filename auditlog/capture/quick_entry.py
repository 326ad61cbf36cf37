"""Writing decision entries quickly: the same bytes as `core.entry.encode_entry`, or no answer at all.

The core checks every member of every value and writes with the standard library; a decision's body has been
made by `committing` from known parts, so that strings, natural numbers and objects of these are all that can
be in it. Anything else is left to the core. Must never: write bytes the core would not.
"""

from __future__ import annotations

from typing import Any

import msgspec

from auditlog.core.canonical import MAX_INTEGER

_encoder = msgspec.json.Encoder(order="sorted")
_MAX_DEPTH = 4
_TEXTS: set[type] = {str}
_PLAIN: set[type] = {str, int, dict}


def encode_quickly(
    kind: str,
    origin: str,
    producer: str,
    instance: str,
    *,
    seq: int,
    prev: str,
    time: str,
    body: dict[str, Any],
) -> bytes | None:
    """The entry's bytes; None if the core must decide. All but `body` must be as the format has them."""
    if not _is_plain(body, _MAX_DEPTH):
        return None
    try:
        content = _encoder.encode(body)
    except (UnicodeEncodeError, msgspec.MsgspecError):  # a lone surrogate
        return None
    envelope = (
        f',"instance":"{instance}","kind":"{kind}","origin":{_text(origin)},"prev":"{prev}",'
        f'"producer":"{producer}","seq":{seq},"time":"{time}","v":1}}'
    )
    return b'{"body":%b%b' % (content, envelope.encode("ascii"))


def _is_plain(members: dict[str, Any], depth: int) -> bool:
    """Strings, naturals and objects of them, under ASCII keys."""
    try:
        if not depth or not "".join(members).isascii():
            return False
    except TypeError:
        return False
    kinds = set(map(type, members.values()))
    if kinds == _TEXTS:
        return True
    return kinds <= _PLAIN and _are_plain(members, depth - 1)


def _are_plain(members: dict[str, Any], depth: int) -> bool:
    for value in members.values():
        kind = type(value)
        if kind is dict:
            if not _is_plain(value, depth):
                return False
        elif kind is int and not 0 <= value <= MAX_INTEGER:
            return False
    return True


def _text(origin: str) -> str:
    return _encoder.encode(origin).decode("ascii")
