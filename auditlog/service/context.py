"""What a request handler needs, handed over in one object, and who is asking.

Promises: everything in it was given to the constructor by `app.create_app`. Must never: be reached
through a module variable; a handler takes it from its request.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from dataclasses import dataclass

from starlette.requests import Request

from auditlog.service.admission import Gate
from auditlog.service.hosting import HostedLog, Hosting
from auditlog.service.metrics import Metrics
from auditlog.service.rates import Rates
from auditlog.service.settings import Settings
from auditlog.service.tokens import TokenBook, bearer_token, check_token, token_sha256
from auditlog.storage.sql.tokens import TokenRecord


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of one running service."""

    settings: Settings
    hosting: Hosting
    tokens: TokenBook
    gate: Gate
    metrics: Metrics
    rates: Rates


def context_of(request: Request) -> Context:
    """The parts of the service this request reached."""
    context: Context = request.app.state.context
    return context


def room_for(request: Request, hosted: HostedLog, size: int) -> AbstractContextManager[None]:
    """Hold `size` bytes for a request to this log. Raises Pushback, on entering."""
    context = context_of(request)
    budget = context.settings.service.max_waiting_bytes
    return context.gate.room_for(size, hosted.name, hosted.share_of(budget, of_logs=context.hosting.count))


def require(
    request: Request, scope: str, log: str | None = None, *, alternative: str | None = None
) -> TokenRecord:
    """The caller's token, which must have `scope` (or `alternative`) for `log`.

    May ask the store, so never call it on the event loop.

    Raises:
        AuthenticationError: no token, an unknown one (401), or one without the scope (403).
    """
    text = bearer_token(request.headers.get("authorization"))
    token = context_of(request).tokens.find(token_sha256(text), text)
    wanted = alternative if alternative is not None and alternative in token.scopes else scope
    check_token(token, wanted, log)
    return token


async def require_async(request: Request, scope: str, log: str | None = None) -> TokenRecord:
    """As `require`, for the event loop: a thread is used only when the token is not in the cache."""
    text = bearer_token(request.headers.get("authorization"))
    sha256 = token_sha256(text)
    tokens = context_of(request).tokens
    token = tokens.cached(sha256)
    if token is None:
        token = await asyncio.to_thread(tokens.find, sha256, text)
    check_token(token, scope, log)
    return token


def hosted_log(request: Request, name: str) -> HostedLog:
    """The log of that name. Raises NotFoundError."""
    return context_of(request).hosting.get(name)


def require_readable(request: Request, hosted: HostedLog, *, open_to: frozenset[str]) -> bool:
    """Let the request read if the log's visibility is in `open_to`, else ask for a token with scope read.

    Returns whether the answer is the same for everyone (and may be stored by shared caches).
    """
    if hosted.visibility in open_to:
        return True
    require(request, "read", hosted.name)
    return False
