"""One entry by index. Spec: auditlog/spec/api.md, "Entries". Where an entry is, `search` finds."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from auditlog.errors import NotFoundError
from auditlog.service.api.answers import immutable
from auditlog.service.api.models import Decimal
from auditlog.service.api.tlog import BUNDLES_OPEN
from auditlog.service.context import hosted_log, require_readable

router = APIRouter(tags=["entries"])


@router.get(
    "/logs/{log}/entries/{index}",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
def entry(request: Request, log: str, index: Decimal) -> Response:
    """The exact bytes of one entry. Scope read unless the log is public."""
    hosted = hosted_log(request, log)
    shared = require_readable(request, hosted, open_to=BUNDLES_OPEN)
    size = hosted.published_size()
    if index >= size:
        raise NotFoundError(f"expected an index below the published size {size}, found {index}")
    return immutable(hosted.log.reader.entry(index), shared=shared)
