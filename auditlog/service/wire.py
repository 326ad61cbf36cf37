"""The server's side of one connection, with a bound on what comes outside of bodies.

The parser joins a header line for as long as it comes, so that one line without end would hold memory and the
event loop, before anybody has been asked for a token. Spec: auditlog/spec/api.md, "Limits and overload". What
of a body is held is `receive`'s. Must never: cut a request that keeps to the limits.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 << 10
"""Of request line and headers, of trailers, of what frames one chunk of a body; and one read beyond."""

HEAD_S = 30.0
"""How long a connection that was just made, or has begun a request, may take for all of its head."""

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedHttp(HttpToolsProtocol):  # type: ignore[misc]  # uvicorn's types are not checked here
    """HTTP/1.1 as uvicorn speaks it, cut where no request of ours goes."""

    head_s = HEAD_S

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._outside = 0
        """Bytes since the last of a body, or since a head was whole."""
        self._head_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request, but not for ever."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._have_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; attacker-controlled. Callbacks of the parser below say what it was."""
        if self.transport.is_closing():
            return
        self._outside += len(data)
        super().data_received(data)
        if self._outside > MAX_HEAD_BYTES:
            self._cut(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._expect_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._have_head()
        self._outside = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of its body."""
        self._outside = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """It is whole, trailers and all."""
        self._outside = 0
        super().on_message_complete()

    def _expect_head(self) -> None:
        if self._head_due is None:
            self._head_due = self.loop.call_later(self.head_s, self._cut, _TOO_SLOW)

    def _have_head(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None

    def _cut(self, answer: bytes) -> None:
        """Answer if nothing else is being answered, and close."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(answer)
        self.transport.close()
