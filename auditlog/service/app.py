"""The composition root: every part is built here, once, from the settings, and handed on by constructor.

Promises: nothing starts before the lifespan does; a stop drains: requests in flight are answered, then
the anchoring worker rests, then every log commits what it accepted and closes. Must never: be imported by
anything but the command line and tests.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from fastapi import FastAPI

import auditlog
from auditlog.service.admission import Gate
from auditlog.service.api import (
    blocks,
    decisions,
    entries,
    health,
    logs,
    outcomes,
    producers,
    promises,
    proofs,
    receipts,
    retention,
    search,
    standing,
    tlog,
    tokens,
)
from auditlog.service.api.openapi import describe
from auditlog.service.context import Context
from auditlog.service.front import Service
from auditlog.service.hosting import Hosting, Opener
from auditlog.service.identities import ServiceAccounts
from auditlog.service.metrics import Metrics
from auditlog.service.opening import EngineOpener
from auditlog.service.rates import Rates
from auditlog.service.replica import create_replica
from auditlog.service.sequencing import opened
from auditlog.service.settings import Settings
from auditlog.service.tokens import TokenBook, TokenStore, fixed_tokens
from auditlog.service.workers import AnchoringWorker
from auditlog.storage.sql.tokens import TokenRecord

READY = "ready"
_READ_MOST = (tlog, receipts, entries, search, proofs, promises)
_READ_LESS = (outcomes, decisions, blocks, producers, logs, standing, retention, health, tokens)


def create_app(
    settings: Settings, *, opener: Opener | None = None, stop: Callable[[], None] = lambda: None
) -> FastAPI:
    """Build the service. Its logs are opened, and its workers started, in the lifespan.

    `opener` stands in for the real engines in tests. When the start fails, or the process has to `stop`
    because another took its place, the error is also kept in `app.state.startup_error`, so that the command
    line can say it in one line.
    """
    if settings.ingest.role == "api":
        return create_replica(settings)
    gate = Gate(budget_bytes=settings.service.max_waiting_bytes)
    engines: Opener = EngineOpener(settings) if opener is None else opener
    hosting = Hosting(settings, engines)
    metrics = Metrics(hosting.all, lambda: gate.waiting_bytes, engines.beside)

    def end(error: Exception) -> None:
        app.state.startup_error = error
        stop()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as parts:
            parts.push_async_callback(asyncio.to_thread, hosting.close)
            parts.push_async_callback(asyncio.to_thread, gate.close)
            try:
                fixed = fixed_tokens(settings.tokens)
                store = await asyncio.to_thread(engines.start)
                await parts.enter_async_context(opened(settings, engines, hosting, metrics, end))
            except Exception as error:
                app.state.startup_error = error
                raise
            parts.push_async_callback(asyncio.to_thread, gate.close)
            await parts.enter_async_context(serving(app, fixed, store))
            yield

    @asynccontextmanager
    async def serving(app: FastAPI, fixed: list[TokenRecord], store: TokenStore) -> AsyncIterator[None]:
        kubernetes = settings.enrolment.kubernetes
        accounts = None if kubernetes is None else ServiceAccounts.of(kubernetes)
        book = TokenBook(fixed, store, monotonic=time.monotonic, accounts=accounts)
        app.state.context = Context(settings, hosting, book, gate, metrics, Rates(time.monotonic))
        structlog.get_logger("auditlog.service").info(READY, logs=len(hosting.all()))
        worker = AnchoringWorker(
            engines,
            hosting,
            metrics,
            interval_s=settings.anchoring.interval_s,
            stalled_after_s=settings.anchoring.stalled_after_s,
        )
        async with worker.running():
            yield

    # No interactive pages: they load scripts from elsewhere.
    app = Service(metrics, docs_url=None, redoc_url=None, lifespan=lifespan)
    _route(app)
    return app


def _route(app: Service) -> None:
    """Every route, in the order they are tried: what is read most comes first."""
    for module in _READ_MOST + _READ_LESS:
        app.include_router(module.router)
    page = functools.cache(lambda: describe(app, version=auditlog.__version__))
    app.openapi = page  # type: ignore[method-assign]
