"""What is held of a response, and when it leaves (README.md of this package, "How a response leaves").

    waiting --start--> held --first body, final--> [record, wait] start with promise, body
                         |
                         |--first body, more--> open: start at once, chunks as they come
                                                 |--terminal event--> ending --last message--> [record, wait]
                                                 |                     |          promise, terminal event
                                                 |                     |--100 ms--> open, without a comment
                                                 |--last message--> forwarded, then recorded

An answer is final with `more_body` False, or with the last byte of its Content-Length. In fail_closed nothing
that ends an answer leaves before it is durable: the last message then waits like a terminal event, a terminal
event waits for it as long as it takes, and what cannot be made durable is replaced by 503 or never sent.

Promises: the application's messages in their order; their bytes, but for our header lines and one SSE
comment, are untouched. The first chunk of a stream leaves at once. Held are: one start, a few bytes that may
become a terminal event, or that event and what follows it. Must never: read ahead of the application.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from enum import Enum
from typing import TYPE_CHECKING, Any

from auditlog.capture.http_ending import HeldEnding
from auditlog.capture.http_headers import DEFERRED, HeaderList, promise_header, without_ours
from auditlog.capture.http_stream import TERMINAL_LINES, promise_comment
from auditlog.capture.unrecordable import STATUS, WITHHELD, send_unrecordable, withheld

if TYPE_CHECKING:
    from auditlog.capture.http_exchange import HttpExchange
    from auditlog.capture.observation import Settled

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

HOLD_S = 0.1
"""Longest wait for the application's last message once it has sent the terminal event."""

_FIRST_FINAL_STATUS = 200
_BYPASSES = frozenset({"http.response.pathsend", "http.response.zerocopysend"})


class _Phase(Enum):
    WAITING = "nothing was sent"
    HELD = "the start is held"
    OPEN = "a stream flows"
    ENDING = "the terminal event is held"
    PASSING = "all is forwarded: the answer is over, or not recorded"
    REPLACED = "503 was sent instead; the rest is swallowed"
    CUT = "the end was not sent"


