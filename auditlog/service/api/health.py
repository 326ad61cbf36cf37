"""Whether the process answers, whether it can do its work, and its metrics.

Spec: auditlog/spec/api.md, "Health". Promises: `ready` is true only if every log recovered, none is halted,
and each publishes what it commits within its merge delay.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from auditlog.errors import NotFoundError
from auditlog.service.api.models import Health, Readiness
from auditlog.service.context import context_of, require
from auditlog.service.metrics import CONTENT_TYPE
from auditlog.service.settings_types import is_loopback
from auditlog.storage.records import OPEN

router = APIRouter(tags=["health"])


@router.get("/health")
async def health() -> Health:
    """The process answers; says nothing about the logs."""
    return Health(status="ok")


@router.get("/ready", responses={503: {"model": Readiness, "description": "A log is not ready"}})
def ready(request: Request, response: Response) -> Readiness:
    """Whether every log recovered, none is halted, and none is late with its checkpoint.
    The faults are named without detail: this is open to all.
    """
    faults = {
        each.name: why for each in context_of(request).hosting.all() if (why := each.unready) is not None
    }
    response.status_code = 503 if faults else 200
    response.headers["Cache-Control"] = "no-store"
    standings: dict[str, str] = {
        each.name: word
        for each in context_of(request).hosting.all()
        if (word := each.standing) is not None and word != OPEN
    }
    return Readiness(ready=not faults, logs=faults, standing=standings)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(request: Request) -> Response:
    """Prometheus text. Open, or with a token of scope read, or off: `service.metrics`."""
    context = context_of(request)
    service = context.settings.service
    mode = service.metrics or ("open" if is_loopback(service.host) else "token")
    if mode == "off":
        raise NotFoundError("expected metrics to be switched on, found them off")
    if mode == "token":
        require(request, "read")
    return Response(
        context.metrics.exposition(), headers={"Cache-Control": "no-store"}, media_type=CONTENT_TYPE
    )
