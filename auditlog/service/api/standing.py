"""The standing of a log, and building its index again. Spec: auditlog/spec/api.md, "Standing"."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request

from auditlog.service.api.openapi import json_body
from auditlog.service.api.standing_models import IndexState, LogStanding, StandingRequest
from auditlog.service.context import context_of, hosted_log, require, require_async
from auditlog.service.hosting import HostedLog
from auditlog.service.receive import read_json
from auditlog.service.standing import change_standing

router = APIRouter(tags=["logs"])


@router.post("/logs/{log}/standing", openapi_extra=json_body(StandingRequest))
async def standing(request: Request, log: str) -> LogStanding:
    """Open, quiesce, freeze or retire a log; answered when it is done. Scope admin. May be repeated."""
    hosted = hosted_log(request, log)
    await require_async(request, "admin", hosted.name)
    timeout_s = context_of(request).settings.service.body_timeout_s
    wanted = await read_json(request, StandingRequest, timeout_s=timeout_s)
    # On a thread of its own: it waits for commits that need the threads of admission.
    found = await asyncio.to_thread(change_standing, hosted.log, wanted.standing, wanted.successor)
    return LogStanding.model_validate(found)


@router.post("/logs/{log}/reindex")
def reindex(request: Request, log: str) -> IndexState:
    """Drop the index; it is built again in the background. Scope admin."""
    hosted = hosted_log(request, log)
    require(request, "admin", hosted.name)
    hosted.log.index.drop()
    hosted.log.index.request()
    return _index(hosted)


@router.get("/logs/{log}/index")
def index(request: Request, log: str) -> IndexState:
    """How far the index follows the log. Scope admin or read."""
    hosted = hosted_log(request, log)
    require(request, "admin", hosted.name, alternative="read")
    return _index(hosted)


def _index(hosted: HostedLog) -> IndexState:
    status = hosted.log.status()
    return IndexState(index_size=status.index_size, size=status.tree_size)
