"""Cutting plain JSON into fields quickly: the same leaves as `core.jsonfields`, or no answer at all.

The core's scanner takes any bytes and decides; it costs two microseconds a leaf, in the way of every answer.
Nearly all bodies are compact JSON of few leaves. Such a text is parsed and written again by a C library:
where that gives back every byte, the text has no second spelling of anything in it (no space, escape, number
or repeated key that the library would write otherwise), and writing one value alone gives its source bytes.
The cost goes by values, not by bytes, so a long text with few of them is cut here as well. Whatever is not
certain is left to the core: attacker-controlled bytes in. Must never: give leaves the core would not.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from auditlog.core.jsonfields import MAX_BODY_BYTES, MAX_POINTER_BYTES, FieldLeaf

MAX_LEAVES = 1000
MAX_DEPTH = 16
"""Both below what changes how the core cuts."""
_FEW_BYTES = 8192
_BYTES_PER_COMMA = 40
"""A longer text with more commas than prose has is not even parsed: that would hold the interpreter long."""
_CACHED_CHARS = 200

_decode = msgspec.json.Decoder(float_hook=lambda text: msgspec.Raw(text.encode())).decode
"""A number that is not whole stays as it was spelled."""
_encode = msgspec.json.Encoder().encode
_NUMBERS = (int, msgspec.Raw)
_FAILURES = (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError, ValueError, TypeError)

Members = dict[str, Any]
"""A parsed object: strings, whole numbers, `msgspec.Raw` (other numbers as spelled), lists, objects."""


class _UnsureError(Exception):
    """The core must decide."""


def quick_members(text: bytes) -> Members | None:
    """The members of a compact JSON object without a second spelling; None if that is not certain."""
    # An escape with "\u" may be half a surrogate.
    if text[:1] != b"{" or b"\\u" in text or not _is_quick(text):
        return None
    try:
        members = _decode(text)
        return members if _encode(members) == text else None
    except _FAILURES:
        return None


def count_leaves(text: bytes, most: int) -> int | None:
    """How many leaves a JSON text has at least, counted up to `most`; None if asking would take long, or it
    is none. Of any spelling: the core's scanner decides, this says what that would cost.
    """
    if not _is_quick(text):
        return None
    try:
        waiting, found = [_decode(text)], 0
    except _FAILURES:
        return None
    while waiting and found <= most:
        value = waiting.pop()
        kind = type(value)
        if kind is dict:
            found += len(value)
            waiting += value.values() if len(value) <= most else ()
        elif kind is list:
            found += len(value)
            waiting += value if len(value) <= most else ()
    return found


def quick_leaves(text: bytes) -> list[FieldLeaf] | None:
    """The leaves of a compact JSON object in document order; None if that is not certain."""
    members = quick_members(text)
    heads = None if members is None else cut_members(members)
    return None if heads is None else [(head[2:], value) for head, value in heads]


def cut_members(members: Members, most: int = MAX_LEAVES) -> list[tuple[bytes, bytes]] | None:
    """The leaves of what `quick_members` gave, at most so many: (length of the pointer in two bytes and the
    pointer, source bytes of the value); None if the core must decide.
    """
    leaves: list[tuple[bytes, bytes]] = []
    try:
        _cut_object(members, b"", 1, leaves, most)
    except (_UnsureError, *_FAILURES):
        return None
    return leaves


def _is_quick(text: bytes) -> bool:
    size = len(text)
    return size <= _FEW_BYTES or (
        size <= MAX_BODY_BYTES and text.count(b",") <= MAX_LEAVES + size // _BYTES_PER_COMMA
    )


def _cut_object(
    members: Members, prefix: bytes, depth: int, leaves: list[tuple[bytes, bytes]], most: int
) -> None:
    if depth > MAX_DEPTH or len(leaves) + len(members) > most or not members:
        raise _UnsureError
    for name, value in members.items():
        head = _head(prefix, name) if len(prefix) + len(name) < _CACHED_CHARS else _make_head(prefix, name)
        kind = type(value)
        if kind is dict and value:
            _cut_object(value, head[2:], depth + 1, leaves, most)
        elif kind is list and value:
            _cut_array(value, head, depth + 1, leaves, most)
        else:
            leaves.append((head, _encode(value)))


def _cut_array(
    elements: list[Any], own: bytes, depth: int, leaves: list[tuple[bytes, bytes]], most: int
) -> None:
    """Cut an array that is not empty; one of numbers only is a leaf. `own` is its head."""
    if type(elements[0]) in _NUMBERS and all(type(element) in _NUMBERS for element in elements):
        if depth > MAX_DEPTH:
            raise _UnsureError
        leaves.append((own, _encode(elements)))
        return
    if depth > MAX_DEPTH or len(leaves) + len(elements) > most:
        raise _UnsureError
    prefix = own[2:]
    for index, element in enumerate(elements):
        head = _measured(b"%b/%d" % (prefix, index))
        kind = type(element)
        if kind is dict and element:
            _cut_object(element, head[2:], depth + 1, leaves, most)
        elif kind is list and element:
            _cut_array(element, head, depth + 1, leaves, most)
        else:
            leaves.append((head, _encode(element)))


def _make_head(prefix: bytes, name: str) -> bytes:
    """The head of a member's pointer. attacker-controlled: only short ones are remembered (`_head`)."""
    if '"' in name or "\\" in name or not name.isprintable():
        raise _UnsureError  # The key is spelled with an escape.
    if "~" in name or "/" in name:
        name = name.replace("~", "~0").replace("/", "~1")  # the same name as a pointer has it
    return _measured(b"%b/%b" % (prefix, name.encode()))


_head = lru_cache(maxsize=2048)(_make_head)
"""The bodies of one application name the same members again and again."""


def _measured(pointer: bytes) -> bytes:
    size = len(pointer)
    if size > MAX_POINTER_BYTES:
        raise _UnsureError
    return size.to_bytes(2, "big") + pointer
