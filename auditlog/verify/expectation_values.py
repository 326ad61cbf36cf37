"""Values an expectation may name, each checked before anything is verified.

Spec: auditlog/spec/verification.md, "Expectations": a value that no receipt could show is a mistake of the
caller, and is said at once. Every function returns the value in the form the receipt would show it.
"""

from __future__ import annotations

import re
from typing import Final

from auditlog.core.entry import parse_time
from auditlog.core.scalars import MAX_SEQ
from auditlog.errors import ConfigurationError, MalformedError
from auditlog.verify.wording import printable

_DECIMAL: Final = re.compile(r"(?:0|[1-9][0-9]{0,15})\Z", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}\Z", re.ASCII)
_SECOND: Final = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,6}))?Z\Z", re.ASCII)
_HEX: Final = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)


def check_text(what: str, value: str) -> str:
    """Any text but none.

    Raises:
        ConfigurationError: empty, or no text.
    """
    if type(value) is not str or not value:
        raise ConfigurationError(f"expected a value for {what}, found none")
    return value


def check_decimal(what: str, value: str) -> int:
    """A number an entry can hold.

    Raises:
        ConfigurationError: signs, leading zeros, or more than 2^53-1.
    """
    if not (_DECIMAL.match(value) and int(value) <= MAX_SEQ):
        raise ConfigurationError(f"expected a decimal of at most 2^53-1 for {what}, found {_shown(value)}")
    return int(value)


def check_hex(what: str, value: str) -> str:
    """64 hex digits, in lower case.

    Raises:
        ConfigurationError: anything else.
    """
    if not _HEX.match(value.lower()):
        raise ConfigurationError(f"expected 64 hex digits for {what}, found {_shown(value)}")
    return value.lower()


def check_fingerprint(value: str) -> str:
    """A fingerprint's root, whatever method was named before it, or a word that stands for none.

    Raises:
        ConfigurationError: anything else.
    """
    if value in ("pending", "unregistered"):
        return value
    return check_hex("model", value.removeprefix("files-sha256@v1:").removeprefix("sha256:"))


def normal_instant(what: str, value: str) -> str:
    """Bring a date or a UTC time to the entry's form, so that text order is time order.

    Raises:
        ConfigurationError: another form, or a time that does not exist.
    """
    if _DATE.match(value):
        value = f"{value}T00:00:00Z"
    match = _SECOND.match(value)
    if match is None:
        raise ConfigurationError(
            f"expected YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS[.ffffff]Z for {what}, found {_shown(value)}"
        )
    full = f"{match[1]}.{(match[2] or '').ljust(6, '0')}Z"
    try:
        parse_time(full)
    except MalformedError as error:
        raise ConfigurationError(f"expected a time that exists for {what}, found {_shown(value)}") from error
    return full


def _shown(text: str) -> str:
    return printable(text, 80) or "nothing"
