"""The middleware: one line around any ASGI application, and every inference through it leaves an entry.

    app.add_middleware(AuditMiddleware)                                   FastAPI, Starlette
    app = AuditMiddleware(app)                                            any ASGI application
    vllm serve MODEL --middleware auditlog.capture.asgi.AuditMiddleware   settings from AUDITLOG_* alone

Pure ASGI, all state in one object per request or websocket. Spec: entry.md, "Decision"; which routes count
stands in `auditlog.capture.routes`, how a response leaves in `http_answer`.

Promises: the application's bytes leave as they came, plus `Audit-Id`, `Audit-Receipt`, `Audit-Promise` or
`Audit-Status`, for a request with `Audit-Want: key` also `Audit-Key` with `Cache-Control: private,
no-store`, and in known streams one comment. An exception of the application passes through as it is; one of
ours never reaches it. In fail_closed alone a request may be answered here (503), and an answer cut. Must
never: block, or make anyone wait for the log.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from auditlog.capture.http_admin import AdminRequest
from auditlog.capture.http_exchange import HttpExchange, Receive, Scope, Send, current_exchange
from auditlog.capture.process import RecorderSource, recorder_of_this_process
from auditlog.capture.route_list import table_for
from auditlog.capture.route_names import request_path
from auditlog.capture.routes import SKIP, RouteTable
from auditlog.capture.starting import begin
from auditlog.capture.unrecordable import NOT_ASKED, STATUS, refuse_websocket, send_unrecordable
from auditlog.capture.websocket_exchange import WebSocketExchange

if TYPE_CHECKING:
    from auditlog.capture.recorder import Recorder

ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

OBSERVED = "auditlog.observed"
"""Set in a scope that is observed already: a second middleware of ours inside lets it pass."""

_BYPASSES = frozenset({"http.response.pathsend", "http.response.zerocopysend"})
"""Extensions by which a server would send a file that never passes through us."""


class AuditMiddleware:
    """Observe every HTTP request and websocket of an application.

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
        """Wrap `app`; nothing is opened yet, but what speaks against the settings is said. `ticks` gives
        nanoseconds for durations.
        """
        self.app = app
        self._source = RecorderSource.of(recorder) if recorder is not None else source
        self._ticks = ticks
        self._tables: tuple[Recorder, RouteTable] | None = None
        self._look_again = False
        self._source.announce()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application for one connection, observed if it is one that counts."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._live(scope, receive, send)
        elif kind not in ("http", "websocket") or OBSERVED in scope:
            await self.app(scope, receive, send)
        elif kind == "http":
            await self._answer(scope, receive, send)
        else:
            await self._connect(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The recorder lives around the application."""
        # Blocking is right here: no request is served before, and none is left after.
        recorder = self._source.get()
        if recorder is not None:
            recorder.guard.call("asgi", None, self._table, recorder)
        try:
            await self.app(scope, receive, send)
        finally:
            self._source.close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = self._open(scope, receive, send)
        if exchange is None:
            await self.app(scope, receive, send)
            return
        if isinstance(exchange, AdminRequest):
            try:
                await self.app(exchange.scope, exchange.receive, exchange.send)
            finally:
                exchange.ended()
            return
        if isinstance(exchange, _Refused) or exchange.must_refuse:
            await send_unrecordable(send, NOT_ASKED, method=scope["method"])
            return
        token = current_exchange.set(exchange)
        try:
            await self.app(exchange.scope, exchange.receive, exchange.send)
        except BaseException as error:
            await exchange.raised(error)
            raise
        else:
            await exchange.returned()
        finally:
            try:
                current_exchange.reset(token)
            except ValueError:
                # An abandoned coroutine is closed by the collector, in its context.
                current_exchange.set(None)
            exchange.let_go()

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = self._open_websocket(scope, receive, send)
        if exchange is None:
            await self.app(scope, receive, send)
            return
        if isinstance(exchange, _Refused) or exchange.must_refuse:
            detail = NOT_ASKED if isinstance(exchange, _Refused) else exchange.refusal
            await refuse_websocket(scope, receive, send, detail)
            return
        try:
            await self.app(exchange.scope, exchange.receive, exchange.send)
        except BaseException as error:
            exchange.raised(error)
            raise
        else:
            await exchange.returned()

    def _open(
        self, scope: Scope, receive: Receive, send: Send
    ) -> HttpExchange | AdminRequest | _Refused | None:
        """What observes a request; None: it passes. In fail_closed it may be refused."""
        recorder = self._source.get()
        if recorder is None:
            return self._unguarded(scope)
        try:
            policy = self._table(recorder, scope).match(scope["method"], request_path(scope))
            if policy is SKIP:
                return None
            if policy is not None and policy.is_admin:
                scope[OBSERVED] = True
                return AdminRequest(recorder, policy, scope, receive, send)
            scope = _without_bypasses(scope)
            scope[OBSERVED] = True
            exchange = HttpExchange(recorder, policy, scope, receive, send, ticks=self._ticks)
            if exchange.must_refuse:
                _count_refusal(recorder)
            return exchange
        except Exception as failure:  # noqa: BLE001  the boundary to the application
            return _failed(recorder, failure)

    def _open_websocket(
        self, scope: Scope, receive: Receive, send: Send
    ) -> WebSocketExchange | _Refused | None:
        recorder = self._source.get()
        if recorder is None:
            return self._unguarded(scope)
        try:
            policy = self._table(recorder, scope).match_websocket(request_path(scope))
            if policy is None or policy is SKIP:
                return None
            scope[OBSERVED] = True
            exchange = WebSocketExchange(recorder, policy, scope, receive, send, ticks=self._ticks)
            if exchange.must_refuse:
                _count_refusal(recorder)
            return exchange
        except Exception as failure:  # noqa: BLE001  the boundary to the application
            return _failed(recorder, failure)

    def _unguarded(self, scope: Scope) -> _Refused | None:
        """Not even a recorder could be made: where the environment says fail_closed, what would be recorded
        is refused.
        """
        if not self._source.fails_closed:
            return None
        table, path = RouteTable(self._source.rules), request_path(scope)
        is_socket = scope["type"] == "websocket"
        policy = table.match_websocket(path) if is_socket else table.match(scope["method"], path)
        return None if policy is None or policy is SKIP else _Refused()

    def _table(self, recorder: Recorder, scope: Scope | None = None) -> RouteTable:
        """The routes of this recorder; the first time also all that is to be said at a start."""
        if self._tables is None or self._tables[0] is not recorder:
            self._look_again = scope is None  # What the application adds while it starts is seen then.
            self._tables = (recorder, self._table_of(recorder))
            recorder.guard.call("start", None, begin, recorder, self.app, self._tables[1])
        elif self._look_again and scope is not None:
            self._look_again = False
            self._tables = (recorder, self._table_of(recorder))
        if scope is not None and (server := scope.get("server")) is not None and server[1] is not None:
            recorder.note_port(server[1])
        return self._tables[1]

    def _table_of(self, recorder: Recorder) -> RouteTable:
        rules = recorder.settings.routes
        return recorder.guard.call("routes", RouteTable(rules), table_for, self.app, rules)


class _Refused:
    """fail_closed, and this layer itself failed."""


def _failed(recorder: Recorder, failure: Exception) -> _Refused | None:
    recorder.guard.failed("asgi", failure)
    if getattr(recorder.settings, "mode", None) != "fail_closed":
        return None
    _count_refusal(recorder)
    return _Refused()


def _count_refusal(recorder: Recorder) -> None:
    recorder.guard.call("metrics", None, recorder.metrics.add, f"refused.{STATUS}")


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
