"""Cutting plain JSON into fields quickly: the same leaves as `core.jsonfields`, or no answer at all.

The core's scanner takes any bytes and decides; it costs two microseconds a leaf, in the way of every answer.
Nearly all bodies are compact JSON of moderate size. Such a text is parsed and written again by a C library:
where that gives back every byte, the text has no second spelling of anything in it (no space, escape, number
or repeated key that the library would write otherwise), and writing one value alone gives its source bytes.
Whatever is not certain is left to the core: attacker-controlled bytes in. Must never: give leaves the core
would not.
"""

from __future__ import annotations

from typing import Any

import msgspec

from auditlog.core.jsonfields import FieldLeaf

MAX_BYTES = 60_000
"""Below the longest pointer, so that none can be too long."""
MAX_LEAVES = 1000
MAX_DEPTH = 16
"""Both below what changes how the core cuts."""

_decode = msgspec.json.Decoder(float_hook=lambda text: msgspec.Raw(text.encode())).decode
"""A number that is not whole stays as it was spelled."""
_encode = msgspec.json.Encoder().encode
_NUMBERS = (int, msgspec.Raw)
_FAILURES = (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError, ValueError, TypeError)


class _UnsureError(Exception):
    """The core must decide."""


def quick_leaves(text: bytes) -> list[FieldLeaf] | None:
    """The leaves of a compact JSON object in document order; None if that is not certain."""
    # An escape with "\u" may be half a surrogate.
    if len(text) > MAX_BYTES or text[:1] != b"{" or b"\\u" in text:
        return None
    leaves: list[FieldLeaf] = []
    try:
        members = _decode(text)
        if _encode(members) != text:
            return None
        _cut_object(members, b"", 1, leaves)
    except (_UnsureError, *_FAILURES):
        return None
    return leaves


def _cut_object(members: dict[str, Any], prefix: bytes, depth: int, leaves: list[FieldLeaf]) -> None:
    if depth > MAX_DEPTH or len(leaves) + len(members) > MAX_LEAVES or not members:
        raise _UnsureError
    for name, value in members.items():
        if '"' in name or "\\" in name or not name.isprintable():
            raise _UnsureError  # The key is spelled with an escape.
        if "~" in name or "/" in name:
            name = name.replace("~", "~0").replace("/", "~1")  # noqa: PLW2901  the same name as a pointer has it
        pointer = b"%b/%b" % (prefix, name.encode())
        if value and type(value) is dict:
            _cut_object(value, pointer, depth + 1, leaves)
        elif value and type(value) is list:
            _cut_array(value, pointer, depth + 1, leaves)
        else:
            leaves.append((pointer, _encode(value)))


def _cut_array(elements: list[Any], prefix: bytes, depth: int, leaves: list[FieldLeaf]) -> None:
    """Cut an array that is not empty; one of numbers only is a leaf."""
    if depth > MAX_DEPTH or len(leaves) + len(elements) > MAX_LEAVES:
        raise _UnsureError
    if type(elements[0]) in _NUMBERS and all(type(element) in _NUMBERS for element in elements):
        leaves.append((prefix, _encode(elements)))
        return
    for index, element in enumerate(elements):
        pointer = b"%b/%d" % (prefix, index)
        if element and type(element) is dict:
            _cut_object(element, pointer, depth + 1, leaves)
        elif element and type(element) is list:
            _cut_array(element, pointer, depth + 1, leaves)
        else:
            leaves.append((pointer, _encode(element)))
