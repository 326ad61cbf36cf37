"""Inclusion and consistency proofs for published sizes. A convenience: tiles suffice to make them.

Spec: auditlog/spec/api.md, "Proofs". Must never: prove anything about a size that was not published.
"""

from __future__ import annotations

import base64
from typing import Annotated

from fastapi import APIRouter, Query, Request

from auditlog.errors import NotFoundError
from auditlog.service.api.models import Decimal, ProofHashes
from auditlog.service.api.tlog import TILES_OPEN
from auditlog.service.context import hosted_log, require_readable
from auditlog.service.hosting import HostedLog

router = APIRouter(tags=["proofs"])


@router.get("/logs/{log}/proofs/inclusion")
def inclusion(request: Request, log: str, index: Decimal, size: Decimal) -> ProofHashes:
    """That the entry at `index` is in the tree of `size` entries."""
    hosted = _readable(request, log)
    _expect(size <= hosted.published_size(), f"a size up to {hosted.published_size()}", size)
    _expect(index < size, f"an index below the size {size}", index)
    return _hashes(hosted.log.reader.inclusion(index, size))


@router.get("/logs/{log}/proofs/consistency")
def consistency(
    request: Request,
    log: str,
    older: Annotated[Decimal, Query(alias="from")],
    newer: Annotated[Decimal, Query(alias="to")],
) -> ProofHashes:
    """That the tree of size `from` is a prefix of the tree of size `to`."""
    hosted = _readable(request, log)
    _expect(newer <= hosted.published_size(), f"a size up to {hosted.published_size()}", newer)
    _expect(older <= newer, f"from up to {newer}", older)
    return _hashes(hosted.log.reader.consistency(older, newer))


def _readable(request: Request, name: str) -> HostedLog:
    """The log, if the caller may see its tree."""
    hosted = hosted_log(request, name)
    require_readable(request, hosted, open_to=TILES_OPEN)
    return hosted


def _expect(holds: bool, expected: str, found: int) -> None:
    """Raise NotFoundError unless `holds`."""
    if not holds:
        raise NotFoundError(f"expected {expected}, found {found}")


def _hashes(hashes: list[bytes]) -> ProofHashes:
    """As base64."""
    return ProofHashes(hashes=[base64.b64encode(each).decode("ascii") for each in hashes])
