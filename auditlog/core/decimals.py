"""Canonical decimals of the log layer, up to the largest
tree size: C2SP tlog-checkpoint, tlog-tiles, tlog-proof.

Spec: `auditlog/spec/log.md`, "Text". (Our own formats stop at 2**53-1: `auditlog.core.scalars`.) Pure.
"""

from __future__ import annotations

from auditlog.errors import MalformedError

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
