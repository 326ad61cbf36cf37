"""Cutting plain JSON into fields quickly: the same leaves as `core.jsonfields`, or no answer at all.

The core's scanner takes any bytes and decides; it costs two microseconds a leaf, in the way of every answer.
Nearly all bodies are compact JSON of few leaves. Such a text is parsed and written again by a C library:
where that gives back every byte, white space between values aside, the text has no second spelling of
anything in it (no escape, number or repeated key that the library would write otherwise), and writing one
value alone gives its source bytes. The cost goes by values, not by bytes, so a long text is cut here as well.
Whatever is not certain is left to the core: attacker-controlled bytes in. Must never: give leaves the core
would not.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import msgspec

from auditlog.core.jsonfields import MAX_BODY_BYTES, MAX_POINTER_BYTES, FieldLeaf

MAX_LEAVES = 1000
MAX_DEPTH = 16
"""Both below what changes how the core cuts."""
_TOO_MANY = 1024
"""With more leaves than that the core makes one of each member of the root (`jsonfields`)."""
MAX_COMMAS = 16_000
"""A text with more is not even parsed: that would hold the interpreter for milliseconds."""
_CACHED_CHARS = 200

_decode = msgspec.json.Decoder(float_hook=lambda text: msgspec.Raw(text.encode())).decode
"""A number that is not whole stays as it was spelled."""
_encode = msgspec.json.Encoder().encode
_NUMBERS = (int, msgspec.Raw)
_CONTAINERS = (dict, list)
_FAILURES = (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError, ValueError, TypeError)

_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_LOOSE = re.compile(rb"[\[{][ \t\n\r]")
"""What may be an empty container with a space in it."""

Members = dict[str, Any]
"""A parsed object: strings, whole numbers, `msgspec.Raw` (other numbers as spelled), lists, objects."""


class Plain(msgspec.Struct, frozen=True):
    """A JSON object of which nothing but the white space between values could be spelled otherwise."""

    members: Members
    text: bytes
    is_compact: bool


class _UnsureError(Exception):
    """The core must decide."""


def read_plain(text: bytes) -> Plain | None:
    """A JSON object, if it is certain that nothing in it has a second spelling; else None."""
    # An escape with "\u" may be half a surrogate.
    if text[:1] != b"{" or b"\\u" in text or not _is_quick(text):
        return None
    try:
        members = _decode(text)
        again = _encode(members)
        if again == text:
            return Plain(members, text, True)
        # Without the white space every other byte stays as it is.
        return Plain(members, text, False) if again == msgspec.json.format(text, indent=-1) else None
    except _FAILURES:
        return None


def quick_leaves(text: bytes) -> list[FieldLeaf] | None:
    """The leaves of a plain JSON object in document order; None if that is not certain."""
    plain = read_plain(text)
    heads = None if plain is None else cut_plain(plain)
    return None if heads is None else [(head[2:], value) for head, value in heads]


def cut_plain(plain: Plain) -> list[tuple[bytes, bytes]] | None:
    """The leaves: (length of the pointer in two bytes and the pointer, source bytes of the value); None if
    the core must decide.
    """
    leaves: list[tuple[bytes, bytes]] = []
    try:
        if len(plain.text) > MAX_LEAVES and count_leaves(plain.members, _TOO_MANY) > _TOO_MANY:
            return _cut_root(plain)
        _cut_object(plain, plain.members, b"", 1, leaves)
    except (_UnsureError, *_FAILURES):
        return None
    return leaves


def count_leaves(value: Any, most: int) -> int:
    """How many leaves a value has before anything is summed up, counted no further than `most` and one."""
    waiting, found = [value], 0
    while waiting and found <= most:
        value = waiting.pop()
        kind = type(value)
        if kind is dict and value:
            waiting += value.values()
        elif kind is list and value and not _is_numbers(value):
            waiting += value
        else:
            found += 1
    return found


def has_few_leaves(text: bytes, most: int) -> bool:
    """Whether a JSON text of any spelling is quickly seen to have at most so many leaves."""
    try:
        return _is_quick(text) and count_leaves(_decode(text), most) <= most
    except _FAILURES:
        return False


def _is_quick(text: bytes) -> bool:
    size = len(text)
    return size <= MAX_COMMAS or (size <= MAX_BODY_BYTES and text.count(b",") <= MAX_COMMAS)


def _is_numbers(elements: list[Any]) -> bool:
    return type(elements[0]) in _NUMBERS and all(type(element) in _NUMBERS for element in elements)


def _cut_root(plain: Plain) -> list[tuple[bytes, bytes]]:
    """Too many leaves: each member of the root is one, as its source has it."""
    if len(plain.members) > MAX_LEAVES or _depth(plain.members) > MAX_DEPTH:
        raise _UnsureError
    return [(_make_head(b"", name), bytes(value)) for name, value in _decode_raw(plain.text).items()]


def _depth(value: Any) -> int:
    """How deep a value is, or more than is certain."""
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH:
        depth += 1
        objects = [one.values() for one in level if type(one) is dict]
        level = [inner for one in (*objects, *(one for one in level if type(one) is list)) for inner in one]
    return depth


def _cut_object(
    plain: Plain, members: Members, prefix: bytes, depth: int, leaves: list[tuple[bytes, bytes]]
) -> None:
    if depth > MAX_DEPTH or len(leaves) + len(members) > MAX_LEAVES or not members:
        raise _UnsureError
    for name, value in members.items():
        head = _head(prefix, name) if len(prefix) + len(name) < _CACHED_CHARS else _make_head(prefix, name)
        kind = type(value)
        if kind is dict and value:
            _cut_object(plain, value, head[2:], depth + 1, leaves)
        elif kind is list and value:
            _cut_array(plain, value, head, depth + 1, leaves)
        else:
            leaves.append(
                (head, _encode(value) if value or kind not in _CONTAINERS else _empty(plain, value))
            )


def _cut_array(
    plain: Plain, elements: list[Any], own: bytes, depth: int, leaves: list[tuple[bytes, bytes]]
) -> None:
    """Cut an array that is not empty; one of numbers only is a leaf. `own` is its head."""
    if _is_numbers(elements):
        if depth > MAX_DEPTH or not plain.is_compact:
            raise _UnsureError
        leaves.append((own, _encode(elements)))
        return
    if depth > MAX_DEPTH or len(leaves) + len(elements) > MAX_LEAVES:
        raise _UnsureError
    prefix = own[2:]
    for index, element in enumerate(elements):
        head = _measured(b"%b/%d" % (prefix, index))
        kind = type(element)
        if kind is dict and element:
            _cut_object(plain, element, head[2:], depth + 1, leaves)
        elif kind is list and element:
            _cut_array(plain, element, head, depth + 1, leaves)
        else:
            leaves.append(
                (head, _encode(element) if element or kind not in _CONTAINERS else _empty(plain, element))
            )


def _empty(plain: Plain, value: Any) -> bytes:
    if not plain.is_compact and _LOOSE.search(plain.text):
        raise _UnsureError
    return _encode(value)


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
