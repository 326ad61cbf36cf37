"""Pure-ASGI middleware around the whole app: security headers, metrics, one structured line for each
refusal, no traceback.

Promises: an error nobody expected becomes a 500 problem and one log event with its traceback; the caller
sees no trace of it. Must never: log a token, a query, a body, or the path of a receipt (it holds a
capability): route templates only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import structlog
from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auditlog.service.metrics import Metrics
from auditlog.service.problems import problem_of
from auditlog.service.receive import Incoming

REQUEST_DONE = "request_done"
REQUEST_FAILED = "request_failed"


class Observe:
    """Wraps the app; all state of a request lives in its call."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, monotonic: Callable[[], float]) -> None:
        self._app = app
        self._metrics = metrics
        self._monotonic = monotonic
        self._logger: structlog.typing.FilteringBoundLogger = structlog.get_logger("auditlog.service")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything through, answer what the app let fall."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._monotonic()
        status = 0
        incoming = Incoming(scope, receive)

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if status >= 400 and status != 408:  # who was too slow is not waited for again
                    await incoming.drain()
                _add_headers(scope, MutableHeaders(scope=message))
            await send(message)

        try:
            if _is_preflight(scope):
                await Response(status_code=204, headers=_PREFLIGHT)(scope, incoming, send_on)
            else:
                await self._app(scope, incoming, send_on)
        except Exception as error:
            scope["auditlog.error"] = error
            self._logger.error(REQUEST_FAILED, route=_route(scope), method=scope["method"], exc_info=error)
            if status:  # the answer has begun: only cutting the connection can tell the caller
                raise
            await problem_of(error).response()(scope, incoming, send_on)
        finally:
            self._record(scope, status or 500, self._monotonic() - began)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        """Count and log one finished request."""
        route = _route(scope)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        fields: dict[str, Any] = {"method": method, "route": route, "status": status}
        self._metrics.requests.labels(method, route, status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        error = scope.get("auditlog.error")
        if error is not None:
            fields["problem"] = problem_of(error).code
            self._metrics.problems.labels(fields["problem"]).inc()
        fields["duration_ms"] = round(seconds * 1000, 3)
        if status >= 500:
            # What the caller is not told (a file name, the engine's own words) is told to the operator here.
            self._logger.warning(REQUEST_DONE, **fields, error=str(error))
        elif status >= 400:
            self._logger.info(REQUEST_DONE, **fields)
        else:
            # Counted above; a line for each would cost more than the request itself on the hot path.
            self._logger.debug(REQUEST_DONE, **fields)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "Authorization",
    "Access-Control-Max-Age": "600",
}


def _is_preflight(scope: Scope) -> bool:
    """Whether a browser asks if a page may read with a token: it may, on the read path, and nothing else."""
    return (
        scope["method"] == "OPTIONS"
        and scope["path"].startswith("/logs/")
        and any(name == b"access-control-request-method" for name, _ in scope["headers"])
    )


def _route(scope: Scope) -> str:
    """The template of the route that answered, never the path: a path may hold a capability."""
    return getattr(scope.get("route"), "path", None) or "unmatched"


def _add_headers(scope: Scope, headers: MutableHeaders) -> None:
    """No sniffing anywhere; any page may read what needs no cookie, which is everything under /logs/."""
    headers["X-Content-Type-Options"] = "nosniff"
    is_read = scope["method"] in {"GET", "HEAD", "OPTIONS"} or scope["path"].endswith("/promises/lookup")
    if is_read and scope["path"].startswith("/logs/"):
        headers["Access-Control-Allow-Origin"] = "*"
        headers["Access-Control-Expose-Headers"] = "Retry-After, Audit-Promises, Audit-Promises-Conflict"


def configure_logging(log_format: str) -> None:
    """One line a record on standard error, for our events
    and for the libraries' alike. Called once a process.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=last, foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # A client of ours would log addresses, whose paths may hold capabilities.
    for chatty in ("uvicorn.error", "alembic", "httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_without_start_traceback)


def _without_start_traceback(record: logging.LogRecord) -> bool:
    """Drop the framework's traceback of a failed start: `run` raises the error itself, in one line."""
    return not record.getMessage().startswith("Traceback")
