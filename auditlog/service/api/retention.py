"""What a log keeps, as a signed document, and pruning the rest. Spec: auditlog/spec/api.md, "Retention"."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response

from auditlog.service.api.answers import NOTE, fresh
from auditlog.service.api.openapi import json_body
from auditlog.service.api.standing_models import PruneAnswer, PruneRequest
from auditlog.service.context import context_of, hosted_log, require_async
from auditlog.service.receive import read_json
from auditlog.service.standing import prune_step

router = APIRouter(tags=["logs"])


@router.get(
    "/logs/{log}/retention", response_class=Response, responses={200: {"content": {"text/plain": {}}}}
)
def retention(request: Request, log: str) -> Response:
    """The signed document that says what may be pruned. Open to all; 404 for a log that keeps everything."""
    return fresh(hosted_log(request, log).log.retention.document(), media_type=NOTE)


@router.post("/logs/{log}/prune", openapi_extra=json_body(PruneRequest))
async def prune(request: Request, log: str) -> PruneAnswer:
    """Say what would go, or let some of it go; asked again until `done`. Scope admin."""
    hosted = hosted_log(request, log)
    await require_async(request, "admin", hosted.name)
    timeout_s = context_of(request).settings.service.body_timeout_s
    wanted = await read_json(request, PruneRequest, timeout_s=timeout_s)
    found = await asyncio.to_thread(prune_step, hosted.log, yes=wanted.yes, bundles=wanted.bundles)
    return PruneAnswer.model_validate(found)
