"""Promises: producers hand them over, callers fetch theirs, and whoever presents one learns what is in its
place.

Spec: auditlog/spec/api.md, "Promises". Promises: 200 to a POST means kept, durably; a look-up shows one
entry to whoever holds the promise of it, whatever the visibility, and puts every part of its answer into
one published checkpoint. Must never: call a promise broken or kept (whoever asks judges), or hold more of a
body than its limit.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from auditlog.core.promise import parse_promise_text
from auditlog.core.signed import check_one
from auditlog.errors import MalformedError, NotFoundError, NotYetPublished
from auditlog.log.promises import LookUp, Proven
from auditlog.service.api.answers import NOTE, fresh, not_yet
from auditlog.service.api.models import Decimal, PromiseLookUp, PromisesKept, PromisesPosted, ProvenEntry
from auditlog.service.api.openapi import json_body
from auditlog.service.context import context_of, hosted_log, require_async, room_for
from auditlog.service.hosting import HostedLog
from auditlog.service.receive import read_body, read_json
from auditlog.service.tokens import check_producer
from auditlog.storage.sql.tokens import TokenRecord

router = APIRouter(tags=["promises"])

POST_LIMIT = 512 << 10
"""Bytes of a body that hands promises over: room for `MAX_PROMISES` of the usual length."""
NOTE_LIMIT = 4 << 10
"""Bytes of one promise: eleven lines and a signature."""

_NOTE_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"text/plain": {"schema": {"type": "string"}}}}
}


@router.post("/logs/{log}/promises", openapi_extra=json_body(PromisesPosted))
async def keep(request: Request, log: str) -> PromisesKept:
    """Keep promises for the callers they were given to; all or none. Scope submit. Repeating is harmless."""
    hosted = hosted_log(request, log)
    token = await require_async(request, "submit", hosted.name)
    context = context_of(request)
    timeout_s = context.settings.service.body_timeout_s
    with room_for(request, hosted, POST_LIMIT):
        posted = await read_json(request, PromisesPosted, timeout_s=timeout_s, limit=POST_LIMIT)
        given = [(each.id, each.promise) for each in posted.promises]
        return PromisesKept(kept=await asyncio.to_thread(_keep, hosted, token, given))


def _keep(hosted: HostedLog, token: TokenRecord, given: list[tuple[str, str]]) -> int:
    """Keep what the token is good for."""
    for _, note in given:
        said = parse_promise_text(check_one(note))
        check_producer(token, hosted.log.producer(bytes.fromhex(said.producer)).name)
    return hosted.log.promises.keep(given)


@router.get(
    "/logs/{log}/promises/{id}",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "The promise, a signed note"}},
)
def fetch(
    request: Request,
    log: str,
    id: Annotated[str, Path(pattern=r"^[!-~]{1,200}$")],  # noqa: A002  the word of the format
    producer: Annotated[str | None, Query(pattern=r"^[0-9a-f]{64}$")] = None,
    n: Annotated[Decimal, Query()] = 0,
) -> Response:
    """The promise kept under a decision's id. No token.

    The oldest of several; `?n=1` and so on reach the later ones, `?producer=` leaves out those of others.
    """
    found = hosted_log(request, log).log.promises.of(
        id, None if producer is None else bytes.fromhex(producer)
    )
    if n >= len(found):
        raise NotFoundError(f"expected a promise under this id, and n below {len(found)}, found none")
    answer = fresh(found[n].note, media_type=NOTE)
    answer.headers["Audit-Promises"] = str(len(found))
    if any(each.conflicts for each in found):
        answer.headers["Audit-Promises-Conflict"] = "true"
    return answer


@router.post(
    "/logs/{log}/promises/lookup",
    response_model=PromiseLookUp,
    openapi_extra=_NOTE_BODY,
    responses={202: {"description": "Nothing can be proven yet; ask again after Retry-After"}},
)
async def look_up(request: Request, log: str) -> Response:
    """What the log holds in the place of a promise; the body is its note. No token, whatever the visibility.

    404: nobody enrolled with the id in it. 422: it is no promise of this log, or nobody's signature.
    """
    hosted = hosted_log(request, log)
    context = context_of(request)
    with room_for(request, hosted, NOTE_LIMIT):
        body = await read_body(request, limit=NOTE_LIMIT, timeout_s=context.settings.service.body_timeout_s)
    try:
        found = await asyncio.to_thread(hosted.log.promises.look_up, _text(body))
    except NotYetPublished as error:
        return not_yet(error.retry_after_s)
    return fresh(_answer(found).model_dump_json(), media_type="application/json")


def _text(body: bytes) -> str:
    """The note; attacker-controlled."""
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedError("promise: expected UTF-8, found other bytes") from None


def _answer(found: LookUp) -> PromiseLookUp:
    """In JSON."""
    return PromiseLookUp(
        checkpoint=found.checkpoint,
        producer=_proven(found.producer),
        rotations=[_proven(each) for each in found.rotations],
        entry=None if found.entry is None else _proven(found.entry),
        next=None if found.next is None else _proven(found.next),
        gaps=[_proven(each) for each in found.gaps],
        notices=[_proven(each) for each in found.notices],
        base=None if found.base is None else _proven(found.base),
        life=None if found.life is None else _proven(found.life),
    )


def _proven(each: Proven) -> ProvenEntry:
    """In base64."""
    return ProvenEntry(
        index=each.index,
        entry=base64.b64encode(each.entry).decode("ascii"),
        proof=[base64.b64encode(node).decode("ascii") for node in each.proof],
    )
