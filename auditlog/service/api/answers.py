"""Answers that are bytes: media types and how long who may keep them.

Spec: auditlog/spec/api.md, "Reading the log" (C2SP tlog-tiles). Must never: let a shared cache keep what
a token was asked for.
"""

from __future__ import annotations

from starlette.responses import Response

OCTETS = "application/octet-stream"
NOTE = "text/plain; charset=utf-8"
WEEK_S = 7 * 24 * 3600


def immutable(data: bytes, *, shared: bool, media_type: str = OCTETS) -> Response:
    """Bytes that never change: tiles, bundles, entries. `shared`: the same for everyone."""
    scope = "public" if shared else "private"
    headers = {"Cache-Control": f"{scope}, max-age={WEEK_S}, immutable"}
    if not shared:
        headers["Vary"] = "Authorization"
    return Response(data, headers=headers, media_type=media_type)


def fresh(data: bytes | str, *, media_type: str) -> Response:
    """Bytes that the next moment may replace: checkpoints, receipts."""
    return Response(data, headers={"Cache-Control": "no-store"}, media_type=media_type)


def not_yet(retry_after_s: int) -> Response:
    """202: what was asked for is on its way; ask again."""
    return Response(status_code=202, headers={"Cache-Control": "no-store", "Retry-After": str(retry_after_s)})
