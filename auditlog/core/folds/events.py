"""The events of a stream as JSON objects, for folds of version 2 (spec/commitment.md, "Folds, version 2").

Numbers keep their source characters. Everything read here is attacker-controlled. Promises: linear, no
recursion deeper than the limit; what is skipped and what ends the fold is decided here alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn, TypeGuard

from auditlog.core.fold import is_shallow
from auditlog.core.sse import all_event_data

Json = dict[str, Any]

MAX_STREAM_BYTES = 8 * 1024 * 1024
"""Longer streams have no fold; counted once a content coding is undone."""

_END = b"[DONE]"
_PLACE = re.compile(r"0|[1-9][0-9]{0,3}")


class Number(str):
    """A number, as the characters it was written with."""

    __slots__ = ()


class NoFoldError(Exception):
    """These bytes have no fold."""


def read_events(stream: bytes) -> Iterator[Json]:
    """Yield the JSON objects of a stream, up to a payload `[DONE]`. Other payloads are skipped.

    Raises:
        NoFoldError: a payload that is not UTF-8, or that repeats a key: which of two readings the client took
            cannot be known.
    """
    reader = _Reader()
    for payload in all_event_data(stream):
        if payload == _END:
            return
        try:
            text = payload.decode("utf-8")
        except UnicodeDecodeError:
            raise NoFoldError from None
        value = reader.read(text, payload)
        if reader.has_repeated:
            raise NoFoldError
        if type(value) is dict:
            yield value


def read_value(text: str) -> tuple[bool, Any]:
    """Return (True, value) for one JSON value within the limits of an event, without a repeated key; else
    (False, None).
    """
    reader = _Reader()
    try:
        payload = text.encode("utf-8")
    except UnicodeEncodeError:  # half a character: not a JSON text
        return False, None
    value = reader.read(text, payload)
    return (False, None) if value is _SKIPPED or reader.has_repeated else (True, value)


def place_of(value: Any) -> int | None:
    """The place a number names: 0 to 9999, in decimal without leading zeros. None for anything else."""
    return int(value) if type(value) is Number and _PLACE.fullmatch(value) else None


def is_text(value: Any) -> TypeGuard[str]:
    """Whether a value of an event is a string (a number is not, though it is kept as its characters)."""
    return type(value) is str


def object_in(event: Json, name: str) -> Json:
    """The object under a name, or an empty one."""
    value = event.get(name)
    return value if type(value) is dict else {}


def list_in(event: Json, name: str) -> list[Any]:
    """The array under a name, or an empty one."""
    value = event.get(name)
    return value if type(value) is list else []


_SKIPPED = object()


class _Reader:
    """Reads one JSON value after another."""

    def __init__(self) -> None:
        self.has_repeated = False
        """Whether an object of the last value had one key twice."""
        self._decoder = json.JSONDecoder(
            parse_int=Number, parse_float=Number, parse_constant=_refuse, object_pairs_hook=self._pairs
        )

    def read(self, text: str, payload: bytes) -> Any:
        """The value; `_SKIPPED` for what is not JSON, or too deep. `payload` is `text` in UTF-8."""
        self.has_repeated = False
        if not is_shallow(payload):
            return _SKIPPED
        try:
            return self._decoder.decode(text)
        except (ValueError, RecursionError):
            self.has_repeated = False
            return _SKIPPED

    def _pairs(self, pairs: list[tuple[str, Any]]) -> Json:
        members = dict(pairs)
        self.has_repeated = self.has_repeated or len(members) != len(pairs)
        return members


def _refuse(_: str) -> NoReturn:
    raise ValueError
