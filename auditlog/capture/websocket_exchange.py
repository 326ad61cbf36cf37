"""One websocket connection, observed as it passes (spec/commitment.md, "Bodies made of messages").

    message = u8 kind (1 text, 2 binary) || u32be length || bytes     what each adds to its side's body
    connection = turn* end                                            one entry a turn, where they are marked

The client's messages are the request, the server's the response. Where the dialect marks turns
(`openai.realtime`: the server's event of type `response.done` or `transcription.done`) each turn is one
decision, minted with its first message; else the whole connection is one. `Audit-Id` in the handshake is the
first of them; the facts of the others name it as their `connection`.

Promises: messages pass unchanged and at once, but for the one that ends a turn in fail_closed. Errors of this
layer never reach the application. In fail_closed a turn whose record cannot be reserved or made durable ends
the connection, and one whose dialect marks no turns cannot begin: it has no message that could wait for a
record. Must never: read ahead, or keep more than `MAX_KEPT_BYTES` of one side of a turn.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

import msgspec

from auditlog.capture import otel
from auditlog.capture.body_tap import BodyTap
from auditlog.capture.facts import facts_from_headers
from auditlog.capture.http_headers import RequestHeaders, own_headers
from auditlog.capture.observation import Ending, Exchange, Observation, ObservedBody
from auditlog.capture.route_names import route_template
from auditlog.capture.unrecordable import NO_TURNS, NOT_ASKED, STATUS, withheld
from auditlog.capture.waiting import fails_closed, hand_over, mint, settle

if TYPE_CHECKING:
    from auditlog.capture.recorder import Recorder
    from auditlog.capture.routes import RoutePolicy

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

TURN_ENDS = {"openai.realtime": ("response.done", "transcription.done")}
"""By dialect: the types of the server's events that end a turn; the second is vLLM's."""

_TEXT, _BINARY = 1, 2
_NORMAL_CODES = frozenset({1000, 1001, 1005})
_FIRST_OWN_CODE = 3000
_REFUSED = 403
"""What servers answer to a handshake that the application closes."""


class _Event(msgspec.Struct):
    type: str = ""


_event = msgspec.json.Decoder(_Event)


class _Turn:
    """One decision of a connection while it is made."""

    __slots__ = ("exchange", "is_empty", "request", "response", "started_ns")

    def __init__(self, exchange: Exchange, recorder: Recorder, started_ns: int) -> None:
        self.exchange, self.started_ns, self.is_empty = exchange, started_ns, True
        redactor = recorder.redactor
        self.request, self.response = (
            BodyTap(body, is_redacted=redactor is not None and redactor.concerns(name))
            for name, body in (("request", exchange.request), ("response", exchange.response))
        )


class WebSocketExchange:
    """The state of one connection. Used by the tasks of one application on one event loop."""

    def __init__(
        self,
        recorder: Recorder,
        policy: RoutePolicy,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        ticks: Callable[[], int],
    ) -> None:
        """Start observing; `must_refuse` says that fail_closed does not let this connection begin."""
        self.scope = scope
        self._recorder, self._policy, self._ticks = recorder, policy, ticks
        self._receive, self._send = receive, send
        self._fails_closed = fails_closed(recorder)
        self._turn_ends = TURN_ENDS.get(policy.dialect or "", ())
        # What is in every message that ends a turn: a word, or an escape that may be a part of it.
        words = (*self._turn_ends, "\\u") if self._turn_ends else ()
        self._telling = tuple(word.encode() for word in words)
        self._span = otel.current_span()
        self._asked = RequestHeaders(scope["headers"])
        self._first_id: str | None = None
        self._turns = 0
        self._is_accepted = self._is_done = self._is_gone = self._is_cut = False
        self._gone_code = 1005
        is_endless = self._fails_closed and not self._turn_ends
        self.refusal = NO_TURNS if is_endless else NOT_ASKED
        self._turn = None if is_endless else self._mint()
        self.must_refuse = self._turn is None and self._fails_closed

    async def receive(self) -> Message:
        """What the application awaits: the client's messages, seen on their way.

        Raises:
            AnswerWithheld: fail_closed, and no further turn can be recorded.
        """
        message = await self._receive()
        if message["type"] == "websocket.receive":
            self._observe(message, is_request=True)
            if self._is_cut:
                raise withheld()
        elif message["type"] == "websocket.disconnect":
            self._is_gone, self._gone_code = True, message.get("code") or 1005
        return message

    async def send(self, message: Message) -> None:
        """What the application awaits for the client.

        Raises:
            AnswerWithheld: fail_closed, and the turn that ends here cannot be made durable.
        """
        if self._is_cut:
            raise withheld()
        try:
            kind = message["type"]
        except (KeyError, TypeError):
            kind = None  # It is for the server to say what is wrong with it.
        if kind == "websocket.send":
            await self._say(message)
        elif kind == "websocket.accept":
            self._is_accepted = True
            await self._send(self._accepted(message))
        elif kind == "websocket.close" and self._is_accepted:
            await self._end_with(message, "ok" if _is_normal(message.get("code")) else "error")
        else:
            if kind in ("websocket.close", "websocket.http.response.start") and not self._is_accepted:
                self._refused(message.get("status", _REFUSED))
            await self._send(message)

    async def returned(self) -> None:
        """The application returned: what was said since the last turn is recorded, and in fail_closed the
        server's own close waits for that.

        Raises:
            AnswerWithheld: fail_closed had ended the connection, or does so now.
        """
        if self._fails_closed and self._is_accepted and not self._is_gone and self._turn is not None:
            await self._settle("ok")
        self._finish("client_disconnected" if self._is_hang_up() else "ok")
        if self._is_cut:
            raise withheld()

    def raised(self, error: BaseException) -> None:
        """The application raised, which the caller passes on."""
        ending: Ending = "error" if isinstance(error, Exception) else "aborted"
        if self._is_gone:
            ending = "client_disconnected" if self._is_hang_up() else "ok"
        self._finish(ending)

    async def _say(self, message: Message) -> None:
        """A message of the server; a turn may end with it."""
        self._observe(message, is_request=False)
        if self._is_cut:
            raise withheld()
        if self._turn is not None and self._ends_turn(message):
            await self._end_with(message, "ok")
            return
        await self._send(message)

    async def _end_with(self, message: Message, ending: Ending) -> None:
        """Record the turn that this message ends: before it leaves in fail_closed, else after."""
        if self._fails_closed and self._turn is not None:
            await self._settle(ending)
        await self._send(message)
        self._finish(ending, is_over=message["type"] == "websocket.close")

    async def _settle(self, ending: Ending) -> None:
        observation = self._observation(ending)
        settled = None if observation is None else await settle(self._recorder, observation)
        if settled is None or not settled.is_durable:
            if not self._is_cut:
                self._cut()
            raise withheld()
        if observation is not None:
            is_promised = settled.promise is not None
            otel.annotate(observation.exchange.id, "promised" if is_promised else "deferred", self._span)

    def _accepted(self, message: Message) -> Message:
        version = str(self.scope.get("asgi", {}).get("spec_version", "2.0"))
        if self._turn is None or version == "2.0":
            return message  # Headers of a handshake came with ASGI's websocket version 2.1.
        try:
            own = own_headers(self._turn.exchange, with_key=self._asked.wants_key)
            return {**message, "headers": [*message.get("headers", ()), *own]}
        except Exception as failure:  # noqa: BLE001  the boundary to the application
            self._recorder.guard.failed("websocket", failure)
            return message  # Headers that cannot be read are for the server to judge.

    def _refused(self, status: int) -> None:
        """The handshake was turned away: counted, not recorded."""
        turn, self._turn, self._is_done = self._turn, None, True
        if turn is not None:
            self._count(f"refused.{status}")
            self._recorder.guard.call("websocket", None, self._recorder.drop, turn.exchange)

    def _observe(self, message: Message, *, is_request: bool) -> None:
        """Commit to one message; a failure of ours ends the observation of this turn."""
        if self._is_done:
            return
        try:
            if self._turn is None:
                self._turn = self._mint()
                if self._turn is None:
                    if self._fails_closed:
                        self._cut()
                    return
            text = message.get("text")
            kind, content = (_BINARY, message.get("bytes") or b"") if text is None else (_TEXT, text.encode())
            tap = self._turn.request if is_request else self._turn.response
            self._turn.is_empty = False
            tap.feed(struct.pack(">BI", kind, len(content)) + content)
        except Exception as failure:  # noqa: BLE001  the boundary to the application
            self._fail(failure)

    def _mint(self) -> _Turn | None:
        """The next decision of this connection; None if it cannot be recorded."""
        exchange = mint(self._recorder)
        if exchange is None:
            return None
        self._first_id = self._first_id or exchange.id
        self._turns += 1
        return _Turn(exchange, self._recorder, self._ticks())

    def _ends_turn(self, message: Message) -> bool:
        """Whether the server's message is the event that ends a turn."""
        if not self._telling:
            return False
        try:
            text = message.get("text")
            content = bytes(message.get("bytes") or b"") if text is None else text.encode()
            if not any(word in content for word in self._telling):
                return False
            return _event.decode(content).type in self._turn_ends
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return False

    def _is_hang_up(self) -> bool:
        """Whether the client left in the middle: of a turn, or without closing."""
        is_within = bool(self._turn_ends) and self._turn is not None and not self._turn.is_empty
        return self._is_gone and (is_within or self._gone_code not in _NORMAL_CODES)

    def _finish(self, ending: Ending, *, is_over: bool = True) -> None:
        """Hand the turn over, if there is one; the connection is over unless a turn has just ended."""
        observation = self._observation(ending)
        self._is_done = self._is_done or is_over
        if observation is not None:
            self._recorder.guard.call("websocket", None, hand_over, self._recorder, observation)
            otel.annotate(observation.exchange.id, "recorded", self._span)

    def _cut(self) -> None:
        self._is_cut = self._is_done = True
        self._count(f"refused.{STATUS}")

    def _count(self, name: str) -> None:
        self._recorder.guard.call("metrics", None, self._recorder.metrics.add, name)

    def _fail(self, failure: Exception) -> None:
        """Give this turn up, and with it the rest: a commitment that misses bytes would be a false one."""
        turn, self._turn, self._is_done = self._turn, None, True
        self._recorder.guard.failed("websocket", failure)
        if turn is not None:
            self._recorder.lose(turn.exchange)
        if self._fails_closed:
            self._cut()
        if self._recorder.settings.strict:
            raise failure

    def _observation(self, ending: Ending) -> Observation | None:
        """What was said in this turn, once. Nothing after the last turn is no decision."""
        turn, self._turn = self._turn, None
        if turn is None:
            return None
        if not self._is_accepted or (turn.is_empty and self._turns > 1):
            # Ended before it was accepted, which servers answer with 500: what starts is in some count.
            self._recorder.metrics.add("refused.500")
            self._recorder.guard.call("websocket", None, self._recorder.drop, turn.exchange)
            return None
        try:
            return self._seen(turn, ending)
        except Exception as failure:  # noqa: BLE001  the boundary to the application
            self._turn = turn
            self._fail(failure)
            return None

    def _seen(self, turn: _Turn, ending: Ending) -> Observation:
        keeps = self._policy.keeps_values or self._recorder.redactor is not None
        request, response = turn.request.end(), turn.response.end()
        facts = facts_from_headers(self.scope["headers"])
        if self._turn_ends:
            facts = {**(facts or {}), "connection": self._first_id, "turn": self._turns}
        return Observation(
            exchange=turn.exchange,
            operation=self._policy.operation,
            capture="asgi",
            duration_us=(self._ticks() - turn.started_ns) // 1000,
            ended=ending,
            route=self._policy.route or route_template(self.scope),
            mode=self._recorder.settings.mode,
            request=ObservedBody(request if keeps else None),
            response=ObservedBody(response if keeps else None),
            facts=facts,
            keep_values=self._policy.keeps_values,
            parent=self._asked.parent,
            retry_of=self._asked.retry_of,
        )


def _is_normal(code: object) -> bool:
    """Whether a connection that is closed so ended well; no code is the normal one."""
    return not code or (isinstance(code, int) and (code in _NORMAL_CODES or code >= _FIRST_OWN_CODE))
