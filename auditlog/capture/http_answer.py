"""What is held of a response, and when it leaves (README.md of this package, "How a response leaves").

    waiting --start--> held --first body, final--> [record, wait] start with promise, body
                         |
                         |--first body, more--> open: start at once, chunks as they come
                         |                       |--terminal event--> ending --last message--> [record, wait]
                         |                       |                     |          promise, terminal event
                         |                       |                     |--100 ms--> open, without a comment
                         |                       |--last message--> forwarded, then recorded
                         |--the application waits for its caller--> open, for the caller may wait, too

An answer is final with `more_body` False, or with the last byte of its Content-Length. In fail_closed nothing
that ends an answer leaves before it is durable: the last message then waits like a terminal event, a terminal
event waits for it as long as it takes, a start that says all (`http_phase`) for the last message, and what
cannot be made durable is replaced by 503 or never sent. A stream whose end cannot be told from its bytes is
one chunk behind there: what is cut lacks its last bytes.

Promises: the application's messages in their order; their bytes, but for our header lines and one SSE
comment, are untouched. In fail_open the first chunk of a stream leaves at once, and all that was sent leaves
if the application is cancelled. Held are: one start, a few bytes that may become a terminal event, or that
event and what follows it; in fail_closed, one chunk, or the body of a start that says all. A message that no
server would take reaches the server as it came. Must never: read ahead of the application.
"""

from __future__ import annotations

import asyncio
import contextlib
from operator import index
from typing import TYPE_CHECKING

from auditlog.capture.http_ending import HeldEnding, NewestChunk, holders
from auditlog.capture.http_headers import DEFERRED, HeaderList, promise_header, without_ours
from auditlog.capture.http_outlet import Message, Outlet, Send, has_loop, is_buffer
from auditlog.capture.http_phase import UNFINISHED, WITHOUT_BODY, HeldHead, Phase
from auditlog.capture.http_stream import promise_comment
from auditlog.capture.unrecordable import STATUS, WITHHELD, send_unrecordable, withheld

if TYPE_CHECKING:
    from auditlog.capture.http_exchange import HttpExchange
    from auditlog.capture.observation import Settled

HOLD_S = 0.1
"""Longest wait for the application's last message once it has sent the terminal event, and for its first body
while it waits for its caller."""

_FIRST_FINAL_STATUS = 200
_BYPASSES = frozenset({"http.response.pathsend", "http.response.zerocopysend"})