class HttpAnswer:
    """The response of one exchange on its way to the server."""

    __slots__ = (
        "_ending", "_exchange", "_is_head", "_late", "_length", "_phase", "_send", "_sent_bytes", "_start",
        "_timer",
    )  # fmt: skip

    def __init__(self, exchange: HttpExchange, send: Send, *, is_head: bool) -> None:
        """Forward to the server's `send`; `exchange` observes and records. `is_head`: bodies are not sent."""
        self._exchange, self._send, self._is_head = exchange, send, is_head
        self._phase = _Phase.WAITING
        self._start: Message = {}
        self._ending: HeldEnding | None = None
        self._length: int | None = None
        self._sent_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._late: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether the whole answer was given to the server: then a disconnect is no hang-up."""
        return self._phase in (_Phase.PASSING, _Phase.REPLACED)

    async def take(self, message: Message) -> None:
        """What the application awaits for the response.

        Raises:
            AnswerWithheld: fail_closed, and the end of this answer cannot be made durable.
        """
        if self._late is not None:
            await self._until_late_was_sent()
        kind, phase = message["type"], self._phase
        if phase is _Phase.CUT:
            raise withheld()
        if phase is _Phase.REPLACED:
            return
        if phase is _Phase.PASSING:
            await self._forward(message)
        elif kind == "http.response.body" and phase is not _Phase.WAITING:
            await self._body(message)
        elif kind == "http.response.start" and phase is _Phase.WAITING:
            await self._begin(message)
        else:
            await self._other(message)

    async def app_ended(self) -> None:
        """The application returned or failed: what is still held leaves, as it would have without us.

        Raises:
            AnswerWithheld: as `take`, whatever the application made of it.
        """
        self._stop_timer()
        if self._late is not None:
            await self._until_late_was_sent()
        phase, is_durable = self._phase, True
        if self._exchange.fails_closed and phase in (_Phase.WAITING, _Phase.HELD, _Phase.ENDING):
            is_durable = _is_durable(await self._exchange.settle("error"))
        with contextlib.suppress(OSError):  # A client that is gone changes nothing in how it ended.
            await self._let_go(phase, is_durable=is_durable)
        if self._phase is _Phase.CUT:
            raise withheld()
        if self._phase is not _Phase.REPLACED:
            self._phase = _Phase.PASSING

    def abandon(self) -> None:
        """The application's task was cancelled: nothing more is sent."""
        self._stop_timer()
        self._ending = None
        if self._phase is not _Phase.CUT:
            self._phase = _Phase.PASSING

    async def _let_go(self, phase: _Phase, *, is_durable: bool) -> None:
        if not is_durable:
            await self._refuse(cut=phase is _Phase.ENDING)
        elif phase is _Phase.HELD:
            await self._open()
        elif self._ending is not None:
            await self._forward_all(self._ending.release())

    async def _begin(self, message: Message) -> None:
        """The start: held if this answer is recorded, else forwarded with all that follows."""
        status: int = message["status"]
        if status < _FIRST_FINAL_STATUS:
            await self._forward(message)
            return
        headers = list(message.get("headers", ()))
        if self._exchange.begins(status, headers):
            self._phase, self._start = _Phase.HELD, message
            answered = self._exchange.answered
            self._length = None if answered is None or self._is_head else answered.length
            return
        if self._exchange.must_refuse:
            await self._refuse(cut=False)
            return
        self._phase = _Phase.PASSING
        await self._forward(message)

    async def _body(self, message: Message) -> None:
        chunk: bytes = message.get("body", b"")
        if chunk and not self._is_head:
            self._exchange.feed_response(chunk)
        self._sent_bytes += len(chunk)
        is_last = not message.get("more_body", False) or self._sent_bytes == self._length
        if self._phase is _Phase.HELD:
            if is_last:
                await self._whole(message)
                return
            await self._open()
        if self._ending is not None:
            await self._watched(message, chunk, self._ending, is_last=is_last)
        elif is_last:
            await self._last([message])
        else:
            await self._forward(message)

    async def _other(self, message: Message) -> None:
        """Trailers, pushes, hints, extensions not invented yet, and messages out of order: as they come."""
        if self._phase is _Phase.HELD:
            await self._open()
        if message["type"] in _BYPASSES:
            # Both were taken out of the scope. Bytes that bypass us cannot be committed to.
            self._exchange.fail(NotImplementedError(message["type"]))
            if self._exchange.fails_closed:
                await self._refuse(cut=True)
        if self._phase is _Phase.ENDING and self._ending is not None:
            self._ending.keep(message)
        else:
            await self._forward(message)

    async def _whole(self, message: Message) -> None:
        """The start and all of the body: recorded first, so that the promise can be a header."""
        settled = await self._exchange.settle(travels=True)
        if self._exchange.fails_closed and not _is_durable(settled):
            await self._refuse(cut=False)
            return
        promise = None if settled is None else settled.promise
        line = DEFERRED if promise is None else promise_header(promise)
        # From here on the application may send what it likes: the answer was recorded.
        self._phase = _Phase.PASSING
        await self._forward(self._start_with([line]))
        await self._forward(message)

    async def _open(self) -> None:
        """The start of a stream leaves; whether its terminal event will be looked for is decided here."""
        self._phase = _Phase.OPEN
        dialect, answered = self._exchange.stream_dialect, self._exchange.answered
        takes_comment = answered is not None and answered.allows_comment and not self._is_head
        if dialect in TERMINAL_LINES and takes_comment and _has_loop():
            self._ending = HeldEnding(dialect, must_hold=self._exchange.fails_closed)
        await self._forward(self._start_with([]))

    async def _watched(self, message: Message, chunk: bytes, ending: HeldEnding, *, is_last: bool) -> None:
        """One message of a stream whose terminal event is looked for, or was found."""
        try:
            leaving = ending.take(message, chunk, is_last=is_last)
        except Exception as failure:  # noqa: BLE001  the boundary to the application
            self._ending, leaving = None, [*ending.release(), message]
            self._exchange.fail(failure)
        if is_last and not ending.is_found:
            await self._last(leaving)
            return
        await self._forward_all(leaving)
        if not ending.is_found:
            return
        self._phase = _Phase.ENDING
        if is_last:
            self._stop_timer()
            await self._terminal(ending)
        elif self._timer is None and not self._exchange.fails_closed:
            self._timer = asyncio.get_running_loop().call_later(HOLD_S, self._expire, ending)

    async def _terminal(self, ending: HeldEnding) -> None:
        """The application has ended, its terminal event is held: record, then send promise and event."""
        settled = await self._exchange.settle()
        if self._exchange.fails_closed and not _is_durable(settled):
            await self._refuse(cut=True)
        self._phase = _Phase.PASSING
        promise = None if settled is None else settled.promise
        if promise is not None and ending.allows_comment:
            _, value = promise_header(promise)
            comment = promise_comment(value.decode("ascii"))
            await self._forward({"type": "http.response.body", "body": comment, "more_body": True})
        await self._forward_all(ending.release())

    async def _last(self, messages: list[Message]) -> None:
        """The last message of a stream without a comment: in fail_open it is not kept waiting."""
        if self._exchange.fails_closed and not _is_durable(await self._exchange.settle()):
            await self._refuse(cut=True)
        self._phase = _Phase.PASSING
        await self._forward_all(messages)
        self._exchange.hand_over()

    async def _refuse(self, *, cut: bool) -> None:
        """fail_closed: 503 in place of the answer, or, where a part has left, no end to it.

        Raises:
            AnswerWithheld: with `cut`.
        """
        self._ending = None
        self._exchange.count(f"refused.{STATUS}")
        if cut:
            self._phase = _Phase.CUT
            raise withheld()
        self._phase = _Phase.REPLACED
        method = "HEAD" if self._is_head else "POST"
        own = self._exchange.own_headers()
        await send_unrecordable(self._forward, WITHHELD, method=method, headers=own)

    def _start_with(self, lines: HeaderList) -> Message:
        if self._exchange.is_broken:
            return self._start  # There will be no entry to point to.
        headers = without_ours(self._start.get("headers", ()))
        return {**self._start, "headers": headers + self._exchange.own_headers() + lines}

    async def _forward(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError:
            # The server says that the client is gone (ASGI 2.4). The application decides what to make of it.
            self._exchange.hung_up()
            raise

    async def _forward_all(self, messages: list[Message]) -> None:
        for message in messages:
            await self._forward(message)

    def _expire(self, ending: HeldEnding) -> None:
        """The application has not ended its stream in time: the terminal event leaves without a comment.

        State changes here, at once; what is sent by the task comes before anything the application sends.
        """
        self._phase, self._ending, self._timer = _Phase.OPEN, None, None
        self._late = asyncio.get_running_loop().create_task(self._send_late(ending.release()))

    async def _send_late(self, messages: list[Message]) -> None:
        try:
            with contextlib.suppress(OSError):  # The application's next message meets it as well.
                await self._forward_all(messages)
        except Exception as failure:  # noqa: BLE001  nobody awaits this task for its outcome
            self._exchange.fail(failure)

    async def _until_late_was_sent(self) -> None:
        late, self._late = self._late, None
        if late is not None:
            await asyncio.wait({late})

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _is_durable(settled: Settled | None) -> bool:
    return settled is not None and settled.is_durable


def _has_loop() -> bool:
    """Whether this is asyncio: elsewhere there are no timers of ours, and no comments."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
