"""Outcomes: what became of a decision, said later by any service that holds a token.

Spec: auditlog/spec/api.md, "Outcomes". Promises: 200 means that the outcome is in the tree, durably, and that
what opens it was durable before; the same `Idempotency-Key` again is the same outcome. Must never: put a fact
into a log line or a metric, or into an answer but the one that discloses it.
"""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Query, Request, Response
from pydantic import StringConstraints

from auditlog.errors import DisclosureError
from auditlog.log.disclosing import disclose_outcome
from auditlog.service.api.models import Decimal, OutcomePosted, OutcomeWritten
from auditlog.service.api.openapi import json_body
from auditlog.service.context import context_of, hosted_log, require, require_async, room_for
from auditlog.service.problems import RequestRefused
from auditlog.service.receive import JSON_LIMIT, read_json

router = APIRouter(tags=["outcomes"])

OUTCOME_OF_UNKNOWN = "outcome_of_unknown_decision"
OUTCOME_DISCLOSED = "outcome_disclosed"
MAX_FIELDS = 256
FieldName = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
_DISCLOSED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {}}, "description": "A file, auditlog/disclosures@v1"}
}
_KEY = re.compile(r"[!-~]{1,200}")


@router.post("/logs/{log}/outcomes", openapi_extra=json_body(OutcomePosted))
async def write(request: Request, response: Response, log: str) -> OutcomeWritten:
    """Write an outcome of a decision: only its id and the item are readable. Scope submit.

    `Idempotency-Key`, if given, makes sending it again harmless.
    """
    hosted = hosted_log(request, log)
    await require_async(request, "submit", hosted.name)
    context = context_of(request)
    key = _idempotency_key(request)
    with room_for(request, hosted, JSON_LIMIT):
        wanted = await read_json(request, OutcomePosted, timeout_s=context.settings.service.body_timeout_s)
        outcomes = await asyncio.to_thread(context.hosting.outcomes, hosted)
        kept = await context.gate.run(
            lambda: outcomes.record(wanted.decision, wanted.facts, item=wanted.item, request=key)
        )
    context.metrics.outcomes.labels(hosted.name, "yes" if kept.is_known else "no").inc()
    if not kept.is_known:
        structlog.get_logger("auditlog.service").warning(
            OUTCOME_OF_UNKNOWN, log=hosted.name, index=kept.index
        )
    response.headers["Cache-Control"] = "no-store"
    return OutcomeWritten(index=kept.index, leaf_hash=kept.leaf_hash.hex(), decision_known=kept.is_known)


@router.get("/logs/{log}/outcomes/{index}/disclosures", response_class=Response, responses=_DISCLOSED)
def disclose(
    request: Request,
    log: str,
    index: Decimal,
    field: Annotated[list[FieldName] | None, Query(max_length=MAX_FIELDS)] = None,
) -> Response:
    """Open an outcome that this service wrote: `?field=label&field=subject`, or all facts without any. Scope
    read.
    """
    hosted = hosted_log(request, log)
    require(request, "read", hosted.name)
    names = field or []
    try:
        data = disclose_outcome(context_of(request).hosting.outcomes(hosted), hosted.log.reader, index, names)
    except DisclosureError as error:
        raise RequestRefused(422, str(error), expected="names of facts of this outcome") from error
    # Who showed what of which entry is worth knowing; what was shown is nobody's business.
    structlog.get_logger("auditlog.service").info(OUTCOME_DISCLOSED, log=hosted.name, index=index)
    return Response(data, media_type="application/json", headers={"Cache-Control": "no-store"})


def _idempotency_key(request: Request) -> str | None:
    """The sender's key of this request (attacker-controlled). Raises RequestRefused."""
    key = request.headers.get("idempotency-key")
    if key is not None and _KEY.fullmatch(key) is None:
        expected = "an Idempotency-Key of 1 to 200 printable ASCII characters"
        raise RequestRefused(400, f"expected {expected}, found another", expected=expected)
    return key
