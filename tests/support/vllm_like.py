"""A server shaped like vLLM's: FastAPI, OpenAI routes, server-sent events; deterministic to the byte.

`gates` let a test hold the stream back between two events; `closed` counts the streams whose generator was
closed.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import uvicorn
from fastapi import Body, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

MODEL = "tiny"


class VllmLike:
    """The application and what a test may look at. `app` is FastAPI's, so that middleware is added as vLLM
    does.
    """

    def __init__(self) -> None:
        self.gate = asyncio.Semaphore(0)
        self.is_gated = False
        self.closed = 0
        self.app = self._build()

    def _build(self) -> FastAPI:
        app = FastAPI()

        @app.get("/health")
        def health() -> Response:
            return Response()

        @app.post("/v1/chat/completions")
        async def chat(body: Annotated[dict[str, Any], Body()]) -> Response:
            return self._answer(body, chat=True)

        @app.post("/v1/completions")
        async def completions(body: Annotated[dict[str, Any], Body()]) -> Response:
            return self._answer(body, chat=False)

        @app.post("/v1/raw")
        async def raw(request: Request) -> Response:
            """Give back the chunks the request lists, as they are."""
            chunks = [bytes.fromhex(chunk) for chunk in json.loads(await request.body())]

            async def stream() -> AsyncIterator[bytes]:
                for chunk in chunks:
                    yield chunk

            return StreamingResponse(stream(), media_type="application/octet-stream")

        @app.post("/customers/{customer}/echo")
        async def echo(customer: str, request: Request) -> Response:
            return PlainTextResponse(await request.body(), headers={"x-customer": customer})

        @app.post("/v1/embeddings")
        async def broken() -> Response:
            raise RuntimeError("out of memory")

        @app.post("/v1/score", dependencies=[Depends(_needs_key)])
        async def score() -> dict[str, float]:
            return {"score": 0.5}

        return app

    def _answer(self, body: dict[str, Any], *, chat: bool) -> Response:
        words = [f"w{number} é" for number in range(int(body.get("max_tokens") or 5))]
        if not body.get("stream"):
            text = "".join(words)
            choice = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            return JSONResponse(_envelope({**choice, "finish_reason": "stop"}, chat=chat, event=False))
        return StreamingResponse(self._events(words, chat=chat), media_type="text/event-stream")

    async def _events(self, words: list[str], *, chat: bool) -> AsyncIterator[str]:
        try:
            for word in words:
                if self.is_gated:
                    await self.gate.acquire()
                delta = {"delta": {"content": word}} if chat else {"text": word}
                event = _envelope({**delta, "finish_reason": None}, chat=chat, event=True)
                yield f"data: {json.dumps(event)}\n\n"
            yield "data: [DONE]\n\n"
        finally:
            self.closed += 1


def _needs_key(request: Request) -> None:
    if "authorization" not in request.headers:
        raise HTTPException(401, "no key")


def _envelope(choice: dict[str, Any], *, chat: bool, event: bool) -> dict[str, Any]:
    kind = ("chat.completion" + (".chunk" if event else "")) if chat else "text_completion"
    return {"id": "cmpl-1", "object": kind, "created": 1, "model": MODEL, "choices": [{"index": 0, **choice}]}


@contextmanager
def served(app: Any, *, http: str = "httptools") -> Iterator[int]:
    """Serve an ASGI application with uvicorn on loopback, in a thread; yields the port."""
    config = uvicorn.Config(
        app,
        port=0,
        http=http,
        ws="none",
        date_header=False,
        log_level="critical",
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            while not server.started and thread.is_alive():
                threading.Event().wait(0.01)
            yield int(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(30)


def request_bytes(
    path: str, body: bytes, *headers: str, method: str = "POST", close: bool = True, chunked: bool = False
) -> bytes:
    """An HTTP/1.1 request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "host: t", "content-type: application/json", *headers]
    lines.append("connection: close" if close else "connection: keep-alive")
    if chunked:
        parts = [body[at : at + 7] for at in range(0, len(body), 7)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        lines.append("transfer-encoding: chunked")
    else:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def exchange(port: int, request: bytes) -> bytes:
    """Send `request`, return every byte that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request)
        received = []
        while part := connection.recv(65536):
            received.append(part)
        return b"".join(received)
