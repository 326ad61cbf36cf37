"""The few headers the middleware reads and writes (spec/api.md has the ones for callers).

From requests: `Audit-Want`, `Audit-Parent`, `Audit-Retry-Of`. From responses: content type and coding.
Added to responses: `Audit-Id`, `Audit-Receipt`, and `Audit-Key` with `Cache-Control: private, no-store` when
asked. Everything read here is attacker-controlled; what is odd is as good as absent. Pure.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

from auditlog.capture.observation import Exchange

RawHeaders = Iterable[tuple[bytes, bytes]]

_OF_REQUESTS = frozenset({b"audit-want", b"audit-parent", b"audit-retry-of"})
_OF_RESPONSES = frozenset({b"content-type", b"content-encoding"})
_DECISION_ID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_MAX_CODING_CHARS = 64
_NO_STORE = (b"cache-control", b"private, no-store")


class RequestHeaders:
    """What a caller asked of us."""

    __slots__ = ("parent", "retry_of", "wants_key")

    def __init__(self, headers: RawHeaders) -> None:
        found = _pick(headers, _OF_REQUESTS)
        self.wants_key = found.get(b"audit-want") == b"key"
        self.parent = _decision_id(found.get(b"audit-parent"))
        self.retry_of = _decision_id(found.get(b"audit-retry-of"))


class ResponseHeaders:
    """What an application said about its answer. `coding` is lower-cased, None for identity."""

    __slots__ = ("coding", "is_event_stream")

    def __init__(self, headers: RawHeaders) -> None:
        found = _pick(headers, _OF_RESPONSES)
        self.is_event_stream = found.get(b"content-type", b"").lower().startswith(b"text/event-stream")
        self.coding = _coding(found.get(b"content-encoding"))


def own_headers(exchange: Exchange, *, with_key: bool) -> list[tuple[bytes, bytes]]:
    """The lines we add to the answer of a recorded request."""
    own = [(b"audit-id", exchange.id.encode("ascii"))]
    if exchange.receipt_url is not None:
        own.append((b"audit-receipt", exchange.receipt_url.encode("ascii")))
    if with_key:
        own += [(b"audit-key", base64.b64encode(exchange.exchange_key)), _NO_STORE]
    return own


def _pick(headers: RawHeaders, names: frozenset[bytes]) -> dict[bytes, bytes]:
    return {name: bytes(value).strip() for key, value in headers if (name := key.lower()) in names}


def _coding(value: bytes | None) -> str | None:
    if value is None or not value.isascii() or not 0 < len(value) <= _MAX_CODING_CHARS:
        return None
    coding = value.decode("ascii").lower()
    return None if coding == "identity" else coding


def _decision_id(value: bytes | None) -> str | None:
    """A decision id given by the caller; anything but a UUIDv7 in lower case is ignored."""
    return value.decode("ascii") if value is not None and _DECISION_ID.fullmatch(value) else None
