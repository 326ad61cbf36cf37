"""Canonical decimals of the log layer, up to the largest
tree size: C2SP tlog-checkpoint, tlog-tiles, tlog-proof.

Spec: `auditlog/spec/log.md`, "Text". (Our own formats stop at 2**53-1: `auditlog.core.scalars`.) Pure.
"""

from __future__ import annotations

import re

from auditlog.errors import MalformedError

_REAL = re.compile(r"-?(0|[1-9][0-9]{0,39})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?")
_MAX_DIGITS = 19  # of 2**63 - 1; keeps int() from walking attacker-sized digit strings


def parse_decimal(text: str, what: str, *, maximum: int) -> int:
    """Read an ASCII decimal without sign or leading zeros; `text` is attacker-controlled.

    Raises:
        MalformedError: another spelling, or a number above `maximum`.
    """
    digits_only = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
    if not digits_only or (text[0] == "0" and text != "0"):
        raise MalformedError(f"expected a decimal {what} without sign or leading zeros, found other text")
    value = int(text)
    if value > maximum:
        raise MalformedError(f"expected a {what} of at most {maximum}, found {value}")
    return value


def decimal_of(value: object) -> str | None:
    """A finite number, or its text, as a decimal string of bounded length; None if it is anything else.

    The scores of outcomes (spec/api.md, "Outcomes"): 0.93, "0.930", Decimal("9.3e-1").
    """
    try:
        text = value if isinstance(value, str) else "" if isinstance(value, bool) else str(value)
    except ValueError:  # an integer of thousands of digits
        return None
    return text if _REAL.fullmatch(text) else None
