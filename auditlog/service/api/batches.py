"""`POST /logs/{log}/batches`: the hot path. A raw route: no model, one decode, one wait.

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

from auditlog.core.batch import BATCH_MEDIA_TYPE, decode_batch
from auditlog.errors import NotYetCommitted
from auditlog.log.admission import Accepted, Batch, claimed_head
from auditlog.service.api.answers import not_yet
from auditlog.service.context import context_of, hosted_log, require_async, room_for
from auditlog.service.hosting import HostedLog
from auditlog.service.rates import Rates
from auditlog.service.receive import declared_length, expect_media_type, read_body
from auditlog.service.tokens import check_producer
from auditlog.storage.sql.tokens import TokenRecord

PATH = "/logs/{log}/batches"


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
        try:
            accepted = await context.gate.run(lambda: _submit(hosted, body, token, context.rates))
        except NotYetCommitted as waiting:
            return not_yet(waiting.retry_after_s)
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
    batch = Batch(head_note, entries)
    if token.producers is not None:
        producer = hosted.log.producer(bytes.fromhex(claimed_head(batch).producer))
        check_producer(token, producer.name)
    return hosted.log.submit(batch)


route = Route(PATH, post_batch, methods=["POST"])
