"""What the log-layer vectors share: fixed keys, fixed leaves, and the shape of a vector."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.merkle import hash_leaf
from auditlog.core.note import Ed25519Signer

Vector = dict[str, Any]

LEAVES = [hash_leaf(b"entry %d" % number) for number in range(300)]
LOG = Ed25519Signer.from_seed("log.example/vectors", bytes(range(32)))
OTHER_LOG = Ed25519Signer.from_seed("log.example/other", bytes(range(1, 33)))
WITNESS = CosignatureSigner.from_seed("witness.example/one", bytes(range(2, 34)))
WITNESS_TWO = CosignatureSigner.from_seed("witness.example/two", bytes(range(3, 35)))
TIME = 1_750_000_000


def accepted(what: str, operation: str, value: Any, **given: Any) -> Vector:
    """A vector a reader accepts, and what it reads."""
    return {"what": what, "operation": operation, "input": given, "ok": True, "value": value}


def refused(what: str, operation: str, **given: Any) -> Vector:
    """A vector a reader refuses."""
    return {"what": what, "operation": operation, "input": given, "ok": False}


def hex_of(hashes: Sequence[bytes]) -> list[str]:
    """Hashes as vectors write them."""
    return [value.hex() for value in hashes]


def base64_of(data: bytes) -> str:
    """Other bytes as vectors write them."""
    return base64.b64encode(data).decode("ascii")
