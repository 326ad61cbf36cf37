"""Logs: what a log is, and creating one. Spec: auditlog/spec/api.md, "Logs"."""

from __future__ import annotations

import asyncio
import re

from fastapi import APIRouter, Request

from auditlog.service.api.models import LogInfo, LogList, LogState, NewLog, QuorumInfo, WitnessInfo
from auditlog.service.api.openapi import json_body
from auditlog.service.api.standing_models import IndexState, RetentionInfo, SuccessorInfo
from auditlog.service.context import context_of, hosted_log, require, require_async
from auditlog.service.hosting import HostedLog, Hosting
from auditlog.service.receive import read_json
from auditlog.service.settings import LogSettings
from auditlog.service.witnessing import witnessing_of

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
        witnesses=_witnesses(hosted),
        quorum=_quorum(hosted),
        standing=hosted.standing or "open",
        successor=_successor(hosted),
        retention=_retention(hosted),
    )


def _successor(hosted: HostedLog) -> SuccessorInfo | None:
    found = hosted.log.successor
    return None if found is None else SuccessorInfo(origin=found.origin, vkey=found.vkey, index=found.index)


def _retention(hosted: HostedLog) -> RetentionInfo | None:
    found = hosted.log.retention.opened()
    if found is None:
        return None
    return RetentionInfo(days=found.policy.days, entries=found.policy.entries, minimum_index=found.minimum)


def _witnesses(hosted: HostedLog) -> list[WitnessInfo]:
    witnessing = witnessing_of(hosted.settings)
    reached = () if witnessing is None else witnessing.witnesses
    return [WitnessInfo(name=each.verifier.name, vkey=each.verifier.vkey) for each in reached]


def _quorum(hosted: HostedLog) -> QuorumInfo | None:
    standing = hosted.quorum()
    if standing is None:
        return None
    return QuorumInfo(
        policy=_without_addresses(standing.policy),
        when_no_quorum="hold" if standing.must_hold else "publish",
        reached=standing.reached,
        cosigned=standing.cosigned,
        size=standing.size,
        age_s=None if standing.age_s is None else int(standing.age_s),
        held_s=int(standing.held_s),
    )


def _without_addresses(policy: str) -> str:
    """The policy without comments and URLs: where the log reaches its witnesses is its own affair."""
    lines = [re.split("[ \t]+", line.strip(" \t")) for line in policy.split("\n")]
    shown = {"log": 2, "witness": 3}
    kept = [line[: shown.get(line[0])] for line in lines if line[0] and not line[0].startswith("#")]
    return "".join(" ".join(line) + "\n" for line in kept)


def _state(hosted: HostedLog) -> LogState:
    """What the operator sees."""
    fault = hosted.fault or hosted.unready
    status = hosted.status()
    return LogState(
        name=hosted.name,
        origin=hosted.origin,
        visibility=hosted.visibility,
        size=hosted.published_size_or_none(),
        ready=fault is None,
        fault=fault,
        standing=hosted.standing,
        index=None if status is None else IndexState(index_size=status.index_size, size=status.tree_size),
    )
