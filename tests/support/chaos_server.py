"""A pre-forking model server for the chaos tests: run as a script, so that PYTHONPATH chooses the version of
auditlog that serves.

    python tests/support/chaos_server.py PORT WORKERS WORKERS_FILE

The parent answers one request itself, so that its recorder runs, and only then forks: the worst case. A
worker that dies is replaced. SIGTERM ends the workers in order, then the parent. WORKERS_FILE always lists
the process ids of the workers.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

EVENTS = 6
PAUSE_S = 0.004
WARM_UP = b'{"n": -1}'


async def complete(request: Request) -> Response:
    """Answer what was asked, whole or as a stream of server-sent events."""
    asked = json.loads(await request.body())
    if not asked.get("stream"):
        await asyncio.sleep(PAUSE_S)
        return JSONResponse({"object": "text_completion", "choices": [{"index": 0, "text": str(asked["n"])}]})
    return StreamingResponse(events(asked["n"]), media_type="text/event-stream")


async def events(number: int) -> Any:
    """The pieces of a streamed answer."""
    for piece in range(EVENTS):
        choice = {"index": 0, "text": f"{number}.{piece} "}
        yield f"data: {json.dumps({'object': 'text_completion', 'choices': [choice]})}\n\n"
        await asyncio.sleep(PAUSE_S)
    yield "data: [DONE]\n\n"


def build() -> Any:
    """The wrapped application."""
    from auditlog.capture.asgi import AuditMiddleware

    app = Starlette(routes=[Route("/v1/completions", complete, methods=["POST"])])
    app.add_middleware(AuditMiddleware)
    return app


async def warm_up(app: Any) -> None:
    """One request, answered by the parent before it forks."""
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/v1/completions", "raw_path": b"/v1/completions", "query_string": b"", "root_path": "",
        "headers": [(b"content-type", b"application/json")], "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": WARM_UP, "more_body": False}

    async def send(_message: Any) -> None:
        return None

    await app(scope, receive, send)


def work(app: Any, listening: socket.socket) -> None:
    """Serve in a worker until SIGTERM; every exit handler runs."""
    config = uvicorn.Config(app, log_level="warning", access_log=False, ws="none", lifespan="on")
    uvicorn.Server(config).run(sockets=[listening])


def main() -> None:
    """Serve until SIGTERM."""
    port, wanted, listing = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen(256)
    app = build()
    asyncio.run(warm_up(app))
    is_ending = False

    def end(_signal: int, _frame: object) -> None:
        nonlocal is_ending
        is_ending = True

    signal.signal(signal.SIGTERM, end)
    workers: set[int] = set()
    while not is_ending:
        while len(workers) < wanted:
            child = os.fork()
            if child == 0:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                work(app, listening)
                sys.exit(0)
            workers.add(child)
            listing.write_text(" ".join(map(str, workers)))
        ended, _ = os.waitpid(-1, os.WNOHANG)
        if ended:
            workers.discard(ended)
        else:
            time.sleep(0.02)
    for worker in workers:
        os.kill(worker, signal.SIGTERM)
    for worker in workers:
        os.waitpid(worker, 0)


if __name__ == "__main__":
    main()
