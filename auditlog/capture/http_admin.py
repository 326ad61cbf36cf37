"""A request to an admin route, which changes what is loaded: no decision, but a `model` entry may follow it.

    receive -> keep the first 64 KiB        send -> note the status        returned -> `admin_routes.observed`

Promises: every message passes unchanged and at once; errors of this layer are counted and go no further. Must
never: mint, record or hold anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from auditlog.capture.admin_routes import MAX_BODY_BYTES, observed
from auditlog.capture.route_names import request_path

if TYPE_CHECKING:
    from auditlog.capture.recorder import Recorder
    from auditlog.capture.routes import RoutePolicy

Message = MutableMapping[str, Any]


class AdminRequest:
    """The state of one such request."""

    __slots__ = ("_body", "_policy", "_receive", "_recorder", "_send", "_status", "scope")

    def __init__(
        self,
        recorder: Recorder,
        policy: RoutePolicy,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        self.scope = scope
        self._recorder, self._policy, self._receive, self._send = recorder, policy, receive, send
        self._body: bytes | None = b""
        self._status: int | None = None

    async def receive(self) -> Message:
        """What the application awaits for the request."""
        message = await self._receive()
        if message["type"] == "http.request" and self._body is not None:
            body = message.get("body", b"")
            is_small = len(self._body) + len(body) <= MAX_BODY_BYTES
            self._body = self._body + bytes(body) if is_small else None
        return message

    async def send(self, message: Message) -> None:
        """What the application awaits for the response."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
        await self._send(message)

    def ended(self) -> None:
        """The application has answered, or failed: follow what it changed."""
        path, query = request_path(self.scope), self.scope.get("query_string", b"")
        observed(self._recorder, self._policy, path, self._body, self._status, query=query)
