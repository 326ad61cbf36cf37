"""An OpenAI-compatible endpoint for the writing assistant:
`/v1/completions` and `/v1/chat/completions`, streaming or not.

The wire format is the one clients of such servers expect (server-sent events, `data: [DONE]` at the end).
The audit middleware is the one line; nothing else here knows of it.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI
from fastapi.responses import JSONResponse, Response, StreamingResponse

from auditlog.capture.asgi import AuditMiddleware
from auditlog.demo.assistant_model import MODEL_NAME, Assistant


def create_app() -> FastAPI:
    """Build the API around the model folder named by `AUDITLOG_MODEL`."""
    assistant = Assistant(Path(os.environ["AUDITLOG_MODEL"]))
    busy = threading.Lock()  # the model has one KV cache at a time
    app = FastAPI(title="Writing assistant")
    app.add_middleware(AuditMiddleware)  # <- the one line

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": MODEL_NAME, "object": "model", "owned_by": "demo"}]}

    @app.post("/v1/completions")
    def completions(body: Annotated[dict[str, Any], Body()]) -> Response:
        prompt = str(body.get("prompt", ""))
        return _answer(_Answer(chat=False, body=body), _pieces(assistant, busy, prompt, body))

    @app.post("/v1/chat/completions")
    def chat(body: Annotated[dict[str, Any], Body()]) -> Response:
        prompt = assistant.prompt_of(body.get("messages", []))
        return _answer(_Answer(chat=True, body=body), _pieces(assistant, busy, prompt, body))

    return app


def _pieces(assistant: Assistant, busy: threading.Lock, prompt: str, body: dict[str, Any]) -> Iterator[str]:
    with busy:
        yield from assistant.complete(
            prompt,
            max_tokens=int(body.get("max_tokens") or body.get("max_completion_tokens") or 48),
            temperature=float(body.get("temperature") or 0.0),
            seed=int(body.get("seed") or 0),
        )


class _Answer:
    """The members every answer and every stream event of one request share."""

    def __init__(self, *, chat: bool, body: dict[str, Any]) -> None:
        self.chat = chat
        self.stream = bool(body.get("stream"))
        self.id = ("chatcmpl-" if chat else "cmpl-") + uuid.uuid4().hex[:24]
        self.created = int(time.time())

    def envelope(self, choice: dict[str, Any], *, event: bool) -> dict[str, Any]:
        kind = "chat.completion" if self.chat else "text_completion"
        suffix = ".chunk" if event and self.chat else ""
        return {
            "id": self.id,
            "object": kind + suffix,
            "created": self.created,
            "model": MODEL_NAME,
            "choices": [{"index": 0, **choice}],
        }

    def whole(self, text: str) -> dict[str, Any]:
        content = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        return self.envelope({**content, "logprobs": None, "finish_reason": "stop"}, event=False)

    def event(self, piece: str, finish: str | None) -> bytes:
        content: dict[str, Any] = (
            {"delta": {"content": piece} if piece else {}} if self.chat else {"text": piece}
        )
        body = self.envelope({**content, "logprobs": None, "finish_reason": finish}, event=True)
        return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def _answer(answer: _Answer, pieces: Iterator[str]) -> Response:
    if not answer.stream:
        return JSONResponse(answer.whole("".join(pieces)))

    def events() -> Iterator[bytes]:
        for piece in pieces:
            yield answer.event(piece, None)
        yield answer.event("", "stop")
        yield b"data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")
