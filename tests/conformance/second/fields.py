"""commitment.md, "Fields": a JSON scanner that keeps byte positions and does not recurse."""

from __future__ import annotations

import json
import re
import zlib
from typing import NamedTuple

from .canonical import Malformed, need, refuse

MIB = 1_048_576
_SPACE = re.compile(rb"[ \t\n\r]*")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_STRING = re.compile(rb'"(?:[^"\\\x00-\x1f]++|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+"')
_WORDS = (b"true", b"false", b"null")
CONTAINER, NUMBER, OTHER = "container", "number", "other"


class Leaf(NamedTuple):
    """A leaf of a field tree, without its salt."""

    pointer: bytes
    value: bytes


class _Value:
    """One JSON value: where it stands, and below what."""

    __slots__ = ("children", "end", "kind", "level", "numbers", "parent", "start", "token")

    def __init__(self, parent: _Value | None, token: str | int, kind: str, start: int) -> None:
        self.parent, self.token, self.kind, self.start = parent, token, kind, start
        self.end, self.children, self.numbers = start, 0, 0
        self.level: int = 0 if parent is None else parent.level + 1

    def pointer(self) -> bytes:
        """The RFC 6901 pointer in UTF-8."""
        tokens, here = [], self
        while here.parent is not None:
            tokens.append(str(here.token).replace("~", "~0").replace("/", "~1"))
            here = here.parent
        return "".join("/" + token for token in reversed(tokens)).encode()


def _string(data: bytes, at: int) -> tuple[str, int]:
    match = _STRING.match(data, at)
    if match is None:
        refuse("not a string")
    text = match.group().decode()
    value = json.loads(text) if "\\" in text else text[1:-1]
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Malformed("a surrogate without its other half") from error
    return value, match.end()


def _space(data: bytes, at: int) -> int:
    match = _SPACE.match(data, at)
    return at if match is None else match.end()


def _scan(data: bytes) -> list[_Value]:
    """Every value of the text in the order in which they begin."""
    values: list[_Value] = []
    stack: list[tuple[_Value, set[str] | None]] = []
    at = _space(data, 0)
    token: str | int = ""
    while True:
        # A value begins at `at`.
        parent = stack[-1][0] if stack else None
        first = data[at : at + 1]
        if first in {b"{", b"["}:
            value = _Value(parent, token, CONTAINER, at)
            values.append(value)
            keys: set[str] | None = set() if first == b"{" else None
            at = _space(data, at + 1)
            if data[at : at + 1] == (b"]" if keys is None else b"}"):
                at += 1
            else:
                stack.append((value, keys))
                at, token = _key(data, at, keys, 0)
                continue
        else:
            value = _Value(parent, token, OTHER, at)
            values.append(value)
            if first == b'"':
                at = _string(data, at)[1]
            elif (number := _NUMBER.match(data, at)) is not None:
                value.kind, at = NUMBER, number.end()
            else:
                word = next((w for w in _WORDS if data.startswith(w, at)), None)
                if word is None:
                    refuse("not a JSON value")
                at += len(word)
        # A value ended at `at`: go on in the container around it, or close containers.
        value.end = at
        while stack:
            container, keys = stack[-1]
            container.children += 1
            container.numbers += value.kind == NUMBER
            at = _space(data, at)
            after = data[at : at + 1]
            if after == b",":
                at, token = _key(data, _space(data, at + 1), keys, container.children)
                break
            need(after == (b"]" if keys is None else b"}"), "neither a comma nor the end")
            at += 1
            container.end = at
            value = container
            stack.pop()
        else:
            need(_space(data, at) == len(data), "something behind the value")
            return values


def _key(data: bytes, at: int, keys: set[str] | None, place: int) -> tuple[int, str | int]:
    if keys is None:
        return at, place
    key, at = _string(data, at)
    need(key not in keys, "a key occurs twice")
    keys.add(key)
    at = _space(data, at)
    need(data[at : at + 1] == b":", "no colon")
    return _space(data, at + 1), key


def leaves_of(text: bytes) -> list[Leaf]:
    """The leaves of a JSON text; Malformed if it has no fields."""
    need(0 < len(text) <= MIB, "empty, or over 1 MiB")
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("not UTF-8") from error
    values = _scan(text)
    chosen: list[_Value] = []
    inside = -1  # the end of the last leaf that is a container taken whole
    for value in values:
        if value.start < inside:
            continue
        numbers = value.children > 0 and value.numbers == value.children and text[value.start] == 0x5B
        if value.kind != CONTAINER or not value.children or numbers or value.level == 32:
            chosen.append(value)
            inside = value.end
    if len(chosen) > 1024:
        chosen = [value for value in values if value.level == 1]
    if len(chosen) > 1024:
        chosen = values[:1]
    leaves = []
    for value in chosen:
        pointer = value.pointer()
        need(len(pointer) <= 65_535, "a pointer over 65,535 bytes")
        leaves.append(Leaf(pointer, text[value.start : value.end]))
    return leaves


def uncoded(body: bytes, limit: int = MIB) -> bytes:
    """Undo a content coding that is told from the bytes; both forms at most 1 MiB, or another limit."""
    need(len(body) <= limit, "over the limit")
    if body[:2] == b"\x1f\x8b":
        window = 31
    elif body[:1] == b"\x78" and len(body) > 1 and int.from_bytes(body[:2], "big") % 31 == 0:
        window = 15
    else:
        return body
    decoder = zlib.decompressobj(wbits=window)
    try:
        text = decoder.decompress(body, limit + 1)
        if len(text) <= limit and not decoder.eof:
            text += decoder.decompress(decoder.unconsumed_tail, limit + 1 - len(text))
    except zlib.error as error:
        raise Malformed("cannot be decoded") from error
    need(len(text) <= limit, "over the limit decoded")
    need(decoder.eof and not decoder.unused_data, "cut, or something behind it")
    return text
