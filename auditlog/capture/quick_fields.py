"""Cutting plain JSON into fields quickly: the same leaves as `core.jsonfields`, or no answer at all.

The core's scanner takes any bytes and decides; it costs two microseconds a leaf, in the way of every answer.
Nearly all bodies are compact JSON of moderate size, which a C parser cuts into exact source bytes. That
parser lets repeated keys through and loses escapes in keys, so an object counts only if its length is what
compact members without escapes add up to: a dropped member, an escape or a space makes it longer. Whatever is
not certain is left to the core: attacker-controlled bytes in. Must never: give leaves the core would not.
"""

from __future__ import annotations

import msgspec

from auditlog.core.jsonfields import FieldLeaf

MAX_BYTES = 60_000
"""Below the longest pointer, so that none can be too long."""
MAX_LEAVES = 1000
MAX_DEPTH = 16
"""Both below what changes how the core cuts."""

_OBJECT = 0x7B
_OPENING = frozenset(b"{[")
_EMPTY_BYTES = 2
_NUMERIC = frozenset(b"-0123456789")
_any = msgspec.json.Decoder()
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements = msgspec.json.Decoder(list[msgspec.Raw])


class _UnsureError(Exception):
    """The core must decide."""


def quick_leaves(text: bytes) -> list[FieldLeaf] | None:
    """The leaves of a compact JSON object in document order; None if that is not certain."""
    # An escape with "\u" may be half a surrogate.
    if len(text) > MAX_BYTES or text[:1] != b"{" or b"\\u" in text:
        return None
    leaves: list[FieldLeaf] = []
    try:
        text.decode("utf-8")
        _any.decode(text)  # All of it is JSON: cutting out a value does not look inside.
        _cut_object(text, b"", 1, leaves)
    except (_UnsureError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return leaves


def _cut_object(text: bytes, prefix: bytes, depth: int, leaves: list[FieldLeaf]) -> None:
    members = _members.decode(text)
    if depth > MAX_DEPTH or len(leaves) + len(members) > MAX_LEAVES or not members:
        raise _UnsureError
    size, append = 1, leaves.append
    for name, raw in members.items():
        key, value = name.encode(), bytes(raw)
        size += len(key) + len(value) + 4
        if b"~" in key or b"/" in key:
            key = key.replace(b"~", b"~0").replace(b"/", b"~1")
        if value[0] in _OPENING and len(value) > _EMPTY_BYTES:
            _cut(value, prefix + b"/" + key, depth + 1, leaves)
        else:
            append((prefix + b"/" + key, value))
    if size != len(text):
        raise _UnsureError


def _cut(value: bytes, pointer: bytes, depth: int, leaves: list[FieldLeaf]) -> None:
    """Cut a container; one with only a space in it is not compact, and so not certain."""
    if value[0] == _OBJECT:
        _cut_object(value, pointer, depth, leaves)
        return
    elements = [bytes(raw) for raw in _elements.decode(value)]
    if depth > MAX_DEPTH or len(leaves) + len(elements) > MAX_LEAVES or not elements:
        raise _UnsureError
    if all(element[0] in _NUMERIC for element in elements):
        leaves.append((pointer, value))
        return
    for index, element in enumerate(elements):
        if element[0] in _OPENING and len(element) > _EMPTY_BYTES:
            _cut(element, b"%b/%d" % (pointer, index), depth + 1, leaves)
        else:
            leaves.append((b"%b/%d" % (pointer, index), element))
