"""One HTTP request and its response, observed on their way through the middleware (spec/entry.md,
"Decision").

    receive -> hash the bytes -> the application         the application -> hash the bytes -> send, at once

Promises: every message goes on unchanged, in order and at once; only the first one of a response gains header
lines. Hashing comes before forwarding, so the commitment is over the bytes the application sent. The
observation is handed over once: after the last chunk was forwarded, or when the application returned, failed
or was cancelled. A later hang-up changes nothing. A failure of this layer is counted, ends the observation
and never reaches the application. Must never: hold back a chunk, read ahead, wait for the recorder, or keep
more than `MAX_KEPT_BYTES` of one body.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from auditlog.capture.http_headers import RequestHeaders, ResponseHeaders, own_headers
from auditlog.capture.observation import Ending, Exchange, Observation, ObservedBody
from auditlog.capture.request_fields import read_request_fields
from auditlog.capture.route_names import chosen_handler, route_template
from auditlog.capture.routes import Mark, RoutePolicy, is_refused

if TYPE_CHECKING:
    from auditlog.capture.recorder import Recorder
    from auditlog.core.commitment import BodyCommitment

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_KEPT_BYTES = 1 << 20
"""A longer body is committed to, but not kept: neither values nor field roots."""

MARK_ATTRIBUTE = "__auditlog_mark__"
"""Where `@audited` puts its `Mark` on a handler; decorators that use functools.wraps carry it along."""

current_exchange: ContextVar[HttpExchange | None] = ContextVar("auditlog_current_exchange", default=None)
"""The request being answered, so that an `@audited` handler does not record the same decision a second time.
"""

_SERVER_FAILED = 500


class BodyTap:
    """Commits to a body as it flows and keeps its chunks up to the cap."""

    __slots__ = ("_chunks", "_commitment", "_size")

    def __init__(self, commitment: BodyCommitment) -> None:
        self._commitment = commitment
        self._chunks: list[bytes] | None = []
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk; bytes are kept by reference, other buffers are copied."""
        self._commitment.update(chunk)
        if self._chunks is not None:
            self._size += len(chunk)
            if self._size > MAX_KEPT_BYTES:
                self._chunks = None
            else:
                self._chunks.append(bytes(chunk))

    def kept(self) -> bytes | None:
        """All bytes of the body, or None if there were more than the cap."""
        return None if self._chunks is None else b"".join(self._chunks)


