"""Entries for what reads the commonest ones quickly: one envelope, any body."""

from __future__ import annotations

from typing import Any

from auditlog.core import canonical

ORIGIN = "log.example/test"
HASH = "0123456789abcdef" * 4
COMMITTED = {"commitment": HASH, "fields": {"form": "json", "root": HASH, "size": 1024}}
ID = "019b76da-bf6b-7000-8000-00000000176b"


def entry(body: dict[str, Any], kind: str = "decision", **changed: Any) -> bytes:
    """An entry's bytes, canonical whatever is in it."""
    envelope = {
        "body": body,
        "instance": "a" * 32,
        "kind": kind,
        "origin": ORIGIN,
        "prev": HASH,
        "producer": HASH,
        "seq": 7,
        "time": "2026-02-28T23:59:59.000000Z",
        "v": 1,
    }
    return canonical.encode(envelope | changed)
