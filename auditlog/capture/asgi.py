"""The middleware: one line around any ASGI application, and every inference through it leaves an entry.

    app.add_middleware(AuditMiddleware)                                   FastAPI, Starlette
    app = AuditMiddleware(app)                                            any ASGI application
    vllm serve MODEL --middleware auditlog.capture.asgi.AuditMiddleware   settings from AUDITLOG_* alone

Pure ASGI: no buffering, no task of its own, all state in one object per request. Spec: entry.md, "Decision";
which routes count stands in `auditlog.capture.routes`.

Promises: the application's bytes, chunk boundaries and headers leave as they came, plus `Audit-Id`,
`Audit-Receipt` and, for a request with `Audit-Want: key`, `Audit-Key` with `Cache-Control: private,
no-store`. An exception of the application passes through as it is; one of ours never reaches it. Must never:
touch websockets, answer a request itself, or make one wait for the log.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from auditlog.capture.http_exchange import HttpExchange, Receive, Scope, Send, current_exchange
from auditlog.capture.process import RecorderSource, recorder_of_this_process
from auditlog.capture.route_names import request_path
from auditlog.capture.routes import SKIP, RouteTable

if TYPE_CHECKING:
    from auditlog.capture.recorder import Recorder

ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_BYPASSES = frozenset({"http.response.pathsend", "http.response.zerocopysend"})
"""Extensions by which a server would send a file that never passes through us."""


class AuditMiddleware:
    """Observe every HTTP request of an application.

    With `recorder` that one is used, started here and closed by its owner. Without, the process has one
    recorder with the settings of its environment: made when the application starts (or at the first request),
    never at import, and closed when the application stops.
    """

    def __init__(
        self,
        app: ASGIApp,
        recorder: Recorder | None = None,
        *,
        source: RecorderSource = recorder_of_this_process,
        ticks: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        """Wrap `app`; nothing is opened yet. `ticks` gives nanoseconds for durations."""
        self.app = app
        self._source = RecorderSource.of(recorder) if recorder is not None else source
        self._ticks = ticks
        self._tables: tuple[Recorder, RouteTable] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application for one connection, observed if it is a request that counts."""
        if scope["type"] != "http":
            await self._run_unobserved(scope, receive, send)
            return
        exchange = self._open(scope, receive, send)
        if exchange is None:
            await self.app(scope, receive, send)
            return
        token = current_exchange.set(exchange)
        try:
            await self.app(exchange.scope, exchange.receive, exchange.send)
        except BaseException as error:
            exchange.raised(error)
            raise
        else:
            exchange.returned()
        finally:
            try:
                current_exchange.reset(token)
            except ValueError:
                current_exchange.set(
                    None
                )  # An abandoned coroutine is closed by the collector, in its context.

    async def _run_unobserved(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Websockets pass; so does the lifespan, around which the recorder lives."""
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        # Blocking is right here: no request is served before, and none is left after.
        self._source.get()
        try:
            await self.app(scope, receive, send)
        finally:
            self._source.close()

    def _open(self, scope: Scope, receive: Receive, send: Send) -> HttpExchange | None:
        recorder = self._source.get()
        if recorder is None:
            return None
        try:
            policy = self._table(recorder).match(scope["method"], request_path(scope))
            if policy is SKIP:
                return None
            return HttpExchange(recorder, policy, _without_bypasses(scope), receive, send, ticks=self._ticks)
        except Exception as failure:  # noqa: BLE001  the boundary to the application
            recorder.guard.failed("asgi", failure)
            return None

    def _table(self, recorder: Recorder) -> RouteTable:
        if self._tables is None or self._tables[0] is not recorder:
            self._tables = (recorder, RouteTable(recorder.settings.routes))
        return self._tables[1]


def _without_bypasses(scope: Scope) -> Scope:
    """The same scope, or a copy without the extensions that send bytes past us; then the server must not see
    it.
    """
    extensions = scope.get("extensions")
    if not extensions or _BYPASSES.isdisjoint(extensions):
        return scope
    return {
        **scope,
        "extensions": {name: value for name, value in extensions.items() if name not in _BYPASSES},
    }
