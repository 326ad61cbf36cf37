"""entry.md, "Conventions", "Scalars" and "Canonical JSON"."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import re
from typing import Any, NoReturn

MAX_SAFE = 2**53 - 1

_ORIGIN = re.compile(r"[!-*,-~]{1,255}")
_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})\.([0-9]{6})Z",
)
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class Malformed(ValueError):
    """The input is not what it should be; the message says why."""


def refuse(why: str) -> NoReturn:
    """Raise Malformed."""
    raise Malformed(why)


def need(condition: object, why: str) -> None:
    """Refuse unless the condition holds."""
    if not condition:
        refuse(why)


def is_int(value: object, low: int = 0, high: int = MAX_SAFE) -> bool:
    """An integer in a range; a boolean is none."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_text(value: object, low: int = 0, high: int = 16_384) -> bool:
    """A string of so many code points."""
    return isinstance(value, str) and low <= len(value) <= high


def is_hex(value: object, digits: int = 64) -> bool:
    """Lower-case hex of exactly this length."""
    return isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{digits}}}", value) is not None


def is_0x(value: object, digits: int = 64) -> bool:
    """`0x` and lower-case hex: an address, a transaction, a block hash."""
    return isinstance(value, str) and value.startswith("0x") and is_hex(value[2:], digits)


def is_origin(value: object) -> bool:
    """The origin of a log."""
    return isinstance(value, str) and _ORIGIN.fullmatch(value) is not None and not value.isdigit()


def is_producer_name(value: object) -> bool:
    """The name of a producer."""
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,100}", value) is not None


def is_word(value: object) -> bool:
    """A word of an entry's body."""
    return isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9_.]{0,63}", value) is not None


def is_uuid7(value: object) -> bool:
    """A UUIDv7 in lower case."""
    return isinstance(value, str) and _UUID7.fullmatch(value) is not None


def is_time(value: object) -> bool:
    """27 ASCII characters that name an existing instant."""
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return False
    year, month, day, hour, minute, second, micro = (int(part) for part in match.groups())
    try:
        dt.datetime(year, month, day, hour, minute, second, micro, tzinfo=dt.UTC)
    except ValueError:
        return False
    return year >= 1970


def decimal(text: str, high: int = MAX_SAFE) -> int:
    """ASCII digits, no sign, no leading zero."""
    need(re.fullmatch(r"0|[1-9][0-9]{0,18}", text), f"not a decimal: {text[:30]!r}")
    need(int(text) <= high, f"too large: {text}")
    return int(text)


def unbase64(text: object) -> bytes:
    """Canonical base64: decode, encode again, compare."""
    if not isinstance(text, str) or not text.isascii():
        refuse("not base64")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("not base64") from error
    need(base64.b64encode(data).decode() == text, "base64 is not canonical")
    return data


def unbase64_hash(text: object) -> bytes:
    """Canonical base64 of 32 bytes."""
    data = unbase64(text)
    need(len(data) == 32, "not the base64 of 32 bytes")
    return data


def depth_of(value: object) -> int:
    """How many containers stand inside one another, without recursion."""
    deepest, todo = 0, [(value, 1)]
    while todo:
        item, depth = todo.pop()
        if isinstance(item, (dict, list)):
            deepest = max(deepest, depth)
            children = item.values() if isinstance(item, dict) else item
            todo.extend((child, depth + 1) for child in children)
    return deepest


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys occur once each."""
    made = dict(pairs)
    need(len(made) == len(pairs), "a key occurs twice")
    return made


def _integer(text: str) -> int:
    need(len(text.lstrip("-")) <= 16 and abs(int(text)) <= MAX_SAFE, "integer too large")
    return int(text)


def _no_number(text: str) -> NoReturn:
    refuse(f"not an integer: {text[:30]!r}")


def strict_json(data: bytes) -> Any:
    """JSON in UTF-8 with integers only, unique keys and no lone surrogate; free in white space and order."""
    try:
        text = data.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=unique,
            parse_int=_integer,
            parse_float=_no_number,
            parse_constant=_no_number,
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except Malformed:
        raise
    except (ValueError, RecursionError) as error:
        raise Malformed("not JSON in UTF-8") from error
    return value


def write(value: Any) -> bytes:
    """The one canonical spelling of a value."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode("utf-8")


def parse(data: bytes) -> Any:
    """Canonical JSON: read with a library, check, write again, compare."""
    value = strict_json(data)
    need(depth_of(value) <= 16, "more than 16 containers inside one another")
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            need(all(key.isascii() for key in item), "a key is not ASCII")
            todo.extend(item.values())
        elif isinstance(item, list):
            todo.extend(item)
    need(write(value) == data, "not the canonical spelling")
    return value


def members(value: Any, required: str, optional: str = "") -> dict[str, Any]:
    """An object with exactly these members."""
    if not isinstance(value, dict):
        refuse("not an object")
    missing = set(required.split()) - set(value)
    unknown = set(value) - set(required.split()) - set(optional.split())
    need(not missing, f"missing: {sorted(missing)}")
    need(not unknown, f"unknown: {sorted(unknown)[:5]}")
    return value


def array(value: Any, most: int) -> list[Any]:
    """An array of at most so many items."""
    if not isinstance(value, list) or len(value) > most:
        refuse(f"not an array of at most {most}")
    return value


def hashes(value: Any, most: int = 63) -> list[bytes]:
    """An array of base64 hashes."""
    return [unbase64_hash(item) for item in array(value, most)]
