"""Entries by what they say: `GET /logs/{log}/search`, page by page.

Spec: auditlog/spec/api.md, "Search". A convenience of the operator's index, never evidence. Promises: only
what is published is shown, to whoever may read the entries; each page is bounded work. Must never: go by a
cursor that was given for another question.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from auditlog.core.entry import parse_time
from auditlog.errors import MalformedError
from auditlog.log import search
from auditlog.service.api.models import MAX_INTEGER, Decimal
from auditlog.service.api.standing_models import HexHash
from auditlog.service.api.tlog import BUNDLES_OPEN
from auditlog.service.context import hosted_log, require_readable
from auditlog.service.hosting import HostedLog
from auditlog.service.instants import parse_instant
from auditlog.service.problems import RequestRefused

router = APIRouter(tags=["entries"])

MAX_PAGE = 200
Hash = Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$")]
Word = Annotated[str | None, Field(pattern=r"^[!-~]{1,200}$")]


def _instant(value: object) -> object:
    """A time of the query in Unix microseconds: RFC 3339, whole or as entries write it."""
    if not isinstance(value, str):
        return value
    try:
        return parse_time(value)
    except MalformedError:
        return parse_instant(value)


Instant = Annotated[int | None, BeforeValidator(_instant)]


class Wanted(BaseModel):
    """The query: every condition that is there has to hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decision: Word = None
    leaf: Hash = None
    producer: Annotated[str | None, Field(pattern=r"^([0-9a-f]{64}|log)$")] = None
    instance: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    seq: Decimal | None = None
    kind: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]{0,63}$")
    model: Word = None
    operation: Word = None
    status: Annotated[Decimal | None, Field(le=999)] = None
    ended: Word = None
    since: Instant = None
    before: Instant = None
    order: Literal["oldest", "newest"] = "oldest"
    limit: Annotated[Decimal, Field(ge=1, le=MAX_PAGE)] = 50
    cursor: str | None = Field(default=None, max_length=200)


class FoundEntry(BaseModel):
    """An entry that a search found, and what it says of itself; of a decision its body too. Stated, not
    proven.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    index: int
    leaf_hash: HexHash
    kind: str
    producer: str
    instance: str
    seq: int
    time: str
    decision: str | None
    model: str | None
    operation: str | None
    status: int | None
    ended: str | None
    flags: list[str]


class FoundEntries(BaseModel):
    """One page of a search. `next` is the cursor of the following page, null at the end; a page may be short
    before that. Entries from `size` on were not looked at: they are not published, or the index is behind.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    entries: list[FoundEntry]
    next: str | None
    size: int


class _Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Where to go on, and which question that belongs to."""

    question: bytes
    key: Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]
    index: Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]


_cursor = msgspec.msgpack.Decoder(_Cursor)


@router.get("/logs/{log}/search")
def find(request: Request, response: Response, log: str, wanted: Annotated[Wanted, Query()]) -> FoundEntries:
    """Published entries by id, leaf hash, place in a chain, kind, producer, model, operation, status, end or
    time; all conditions hold. Scope read unless the log is public.
    """
    hosted = hosted_log(request, log)
    shared = require_readable(request, hosted, open_to=BUNDLES_OPEN)
    _check(wanted)
    query = _query_of(wanted)
    after = None if wanted.cursor is None else _open_cursor(wanted.cursor, query)
    page = hosted.log.search.page(query, size=hosted.published_size(), after=after, limit=wanted.limit)
    response.headers["Cache-Control"] = "no-store"
    if not shared:
        response.headers["Vary"] = "Authorization"
    return FoundEntries(
        entries=[_found(hosted, hit) for hit in page.hits],
        next=None if page.next is None else _close_cursor(page.next, query),
        size=page.size,
    )


def _check(wanted: Wanted) -> None:
    """What no single parameter can say. Raises RequestRefused."""
    place = (wanted.instance is not None, wanted.seq is not None)
    if place != (False, False) and not (all(place) and wanted.producer not in {None, "log"}):
        raise _refused("producer, instance and seq together", "part of them")
    direct = [name for name in ("decision", "leaf", "seq") if getattr(wanted, name) is not None]
    if direct and wanted.order == "newest":
        raise _refused("order oldest beside decision, leaf or seq", "newest")


def _query_of(wanted: Wanted) -> search.Query:
    named = ("decision", "producer", "instance", "seq", "kind", "model", "operation", "status", "ended")
    return search.Query(
        **{name: getattr(wanted, name) for name in named},
        leaf=None if wanted.leaf is None else bytes.fromhex(wanted.leaf),
        since_us=wanted.since,
        before_us=wanted.before,
        newest=wanted.order == "newest",
    )


def _question(query: search.Query) -> bytes:
    """What a cursor is bound to: without it a cursor of one order would skip entries in another."""
    return hashlib.sha256(repr(query).encode()).digest()[:8]


def _close_cursor(place: search.Place, query: search.Query) -> str:
    data = msgspec.msgpack.encode(_Cursor(_question(query), *place))
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _open_cursor(text: str, query: search.Query) -> search.Place:
    """The place in a cursor (attacker-controlled). Raises RequestRefused."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        cursor = _cursor.decode(data)
    except (ValueError, msgspec.MsgspecError):
        raise _refused("a cursor of an earlier answer", "another text") from None
    if cursor.question != _question(query):
        raise _refused("a cursor of the same search", "one of another") from None
    return cursor.key, cursor.index


def _refused(expected: str, found: str) -> RequestRefused:
    return RequestRefused(422, f"expected {expected}, found {found}", expected=expected, found=found)


def _found(hosted: HostedLog, hit: search.Hit) -> FoundEntry:
    """What an entry says of itself, as far as one can search by it."""
    entry, body = hit.entry, hit.entry.body
    decided = entry.kind == "decision"
    return FoundEntry(
        index=hit.index,
        leaf_hash=hit.leaf_hash.hex(),
        kind=entry.kind,
        producer=entry.producer,
        instance=entry.instance,
        seq=entry.seq,
        time=entry.time,
        decision=_word(body.id, decided),
        model=_word(body.model, decided),
        operation=_word(body.operation, decided),
        status=body.status if decided and type(body.status) is int and 0 <= body.status <= 999 else None,
        ended=_word(body.ended, decided),
        flags=hosted.log.index.flags(hit.index),
    )


def _word(value: object, decided: bool) -> str | None:
    """A word of a body, which may hold anything: one that cannot be searched for is left out."""
    return value if decided and type(value) is str and len(value) <= 200 and value.isascii() else None
