"""The read path every tlog client knows: checkpoint, hash tiles, entry bundles (C2SP tlog-tiles).

Spec: auditlog/spec/api.md, "Reading the log". Promises: only what a
published checkpoint implies is served, and only to whom the log's visibility
lets see it. Must never: answer to a path that `core.tiles` would not write.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from auditlog.core.tiles import TILE_HEIGHT, TilePath, parse_path
from auditlog.errors import MalformedError, NotFoundError
from auditlog.service.api.answers import NOTE, fresh, immutable
from auditlog.service.context import hosted_log, require_readable
from auditlog.service.hosting import HostedLog

router = APIRouter(tags=["tlog-tiles"])

TILES_OPEN = frozenset({"public", "hashes"})
BUNDLES_OPEN = frozenset({"public"})


@router.get(
    "/logs/{log}/checkpoint", response_class=Response, responses={200: {"content": {"text/plain": {}}}}
)
def checkpoint(request: Request, log: str) -> Response:
    """The newest published checkpoint, a signed note. Open to all, whatever the visibility."""
    return fresh(hosted_log(request, log).published(), media_type=NOTE)


@router.get(
    "/logs/{log}/tile/{path:path}",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
def tile(request: Request, log: str, path: str) -> Response:
    """A hash tile (`LEVEL/INDEX[.p/WIDTH]`) or an entry bundle (`entries/INDEX[.p/WIDTH]`)."""
    hosted = hosted_log(request, log)
    try:
        place = parse_path(f"tile/{path}")  # attacker-controlled
    except MalformedError as error:
        raise NotFoundError(str(error)) from None
    shared = require_readable(
        request, hosted, open_to=TILES_OPEN if place.level is not None else BUNDLES_OPEN
    )
    _expect_published(hosted, place)
    reader = hosted.log.reader
    if place.level is None:
        data = reader.bundle(place.index, place.width)
    else:
        data = reader.tile(place.level, place.index, place.width)
    return immutable(data, shared=shared)


def _expect_published(hosted: HostedLog, place: TilePath) -> None:
    """Refuse tiles that the published checkpoint does not imply: what is unpublished may never be shown."""
    level = place.level or 0
    nodes = hosted.published_size() >> (TILE_HEIGHT * level)
    wanted = place.index * 256 + place.width
    if wanted > nodes:
        raise NotFoundError(
            f"expected a tile within {nodes} published hashes of its level, found one that ends at {wanted}"
        )