class HttpAnswer:
    """The response of one exchange on its way to the server."""

    __slots__ = (
        "_ending", "_exchange", "_head", "_is_head", "_length", "_newest", "_outlet", "_phase", "_sent_bytes",
        "_start", "_timer",
    )  # fmt: skip

    def __init__(self, exchange: HttpExchange, send: Send, *, is_head: bool) -> None:
        """Forward to the server's `send`; `exchange` observes and records. `is_head`: bodies are not sent."""
        self._exchange, self._outlet, self._is_head = exchange, Outlet(exchange, send), is_head
        self._phase = Phase.WAITING
        self._start: Message = {}
        self._head: HeldHead | None = None
        self._ending: HeldEnding | None = None
        self._newest: NewestChunk | None = None
        self._length: int | None = None
        self._sent_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_over(self) -> bool:
        """Whether the whole answer was given to the server: then a disconnect is no hang-up."""
        return self._phase in (Phase.PASSING, Phase.REPLACED)

    @property
    def is_held(self) -> bool:
        """Whether a start is held that the caller may be waiting for."""
        return self._phase is Phase.HELD and (self._head is None or not self._head.says_all)

    @property
    def is_unsendable(self) -> bool:
        """Whether the application sent bytes that no server passes on: then the caller gets others."""
        if self._is_head or not self._sent_bytes:
            return False
        is_longer = self._length is not None and self._sent_bytes > self._length
        return is_longer or self._start.get("status") in WITHOUT_BODY

    async def take(self, message: Message) -> None:
        """What the application awaits for the response.

        Raises:
            AnswerWithheld: fail_closed, and the end of this answer cannot be made durable.
        """
        if self._outlet.is_busy:
            await self._outlet.until_sent()
        phase = self._phase
        if phase is Phase.CUT:
            raise withheld()
        if phase is Phase.REPLACED:
            return
        try:
            kind = message["type"]
        except (KeyError, TypeError):
            kind, phase = None, Phase.PASSING  # It is for the server to say what is wrong with it.
        if phase is Phase.PASSING:
            await self._outlet.forward(message)
        elif kind == "http.response.body" and phase is not Phase.WAITING:
            await self._body(message)
        elif kind == "http.response.start" and phase is Phase.WAITING:
            await self._begin(message)
        else:
            await self._other(message)

    async def listened(self) -> None:
        """The application waits for its caller, who may be waiting for the start: it is held no longer.

        At once while the request has not come whole, else in 100 ms; its promise then goes to the log.
        """
        if not self.is_held or self._timer is not None:
            return
        if not has_loop():
            with contextlib.suppress(OSError):  # The application's next message meets it as well.
                await self._open()
        elif self._exchange.has_read_all:
            self._timer = asyncio.get_running_loop().call_later(HOLD_S, self._start_late)
        else:
            self._start_late()

    async def app_ended(self) -> None:
        """The application returned or failed: what is still held leaves, as it would have without us.

        Raises:
            AnswerWithheld: as `take`, whatever the application made of it.
        """
        self._stop_timer()
        with contextlib.suppress(Exception):  # Refused by the server: the application sent nothing after it.
            await self._outlet.until_sent()
        phase, is_durable = self._phase, True
        if self._exchange.fails_closed and phase in UNFINISHED:
            is_durable = _is_durable(await self._exchange.settle("error"))
        with contextlib.suppress(OSError):  # A client that is gone changes nothing in how it ended.
            if is_durable:
                await self._outlet.forward_all(self._release())
            else:
                await self._refuse(cut=phase in (Phase.OPEN, Phase.ENDING))
        if self._phase is Phase.CUT:
            raise withheld()
        if self._phase is not Phase.REPLACED:
            self._phase = Phase.PASSING

    async def cancelled(self) -> None:
        """The application's task was cancelled: in fail_open all it had sent leaves."""
        self._stop_timer()
        held = [] if self._exchange.fails_closed else self._release()
        if self._phase is not Phase.CUT:
            self._phase = Phase.PASSING
        if has_loop():
            await self._outlet.despite(held)

    def abandon(self) -> None:
        """Nothing can be awaited any more: nothing more is sent."""
        self._stop_timer()
        if self._phase is not Phase.CUT:
            self._phase = Phase.PASSING

    async def _begin(self, message: Message) -> None:
        """The start: held if this answer is recorded, else forwarded with all that follows."""
        try:
            status, headers = index(message["status"]), list(message.get("headers", ()))
        except Exception:  # noqa: BLE001  whatever an odd message makes of being read
            await self._give_up(message)
            return
        if status < _FIRST_FINAL_STATUS:
            await self._outlet.forward(message)
            return
        if not isinstance(message.get("headers", []), list | tuple):
            message = {**message, "headers": headers}  # They could be read once.
        if self._exchange.begins(status, headers):
            self._phase, self._start = Phase.HELD, message
            answered = self._exchange.answered
            self._length = None if answered is None or self._is_head else answered.length
            if answered is not None and self._exchange.fails_closed:
                self._head = HeldHead(status, answered, is_head=self._is_head)
            if self._exchange.is_listening:
                await self.listened()
            return
        if self._exchange.must_refuse:
            await self._refuse(cut=False)
            return
        self._phase = Phase.PASSING
        await self._outlet.forward(message)

    async def _body(self, message: Message) -> None:
        chunk: bytes = message.get("body", b"")
        if not is_buffer(chunk):
            await self._give_up(message)
            return
        exchange = self._exchange
        if chunk and not self._is_head:
            exchange.feed_response(chunk)
            if exchange.is_broken and exchange.fails_closed:
                await self._refuse(cut=self._phase is not Phase.HELD)
                return
        self._sent_bytes += len(chunk)
        is_last = not message.get("more_body", False) or self._sent_bytes == self._length
        if self._phase is Phase.HELD:
            if not is_last and self._head is not None and self._head.keeps(message, chunk):
                return
            self._stop_timer()
            if is_last:
                await self._whole(message)
                return
            await self._open()
        await self._pass_on(message, chunk, is_last=is_last)

    async def _pass_on(self, message: Message, chunk: bytes, *, is_last: bool) -> None:
        if self._ending is None and self._newest is None and not is_last:
            await self._outlet.forward(message)
        else:
            await self._flow(message, chunk, is_last=is_last)

    async def _other(self, message: Message) -> None:
        """Trailers, pushes, hints, extensions not invented yet, and messages out of order: as they come."""
        if self._phase is Phase.HELD:
            self._stop_timer()
            await self._open()
        if message["type"] in _BYPASSES:
            # Both were taken out of the scope. Bytes that bypass us cannot be committed to.
            self._exchange.fail(NotImplementedError(message["type"]))
            if self._exchange.fails_closed:
                await self._refuse(cut=True)
        if self._phase is Phase.ENDING and self._ending is not None:
            self._ending.keep(message)
        else:
            await self._outlet.forward_all(
                [message] if self._newest is None else self._newest.take([message])
            )

    async def _give_up(self, message: Message) -> None:
        """A message that cannot be read: the server judges it, as it came. No record could be true."""
        self._exchange.give_up()
        self._stop_timer()
        if self._exchange.fails_closed:
            await self._refuse(cut=self._phase not in (Phase.WAITING, Phase.HELD))
            return
        held, self._phase = self._release(), Phase.PASSING
        await self._outlet.forward_all([*held, message])

    async def _whole(self, message: Message) -> None:
        """The start and all of the body: recorded first, so that the promise can be a header."""
        try:
            settled = await self._exchange.settle(travels=True)
        except asyncio.CancelledError:
            if not self._exchange.fails_closed:
                self._phase = Phase.PASSING
                await self._outlet.despite([self._start_with([DEFERRED]), message])
            raise
        if self._exchange.fails_closed and not _is_durable(settled):
            await self._refuse(cut=False)
            return
        promise = None if settled is None else settled.promise
        line = DEFERRED if promise is None else promise_header(promise)
        # From here on the application may send what it likes: the answer was recorded.
        self._phase = Phase.PASSING
        kept = [] if self._head is None else self._head.release()
        await self._outlet.forward_all([self._start_with([line]), *kept, message])

    async def _open(self) -> None:
        """The start of a stream leaves."""
        await self._outlet.forward(self._opened())
        for message in [] if self._head is None else self._head.release():
            await self._pass_on(message, message["body"], is_last=False)

    def _start_late(self) -> None:
        """The start leaves, sent by a task: before anything the application sends from now on."""
        self._timer = None
        if self._phase is Phase.HELD:
            self._outlet.later([self._opened()])

    def _opened(self) -> Message:
        """The start of a stream; what of it will be held is decided here."""
        self._phase = Phase.OPEN
        if not self._is_head:
            self._ending, self._newest = holders(self._exchange, has_loop=has_loop())
        return self._start_with([])

    async def _flow(self, message: Message, chunk: bytes, *, is_last: bool) -> None:
        """One message of a stream of which something is held."""
        leaving, ending = [message], self._ending
        if ending is not None:
            try:
                leaving = ending.take(message, chunk, is_last=is_last)
            except Exception as failure:  # noqa: BLE001  the boundary to the application
                leaving, self._ending = [*ending.release(), message], None
                self._exchange.fail(failure)
        is_found = self._ending is not None and self._ending.is_found
        if ending is not None and ending.is_unsure and self._newest is None:
            self._newest = NewestChunk()
        if is_last and not is_found:
            await self._last(leaving)
            return
        if self._newest is not None:
            leaving = [*self._newest.release(), *leaving] if is_found else self._newest.take(leaving)
        await self._outlet.forward_all(leaving)
        if is_found and self._ending is not None:
            await self._end(self._ending, is_last=is_last)

    async def _end(self, ending: HeldEnding, *, is_last: bool) -> None:
        """The terminal event is held, with what follows it."""
        self._phase = Phase.ENDING
        if is_last:
            self._stop_timer()
            await self._terminal(ending)
        elif not self._exchange.fails_closed:
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(HOLD_S, self._expire, ending)
        elif ending.is_overrun:
            # It was not the end. What is, nobody can tell any more.
            self._phase, self._ending, self._newest = Phase.OPEN, None, NewestChunk()
            await self._outlet.forward_all(self._newest.take(ending.release()))

    async def _terminal(self, ending: HeldEnding) -> None:
        """The application has ended, its terminal event is held: record, then send promise and event."""
        try:
            settled = await self._exchange.settle()
        except asyncio.CancelledError:
            if not self._exchange.fails_closed:
                self._phase = Phase.PASSING
                await self._outlet.despite(ending.release())
            raise
        if self._exchange.fails_closed and not _is_durable(settled):
            await self._refuse(cut=True)
        self._phase = Phase.PASSING
        promise, leaving = None if settled is None else settled.promise, ending.release()
        if promise is not None and ending.allows_comment:
            _, value = promise_header(promise)
            comment = promise_comment(value.decode("ascii"))
            leaving = [{"type": "http.response.body", "body": comment, "more_body": True}, *leaving]
        await self._outlet.forward_all(leaving)

    async def _last(self, messages: list[Message]) -> None:
        """The last message of a stream without a comment: in fail_open it is not kept waiting."""
        if self._exchange.fails_closed:
            if self._newest is not None and any(message.get("body") for message in messages):
                await self._outlet.forward_all(self._newest.release())
            if not _is_durable(await self._exchange.settle()):
                await self._refuse(cut=True)
        self._phase = Phase.PASSING
        held = [] if self._newest is None else self._newest.release()
        await self._outlet.forward_all([*held, *messages])
        self._exchange.hand_over()

    async def _refuse(self, *, cut: bool) -> None:
        """fail_closed: 503 in place of the answer, or, where a part has left, no end to it.

        Raises:
            AnswerWithheld: with `cut`.
        """
        self._head = self._ending = self._newest = None
        self._exchange.count(f"refused.{STATUS}")
        if cut:
            self._phase = Phase.CUT
            raise withheld()
        self._phase = Phase.REPLACED
        method = "HEAD" if self._is_head else "POST"
        own = self._exchange.own_headers()
        await send_unrecordable(self._outlet.forward, WITHHELD, method=method, headers=own)

    def _start_with(self, lines: HeaderList) -> Message:
        if self._exchange.is_broken:
            return self._start  # There will be no entry to point to.
        headers = without_ours(self._start.get("headers", ()))
        return {**self._start, "headers": headers + self._exchange.own_headers() + lines}

    def _release(self) -> list[Message]:
        """All that is held, in order, once."""
        held = [self._start_with([])] if self._phase is Phase.HELD else []
        for holder in (self._head, self._newest, self._ending):
            held += [] if holder is None else holder.release()
        self._head = self._ending = self._newest = None
        return held

    def _expire(self, ending: HeldEnding) -> None:
        """The application has not ended its stream in time: the terminal event leaves without a comment.

        State changes here, at once; what is sent by the task comes before anything the application sends.
        """
        self._phase, self._ending, self._timer = Phase.OPEN, None, None
        self._outlet.later(ending.release())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _is_durable(settled: Settled | None) -> bool:
    return settled is not None and settled.is_durable
