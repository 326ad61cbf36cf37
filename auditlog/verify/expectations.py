"""What the caller insists on: `--expect KEY=VALUE`, checked against what the receipt showed.

Spec: auditlog/spec/verification.md, section "Expectations".
Promises: an unknown key or an unreadable value is refused before anything is verified; an expectation about
something the receipt does not show is not checked, never passed. Must never: raise a grade. An expectation
that holds about a stated fact stays an expectation about a stated fact, and the detail says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from auditlog.core.entry import parse_time
from auditlog.core.scalars import MAX_SEQ
from auditlog.errors import ConfigurationError, MalformedError

_PROVEN_KEYS: Final = ("origin", "operator", "index", "kind", "leaf", "producer", "instance", "seq")
_STATED_KEYS: Final = (
    "model",
    "model-name",
    "id",
    "operation",
    "status",
    "ended",
    "mode",
    "capture",
    "method",
    "route",
    "decision",
)
_TIME_KEYS: Final = ("after", "before", "recorded-before")
KEYS: Final[tuple[str, ...]] = _PROVEN_KEYS + _STATED_KEYS + _TIME_KEYS
"""Every key `--expect` knows. `operator` is another word for `origin`."""

_HEX_KEYS: Final = frozenset({"model", "leaf", "instance"})
_NUMBER_KEYS: Final = frozenset({"index", "seq", "status"})
_DECIMAL: Final = re.compile(r"(?:0|[1-9][0-9]{0,15})\Z", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}\Z", re.ASCII)
_SECOND: Final = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,6}))?Z\Z", re.ASCII)


class Held(StrEnum):
    """Whether an expectation held."""

    YES = "holds"
    NO = "does not hold"
    UNKNOWN = "cannot be checked"


@dataclass(frozen=True, slots=True)
class Expectation:
    """One thing the caller insists on. `value` is already in the form the receipt would show it."""

    key: str
    value: str

    def check(self, shown: Mapping[str, Sequence[str]]) -> tuple[Held, str]:
        """Compare with what the receipt showed: a key maps to the values that would satisfy it.

        Returns whether it held, and one line saying what was expected and what was found.
        """
        found = shown.get("origin" if self.key == "operator" else _SUBJECT.get(self.key, self.key), ())
        if not found:
            return Held.UNKNOWN, f"expected {self.key} {self.value}; the receipt does not show one"
        held = self._compare(found)
        grade = "stated" if self.key in _STATED_KEYS or self.key in ("after", "before") else "proven"
        if held:
            return Held.YES, f"{self.key} is {self.value} as expected ({grade})"
        return Held.NO, f"expected {self.key} {self.value}, found {' or '.join(found)} ({grade})"

    def _compare(self, found: Sequence[str]) -> bool:
        if self.key == "after":
            return found[0] >= self.value
        if self.key in ("before", "recorded-before"):
            return found[0] <= self.value
        return self.value in found


_SUBJECT: Final = {"after": "start", "before": "start", "recorded-before": "recorded"}


def parse_expectation(text: str) -> Expectation:
    """Parse `KEY=VALUE`.

    Raises:
        ConfigurationError: the key is unknown, or the value cannot be one of that key.
    """
    key, separator, value = text.partition("=")
    if not separator or not value:
        raise ConfigurationError(f"expected KEY=VALUE to insist on, found {_shown(text)}")
    if key not in KEYS:
        raise ConfigurationError(f"expected one of {', '.join(sorted(KEYS))} before '=', found {_shown(key)}")
    return Expectation(key, _normal(key, value))


def _normal(key: str, value: str) -> str:
    if key in _TIME_KEYS:
        return normal_instant(key, value)
    if key in _NUMBER_KEYS and not (_DECIMAL.match(value) and int(value) <= MAX_SEQ):
        raise ConfigurationError(f"expected a decimal of at most 2^53-1 for {key}, found {_shown(value)}")
    if key == "model" and value not in ("pending", "unregistered"):
        value = value.removeprefix("files-sha256@v1:").removeprefix("sha256:")
        if not re.fullmatch(r"[0-9a-fA-F]{64}", value, re.ASCII):
            raise ConfigurationError(
                f"expected a fingerprint of 64 hex digits for model, found {_shown(value)}"
            )
    return value.lower() if key in _HEX_KEYS else value


def normal_instant(key: str, value: str) -> str:
    """Bring a date or a UTC time to the entry's form, so that text order is time order."""
    if _DATE.match(value):
        value = f"{value}T00:00:00Z"
    match = _SECOND.match(value)
    if match is None:
        raise ConfigurationError(
            f"expected YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS[.ffffff]Z for {key}, found {_shown(value)}"
        )
    full = f"{match[1]}.{(match[2] or '').ljust(6, '0')}Z"
    try:
        parse_time(full)
    except MalformedError as error:
        raise ConfigurationError(f"expected a time that exists for {key}, found {_shown(value)}") from error
    return full


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 80 else text[:77] + "...")
