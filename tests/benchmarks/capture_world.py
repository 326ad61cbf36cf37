"""What the benchmarks of capture share: the app that is wrapped, the load on it, and how a figure is stated.

A small ASGI app answers requests in process, without a server, so that the difference between it and the
wrapped one is all that is measured. The recorder is a real one: spool and disclosure store with fsync, a log
in another process.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from measure import Result
from middleware import CHAT_TEXT

PATH = "/v1/chat/completions"
CHAT = {
    "model": "m",
    "temperature": 0.2,
    "max_tokens": 64,
    "messages": [{"role": "user", "content": CHAT_TEXT}],
}
ANSWER = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": CHAT_TEXT}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 200, "completion_tokens": 210, "total_tokens": 410},
}  # fmt: skip
BODY = json.dumps(CHAT, separators=(",", ":")).encode()
REPLY = json.dumps(ANSWER, separators=(",", ":")).encode()
AT_ONCE = 32
CHUNKS = 200
MIB = 1 << 20
PIECE = MIB // 16
PIECES = 1600
"""100 MB in pieces of 64 KiB."""

App = Callable[[Any, Any, Any], Awaitable[None]]
_CALIBRATION = 20_000


class Server:
    """The bare app. Each answer costs `compute_s`; streams have `CHUNKS` events."""

    def __init__(self, compute_s: float = 0.0, *, is_native: bool = False) -> None:
        """`is_native`: it computes outside the interpreter, as model servers do; else in Python."""
        self.compute_s = compute_s
        self._rounds = 0
        if is_native:
            begun = time.thread_time()
            hashlib.pbkdf2_hmac("sha256", b"", b"", _CALIBRATION)
            self._rounds = int(_CALIBRATION * compute_s / (time.thread_time() - begun))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Read the request, answer it."""
        while (await receive())["more_body"]:
            pass
        self._compute()
        query = scope["query_string"]
        kind = b"text/event-stream" if query == b"stream" else b"application/json"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        if query == b"large":
            for _ in range(PIECES):
                await send({"type": "http.response.body", "body": bytes(PIECE), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        elif query == b"stream":
            delta = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
            for _ in range(CHUNKS):
                await send({"type": "http.response.body", "body": delta, "more_body": True})
                await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})
        else:
            await send({"type": "http.response.body", "body": REPLY, "more_body": False})

    def _compute(self) -> None:
        if self._rounds:
            hashlib.pbkdf2_hmac("sha256", b"", b"", self._rounds)
        elif self.compute_s:
            until = time.thread_time() + self.compute_s
            while time.thread_time() < until:
                pass


class Seen:
    """What a client saw of answers: promises, and the instants of the first chunks."""

    def __init__(self) -> None:
        self.promised = 0
        self.first_s: list[float] = []
        self.took_s: list[float] = []


async def call(app: App, seen: Seen, query: bytes = b"", chunks: int = 0) -> None:
    """One request through the ASGI interface; with `chunks` a body of so many 64 KiB pieces."""
    started = time.perf_counter()
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": PATH, "raw_path": PATH.encode(), "query_string": query, "root_path": "",
        "headers": [(b"content-type", b"application/json")], "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }  # fmt: skip
    left, is_first = chunks, True

    async def receive() -> dict[str, Any]:
        nonlocal left
        if left <= 0:
            return {"type": "http.request", "body": BODY if not chunks else b"", "more_body": False}
        left -= 1
        return {"type": "http.request", "body": bytes(PIECE), "more_body": True}

    async def send(message: Any) -> None:
        nonlocal is_first
        if message["type"] == "http.response.start":
            seen.promised += any(name.lower() == b"audit-promise" for name, _ in message["headers"])
        elif is_first:
            is_first = False
            seen.first_s.append(time.perf_counter() - started)

    await app(scope, receive, send)
    seen.took_s.append(time.perf_counter() - started)


def load(app: App, requests: int, *, at_once: int = AT_ONCE, query: bytes = b"") -> Seen:
    """So many requests, `at_once` of them in flight."""
    seen = Seen()

    async def client(count: int) -> None:
        for _ in range(count):
            await call(app, seen, query)

    async def run() -> None:
        await asyncio.gather(*(client(requests // at_once) for _ in range(at_once)))

    asyncio.run(run())
    return seen


class World:
    """A wrapped and a bare app, and the recorder between them."""

    def __init__(self, url: str, state: str, *, server: Server | None = None, **settings: Any) -> None:
        from auditlog.capture.asgi import AuditMiddleware
        from auditlog.capture.recorder import Recorder
        from auditlog.capture.settings import CaptureSettings

        wanted = {
            "log_url": url, "token": "t", "producer": "b", "state_dir": Path(state), "heartbeat_s": 3600,
        }  # fmt: skip
        self.recorder = Recorder(CaptureSettings(**{**wanted, **settings}))
        self.recorder.start()
        self.bare: App = server or Server()
        self.wrapped: App = AuditMiddleware(self.bare, self.recorder)
        load(self.wrapped, AT_ONCE)
        self.drain()

    def drain(self) -> None:
        """Wait until every observation is on disk, in the store and acknowledged."""
        running, quiet = self.recorder.running, 0
        assert running is not None
        assert running.sender is not None
        assert running.writer is not None
        while quiet < 2:
            is_done = not len(running.intake) and running.sender.is_drained and not len(running.outbox)
            quiet = quiet + 1 if is_done and running.writer.is_tidy else 0
            time.sleep(0.05)

    def cpu(
        self, requests: int, query: bytes = b"", *, at_once: int = AT_ONCE
    ) -> tuple[float, float, float, Seen]:
        """CPU seconds: bare, wrapped until the last answer has left, wrapped until all is stored and sent."""
        begun = time.process_time()
        load(self.bare, requests, at_once=at_once, query=query)
        bare = time.process_time() - begun
        begun = time.process_time()
        seen = load(self.wrapped, requests, at_once=at_once, query=query)
        left = time.process_time() - begun
        self.drain()
        return bare, left, time.process_time() - begun, seen


def interval(values: list[float]) -> tuple[float, float]:
    """The 95 % bootstrap interval of the median."""
    choose = random.Random(1)
    medians = sorted(statistics.median(choose.choices(values, k=len(values))) for _ in range(2000))
    return medians[50], medians[1949]


def stated(
    name: str, values: list[float], unit: str, at_most: float | None = None, digits: int = 1
) -> Result:
    """One figure with its interval; the target is met when the interval's bad end meets it."""
    low, high = interval(values)
    return Result(
        name=f"{name} [{low:.{digits}f}..{high:.{digits}f}]",
        value=round(statistics.median(values), digits + 1),
        unit=unit,
        target="" if at_most is None else f"<= {at_most:g}",
        met=None if at_most is None else high <= at_most,
    )
