"""What others do to the same request, beside capture and in the same run.

None of them does what capture does: none waits for a disk, chains or promises before the answer leaves. They
are the usual ways of recording a request, each as its own documentation has it: a BaseHTTPMiddleware that
hashes both bodies and appends a line, the middleware of `ai-audit-trail`, Langfuse's tracing of a generation.
"""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from capture_world import App, load, stated
from measure import Result

_SINK = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *args): pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""

Peer = tuple[str, App, Callable[[], None]]
"""Name, the wrapped app, and what ends with everything delivered."""


def usual_middleware(app: App, folder: Path) -> Peer:
    """Hash request and response, append a JSON line."""
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.responses import Response

    lines = (folder / "usual.jsonl").open("a")

    async def dispatch(request: Any, call_next: Any) -> Response:
        body = await request.body()
        answer = await call_next(request)
        content = b"".join([chunk async for chunk in answer.body_iterator])
        line = {
            "time": time.time(), "path": request.url.path, "status": answer.status_code,
            "request": hashlib.sha256(body).hexdigest(), "response": hashlib.sha256(content).hexdigest(),
        }  # fmt: skip
        lines.write(json.dumps(line) + "\n")
        lines.flush()
        return Response(content, answer.status_code, dict(answer.headers))

    return (
        "a BaseHTTPMiddleware that hashes and appends a line",
        BaseHTTPMiddleware(app, dispatch),
        lines.flush,
    )


def ai_audit_trail(app: App, _folder: Path) -> Peer:
    """The middleware of ai-audit-trail with its store in memory."""
    from ai_audit import AuditConfig, ReceiptStore, init_audit_config
    from ai_audit.integrations.fastapi import AuditMiddleware

    init_audit_config(AuditConfig())
    return "ai-audit-trail 0.4.7", AuditMiddleware(app, store=ReceiptStore()), lambda: None


def langfuse(app: App, _folder: Path, sink: str) -> Peer:
    """A generation of Langfuse around the request, its spans exported to a server that takes them."""
    from langfuse import Langfuse

    logging.getLogger("langfuse").setLevel(logging.CRITICAL)
    client = Langfuse(public_key="pk-lf-bench", secret_key="sk-lf-bench", base_url=sink)

    async def traced(scope: Any, receive: Any, send: Any) -> None:
        asked, answered = bytearray(), bytearray()

        async def receiving() -> Any:
            message = await receive()
            asked.extend(message.get("body", b""))
            return message

        async def sending(message: Any) -> None:
            answered.extend(message.get("body", b""))
            await send(message)

        with client.start_as_current_observation(name="chat", as_type="generation") as generation:
            await app(scope, receiving, sending)
            question, answer = json.loads(asked), json.loads(answered)
            generation.update(
                input=question["messages"], output=answer["choices"], model=question["model"],
                model_parameters={"temperature": question["temperature"]},
            )  # fmt: skip

    return "Langfuse tracing", traced, client.flush


@contextmanager
def sink_process() -> Iterator[str]:
    """A server that takes everything, in a process of its own; gives its URL."""
    command = [sys.executable, "-c", _SINK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield f"http://127.0.0.1:{child.stdout.readline().strip()}"
        finally:
            child.kill()


def measure_peers(bare: App, folder: Path, *, pairs: int, requests: int) -> tuple[list[Result], list[str]]:
    """CPU that each adds to a 1 KB chat request (the usual middleware first), and why one was left out."""
    results, left_out = [], []
    with sink_process() as sink:
        for build in (usual_middleware, ai_audit_trail, lambda app, at: langfuse(app, at, sink)):
            try:
                name, app, finish = build(bare, folder)
            except ImportError as missing:
                left_out.append(f"peer left out: {missing.name} is not installed (pip install -e .[bench])")
                continue
            rows = [_added(bare, app, finish, requests) for _ in range(pairs + 1)][1:]
            results.append(stated(f"the same request under {name}", rows, "us CPU/request"))
    return results, left_out


def _added(bare: App, app: App, finish: Callable[[], None], requests: int) -> float:
    begun = time.process_time()
    load(bare, requests)
    middle = time.process_time()
    load(app, requests)
    finish()
    return (time.process_time() - middle - (middle - begun)) / requests * 1e6