class HttpExchange:
    """The state of one request. Made per request, used by one task at a time, as ASGI has it."""

    __slots__ = (
        "_answered", "_asked", "_broken", "_disconnected", "_done", "_entered", "_exchange", "_last_chunk",
        "_policy", "_receive", "_recorder", "_request", "_response", "_send", "_started_ns", "_status",
        "_ticks", "scope",
    )  # fmt: skip

    def __init__(
        self,
        recorder: Recorder,
        policy: RoutePolicy | None,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        ticks: Callable[[], int],
    ) -> None:
        """Start observing. Without a policy nothing is minted unless the handler turns out to be marked."""
        self.scope = scope
        self._recorder, self._policy = recorder, policy
        self._receive, self._send = receive, send
        self._ticks, self._started_ns = ticks, ticks()
        self._exchange: Exchange | None = None
        self._request: BodyTap | None = None
        self._response: BodyTap | None = None
        self._status: int | None = None
        self._asked: RequestHeaders | None = None
        self._answered: ResponseHeaders | None = None
        self._broken = self._disconnected = self._done = self._entered = self._last_chunk = False
        if policy is not None:
            self._mint()

    async def receive(self) -> Message:
        """What the application awaits for the request: the server's messages, seen on their way."""
        message = await self._receive()
        try:
            if self._exchange is None and not self._done:
                self._look_for_mark()
            if message["type"] == "http.request":
                if self._request is not None and (body := message.get("body")):
                    self._request.feed(body)
            elif message["type"] == "http.disconnect" and not self._last_chunk:
                self._disconnected = True
        except Exception as failure:  # noqa: BLE001  the boundary to the application
            self._fail(failure)
        return message

    async def send(self, message: Message) -> None:
        """What the application awaits for the response: forwarded at once; then the exchange may be over."""
        try:
            message = self._observe(message)
        except Exception as failure:  # noqa: BLE001  the boundary to the application
            self._fail(failure)
        try:
            await self._send(message)
        except OSError:
            # The server says that the client is gone (ASGI 2.4). The application decides what to make of it.
            self._disconnected = True
            raise
        if self._last_chunk:
            self.finish("error" if (self._status or 0) >= _SERVER_FAILED else "ok")

    def returned(self) -> None:
        """The application returned. Without a complete response something went wrong on one side or the
        other.
        """
        self.finish("error")

    def raised(self, error: BaseException) -> None:
        """The application raised, which the caller passes on: an error, or a cancellation of its task."""
        self.finish("error" if isinstance(error, Exception) else "aborted")

    def finish(self, ending: Ending) -> None:
        """Hand the observation over, the first time this is called; afterwards nothing."""
        if self._done:
            return
        self._done = True
        try:
            self._record("client_disconnected" if self._disconnected else ending)
        except Exception as failure:  # noqa: BLE001  the boundary to the application
            self._fail(failure)

    def enter(self, function: object) -> bool:
        """Whether `function`, an `@audited` one being called, is this request's own handler, for the first
        time.
        """
        if self._entered or not any(function is layer for layer in _layers(self.scope.get("endpoint"))):
            return False
        self._look_for_mark()
        self._entered = self._exchange is not None and not self._done
        return self._entered

    def _mint(self) -> None:
        exchange = self._recorder.new_exchange()
        if exchange is None:
            self._done = True
            return
        self._request, self._response = BodyTap(exchange.request), BodyTap(exchange.response)
        self._exchange = exchange

    def _look_for_mark(self) -> None:
        """Adopt the mark on the handler the framework chose, unless the operator's rule says otherwise."""
        mark = getattr(self.scope.get("endpoint"), MARK_ATTRIBUTE, None)
        if not isinstance(mark, Mark) or (self._policy is not None and self._policy.is_explicit):
            return
        dialect = self._policy.dialect if self._policy is not None else None
        route = self._policy.route if self._policy is not None else None
        self._policy = RoutePolicy(mark.keeps_values, mark.operation, route, dialect, is_explicit=True)
        if self._exchange is None and not self._done:
            self._mint()

    def _observe(self, message: Message) -> Message:
        kind = message["type"]
        if kind == "http.response.body":
            if self._response is not None and (body := message.get("body")):
                self._response.feed(body)
            self._last_chunk = not message.get("more_body", False)
        elif kind == "http.response.start":
            return self._start(message)
        elif kind in ("http.response.pathsend", "http.response.zerocopysend") and not self._done:
            # Both extensions were taken out of the scope. Bytes that bypass us cannot be committed to.
            raise NotImplementedError(kind)
        return message

    def _start(self, message: Message) -> Message:
        self._status = message["status"]
        self._look_for_mark()
        if self._done or self._exchange is None:
            return message
        if not self._entered and is_refused(self._status, has_handler=chosen_handler(self.scope) is not None):
            self._done, self._request, self._response = True, None, None
            self._recorder.metrics.add(f"refused.{self._status}")
            return message
        headers = list(message.get("headers", ()))
        self._asked, self._answered = RequestHeaders(self.scope["headers"]), ResponseHeaders(headers)
        own = own_headers(self._exchange, with_key=self._asked.wants_key)
        return {**message, "headers": headers + own}

    def _record(self, ending: Ending) -> None:
        exchange, policy = self._exchange, self._policy
        if exchange is None or policy is None or self._broken:
            return
        asked = self._asked or RequestHeaders(self.scope["headers"])
        answered = self._answered or ResponseHeaders(())
        request, response = ObservedBody(), ObservedBody()
        if policy.keeps_values and self._request is not None and self._response is not None:
            dialect = policy.dialect if answered.is_event_stream else None
            request = ObservedBody(self._request.kept())
            response = ObservedBody(self._response.kept(), dialect)
        self._recorder.record(
            Observation(
                exchange=exchange,
                operation=policy.operation,
                capture="asgi",
                duration_us=(self._ticks() - self._started_ns) // 1000,
                ended=ending,
                method=self.scope["method"],
                route=policy.route or route_template(self.scope),
                status=self._status,
                content_encoding=answered.coding,
                request=request,
                response=response,
                keep_values=policy.keeps_values,
                parent=asked.parent,
                retry_of=asked.retry_of,
                read_request=read_request_fields,
            )
        )

    def _fail(self, failure: Exception) -> None:
        """Give the observation up: a commitment that misses bytes would be a false one."""
        self._broken = True
        self._recorder.guard.failed("asgi", failure)
        if self._recorder.settings.strict:
            raise failure


def _layers(endpoint: object) -> list[object]:
    """The handler and what its decorators wrapped, outermost first."""
    layers: list[object] = []
    while endpoint is not None and len(layers) < 20:
        layers.append(endpoint)
        endpoint = endpoint.__func__ if inspect.ismethod(endpoint) else getattr(endpoint, "__wrapped__", None)
    return layers
