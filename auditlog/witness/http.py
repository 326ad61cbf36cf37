"""A small HTTP/1.1 server for strangers: bounded in bytes, connections and time, and nothing more.

Standard library only. One thread reads and writes for all connections; requests that arrived whole are
answered on a few threads of their own. Promises: a head and a body have to arrive within their time, however
lively the connection is; what is too large is refused unread; whoever takes no answer loses the connection,
with what waits in it; a newcomer that finds no place gets that of the connection from which no request has
come for longest; a stop answers what had arrived and waits for nobody else. Must never: pass on a request of
which two readers could see different ends (any `Transfer-Encoding`, two lengths), or show a trace. Everything
that arrives is attacker-controlled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

from auditlog.witness.rates import network_of
from auditlog.witness.requests import Head, MalformedRequest, parse_head

logger = logging.getLogger("auditlog.witness")

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
MAX_HEAD_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class Limits:
    """What strangers may take up."""

    connections: int = 512
    connections_per_peer: int = 128
    """Of one address, or of one IPv6 network of 64 bits."""
    requests: int = 32
    """Answered at once; the rest is told to come back."""
    request_s: float = 10.0
    """For a head and its body to arrive, and for an answer to be taken."""
    idle_s: float = 75.0
    """Between the requests of one connection."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back."""

    status: int
    body: bytes = b""
    media_type: str = TEXT
    headers: dict[str, str] = field(default_factory=dict)
    route: str = "other"
    """For the metrics: which of the few routes it was."""


class App(Protocol):
    """What the server serves."""

    def room(self, head: Head) -> int | Answer:
        """How large the body of this request may be; or the answer, without reading it."""

    def answer(self, head: Head, body: bytes) -> Answer:
        """The answer to a whole request. Called on a thread; what it raises becomes a 500."""

    def count(self, answer: Answer) -> None:
        """Take note of an answer; called for every one, before it is sent."""


