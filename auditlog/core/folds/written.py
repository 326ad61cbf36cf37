"""Joining the pieces of an answer, and writing it as one JSON text (spec/commitment.md, "Folds, version 2").

No white space, members in ascending order of their keys' code points, strings as canonical JSON writes them,
numbers with the characters they had. Unlike canonical JSON a key may be any text and nothing limits the
depth: what a model calls a tool with is its own affair.
"""

from __future__ import annotations

from collections.abc import Iterable
from json.encoder import encode_basestring
from typing import Any

from auditlog.core.folds.events import NoFoldError, Number

_WORDS = {None: "null", True: "true", False: "false"}


def join_texts(pieces: Iterable[str]) -> str:
    """Join as UTF-16 code units: one character may be cut between two events, a half of it escaped in each.

    A half without its other stays; `write_json` refuses it.
    """
    text = "".join(pieces)
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def write_json(value: Any) -> bytes:
    """Write a value made of what events hold.

    Raises:
        NoFoldError: a lone surrogate in a string or key.
    """
    parts: list[str] = []
    _write(value, parts)
    try:
        return "".join(parts).encode("utf-8")
    except UnicodeEncodeError:
        raise NoFoldError from None


def _write(value: Any, parts: list[str]) -> None:
    """Append the text of a value; an event is at most 64 containers deep, and so is this recursion."""
    kind = type(value)
    if kind is str:
        parts.append(encode_basestring(value))
    elif kind is Number:
        parts.append(str(value))
    elif kind is dict:
        before = "{"
        for key in sorted(value):
            parts.append(f"{before}{encode_basestring(key)}:")
            _write(value[key], parts)
            before = ","
        parts.append("}" if value else "{}")
    elif kind is list:
        before = "["
        for item in value:
            parts.append(before)
            _write(item, parts)
            before = ","
        parts.append("]" if value else "[]")
    else:
        parts.append(_WORDS[value])
