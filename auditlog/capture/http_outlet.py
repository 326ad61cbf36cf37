"""The server's `send`, and what must reach it though nobody awaits it any more.

    forward      awaited by the application, as without us
    later        sent by a task of its own; before anything else that is sent
    despite      the application is being cancelled: what it had handed over leaves first

Promises: one order, that of the application. A server's refusal of what was sent later is raised where the
application sends next. Must never: keep a cancelled task for longer than `LAST_SEND_S`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auditlog.capture.http_exchange import HttpExchange

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

LAST_SEND_S = 0.1
"""So long may a cancellation wait for a client that reads slowly."""


class Outlet:
    """Sends the messages of one answer."""

    __slots__ = ("_exchange", "_late", "_refusal", "_send")

    def __init__(self, exchange: HttpExchange, send: Send) -> None:
        """Send with `send`; `exchange` is told when the server says that the client is gone."""
        self._exchange, self._send = exchange, send
        self._late: asyncio.Task[None] | None = None
        self._refusal: Exception | None = None

    @property
    def is_busy(self) -> bool:
        """Whether something sent later has not left, or was refused."""
        return self._late is not None

    async def forward(self, message: Message) -> None:
        """Send one message.

        Raises:
            OSError: the client is gone (ASGI 2.4). The application decides what to make of it.
        """
        try:
            await self._send(message)
        except OSError:
            self._exchange.hung_up()
            raise

    async def forward_all(self, messages: list[Message]) -> None:
        """Send them in order. Cancelled in between, the rest leaves all the same: it was handed over."""
        for at, message in enumerate(messages):
            try:
                await self.forward(message)
            except asyncio.CancelledError:
                await self.despite(messages[at + 1 :])
                raise

    def later(self, messages: list[Message]) -> None:
        """Send them without being awaited; needs asyncio."""
        self._late = asyncio.get_running_loop().create_task(self._send_late(self._late, messages))

    async def until_sent(self) -> None:
        """Wait for what is sent later.

        Raises:
            Exception: the server refused it, as it would have when the application sent it.
        """
        if self._late is not None:
            await asyncio.wait({self._late})
            self._late = None
        refusal, self._refusal = self._refusal, None
        if refusal is not None:
            raise refusal

    async def despite(self, messages: list[Message]) -> None:
        """Send them though this task is cancelled; if it is cancelled once more they leave by themselves."""
        if messages:
            self.later(messages)
        if self._late is not None:
            await asyncio.wait({self._late}, timeout=LAST_SEND_S)

    async def _send_late(self, before: asyncio.Task[None] | None, messages: list[Message]) -> None:
        if before is not None:
            await asyncio.wait({before})
        try:
            with contextlib.suppress(OSError):  # The application's next message meets it as well.
                for message in messages:
                    await self.forward(message)
        except Exception as refusal:  # noqa: BLE001  raised where the application sends next
            self._refusal = refusal


def has_loop() -> bool:
    """Whether this is asyncio: elsewhere there are no timers of ours, and no comments."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def is_buffer(chunk: object) -> bool:
    """Whether these are bytes, in any of the forms that servers take."""
    return isinstance(chunk, bytes | bytearray | memoryview)
