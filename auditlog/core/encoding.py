"""The two text encodings every log-layer format shares: canonical base64 and canonical decimals.

Spec: `auditlog/spec/log.md`, "Text". One value has one text: what decodes here encodes back to the same
characters, so nothing signed or hashed can be spelled in two ways. Pure.
"""

from __future__ import annotations

from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64

from auditlog.errors import MalformedError

_MAX_DIGITS = 20  # of 2**64 - 1; keeps int() from walking attacker-sized digit strings


def format_base64(data: bytes) -> str:
    """Standard base64 of RFC 4648 section 4, with padding."""
    return b64encode(data).decode("ascii")


def parse_base64(text: str, what: str, *, length: int | None = None) -> bytes:
    """Decode canonical base64; `text` is attacker-controlled.

    The library's strict mode accepts non-zero bits after the last byte, so the result is encoded and compared.

    Raises:
        MalformedError: not the base64 that `format_base64` writes, or not `length` bytes.
    """
    try:
        decoded = a2b_base64(text.encode("ascii"), strict_mode=True)
    except (Base64Error, UnicodeEncodeError):
        raise MalformedError(
            f"expected standard base64 for {what}, found other characters or padding"
        ) from None
    if format_base64(decoded) != text:
        raise MalformedError(
            f"expected canonical base64 for {what}, found another spelling of the same bytes"
        )
    if length is not None and len(decoded) != length:
        raise MalformedError(f"expected {length} bytes of {what}, found {len(decoded)}")
    return decoded


def parse_decimal(text: str, what: str, *, maximum: int) -> int:
    """Decode an ASCII decimal without sign or leading zeros; `text` is attacker-controlled.

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
