"""One HTTP request and its response, observed on their way through the middleware (spec/entry.md,
"Decision").

    receive -> hash the bytes -> the application        the application -> hash -> `HttpAnswer` -> send

This is the side that observes and records; what is held of the response, and when it leaves, is in
`http_answer`.

Promises: the observation is handed over once: before the end of the answer leaves where a promise can go with
it, else after, or when the application returned, failed or was cancelled. A hang-up after that changes
nothing and is counted (`late_hangups`). A failure of this layer is counted, ends the observation and never
reaches the application; in fail_closed it counts as a record that cannot be made. Must never: read ahead, or
keep more than `MAX_KEPT_BYTES` of one body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from auditlog.capture import otel
from auditlog.capture.body_tap import BodyTap, kept_early
from auditlog.capture.facts import facts_from_headers, merged
from auditlog.capture.http_answer import HttpAnswer
from auditlog.capture.http_headers import HeaderList, RequestHeaders, ResponseHeaders, own_headers
from auditlog.capture.observation import Ending, Exchange, Observation, ObservedBody
from auditlog.capture.outcomes import outcome_by_headers
from auditlog.capture.request_fields import read_request_fields
from auditlog.capture.route_names import chosen_handler, handler_layers, route_template
from auditlog.capture.routes import MARK_ATTRIBUTE, Mark, RoutePolicy, is_refused
from auditlog.capture.waiting import fails_closed, hand_over, mint, settle

if TYPE_CHECKING:
    from auditlog.capture.observation import Settled
    from auditlog.capture.recorder import Recorder

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

current_exchange: ContextVar[HttpExchange | None] = ContextVar("auditlog_current_exchange", default=None)
"""The request being answered, so that an `@audited` handler does not record the same decision a second time.
"""

_SERVER_FAILED = 500


class HttpExchange:
    """The state of one request. Made per request, used by one task at a time, as ASGI has it."""

    __slots__ = (
        "_added", "_answer", "_asked", "_disconnected", "_done", "_early", "_entered", "_exchange",
        "_is_late", "_is_read", "_listeners", "_policy", "_read_bytes", "_receive", "_recorder", "_request",
        "_response", "_span", "_started_ns", "_status", "_ticks", "answered", "fails_closed", "is_broken",
        "must_refuse", "scope", "send",
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
        """Start observing. Without a policy nothing is minted unless the handler turns out to be marked.

        `must_refuse` then says that fail_closed does not let this request reach the application.
        """
        self.scope = scope
        self.fails_closed = fails_closed(recorder)
        self.must_refuse = self.is_broken = False
        self.answered: ResponseHeaders | None = None
        self._recorder, self._policy = recorder, policy
        self._receive = receive
        answer = HttpAnswer(self, send, is_head=scope["method"] == "HEAD")
        self._answer: HttpAnswer | None = answer
        self.send: Send = answer.take
        """What the application awaits for the response."""
        self._ticks, self._started_ns = ticks, ticks()
        self._exchange: Exchange | None = None
        self._request: BodyTap | None = None
        self._response: BodyTap | None = None
        self._status: int | None = None
        self._asked: RequestHeaders | None = None
        self._added: dict[str, object] = {}
        self._span: object | None = None
        self._disconnected = self._done = self._entered = self._is_late = self._is_read = False
        self._listeners = self._read_bytes = 0
        self._early: bytes | None = b""
        if policy is not None:
            self._mint()

    async def receive(self) -> Message:
        """What the application awaits for the request: the server's messages, seen on their way."""
        if self._answer is not None and self._answer.is_held:
            await self._answer.listened()
        self._listeners += 1
        try:
            message = await self._receive()
        finally:
            self._listeners -= 1
        try:
            if self._exchange is None and not self._done:
                self._look_for_mark()
            if message["type"] == "http.request":
                self._is_read = self._is_read or not message.get("more_body", False)
                if not self._done and (body := message.get("body")):
                    self._read_bytes += len(body)
                    if self._request is not None:
                        self._request.feed(body)
                    else:
                        self._early = kept_early(self._early, body)
            elif message["type"] == "http.disconnect" and not self._is_over:
                self.hung_up()
        except Exception as failure:  # noqa: BLE001  the boundary to the application
            self.fail(failure)
        return message

    async def returned(self) -> None:
        """The application returned. Without a complete response something went wrong on one side or the
        other.

        Raises:
            AnswerWithheld: fail_closed, and the end of the answer was not sent.
        """
        try:
            if self._answer is not None:
                await self._answer.app_ended()
        finally:
            self.hand_over("error")

    async def raised(self, error: BaseException) -> None:
        """The application raised, which the caller passes on: an error, or a cancellation of its task."""
        if isinstance(error, Exception):
            await self.returned()
            return
        try:
            if self._answer is not None and isinstance(error, asyncio.CancelledError):
                await self._answer.cancelled()
            elif self._answer is not None:
                self._answer.abandon()
        finally:
            self.hand_over("aborted")

    def let_go(self) -> None:
        """The application has returned. Else this and the answer, in a cycle, wait for the collector."""
        if self._answer is not None and self._answer.is_over:
            self._answer = None
            del self.send

    def begins(self, status: int, headers: HeaderList) -> bool:
        """Note the start of the answer; True if it will be recorded."""
        try:
            return self._begins(status, headers)
        except Exception as failure:  # noqa: BLE001  the boundary to the application
            self.fail(failure)
            self.must_refuse = self.fails_closed
            return False

    def feed_response(self, chunk: bytes) -> None:
        """Commit to the next bytes of the answer."""
        if self._response is None or self._done:
            return
        try:
            self._response.feed(chunk)
        except Exception as failure:  # noqa: BLE001  the boundary to the application
            self.fail(failure)

    async def settle(self, ending: Ending | None = None, *, travels: bool = False) -> Settled | None:
        """Hand the observation over and wait, as the mode and the disk have it; None if it took too long.

        `travels`: the promise goes with the headers; any other is shown at the log.

        Raises:
            CancelledError: the task was cancelled meanwhile; the observation stays handed over.
        """
        observation = self._observation(ending)
        if observation is None:
            return None
        settled = None
        try:
            settled = await settle(
                self._recorder, observation, is_awaited=not self._disconnected, travels=travels
            )
        except Exception as failure:  # noqa: BLE001  the boundary to the application
            self.fail(failure)
        except BaseException:
            self.hung_up()
            raise
        is_promised = settled is not None and settled.promise is not None
        otel.annotate(observation.exchange.id, "promised" if is_promised else "deferred", self._span)
        return settled

    def hand_over(self, ending: Ending | None = None) -> None:
        """Hand the observation over without waiting, the first time this or `settle` is called."""
        observation = self._observation(ending)
        if observation is None:
            return
        try:
            hand_over(self._recorder, observation)
        except Exception as failure:  # noqa: BLE001  the boundary to the application
            self.fail(failure)
        otel.annotate(observation.exchange.id, "recorded", self._span)

    def own_headers(self) -> HeaderList:
        """Our lines for the answer, without the one about the promise; none if there will be no entry."""
        if self._exchange is None or self.is_broken:
            return []
        try:
            return own_headers(self._exchange, with_key=self._asked is not None and self._asked.wants_key)
        except Exception as failure:  # noqa: BLE001  the boundary to the application
            self.fail(failure)
            return []

    @property
    def has_read_all(self) -> bool:
        """Whether the application read the whole request: only then is the commitment over what was sent."""
        if self._early is None:
            return False
        if self._is_read:
            return True
        asked = self._asked or RequestHeaders(self.scope["headers"])
        if asked.length is not None:
            return self._read_bytes >= asked.length
        # In HTTP/1 a body without length or chunks is none; later versions do not say so beforehand.
        is_bare = self.http_version.startswith("1.") or self.scope["method"] in ("GET", "HEAD")
        return is_bare and not asked.is_chunked

    @property
    def is_listening(self) -> bool:
        """Whether the application awaits a message of its caller at this moment."""
        return self._listeners > 0

    @property
    def http_version(self) -> str:
        """The version of the protocol, as the server says it."""
        return str(self.scope.get("http_version", "1.1"))

    @property
    def stream_dialect(self) -> str | None:
        """The dialect of the answer's events, None for anything but a stream of a known route."""
        if self._policy is None or self.answered is None or not self.answered.is_event_stream:
            return None
        return self._policy.dialect

    def hung_up(self) -> None:
        """The client is gone. Once the observation was handed over this is only counted."""
        if not self._done:
            self._disconnected = True
        elif self._exchange is not None and not self._is_late:
            self._is_late = True
            self.count("late_hangups")

    def count(self, name: str) -> None:
        """Add one to a metric."""
        self._recorder.guard.call("metrics", None, self._recorder.metrics.add, name)

    def fail(self, failure: Exception) -> None:
        """Give the observation up: a commitment that misses bytes would be a false one."""
        self.is_broken = True
        self._recorder.guard.failed("asgi", failure)
        if self._recorder.settings.strict:
            raise failure

    def give_up(self) -> None:
        """As `fail`, for what is no failure of ours: the application's messages cannot be read."""
        self.is_broken = True

    @property
    def recorder(self) -> Recorder:
        """What records this request."""
        return self._recorder

    def add_facts(self, facts: Mapping[str, object]) -> bool:
        """Add what the application says of this decision; False once it was handed over."""
        if self._done or self._exchange is None:
            return False
        self._added = {**self._added, **facts}
        return True

    def enter(self, function: object) -> bool:
        """Whether `function`, an `@audited` one being called, is this request's own handler, for the first
        time.
        """
        if self._entered or not any(
            function is layer for layer in handler_layers(self.scope.get("endpoint"))
        ):
            return False
        self._look_for_mark()
        self._entered = self._exchange is not None and not self._done
        return self._entered

    @property
    def _is_over(self) -> bool:
        return self._answer is None or self._answer.is_over

    def _mint(self) -> None:
        # The span of the request is current now; when the answer leaves, another one may be.
        self._span = otel.current_span()
        exchange = mint(self._recorder)
        if exchange is None:
            self._done, self.must_refuse = True, self.fails_closed
            return
        redactor = self._recorder.redactor
        self._request, self._response = (
            BodyTap(body, is_redacted=redactor is not None and redactor.concerns(name))
            for name, body in (("request", exchange.request), ("response", exchange.response))
        )
        self._exchange = exchange
        if self._early:
            self._request.feed(self._early)

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

    def _begins(self, status: int, headers: HeaderList) -> bool:
        self._status = status
        if self._recorder.settings.outcome_headers:
            outcome_by_headers(self._recorder, self.scope["headers"], status)
        self._look_for_mark()
        if self._done or self._exchange is None:
            return False
        if not self._entered and is_refused(status, has_handler=chosen_handler(self.scope) is not None):
            self._done, self._request, self._response = True, None, None
            self.count(f"refused.{status}")
            exchange, self._exchange = self._exchange, None
            self._recorder.drop(exchange)
            return False
        self._asked, self.answered = RequestHeaders(self.scope["headers"]), ResponseHeaders(headers)
        return True

    def _observation(self, ending: Ending | None) -> Observation | None:
        """What was seen, the first time this is asked for; None if there is nothing true to say."""
        exchange, is_first = self._exchange, not self._done
        self._done = True
        if not is_first or exchange is None:
            return None
        try:
            if not self.is_broken:
                if ending is None:
                    ending = "error" if (self._status or 0) >= _SERVER_FAILED else "ok"
                return self._seen(exchange, "client_disconnected" if self._disconnected else ending)
        except Exception as failure:  # noqa: BLE001  the boundary to the application
            self.fail(failure)
        finally:
            # Whoever still holds this object (a background task, the collector) must not hold the bodies.
            self._request = self._response = None
        self._recorder.lose(exchange)
        return None

    def _seen(self, exchange: Exchange, ending: Ending) -> Observation:
        policy, headers = self._policy, self.scope["headers"]
        assert policy is not None and self._request is not None and self._response is not None  # noqa: PT018
        asked = self._asked or RequestHeaders(headers)
        answered = self.answered or ResponseHeaders(())
        asked_body, answered_body = self._request.end(), self._response.end()
        has_read_all = self.has_read_all
        if policy.keeps_values or self._recorder.redactor is not None:
            # A part of a request is not what was asked: nothing is read from it.
            request = ObservedBody(asked_body if has_read_all else None)
            response = ObservedBody(answered_body, self.stream_dialect)
        else:
            request = response = ObservedBody()
        return Observation(
            exchange=exchange,
            operation=policy.operation,
            capture="asgi",
            duration_us=(self._ticks() - self._started_ns) // 1000,
            ended=ending,
            method=self.scope["method"],
            route=policy.route or route_template(self.scope),
            status=self._status,
            content_encoding=answered.coding,
            mode=self._recorder.settings.mode,
            request=request,
            response=response,
            facts=merged(facts_from_headers(headers), self._added),
            keep_values=policy.keeps_values,
            parent=asked.parent,
            retry_of=asked.retry_of,
            replayed_from=answered.replayed_from,
            read_request=read_request_fields,
            may_promise=has_read_all and (self._answer is None or not self._answer.is_unsendable),
        )
