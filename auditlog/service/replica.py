"""The service in role `api`: takes batches and shows the published log; passes everything else on.

Spec: auditlog/spec/api.md, "Several processes". Stateless: what it knows it reads from the database and the
stores, and what it takes it hands to the broker. It holds no key of a log and no secret but the tokens'
hashes. Promises: a batch is checked here as it is in one process, by the same functions. Must never: sign,
write to a store, or keep something that is lost with it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NoReturn, cast

import structlog
from fastapi import APIRouter, FastAPI

from auditlog.errors import StandingBy
from auditlog.ingest.published import Published
from auditlog.ingest.replica_log import ReplicaLog
from auditlog.log.aside import Beside
from auditlog.log.config import Layout, Stores, Visibility
from auditlog.service import forward
from auditlog.service.admission import Gate
from auditlog.service.api import health, producers, tlog
from auditlog.service.brokers import broker_of
from auditlog.service.context import Context
from auditlog.service.front import Service
from auditlog.service.hosting import Hosting
from auditlog.service.identities import ServiceAccounts
from auditlog.service.metrics import Metrics
from auditlog.service.rates import Rates
from auditlog.service.settings import LogSettings, Settings
from auditlog.service.stores import StoreOpener
from auditlog.service.tokens import TokenBook, fixed_tokens
from auditlog.storage.sql.database import Database
from auditlog.storage.sql.heads import SqlHeads
from auditlog.storage.sql.tokens import SqlTokens

if TYPE_CHECKING:
    from auditlog.ingest.ports import Broker
    from auditlog.log.log import Log

READY = "ready"


class ReplicaOpener:
    """Opens the logs of one configuration as a replica sees them. `start` first; `close` last."""

    def __init__(self, settings: Settings, broker: Broker) -> None:
        self._settings = settings
        self._broker = broker
        self._objects = StoreOpener(settings)
        self._database: Database | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> SqlTokens:
        """Open the database; the broker was started in `loop`. Raises: StorageError."""
        self._loop = loop
        return self.start()

    def start(self) -> SqlTokens:
        """Open the database. Raises: StorageError."""
        self._database = Database.open(self._settings.database_url)
        return SqlTokens(self._database)

    def open(self, settings: LogSettings) -> Log:
        """The log, with what the routes of this role ask of one. Raises ConfigurationError, StorageError."""
        assert self._database is not None
        assert self._loop is not None
        state = SqlHeads(self._database, settings.origin)
        # Staging is the sequencer's alone: a replica has no business there.
        public = self._objects.public(settings)
        stores = Stores(public=public, private=self._objects.private(settings), staging=public, state=state)
        layout = Layout(stores, Visibility(settings.visibility))
        log = ReplicaLog(
            settings.name,
            settings.origin,
            state,
            Published(layout, settings.origin, time.monotonic),
            self._broker,
            wait_s=self._settings.ingest.wait_s,
            monotonic=time.monotonic,
            loop=self._loop,
        )
        return cast("Log", log)

    def leases(self) -> None:
        """A replica is no candidate."""

    def create(self, settings: LogSettings) -> NoReturn:
        """Passed on to the sequencer, so nobody asks."""
        raise StandingBy(f"expected the sequencer to create {settings.name}, found a replica")

    def anchorer(self, log: Log) -> None:
        """The sequencer anchors."""

    def devnet_vkey(self) -> None:
        """The sequencer knows."""

    def finalized_block(self) -> None:
        """The sequencer knows."""

    def outcomes(self, settings: LogSettings, log: Log) -> NoReturn:
        """Passed on to the sequencer, so nobody asks."""
        raise StandingBy(f"expected the sequencer to write into {log.origin} of {settings.name}")

    def beside(self) -> Beside:
        """None: a replica checks each batch itself."""
        return Beside(running=0, restarts=0)

    def close(self) -> None:
        """Close the database."""
        if self._database is not None:
            self._database.close()


def create_replica(settings: Settings, *, broker: Broker | None = None) -> FastAPI:
    """Build the service of a replica. `broker` stands in for the configured one in tests."""
    gate = Gate(budget_bytes=settings.service.max_waiting_bytes)
    carrier = broker or broker_of(settings)
    opener = ReplicaOpener(settings, carrier)
    hosting = Hosting(settings, opener)
    metrics = Metrics(hosting.all, lambda: gate.waiting_bytes)

    async def stop() -> None:
        await asyncio.to_thread(gate.close)
        await asyncio.to_thread(hosting.close)
        await carrier.close()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            fixed = fixed_tokens(settings.tokens)
            await carrier.start([each.name for each in hosting.known()])
            store = await asyncio.to_thread(opener.begin, asyncio.get_running_loop())
            await asyncio.to_thread(hosting.start)
        except Exception as error:
            app.state.startup_error = error
            await stop()
            raise
        kubernetes = settings.enrolment.kubernetes
        accounts = None if kubernetes is None else ServiceAccounts.of(kubernetes)
        book = TokenBook(fixed, store, monotonic=time.monotonic, accounts=accounts)
        app.state.context = Context(settings, hosting, book, gate, metrics, Rates(time.monotonic))
        app.state.forwarder = forward.Forwarder(settings.ingest.sequencers)
        structlog.get_logger("auditlog.service").info(READY, logs=len(hosting.all()), role="api")
        yield
        await app.state.forwarder.close()
        await stop()

    app = Service(metrics, openapi_url=None, lifespan=lifespan)
    heads = APIRouter()
    heads.add_api_route("/logs/{log}/producers/{producer}/head", producers.head, methods=["GET"])
    for router in (tlog.router, heads, health.router):
        app.include_router(router)
    app.router.routes.append(forward.route)
    return app
