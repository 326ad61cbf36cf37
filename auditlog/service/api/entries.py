"""One entry by index, and where entries are: by leaf hash, decision id or place in a producer's chain.

Spec: auditlog/spec/api.md, "Entries". The look-ups are a convenience of the operator's index, never
evidence: what they answer is checked with an inclusion proof. All look-ups return every match.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from auditlog.core.merkle import hash_leaf
from auditlog.errors import NotFoundError
from auditlog.service.api.answers import immutable
from auditlog.service.api.models import Decimal, EntryPlace, EntryPlaces
from auditlog.service.api.tlog import BUNDLES_OPEN
from auditlog.service.context import hosted_log, require_readable
from auditlog.service.hosting import HostedLog
from auditlog.service.problems import RequestRefused

router = APIRouter(tags=["entries"])

Hex = Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$")]


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


class Wanted(BaseModel):
    """The query of a look-up: exactly one of its three forms."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    leaf: Hex = None
    decision: str | None = Field(default=None, pattern=r"^[!-~]{1,200}$")
    producer: Hex = None
    instance: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    seq: Decimal | None = None


@router.get("/logs/{log}/entries")
def look_up(request: Request, log: str, wanted: Annotated[Wanted, Query()]) -> EntryPlaces:
    """Where entries are: `?leaf=`, `?decision=` (with or without `producer`), `?producer=&instance=&seq=`.

    Scope read unless the log is public.
    """
    hosted = hosted_log(request, log)
    require_readable(request, hosted, open_to=BUNDLES_OPEN)
    index = hosted.log.index
    producer = None if wanted.producer is None else bytes.fromhex(wanted.producer)
    match wanted.model_dump(exclude_none=True):
        case {"leaf": str(leaf), **rest} if not rest:
            return _places(hosted, index.by_leaf(bytes.fromhex(leaf)))
        case {"decision": str(decision), **rest} if rest.keys() <= {"producer"}:
            return _places(hosted, index.by_decision(decision, producer=producer))
        case {"producer": str(), "instance": str(instance), "seq": int(seq), **rest} if not rest:
            return _places(hosted, index.by_chain(bytes.fromhex(str(wanted.producer)), instance, seq))
        case other:
            expected = "leaf, or decision with or without producer, or producer with instance and seq"
            message = f"expected query parameters {expected}"
            raise RequestRefused(422, message, expected=expected, found=sorted(other))


def _places(hosted: HostedLog, found: list[int]) -> EntryPlaces:
    """Indices with the leaf hashes of their published entries."""
    size = hosted.published_size()
    reader, flags = hosted.log.reader, hosted.log.index.flags
    places = [
        EntryPlace(index=i, leaf_hash=hash_leaf(reader.entry(i)).hex(), flags=flags(i))
        for i in sorted(found)
        if i < size
    ]
    return EntryPlaces(entries=places)
