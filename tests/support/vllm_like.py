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
from fastapi import Body, Depends, FastAPI, HTTPException, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from tests.support import vllm_streams
from tests.support.vllm_streams import MODEL


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

        @app.post("/v1/responses")
        async def responses(body: Annotated[dict[str, Any], Body()]) -> Response:
            words = _words(body, "max_output_tokens")
            if not body.get("stream"):
                return JSONResponse(vllm_streams.response_object("".join(words), "completed"))
            return self._streamed(vllm_streams.response_events(words))

        @app.post("/v1/messages")
        async def messages(body: Annotated[dict[str, Any], Body()]) -> Response:
            words, with_tool = _words(body), bool(body.get("tools"))
            if not body.get("stream"):
                return JSONResponse(vllm_streams.message_object("".join(words), with_tool=with_tool))
            return self._streamed(vllm_streams.message_events(words, with_tool=with_tool))

        @app.post("/api/chat")
        async def lines(body: Annotated[dict[str, Any], Body()]) -> Response:
            """A line of JSON for each word, as Ollama's API has it."""
            parts = [json.dumps({"model": MODEL, "response": word}) + "\n" for word in _words(body)]
            return self._streamed(iter(parts), "application/x-ndjson")

        @app.websocket("/v1/realtime")
        async def realtime(socket: WebSocket) -> None:
            await socket.accept(subprotocol="realtime")
            try:
                while True:
                    for said in vllm_streams.realtime_answer(await socket.receive_text()):
                        await socket.send_text(said)
            except WebSocketDisconnect:
                return

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
        words, calls = _words(body), chat and bool(body.get("tools"))
        if not body.get("stream"):
            text = "".join(words)
            choice = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            return JSONResponse(_envelope({**choice, "finish_reason": "stop"}, chat=chat, event=False))
        pieces = [{"delta": {"content": word}} if chat else {"text": word} for word in words]
        if calls:
            pieces = [{"delta": delta} for delta in vllm_streams.tool_deltas()]
        return self._streamed(_chunks(pieces, chat=chat, finish="tool_calls" if calls else None))

    def _streamed(self, events: Iterator[str], media_type: str = "text/event-stream") -> Response:
        """One message for each event; a gated server waits before each."""

        async def flow() -> AsyncIterator[str]:
            try:
                for event in events:
                    if self.is_gated and event != "data: [DONE]\n\n":
                        await self.gate.acquire()
                    yield event
            finally:
                self.closed += 1

        return StreamingResponse(flow(), media_type=media_type)


def _words(body: dict[str, Any], limit: str = "max_tokens") -> list[str]:
    return [f"w{number} é" for number in range(int(body.get(limit) or 5))]


def _chunks(pieces: list[dict[str, Any]], *, chat: bool, finish: str | None) -> Iterator[str]:
    for number, piece in enumerate(pieces):
        reason = finish if number + 1 == len(pieces) else None
        chunk = _envelope({**piece, "finish_reason": reason}, chat=chat, event=True)
        yield f"data: {json.dumps(chunk)}\n\n"
    yield "data: [DONE]\n\n"


def _needs_key(request: Request) -> None:
    if "authorization" not in request.headers:
        raise HTTPException(401, "no key")


def _envelope(choice: dict[str, Any], *, chat: bool, event: bool) -> dict[str, Any]:
    kind = ("chat.completion" + (".chunk" if event else "")) if chat else "text_completion"
    return {"id": "cmpl-1", "object": kind, "created": 1, "model": MODEL, "choices": [{"index": 0, **choice}]}


@contextmanager
def served(app: Any, *, http: str = "httptools", ws: str = "websockets-sansio") -> Iterator[int]:
    """Serve an ASGI application with uvicorn on loopback, in a thread; yields the port."""
    config = uvicorn.Config(
        app,
        port=0,
        http=http,
        ws=ws,
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
