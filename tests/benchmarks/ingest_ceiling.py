"""The ceiling of ingest: read the socket, hash every entry, append, fsync as a group. No log, no index."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Ceiling:
    """An ASGI application; `AUDITLOG_CEILING_FILE` names the file it appends to."""

    def __init__(self) -> None:
        self._file = Path(os.environ["AUDITLOG_CEILING_FILE"]).open("ab", buffering=0)  # noqa: SIM115
        self._syncing: asyncio.Task[None] | None = None

    async def __call__(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Send
    ) -> None:
        """Answer one POST once its bytes are on disk."""
        if scope["type"] != "http":
            return
        parts, more = [], True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        body = b"".join(parts)
        if body:
            self._append(body)
            await self._synced()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}"})

    def _append(self, body: bytes) -> None:
        sha256, at = hashlib.sha256, 4 + int.from_bytes(body[:4], "big")
        while at < len(body):
            end = at + 2 + int.from_bytes(body[at : at + 2], "big")
            sha256(b"\x00" + body[at + 2 : end]).digest()
            at = end
        self._file.write(body)

    async def _synced(self) -> None:
        """Group commit: whoever arrives during a sync waits for the next one, which covers all of them."""
        before = self._syncing
        if before is not None and not before.done():
            await before
        if self._syncing is before or self._syncing is None or self._syncing.done():
            self._syncing = asyncio.create_task(asyncio.to_thread(os.fdatasync, self._file.fileno()))
        await self._syncing


def create_app() -> Ceiling:
    """The factory uvicorn calls."""
    return Ceiling()
