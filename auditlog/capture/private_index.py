"""The operator's private index: decisions by subject, label, request id or trace, on this host only.

    digest = first 16 bytes of HMAC-SHA256(K, name || 0x00 || value)
    K      = HMAC-SHA256(store key, "auditlog/private-index@v1" || 0x00)

It stands in the disclosure store of each slot, is filled when a record is kept, and goes when the record
goes. Whoever has the file but not the store key learns how many records share a value, and nothing else;
whoever has the key can try values. Must never: hold a fact in clear, or fail the record it is about.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from auditlog.errors import ConfigurationError

INDEXED = ("subject", "label", "request_id", "trace_id")
"""The names one can search by; `trace_id` is taken from `traceparent`."""

DIGEST_BYTES = 16
_DOMAIN = b"auditlog/private-index@v1\0"
_MAX_FACTS_BYTES = 1 << 20
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class PrivateIndex:
    """Digests under the key of one store."""

    def __init__(self, store_key: bytes) -> None:
        self._key = hmac.digest(store_key, _DOMAIN, hashlib.sha256)

    def digest(self, name: str, value: str) -> bytes:
        """The digest of one fact."""
        content = name.encode() + b"\0" + value.encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, content, hashlib.sha256)[:DIGEST_BYTES]

    def digests_of(self, facts: bytes | None) -> list[bytes]:
        """The digests of what can be searched for in a body `facts`; [] where there is nothing."""
        if not facts or len(facts) > _MAX_FACTS_BYTES:
            return []
        try:
            members = msgspec.json.decode(facts)
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return []
        if type(members) is not dict:
            return []
        return [self.digest(name, value) for name, value in searchable(members)]


def searchable(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The facts one can search by, as name and text."""
    for name in ("subject", "label", "request_id"):
        value = facts.get(name)
        if type(value) is str or type(value) is int:
            yield name, str(value)
    if (trace := trace_id(facts.get("traceparent"))) is not None:
        yield "trace_id", trace


def trace_id(traceparent: object) -> str | None:
    """The trace id of a W3C `traceparent`."""
    found = _TRACEPARENT.fullmatch(traceparent) if isinstance(traceparent, str) else None
    return None if found is None else found.group(1)


def parse_search(items: list[str]) -> dict[str, str]:
    """What to search for, from `subject=123` and the like; `traceparent=...` means its trace.

    Raises:
        ConfigurationError: an item of another form, or a name that is not indexed.
    """
    wanted: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if name == "traceparent":
            name, value = "trace_id", trace_id(value) or ""
        if not equals or name not in INDEXED or not value:
            raise ConfigurationError(
                f"expected {'=..., '.join(INDEXED)}=... or traceparent=..., found {item[:80]!r}"
            )
        wanted[name] = value
    if not wanted:
        raise ConfigurationError("expected something to search for, such as subject=123, found nothing")
    return wanted