class HttpServer:
    """Listens from the start; `serve_forever` until `shutdown`, then `server_close`."""

    def __init__(self, address: tuple[str, int], app: App, limits: Limits) -> None:
        """Listen on (host, port); port 0 lets the system choose. Raises OSError."""
        self._app, self._limits = app, limits
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = socket.create_server(address, family=family, backlog=256)
        self._threads = ThreadPoolExecutor(limits.requests, thread_name_prefix="auditlog-witness")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._is_stopped = False
        self._waiting: set[asyncio.Task[None]] = set()
        """Connections between two requests."""
        self._unasked: dict[asyncio.Task[None], str] = {}
        """Connections whose next request is not here whole, and whose they are; longest waiting first."""
        self._open: set[asyncio.Task[None]] = set()
        self._of_peer: Counter[str] = Counter()
        self._refusing = 0
        self._busy = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    def serve_forever(self) -> None:
        """Serve in this thread until `shutdown`."""
        asyncio.run(self._serve())

    def shutdown(self) -> None:
        """Stop accepting, let what has arrived be answered; from any thread, or a signal handler. Twice is
        once.
        """
        self._is_stopped = True
        if self._loop is not None and self._stopping is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself meanwhile
                self._loop.call_soon_threadsafe(self._stopping.set)

    def server_close(self) -> None:
        """Let go of the address and the threads. Twice is once."""
        self._socket.close()
        self._threads.shutdown(wait=True)

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        if self._is_stopped:
            self._stopping.set()
        server = await asyncio.start_server(self._connection, sock=self._socket, limit=MAX_HEAD_BYTES)
        await self._stopping.wait()
        server.close()
        for task in list(self._waiting):
            task.cancel()
        if self._open:
            # Bounded: each has its own deadlines.
            await asyncio.wait(self._open)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        peer = network_of(_peer(writer))
        has_place = self._find_place(peer)
        self._open.add(task)
        self._of_peer[peer] += has_place
        self._refusing += not has_place
        try:
            if has_place:
                while await self._one(reader, writer, task, peer):
                    pass
            elif self._refusing <= _REFUSED_AT_ONCE:
                await self._refuse(reader, writer, Answer(503, b"busy\n", headers=_LATER))
            await self._close(writer)
        except (OSError, EOFError, TimeoutError, asyncio.CancelledError):
            logger.debug("connection_ended")  # a connection that broke, or was too slow, is nobody's concern
        finally:
            # Whatever is still to be sent is dropped: to close would keep it, and the descriptor, for as long
            # as the other side does not read.
            writer.transport.abort()
            self._open.discard(task)
            self._refusing -= not has_place
            self._of_peer[peer] -= has_place
            self._of_peer += Counter()  # forgets whoever has none

    def _find_place(self, peer: str) -> bool:
        """Whether a connection of this peer is let in; if need be, instead of the one that waits longest."""
        limits = self._limits
        is_peer_full = self._of_peer[peer] >= limits.connections_per_peer
        if not is_peer_full and len(self._open) - self._refusing < limits.connections:
            return True
        for task, whose in self._unasked.items():
            if whose == peer or not is_peer_full:
                del self._unasked[task]
                task.cancel()
                return True
        return False

    async def _close(self, writer: asyncio.StreamWriter) -> None:
        """Close once all is sent, for which there is the time of a request."""
        writer.close()
        async with asyncio.timeout(self._limits.request_s):
            await writer.wait_closed()

    async def _one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, task: asyncio.Task[None], peer: str
    ) -> bool:
        """Answer one request; whether the connection goes on."""
        is_head = False
        self._unasked[task] = peer
        try:
            first = await self._first_byte(reader, task)
            if not first:
                return False
            async with asyncio.timeout(self._limits.request_s):
                data = first + await reader.readuntil(b"\r\n\r\n")
                is_head = data.startswith(b"HEAD ")
                head = parse_head(data, _peer(writer))
                room = self._app.room(head)
                if isinstance(room, int):
                    body = await self._body(head, room, reader, writer)
        except asyncio.LimitOverrunError:
            self._unasked.pop(task, None)
            return await self._refuse(reader, writer, Answer(431, b"head too long\n"))
        except MalformedRequest as error:
            self._unasked.pop(task, None)
            refusal = Answer(error.status, f"{error}\n".encode())
            return await self._refuse(reader, writer, refusal, without_body=is_head)
        finally:
            self._unasked.pop(task, None)
        if isinstance(room, Answer):
            if head.length not in (None, 0) or not head.keep:
                return await self._refuse(reader, writer, room, without_body=is_head)
            await self._send(writer, room, keep=True, without_body=is_head)
            return True
        answer = await self._work(head, body)
        keep = head.keep and not self._is_stopped
        await self._send(writer, answer, keep=keep, without_body=is_head)
        return keep

    async def _first_byte(self, reader: asyncio.StreamReader, task: asyncio.Task[None]) -> bytes:
        """Wait for the next request; a stop ends this wait and no other."""
        if self._is_stopped:
            return b""
        self._waiting.add(task)
        try:
            async with asyncio.timeout(self._limits.idle_s):
                return await reader.read(1)
        finally:
            self._waiting.discard(task)

    async def _body(
        self, head: Head, room: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes:
        if head.length is None:
            if head.method in ("POST", "PUT"):
                raise MalformedRequest(411, "expected a Content-Length")
            return b""
        if head.length > room:
            raise MalformedRequest(400, f"expected a body of at most {room} bytes")
        if head.expects_continue:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return await reader.readexactly(head.length)

    async def _refuse(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: Answer,
        *,
        without_body: bool = False,
    ) -> bool:
        """Answer a request that was not read whole, and end: what follows could be anything.

        What is on its way is thrown away for a moment, or closing would take the answer back.
        """
        await self._send(writer, answer, keep=False, without_body=without_body)
        if writer.can_write_eof():
            writer.write_eof()
        left = _DRAINED_BYTES
        async with asyncio.timeout(min(2.0, self._limits.request_s)):
            while left > 0 and (chunk := await reader.read(MAX_HEAD_BYTES)):
                left -= len(chunk)
        return False

    async def _work(self, head: Head, body: bytes) -> Answer:
        """On a thread, if one is free."""
        assert self._loop is not None
        if self._busy >= 4 * self._limits.requests:
            return Answer(503, b"busy\n", headers=_LATER)
        self._busy += 1
        try:
            return await self._loop.run_in_executor(self._threads, self._app.answer, head, body)
        except Exception:
            logger.exception("request_failed")
            return Answer(500, b"internal error\n")
        finally:
            self._busy -= 1

    async def _send(
        self, writer: asyncio.StreamWriter, answer: Answer, *, keep: bool, without_body: bool = False
    ) -> None:
        self._app.count(answer)
        headers = {
            "Content-Type": answer.media_type,
            "Content-Length": str(len(answer.body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Connection": "keep-alive" if keep else "close",
            **answer.headers,
        }
        lines = [f"HTTP/1.1 {answer.status} {_phrase(answer.status)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        writer.write(head if without_body else head + answer.body)
        async with asyncio.timeout(self._limits.request_s + len(answer.body) / _SLOWEST_BYTES_S):
            await writer.drain()


_LATER = {"Retry-After": "1"}
_REFUSED_AT_ONCE = 64
"""Connections beyond the bound that are told so; further ones are closed without a word."""
_DRAINED_BYTES = 1 << 20
_SLOWEST_BYTES_S = 64 << 10
"""A large evidence file may take its time, at no less than this."""


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase


def _peer(writer: asyncio.StreamWriter) -> str:
    """The address of the other side; used for its rate alone, never kept nor logged."""
    name = writer.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) else ""
