"""`POST /logs/{log}/batches`: the hot path. A raw route: no model, one decode, one wait.

`service.front` takes it past the framework's layers, which cost more than a batch of one entry.

Spec: auditlog/spec/api.md, "Batches". Promises: 200 means every entry of the batch is in the tree,
durably; any other answer (202 too: a broker has it) means nothing new was acknowledged, and sending the same
bytes again is safe. Must never: hold more of a body than the limit, or run admission on the event loop.
"""

from __future__ import annotations

from concurrent.futures import Future

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from auditlog.core.batch import BATCH_MEDIA_TYPE, decode_batch
from auditlog.errors import AuditLogError
from auditlog.log.admission import Accepted, Batch, claimed_head
from auditlog.service.context import context_of, hosted_log, require_async, room_for
from auditlog.service.hosting import HostedLog
from auditlog.service.problems import refusal
from auditlog.service.rates import Rates
from auditlog.service.receive import declared_length, expect_media_type, read_body
from auditlog.service.tokens import check_producer
from auditlog.storage.sql.tokens import TokenRecord

PATH = "/logs/{log}/batches"
_BEFORE, _AFTER = PATH.split("{log}")


async def post_batch(request: Request) -> Response:
    """Read, decode, submit, wait for the commit."""
    request.scope["route"] = route  # a plain route does not say so itself, and the metrics name it
    context = context_of(request)
    hosted = hosted_log(request, request.path_params["log"])
    token = await require_async(request, "submit", hosted.name)
    expect_media_type(request, BATCH_MEDIA_TYPE)
    context.rates.check(hosted.settings, token.name)
    limits = context.settings.service
    declared = declared_length(request)
    # Without a declared length the whole limit is set aside: chunked framing must not slip past the budget.
    size = limits.max_batch_bytes if declared is None else min(declared, limits.max_batch_bytes)
    with room_for(request, hosted, size):
        body = await read_body(request, limit=limits.max_batch_bytes, timeout_s=limits.body_timeout_s)
        accepted = await context.gate.run(lambda: _submit(hosted, body, token, context.rates))
    context.metrics.entries.labels(hosted.name).inc(accepted.count)
    answer = {
        "first_index": accepted.first_index,
        "count": accepted.count,
        "skipped": accepted.skipped,
        "tree_size": accepted.tree_size,
    }
    return Response(
        msgspec.json.encode(answer), headers={"Cache-Control": "no-store"}, media_type="application/json"
    )


def _submit(hosted: HostedLog, body: bytes, token: TokenRecord, rates: Rates) -> Future[Accepted]:
    """On an admission thread: decode attacker-controlled bytes once, and hand them to the log."""
    head_note, entries = decode_batch(body)
    rates.admit(hosted.settings, token.name, entries)
    batch = Batch(head_note, entries, body)
    if token.producers is not None:
        producer = hosted.log.producer(bytes.fromhex(claimed_head(batch).head.producer))
        check_producer(token, producer.name)
    accepted = hosted.log.submit(batch)
    rates.taken(hosted.settings, len(entries))
    return accepted


route = Route(PATH, post_batch, methods=["POST"])


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Pure ASGI: answer a batch, refusals as everywhere; what nobody foresaw is left to `Observe`."""
    request = Request(scope, receive, send)
    try:
        response = await post_batch(request)
    except AuditLogError as error:
        response = refusal(request, error)
    await response(scope, receive, send)


def log_of(scope: Scope) -> str | None:
    """Name of the log a batch is posted to; None if this is another request. The path is a stranger's."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    path: str = scope["path"]
    if not (path.startswith(_BEFORE) and path.endswith(_AFTER)):
        return None
    name = path[len(_BEFORE) : -len(_AFTER)]
    return name if name and "/" not in name else None
