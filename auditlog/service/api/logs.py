"""Logs and their producers: what a log is, creating one, enrolling a producer, the head of a chain.

Spec: auditlog/spec/api.md, "Logs" and "Producers".
"""

from __future__ import annotations

import asyncio
import base64
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from auditlog.service.api.models import (
    ChainHead,
    Enrolled,
    EnrolRequest,
    LogInfo,
    LogList,
    LogState,
    NewLog,
)
from auditlog.service.api.openapi import json_body
from auditlog.service.context import context_of, hosted_log, require, require_async
from auditlog.service.hosting import HostedLog, Hosting
from auditlog.service.receive import read_json
from auditlog.service.settings import LogSettings

router = APIRouter(tags=["logs"])


@router.get("/logs")
def logs(request: Request) -> LogList:
    """Every log with its state. Scope admin."""
    require(request, "admin")
    return LogList(logs=[_state(each) for each in context_of(request).hosting.all()])


@router.post("/logs", status_code=201, openapi_extra=json_body(NewLog))
async def create(request: Request) -> LogInfo:
    """Create a log: key, receipt secret, genesis, registration. Scope admin. Repeating it is harmless."""
    await require_async(request, "admin")
    context = context_of(request)
    new = await read_json(request, NewLog, timeout_s=context.settings.service.body_timeout_s)
    wanted = LogSettings.model_validate(new.model_dump())
    return _info(await asyncio.to_thread(context.hosting.create, wanted), context.hosting)


@router.get("/logs/{log}")
def log_info(request: Request, log: str) -> LogInfo:
    """Origin, keys, visibility and published size. Open to all."""
    return _info(hosted_log(request, log), context_of(request).hosting)


@router.post("/logs/{log}/producers", openapi_extra=json_body(EnrolRequest))
async def enrol(request: Request, response: Response, log: str) -> Enrolled:
    """Enrol a producer; the same name, key and note again give the same answer. Scope enrol."""
    hosted = hosted_log(request, log)
    await require_async(request, "enrol", hosted.name)
    context = context_of(request)
    wanted = await read_json(request, EnrolRequest, timeout_s=context.settings.service.body_timeout_s)
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
    )


@router.get("/logs/{log}/producers/{producer}/head")
def head(request: Request, log: str, producer: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]) -> ChainHead:
    """The last entry of a producer's chain: where its next start goes on. Scope submit or read."""
    hosted = hosted_log(request, log)
    require(request, "submit", hosted.name, alternative="read")
    known = hosted.log.producer(bytes.fromhex(producer))
    found = hosted.log.head(known.producer)
    if found is None:
        return ChainHead(instance=None, seq=None, leaf_hash=producer, index=known.index)
    return ChainHead(
        instance=found.instance, seq=found.seq, leaf_hash=found.leaf_hash.hex(), index=found.index
    )


def _info(hosted: HostedLog, hosting: Hosting) -> LogInfo:
    """What anyone may know."""
    return LogInfo(
        name=hosted.name,
        origin=hosted.origin,
        vkey=hosted.log.vkey,
        visibility=hosted.visibility,
        size=hosted.published_size_or_none(),
        max_merge_delay_s=hosted.settings.max_merge_delay_s,
        contact=hosted.settings.contact,
        devnet_vkey=hosting.devnet_vkey(),
    )


def _state(hosted: HostedLog) -> LogState:
    """What the operator sees."""
    fault = hosted.fault or hosted.unready
    return LogState(
        name=hosted.name,
        origin=hosted.origin,
        visibility=hosted.visibility,
        size=hosted.published_size_or_none(),
        ready=fault is None,
        fault=fault,
    )
