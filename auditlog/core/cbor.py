"""CBOR, the few types COSE receipts are made of, in one spelling each: RFC 8949 section 4.2.1.

Spec: auditlog/spec/cose.md, "CBOR". Integers up to 64 bits, byte and text strings, arrays, maps, tags and
null; definite lengths, shortest heads, map keys in the bytewise order of their encodings, each once. Floats,
booleans, undefined and indefinite lengths have no form here.

Promises: `decode` is total (a value or `MalformedError`) and `encode(decode(b)) == b`; no length is believed
before the bytes are there, so memory and time are bounded by the input. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from auditlog.errors import MalformedError

MAX_DEPTH: Final = 8
"""Arrays, maps and tags inside one another; a COSE receipt needs five."""

_MAX_ARGUMENT: Final = 2**64 - 1
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_NULL: Final = 22


@dataclass(frozen=True, slots=True)
class Tag:
    """A tagged value."""

    number: int
    value: Any


def encode(value: Any) -> bytes:
    """Write int, bytes, str, list, tuple, dict, `Tag` and None.

    Raises:
        MalformedError: another type, an integer beyond 64 bits, or a lone surrogate.
    """
    write = _WRITERS.get(type(value))
    if write is None:
        raise MalformedError(f"CBOR: expected a type that COSE receipts have, found {type(value).__name__}")
    return write(value)


def decode(data: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Read one value and nothing after it; `data` is attacker-controlled.

    Raises:
        MalformedError: anything `encode` would not write, or too deep.
    """
    reader = _Reader(data)
    value = reader.read(max_depth)
    if reader.at != len(data):
        raise MalformedError(f"CBOR: expected the end at byte {reader.at}, found more")
    return value


def _head(major: int, argument: int) -> bytes:
    if not 0 <= argument <= _MAX_ARGUMENT:
        raise MalformedError("CBOR: expected an integer of 64 bits, found a larger one")
    if argument < 24:
        return bytes([major << 5 | argument])
    for code, width in ((24, 1), (25, 2), (26, 4)):
        if argument < 1 << 8 * width:
            return bytes([major << 5 | code]) + argument.to_bytes(width, "big")
    return bytes([major << 5 | 27]) + argument.to_bytes(8, "big")


def _encode_integer(value: int) -> bytes:
    return _head(_UNSIGNED, value) if value >= 0 else _head(_NEGATIVE, -1 - value)


def _encode_array(value: Sequence[Any]) -> bytes:
    return _head(_ARRAY, len(value)) + b"".join(map(encode, value))


def _encode_map(value: dict[Any, Any]) -> bytes:
    # No two keys of a dict are equal, and two that differ have different encodings: order is total.
    members = sorted((encode(key), encode(item)) for key, item in value.items())
    return _head(_MAP, len(value)) + b"".join(key + item for key, item in members)


def _encode_text(value: str) -> bytes:
    try:
        raw = value.encode("utf-8")
    except UnicodeEncodeError:
        raise MalformedError("CBOR: expected Unicode text, found a lone surrogate") from None
    return _head(_TEXT, len(raw)) + raw


_WRITERS: Final[dict[type, Callable[[Any], bytes]]] = {
    type(None): lambda _: bytes([_SIMPLE << 5 | _NULL]),
    int: _encode_integer,
    bytes: lambda value: _head(_BYTES, len(value)) + value,
    str: _encode_text,
    list: _encode_array,
    tuple: _encode_array,
    dict: _encode_map,
    Tag: lambda value: _head(_TAG, value.number) + encode(value.value),
}


class _Reader:
    """One pass over the bytes, from the front."""

    __slots__ = ("_data", "at")

    def __init__(self, data: bytes) -> None:
        self._data = bytes(data)
        self.at = 0

    def read(self, depth_left: int) -> Any:
        """The next value."""
        major, argument = self._read_head()
        if major in (_UNSIGNED, _NEGATIVE):
            return argument if major == _UNSIGNED else -1 - argument
        if major in (_BYTES, _TEXT):
            return self._take(argument) if major == _BYTES else self._read_text(argument)
        if major == _SIMPLE:
            return None
        return self._read_container(major, argument, depth_left)

    def _read_container(self, major: int, argument: int, depth_left: int) -> Any:
        if depth_left <= 0:
            raise MalformedError("CBOR: expected fewer containers inside one another, found one too many")
        if major == _TAG:
            return Tag(argument, self.read(depth_left - 1))
        # Every item is at least one byte: more items than bytes is a lie, refused before a list is made.
        self._check_room(argument if major == _ARRAY else 2 * argument)
        if major == _ARRAY:
            return [self.read(depth_left - 1) for _ in range(argument)]
        return self._read_map(argument, depth_left)

    def _read_head(self) -> tuple[int, int]:
        first = self._take(1)[0]
        major, code = first >> 5, first & 0x1F
        if major == _SIMPLE and code != _NULL:
            raise MalformedError("CBOR: expected null or no simple value at all, found another")
        if code < 24:
            return major, code
        if code > 27:
            raise MalformedError("CBOR: expected a definite length, found an indefinite or reserved one")
        width = 1 << code - 24
        argument = int.from_bytes(self._take(width), "big")
        if argument < (24 if width == 1 else 1 << 4 * width):
            raise MalformedError("CBOR: expected the shortest form of a number, found a longer one")
        return major, argument

    def _read_text(self, length: int) -> str:
        try:
            return self._take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedError("CBOR: expected text in UTF-8, found other bytes") from None

    def _read_map(self, count: int, depth_left: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        before = b""
        for _ in range(count):
            start = self.at
            key = self.read(0)  # a container is no key here, nor could it be one of a dict
            encoded = self._data[start : self.at]
            if encoded <= before:
                raise MalformedError("CBOR: expected map keys in order, each once, found another order")
            found[key], before = self.read(depth_left - 1), encoded
        return found

    def _check_room(self, length: int) -> None:
        left = len(self._data) - self.at
        if length > left:
            raise MalformedError(
                f"CBOR: expected at most the {left} bytes that are left, found a larger length"
            )

    def _take(self, length: int) -> bytes:
        self._check_room(length)
        self.at += length
        return self._data[self.at - length : self.at]
