"""The few headers the middleware reads and writes (spec/api.md has the ones for callers).

From requests: `Audit-Want`, `Audit-Parent`, `Audit-Retry-Of`. From responses: content type, coding and
length, `Age`, digests, an `Audit-Id` from further up. Added to responses: `Audit-Id`, `Audit-Receipt`,
`Audit-Promise` or `Audit-Status`, and `Audit-Key` with `Cache-Control: private, no-store` when asked; lines
of those names from further up are left out, for they are about another entry. Everything read here is
attacker-controlled; what is odd is as good as absent. Pure.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

from auditlog.capture.observation import Exchange
from auditlog.capture.urls import is_header_text

RawHeaders = Iterable[tuple[bytes, bytes]]
HeaderList = list[tuple[bytes, bytes]]

DEFERRED = (b"audit-status", b"deferred")
"""The answer leaves before its entry is durable and promised."""

_OF_REQUESTS = frozenset(
    {b"audit-want", b"audit-parent", b"audit-retry-of", b"content-length", b"transfer-encoding"}
)
_OF_RESPONSES = frozenset(
    {b"content-type", b"content-encoding", b"content-length", b"age", b"audit-id", b"content-md5"}
    | {b"digest", b"content-digest", b"repr-digest"}
)
_DIGESTS = (b"content-md5", b"digest", b"content-digest", b"repr-digest")
_OURS = frozenset({b"audit-id", b"audit-receipt", b"audit-promise", b"audit-status", b"audit-key"})
_DECISION_ID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_MAX_CODING_CHARS = 64
_MAX_LENGTH_DIGITS = 18
_FROM_CACHE = "cache"
_NO_STORE = (b"cache-control", b"private, no-store")


class RequestHeaders:
    """What a caller asked of us, and how long the body is that was announced: `length` bytes, or None."""

    __slots__ = ("is_chunked", "length", "parent", "retry_of", "wants_key")

    def __init__(self, headers: RawHeaders) -> None:
        found = _pick(headers, _OF_REQUESTS)
        self.wants_key = found.get(b"audit-want") == b"key"
        self.parent = _decision_id(found.get(b"audit-parent"))
        self.retry_of = _decision_id(found.get(b"audit-retry-of"))
        self.is_chunked = b"transfer-encoding" in found
        self.length = None if self.is_chunked else _length(found.get(b"content-length"))


class ResponseHeaders:
    """What an application said about its answer.

    `coding` is lower-cased, None for identity; `length` is the declared one; `replayed_from` the decision id
    that came with the answer, or "cache"; `is_coded` whether it names any coding of its bytes,
    `allows_comment` whether nothing speaks against one more SSE comment.
    """

    __slots__ = ("allows_comment", "coding", "is_coded", "is_event_stream", "length", "replayed_from")

    def __init__(self, headers: RawHeaders) -> None:
        found = _pick(headers, _OF_RESPONSES)
        self.is_event_stream = found.get(b"content-type", b"").lower().startswith(b"text/event-stream")
        self.coding = _coding(found.get(b"content-encoding"))
        self.length = _length(found.get(b"content-length"))
        self.replayed_from = _replayed_from(found)
        self.is_coded = found.get(b"content-encoding", b"identity") != b"identity"
        is_fixed = b"content-length" in found or self.is_coded
        self.allows_comment = not is_fixed and not any(name in found for name in _DIGESTS)


def own_headers(exchange: Exchange, *, with_key: bool) -> HeaderList:
    """The lines we add to the answer of a recorded request."""
    own = [(b"audit-id", exchange.id.encode("ascii"))]
    # Settings made by hand may hold a text that no header can; the answer must not fail for it.
    if exchange.receipt_url is not None and is_header_text(exchange.receipt_url):
        own.append((b"audit-receipt", exchange.receipt_url.encode("ascii")))
    if with_key:
        own += [(b"audit-key", base64.b64encode(exchange.exchange_key)), _NO_STORE]
    return own


def promise_header(note: str) -> tuple[bytes, bytes]:
    """`Audit-Promise`: the whole signed note in base64."""
    return (b"audit-promise", base64.b64encode(note.encode("utf-8")))


def without_ours(headers: RawHeaders) -> HeaderList:
    """The application's lines, but for those that only we write."""
    return [line for line in headers if line[0].lower() not in _OURS]


def _pick(headers: RawHeaders, names: frozenset[bytes]) -> dict[bytes, bytes]:
    found = {}
    for key, value in headers:
        name = key.lower()
        if name in names:
            found[name] = bytes(value).strip()
    return found


def _coding(value: bytes | None) -> str | None:
    if value is None or not value.isascii() or not 0 < len(value) <= _MAX_CODING_CHARS:
        return None
    coding = value.decode("ascii").lower()
    return None if coding == "identity" else coding


def _length(value: bytes | None) -> int | None:
    if value is None or not value.isdigit() or len(value) > _MAX_LENGTH_DIGITS:
        return None
    return int(value)


def _replayed_from(found: dict[bytes, bytes]) -> str | None:
    """Which answer this one is a copy of. An `Age` comes from caches alone (RFC 9111 section 5.1)."""
    upstream = found.get(b"audit-id")
    if upstream is None and not found.get(b"age", b"").isdigit():
        return None
    return _decision_id(upstream) or _FROM_CACHE


def _decision_id(value: bytes | None) -> str | None:
    """A decision id given by the caller; anything but a UUIDv7 in lower case is ignored."""
    return value.decode("ascii") if value is not None and _DECISION_ID.fullmatch(value) else None
