"""The unguessable part of a receipt's public address (spec/receipt.md, "Where a receipt is found").

    cap = base64url-without-padding(HMAC-SHA256(key, "auditlog/receipt-capability@v1" 0x00 id)[0:16])

The log gives each producer its own key at enrolment, so both can compute the address of a decision before it
is in the log, and nobody else can. The address shows one entry and its proof, never a payload.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

_DOMAIN = b"auditlog/receipt-capability@v1\x00"
_BLOCK_BYTES = 64
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def receipt_capability(key: bytes, id: str) -> str:  # noqa: A002  the word of the format
    """Return the 22-character capability of decision `id` under a producer's 32-byte receipt key."""
    mac = hmac.digest(key, _DOMAIN + id.encode("utf-8"), hashlib.sha256)
    return base64.urlsafe_b64encode(mac[:16]).decode("ascii").rstrip("=")


class ReceiptCapabilities:
    """`receipt_capability` under one key, for whoever needs it in the way of every request.

    HMAC written out over SHA-256 (RFC 2104): the library's one-call form lets other threads run, and the
    caller may then wait milliseconds for the interpreter. A test holds both to the same answers.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        """`key` has at most 64 bytes. Raises ValueError otherwise."""
        if len(key) > _BLOCK_BYTES:
            raise ValueError(f"key: expected at most {_BLOCK_BYTES} bytes, found {len(key)}")
        padded = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded) + _DOMAIN)
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))

    def __call__(self, id: str) -> str:  # noqa: A002  the word of the format
        """The 22-character capability of decision `id`."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(id.encode("utf-8"))
        outer.update(inner.digest())
        return binascii.b2a_base64(outer.digest()[:16])[:22].translate(_URL_SAFE).decode("ascii")


def is_receipt_capability(key: bytes, id: str, found: str) -> bool:  # noqa: A002  the word of the format
    """Whether `found` is the capability, compared in constant time: attacker-controlled."""
    return hmac.compare_digest(receipt_capability(key, id).encode("ascii"), found.encode("utf-8", "replace"))
