"""Receipts: by capability (whoever holds the address) or by index (scope read).

Spec: auditlog/spec/api.md, "Receipts". Promises: a right capability gets its
receipt, or 202 with Retry-After, or in the end 410 with the reason; a wrong one
gets 404, and cannot learn whether the producer or the decision exists. Must never:
compare a capability other than in constant time, or write one to a log or a metric.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from auditlog.core.capability import is_receipt_capability
from auditlog.core.cose import MEDIA_TYPE
from auditlog.errors import NotFoundError, NotYetPublished
from auditlog.service.api.answers import fresh, not_yet
from auditlog.service.api.models import Decimal
from auditlog.service.context import hosted_log, require
from auditlog.service.hosting import HostedLog

router = APIRouter(tags=["receipts"])

RECEIPT = "application/json"
RETRY_AFTER_S = 1
_NOBODY = bytes(32)
"""Key that stands in for an unknown producer, so that the answer takes the same path and time."""

_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {RECEIPT: {}, MEDIA_TYPE: {}},
        "description": "The receipt, auditlog/receipt@v1, or a COSE receipt where Accept asks for one",
    },
    202: {"description": "Not integrated or not published yet; ask again after Retry-After"},
    410: {"description": "Declared lost, or too old to come: a problem that says which"},
}


@router.get("/logs/{log}/receipts/{index}", response_class=Response, responses=_RESPONSES)
def by_index(request: Request, log: str, index: Decimal) -> Response:
    """The receipt of the entry at `index`. Scope read, whatever the visibility."""
    hosted = hosted_log(request, log)
    require(request, "read", hosted.name)
    return _receipt(request, hosted, index)


@router.get(
    "/logs/{log}/receipts/{producer}/{decision}/{capability}",
    response_class=Response,
    responses=_RESPONSES,
)
def by_capability(request: Request, log: str, producer: str, decision: str, capability: str) -> Response:
    """The receipt of a decision, for whoever holds the address its response carried. No token.

    If a producer gave one id to several decisions, `?n=1` and so on reach the later ones.
    """
    hosted = hosted_log(request, log)
    found = hosted.producer_by_prefix(producer)
    key = _NOBODY if found is None else hosted.receipt_key(found)
    right = is_receipt_capability(key, decision, capability)
    if found is None or not right:
        raise NotFoundError("expected a receipt address as a response carried it, found another")
    indices = hosted.log.index.by_decision(decision, producer=found)
    n = request.query_params.get("n", "0")
    if not indices:
        return _absent(hosted, decision, found)
    if not (n.isascii() and n.isdigit() and len(n) < 6) or int(n) >= len(indices):
        raise NotFoundError(f"expected n below {len(indices)}, found another")
    return _receipt(request, hosted, sorted(indices)[int(n)])


def _absent(hosted: HostedLog, decision: str, producer: bytes) -> Response:
    """202 with a growing wait; 410 once it is declared lost, or too old to come. Raises NotFoundError."""
    try:
        hosted.log.absence.explain(decision, producer)
    except NotYetPublished as error:
        return not_yet(error.retry_after_s)


def _receipt(request: Request, hosted: HostedLog, index: int) -> Response:
    """The receipt into the newest published checkpoint, or 202 until one covers the entry."""
    wants_cose = MEDIA_TYPE in request.headers.get("accept", "").lower()
    if index >= hosted.published_size():
        return not_yet(RETRY_AFTER_S)
    try:
        if wants_cose:
            return fresh(hosted.log.receipts.issue_cose(index), media_type=MEDIA_TYPE)
        return fresh(hosted.log.receipts.issue(index), media_type=RECEIPT)
    except NotYetPublished as error:  # its model is still being measured
        return not_yet(error.retry_after_s)
