"""The small values our formats are made of, each with exactly one spelling (spec/entry.md, "Scalars").

Hex, base64, decimals, origins, names, times. Every parser here is strict and total: it returns the value or
raises `MalformedError`, and writing the value again gives the text that was read.
"""

from __future__ import annotations

import binascii
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from auditlog.errors import MalformedError

HASH_BYTES = 32
MAX_ORIGIN_CHARS = 255
MAX_NAME_CHARS = 100
MAX_SEQ = 2**53 - 1
ZERO_HASH_HEX = "0" * 64

_HASH_HEX = re.compile(r"[0-9a-f]{64}")
_INSTANCE_HEX = re.compile(r"[0-9a-f]{32}")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,15}")
_ORIGIN = re.compile(r"[!-*,-~]{1,255}")  # printable ASCII except space and "+"
_DIGITS = re.compile(r"[0-9]+")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_NAIVE = datetime(1970, 1, 1)  # noqa: DTZ001  arithmetic on UTC only, the zone is in the text
_LAST_US = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z
_MICROSECOND = timedelta(microseconds=1)


def is_origin(text: str) -> bool:
    """Whether `text` may name a log: 1 to 255 printable
    ASCII characters, no space, no "+", not digits only.
    """
    return _ORIGIN.fullmatch(text) is not None and _DIGITS.fullmatch(text) is None


def check_origin(text: str) -> str:
    """Return `text` if it is an origin.

    Digits only are refused because the second line of our statements is the origin and the second line of a
    checkpoint is a size: no signature on one can be read as the other.

    Raises:
        MalformedError: it is not one.
    """
    if not is_origin(text):
        raise MalformedError(
            "origin: expected 1 to 255 printable ASCII characters without space or '+', not all digits"
        )
    return text


def check_name(text: str) -> str:
    """Return `text` if it is a producer name: 1 to 100 of the characters A-Z a-z 0-9 . _ -.

    Raises:
        MalformedError: it is not one.
    """
    if _NAME.fullmatch(text) is None:
        raise MalformedError(
            "name: expected 1 to 100 of the characters A-Z a-z 0-9 . _ -, found something else"
        )
    return text


def is_hash_hex(text: object) -> bool:
    """Whether `text` is 64 lower-case hex digits."""
    return type(text) is str and _HASH_HEX.fullmatch(text) is not None


def is_instance_hex(text: object) -> bool:
    """Whether `text` is 32 lower-case hex digits, a producer's instance."""
    return type(text) is str and _INSTANCE_HEX.fullmatch(text) is not None


def check_hash_hex(text: str, what: str) -> str:
    """Return `text` if it is 64 lower-case hex digits; `what` names it in the error."""
    if not is_hash_hex(text):
        raise MalformedError(f"{what}: expected 64 lower-case hex digits, found something else")
    return text


def check_instance_hex(text: str) -> str:
    """Return `text` if it is 32 lower-case hex digits."""
    if not is_instance_hex(text):
        raise MalformedError("instance: expected 32 lower-case hex digits, found something else")
    return text


def check_hash(value: bytes, what: str) -> bytes:
    """Return `value` if it is 32 bytes; `what` names it in the error."""
    if len(value) != HASH_BYTES:
        raise MalformedError(f"{what}: expected 32 bytes, found {len(value)}")
    return value


def parse_decimal(text: str, what: str) -> int:
    """Read an ASCII decimal without leading zeros, 0 to 2**53-1."""
    value = int(text) if _DECIMAL.fullmatch(text) else MAX_SEQ + 1
    if value > MAX_SEQ:
        raise MalformedError(
            f"{what}: expected a decimal from 0 to 2^53-1 without leading zeros, found something else"
        )
    return value


def encode_base64(data: bytes) -> str:
    """Write standard base64 with padding (RFC 4648 section 4)."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def parse_base64(text: str, what: str) -> bytes:
    """Read standard base64, accepting only the text
    `encode_base64` writes (padding bits zero, no white space).
    """
    try:
        data = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (ValueError, UnicodeError):
        raise MalformedError(f"{what}: expected standard base64, found something else") from None
    # The library's strict mode lets non-zero padding bits through: two texts for one value.
    if encode_base64(data) != text:
        raise MalformedError(f"{what}: expected canonical base64, found another spelling")
    return data


def parse_hash_base64(text: str, what: str) -> bytes:
    """Read 32 bytes of canonical base64."""
    return check_hash(parse_base64(text, what), what)


def format_time(unix_us: int) -> str:
    """Write microseconds since 1970 UTC as `YYYY-MM-DDTHH:MM:SS.ffffffZ`.

    Raises:
        MalformedError: before 1970 or after 9999.
    """
    if not 0 <= unix_us <= _LAST_US:
        raise MalformedError("time: expected an instant from 1970 to 9999, found another")
    second, micros = divmod(unix_us, 1_000_000)
    return f"{_format_second(second)}.{micros:06d}Z"


@lru_cache(maxsize=64)
def _format_second(unix_s: int) -> str:
    """Times come many to a second; a date is what costs."""
    return (_EPOCH_NAIVE + timedelta(seconds=unix_s)).isoformat(timespec="seconds")


def parse_time(text: str) -> int:
    """Read `YYYY-MM-DDTHH:MM:SS.ffffffZ` (a real date, 1970 to 9999, seconds 00-59) as microseconds since
    1970.

    Raises:
        MalformedError: anything else.
    """
    if _TIME.fullmatch(text) is None or text < "1970":
        raise MalformedError("time: expected YYYY-MM-DDTHH:MM:SS.ffffffZ from 1970 on, found something else")
    try:
        return _parse_second(text[:19]) + int(text[20:26])
    except ValueError:
        raise MalformedError("time: expected a date and time that exist, found one that does not") from None


@lru_cache(maxsize=256)
def _parse_second(text: str) -> int:
    """As `_format_second`, back: microseconds since 1970. Raises ValueError."""
    return (datetime.fromisoformat(text) - _EPOCH_NAIVE) // _MICROSECOND


def text_lines(text: str, header: str, count: int) -> list[str]:
    """Split the text of one of our notes: `header`, then
    `count` lines, each ended by a newline; return those.

    Raises:
        MalformedError: another header, another number of lines, or no final newline.
    """
    lines = text.split("\n")
    if lines[0] != header:
        raise MalformedError(f"note: expected the first line {header!r}, found another")
    if len(lines) != count + 2 or lines[-1] != "":
        raise MalformedError(
            f"{header}: expected {count + 1} lines each ended by a newline, found another shape"
        )
    return lines[1:-1]
