"""Times and spans as people write them in a configuration: `2027-01-31T00:00:00Z`, `30d`, `12h`.

Spec: auditlog/spec/api.md, "Tokens". An instant always has an offset: a local time would expire on
another day on another machine. Must never: read the clock.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from auditlog.errors import ConfigurationError

_SPAN = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_instant(value: str | datetime) -> int:
    """An RFC 3339 time, as text or as TOML reads it, in Unix microseconds.

    Raises:
        ValueError: no time, or one without an offset.
    """
    try:
        instant = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None or instant < _EPOCH:
        raise ValueError("expected a time such as 2027-01-31T00:00:00Z")
    return (instant - _EPOCH) // timedelta(microseconds=1)


def format_instant(unix_us: int) -> str:
    """The time in UTC, to the second, as RFC 3339 writes it."""
    return (_EPOCH + timedelta(microseconds=unix_us)).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_expiry(text: str, *, now_us: int) -> int:
    """`30d` from now (s, m, h, d, w), or an instant; in Unix microseconds.

    Raises:
        ConfigurationError: neither, or an instant that has passed.
    """
    span = _SPAN.fullmatch(text.strip())
    if span is not None:
        return now_us + int(span[1]) * _UNITS[span[2]] * 1_000_000
    try:
        expires_us = parse_instant(text.strip())
    except ValueError:
        raise ConfigurationError(
            f"expected a time such as 2027-01-31T00:00:00Z or a span such as 30d, found {text[:40]!r}"
        ) from None
    if expires_us <= now_us:
        raise ConfigurationError(f"expected a time to come, found {format_instant(expires_us)}")
    return expires_us
