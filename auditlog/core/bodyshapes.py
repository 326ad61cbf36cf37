"""The shapes a member of a body may have (spec/entry.md, "Bodies").

A shape is a function (value, name, not_understood). It raises `MalformedError` for a value that no version
of the format could mean, and adds the name to `not_understood` for one that a later version may: a new word
of a registry, a new member of an object. Pure and total on parsed canonical JSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from auditlog.core.scalars import is_hash_hex, is_instance_hex, is_origin, parse_time
from auditlog.errors import MalformedError

Shape = Callable[[Any, str, list[str]], None]

MAX_TEXT_CHARS = 16_384

_WORD = re.compile(r"[a-z][a-z0-9_.]{0,63}")
_DECISION_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_ADDRESS = re.compile(r"0x[0-9a-f]{40}")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_HASH_0X = re.compile(r"0x[0-9a-f]{64}")


def refuse(name: str, expected: str) -> MalformedError:
    """Return the error for a known member of another form; it never shows what was found."""
    return MalformedError(f"body member {name}: expected {expected}, found something else")


def anything(_value: Any, _name: str, _unknown: list[str]) -> None:
    """Any JSON value."""


def text(value: Any, name: str, _unknown: list[str]) -> None:
    """A string."""
    if type(value) is not str or len(value) > MAX_TEXT_CHARS:
        raise refuse(name, f"a string of at most {MAX_TEXT_CHARS} characters")


def label(value: Any, name: str, _unknown: list[str]) -> None:
    """A short non-empty string: a name, an id given by someone else."""
    if type(value) is not str or not 1 <= len(value) <= 255:
        raise refuse(name, "a string of 1 to 255 characters")


def word(value: Any, name: str, _unknown: list[str]) -> None:
    """A word of an open list: a-z first, then a-z 0-9 _ and dots, 64 at most."""
    if type(value) is not str or _WORD.fullmatch(value) is None:
        raise refuse(name, "a lower-case word")


def word_of(*known: str) -> Shape:
    """A word of a registry. A word the registry did not have when this was written is not understood."""

    def shape(value: Any, name: str, unknown: list[str]) -> None:
        word(value, name, unknown)
        if value not in known:
            unknown.append(name)

    return shape


def integer(*, least: int = 0) -> Shape:
    """An integer, `least` or more (canonical JSON bounds it above)."""

    def shape(value: Any, name: str, _unknown: list[str]) -> None:
        if type(value) is not int or value < least:
            raise refuse(name, f"an integer of at least {least}")

    return shape


def hash_hex(value: Any, name: str, _unknown: list[str]) -> None:
    """64 lower-case hex digits."""
    if not is_hash_hex(value):
        raise refuse(name, "64 lower-case hex digits")


def instance_hex(value: Any, name: str, _unknown: list[str]) -> None:
    """32 lower-case hex digits."""
    if not is_instance_hex(value):
        raise refuse(name, "32 lower-case hex digits")


def time(value: Any, name: str, _unknown: list[str]) -> None:
    """An instant in the one spelling of the envelope's `time`."""
    if type(value) is not str:
        raise refuse(name, "a time")
    parse_time(value)


def origin(value: Any, name: str, _unknown: list[str]) -> None:
    """A log's origin."""
    if type(value) is not str or not is_origin(value):
        raise refuse(name, "an origin")


def decision_id(value: Any, name: str, _unknown: list[str]) -> None:
    """A UUIDv7 (RFC 9562) in lower case."""
    if type(value) is not str or _DECISION_ID.fullmatch(value) is None:
        raise refuse(name, "a UUIDv7 in lower case")


def address(value: Any, name: str, _unknown: list[str]) -> None:
    """0x and 40 lower-case hex digits."""
    if type(value) is not str or _ADDRESS.fullmatch(value) is None:
        raise refuse(name, "0x and 40 lower-case hex digits")


def hash_0x(value: Any, name: str, _unknown: list[str]) -> None:
    """0x and 64 lower-case hex digits."""
    if type(value) is not str or _HASH_0X.fullmatch(value) is None:
        raise refuse(name, "0x and 64 lower-case hex digits")


def hash_or(*words: str) -> Shape:
    """64 lower-case hex digits, or a registry word."""
    other = word_of(*words)

    def shape(value: Any, name: str, unknown: list[str]) -> None:
        if not is_hash_hex(value):
            other(value, name, unknown)

    return shape


def integer_or(*words: str) -> Shape:
    """A natural number, or a registry word."""
    natural, other = integer(), word_of(*words)

    def shape(value: Any, name: str, unknown: list[str]) -> None:
        (natural if type(value) is int else other)(value, name, unknown)

    return shape


def list_of(member: Shape, *, least: int = 0, most: int | None = None) -> Shape:
    """An array of members of one shape, at least `least`, at most `most` of them."""

    def shape(value: Any, name: str, unknown: list[str]) -> None:
        if type(value) is not list or len(value) < least:
            raise refuse(name, f"an array of at least {least}")
        if most is not None and len(value) > most:
            raise refuse(name, f"an array of at most {most}")
        for place, item in enumerate(value):
            member(item, f"{name}/{place}", unknown)

    return shape


def texts_by_name(value: Any, name: str, _unknown: list[str]) -> None:
    """An object whose members are all strings."""
    if type(value) is not dict or any(type(item) is not str for item in value.values()):
        raise refuse(name, "an object of strings")


def decimals_by_name(value: Any, name: str, _unknown: list[str]) -> None:
    """An object whose members are all numbers as JSON writes them, in strings of at most 64 characters."""
    if type(value) is not dict or not all(
        type(item) is str and len(item) <= 64 and _DECIMAL.fullmatch(item) for item in value.values()
    ):
        raise refuse(name, "an object of decimal strings")


def members(required: Mapping[str, Shape], optional: Mapping[str, Shape] | None = None) -> Shape:
    """An object with these members. Others are not understood; a missing required one is an error."""
    shapes = {**required, **(optional or {})}

    def shape(value: Any, name: str, unknown: list[str]) -> None:
        if type(value) is not dict:
            raise refuse(name or "body", "an object")
        prefix = f"{name}/" if name else ""
        for key in required:
            if key not in value:
                raise MalformedError(f"body member {prefix}{key}: expected it to be there, found it missing")
        for key, item in value.items():
            if key in shapes:
                shapes[key](item, prefix + key, unknown)
            else:
                unknown.append(prefix + key)

    return shape
