"""The operator's private index: decisions by a fact of an outcome, such as whose they were.

Spec: auditlog/spec/api.md, "Outcomes". The tables hold keyed digests only. Promises: what it answers is for a
token with scope read, whatever the visibility. Must never: be evidence, or put a name or a value into a log
line or a metric.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from auditlog.service.api.models import FactName, FoundDecision, FoundDecisions
from auditlog.service.context import context_of, hosted_log, require

router = APIRouter(tags=["outcomes"])


@router.get("/logs/{log}/decisions")
def find(
    request: Request,
    response: Response,
    log: str,
    name: Annotated[FactName, Query()],
    value: Annotated[str, Query(min_length=1, max_length=4096)],
) -> FoundDecisions:
    """Decisions with an outcome of this fact, `?name=subject&value=...`, a thousand at most. Scope read."""
    hosted = hosted_log(request, log)
    require(request, "read", hosted.name)
    found = context_of(request).hosting.outcomes(hosted).find(name, value)
    response.headers["Cache-Control"] = "no-store"
    return FoundDecisions(
        decisions=[
            FoundDecision(
                decision=each.decision, item=each.item, index=each.index, leaf_hash=each.leaf_hash.hex()
            )
            for each in found
        ]
    )
