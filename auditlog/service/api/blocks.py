"""The newest final block of the chain, for heartbeats: an entry that names it is not older than it.

Spec: auditlog/spec/api.md, "Blocks". The operator's word: whoever needs more asks the chain. Must never: ask
a node more often than once in a few seconds, however often it is asked itself.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from auditlog.errors import NotFoundError
from auditlog.service.api.models import FinalizedBlock
from auditlog.service.context import context_of, hosted_log
from auditlog.service.hosting import BLOCK_AGE_S

router = APIRouter(tags=["blocks"])


@router.get("/logs/{log}/blocks/finalized")
def finalized(request: Request, response: Response, log: str) -> FinalizedBlock:
    """The newest final block of the chain this log is anchored on; 404 if on none. No token."""
    hosted_log(request, log)
    block = context_of(request).hosting.finalized_block()
    if block is None:
        raise NotFoundError("expected a log that is anchored, found anchoring off")
    response.headers["Cache-Control"] = f"public, max-age={int(BLOCK_AGE_S)}"
    return FinalizedBlock(chain_id=block.chain_id, number=block.number, hash=f"0x{block.hash.hex()}")
