"""Producers of a log: enrolling one, where its chain ends, who they are, and ending them.

Spec: auditlog/spec/api.md, "Producers". Promises: ending a producer can be asked for again, and has the same
answer. Must never: end anybody without scope admin.
"""

from __future__ import annotations

import base64
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from auditlog.errors import SubmissionRefused
from auditlog.log.endings import Lost, Retired
from auditlog.log.lives import last_of
from auditlog.log.log import Log
from auditlog.log.outcomes import PRODUCER_NAME
from auditlog.service.api.models import (
    ChainHead,
    Decimal,
    Enrolled,
    EnrolRequest,
    LastEntry,
    LossDeclared,
    LostRequest,
    ProducerInfo,
    ProducerList,
    Retirement,
)
from auditlog.service.api.openapi import json_body
from auditlog.service.context import context_of, hosted_log, require, require_async
from auditlog.service.instants import format_instant
from auditlog.service.receive import read_json
from auditlog.service.tokens import check_producer
from auditlog.storage import records

router = APIRouter(tags=["producers"])

ProducerId = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
PAGE = 500
"""Producers in one answer."""


@router.post("/logs/{log}/producers", openapi_extra=json_body(EnrolRequest))
async def enrol(request: Request, response: Response, log: str) -> Enrolled:
    """Enrol a producer; the same name, key and note again give the same answer. Scope enrol."""
    hosted = hosted_log(request, log)
    token = await require_async(request, "enrol", hosted.name)
    context = context_of(request)
    wanted = await read_json(request, EnrolRequest, timeout_s=context.settings.service.body_timeout_s)
    check_producer(token, wanted.name)
    if wanted.name == PRODUCER_NAME:
        # Who took this name would keep the service from writing outcomes for ever.
        raise SubmissionRefused(f"producer: expected another name than {PRODUCER_NAME}, the service's own")
    enrolled = await context.gate.run(
        lambda: hosted.log.enrol(name=wanted.name, vkey=wanted.vkey, note=wanted.note)
    )
    response.headers["Cache-Control"] = "no-store"
    return Enrolled(
        producer=enrolled.producer.hex(),
        index=enrolled.index,
        entry=base64.b64encode(enrolled.entry).decode("ascii"),
        origin=hosted.origin,
        receipt_key=base64.b64encode(hosted.receipt_key(enrolled.producer)).decode("ascii"),
        max_merge_delay_s=hosted.settings.max_merge_delay_s,
        token_expires=None if token.expires_us is None else format_instant(token.expires_us),
    )


@router.get("/logs/{log}/producers")
def producers(
    request: Request,
    log: str,
    after: Annotated[Decimal | None, Query()] = None,
    name: Annotated[str | None, Query(max_length=100)] = None,
) -> ProducerList:
    """Every producer with its state, a page at a time. Scope admin or read."""
    hosted = hosted_log(request, log)
    require(request, "admin", hosted.name, alternative="read")
    listed = [each for each in hosted.log.producers() if after is None or each.index > after]
    listed = [each for each in listed if name is None or each.name == name]
    page = listed[:PAGE]
    return ProducerList(
        producers=[_info(hosted.log, each.producer) for each in page],
        next=page[-1].index if len(listed) > PAGE else None,
    )


@router.get("/logs/{log}/producers/{producer}/head")
def head(request: Request, log: str, producer: ProducerId) -> ChainHead:
    """The last entry of a producer's chain: where its next start goes on. Scope submit or read."""
    hosted = hosted_log(request, log)
    require(request, "submit", hosted.name, alternative="read")
    state = hosted.log.producer_state(bytes.fromhex(producer))
    found, vkey = state.head, state.vkey
    if found is None:
        index = state.record.index
        return ChainHead(instance=None, seq=None, leaf_hash=producer, index=index, vkey=vkey)
    return ChainHead(
        instance=found.instance,
        seq=found.seq,
        leaf_hash=found.leaf_hash.hex(),
        index=found.index,
        vkey=vkey,
    )


@router.post("/logs/{log}/producers/{producer}/retirement")
async def retire(request: Request, log: str, producer: ProducerId) -> Retirement:
    """End a producer: the log writes its `retirement` and admits nothing more of it. Scope admin."""
    hosted = hosted_log(request, log)
    await require_async(request, "admin", hosted.name)
    retired = await context_of(request).gate.run(lambda: hosted.log.retire(bytes.fromhex(producer)))
    return _retirement(retired)


@router.post("/logs/{log}/producers/{producer}/lost", openapi_extra=json_body(LostRequest))
async def lost(request: Request, log: str, producer: ProducerId) -> LossDeclared:
    """Declare that a producer's host is gone with what it had not sent, and end it. Scope admin."""
    hosted = hosted_log(request, log)
    await require_async(request, "admin", hosted.name)
    context = context_of(request)
    wanted = await read_json(request, LostRequest, timeout_s=context.settings.service.body_timeout_s)
    declared: Lost = await context.gate.run(
        lambda: hosted.log.declare_lost(bytes.fromhex(producer), wanted.instance)
    )
    loss = declared.loss
    return LossDeclared(
        notice=None if loss is None else loss.index,
        instance=None if loss is None else loss.instance,
        after_seq=None if loss is None else loss.after_seq,
        retirement=_retirement(declared.retired),
    )


def _retirement(retired: Retired) -> Retirement:
    last = _last(retired.producer, retired.last)
    return Retirement(producer=retired.producer.hex(), index=retired.index, last=last)


def _last(producer: bytes, found: records.ChainHead | None) -> LastEntry:
    return LastEntry.model_validate(last_of(producer, found))


def _info(log: Log, producer: bytes) -> ProducerInfo:
    state = log.producer_state(producer)
    record = state.record
    word: Literal["active", "retired", "lost"] = "retired" if state.retired_at is not None else "active"
    if word == "retired" and state.losses:
        word = "lost"
    return ProducerInfo(
        producer=record.producer.hex(),
        name=record.name,
        vkey=state.vkey,
        index=record.index,
        state=word,
        last=_last(record.producer, state.head),
        wrote=format_instant(log.newest_time(producer)),
        rotations=state.rotations,
        retirement=state.retired_at,
        losses=[each.index for each in state.losses],
    )
