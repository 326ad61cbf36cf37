"""The unguessable part of a receipt's public address (spec/receipt.md, "Where a receipt is found").

    cap = base64url-without-padding(HMAC-SHA256(key, "auditlog/receipt-capability@v1" 0x00 id)[0:16])

The log gives each producer its own key at enrolment, so both can compute the address of a decision before it
is in the log, and nobody else can. The address shows one entry and its proof, never a payload.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

_DOMAIN = b"auditlog/receipt-capability@v1\x00"


def receipt_capability(key: bytes, id: str) -> str:  # noqa: A002  the word of the format
    """Return the 22-character capability of decision `id` under a producer's 32-byte receipt key."""
    mac = hmac.digest(key, _DOMAIN + id.encode("utf-8"), hashlib.sha256)
    return base64.urlsafe_b64encode(mac[:16]).decode("ascii").rstrip("=")


def is_receipt_capability(key: bytes, id: str, found: str) -> bool:  # noqa: A002  the word of the format
    """Whether `found` is the capability, compared in constant time: attacker-controlled."""
    return hmac.compare_digest(receipt_capability(key, id).encode("ascii"), found.encode("utf-8", "replace"))
