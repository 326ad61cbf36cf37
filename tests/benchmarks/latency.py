"""Wall latency that a caller sees, with and without the middleware: two real servers, asked in turn.

Each server is a process of its own with the same FastAPI app, one of them wrapped with a real recorder
(spool, disclosure store, a log in a third process). One client asks them alternately at a fixed rate over
kept connections, so that whatever disturbs the machine disturbs both. Part of `middleware.py`.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from measure import Result

PATH = "/v1/chat/completions"
QUANTILES = (50, 90, 99)


def body_of(size: int) -> bytes:
    """A request of about `size` bytes with many small values: the costliest kind to cut into fields."""
    rows = [{"a": number % 7, "b": number % 11, "c": "x"} for number in range(size // 32)]
    return json.dumps({"model": "m", "temperature": 0.2, "rows": rows}).encode()


def serve() -> None:
    """One server; prints its port. Wrapped if LATENCY_STATE names a state directory."""
    import uvicorn
    from middleware import build_app

    app: Any = build_app()
    state = os.environ.get("LATENCY_STATE")
    if state:
        from auditlog.capture import CaptureSettings, Recorder
        from auditlog.capture.asgi import AuditMiddleware

        url = os.environ["LATENCY_LOG"]
        recorder = Recorder(CaptureSettings(log_url=url, token="t", producer="b", state_dir=Path(state)))
        recorder.start()
        app = AuditMiddleware(app, recorder)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(16)
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off", timeout_keep_alive=600)
    uvicorn.Server(config).run(sockets=[listening])


@contextmanager
def server(**environ: str) -> Iterator[http.client.HTTPConnection]:
    """A running server, and a connection to it."""
    command = [sys.executable, str(Path(__file__))]
    with subprocess.Popen(
        command,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as child:
        assert child.stdout is not None
        try:
            yield http.client.HTTPConnection("127.0.0.1", int(child.stdout.readline()))
        finally:
            child.kill()


def ask(connection: http.client.HTTPConnection, body: bytes) -> float:
    """Milliseconds of one request."""
    started = time.perf_counter()
    connection.request("POST", PATH, body, {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise RuntimeError(f"expected 200, found {answer.status}")
    return (time.perf_counter() - started) * 1e3


def measure_latency(log_url: str, *, is_quick: bool) -> list[Result]:
    """The rows: quantiles of the wrapped server, against the bare one's."""
    share = 4 if is_quick else 1
    results = []
    with ExitStack() as stack:
        state = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        ours = stack.enter_context(server(LATENCY_STATE=state, LATENCY_LOG=log_url))
        bare = stack.enter_context(server())
        for name, size, requests, per_s in (
            ("1 KB", 1_000, 400, 50),
            ("100 KB", 100_000, 250, 20),
            ("1 MB", 1_000_000, 60, 2),
        ):
            rows = _alternate(ours, bare, body_of(size), requests // share, 1 / per_s)
            results += [_result(f"{name}, {per_s}/s", quantile, rows) for quantile in QUANTILES]
    return results


def _alternate(
    ours: http.client.HTTPConnection,
    bare: http.client.HTTPConnection,
    body: bytes,
    requests: int,
    every_s: float,
) -> tuple[list[float], list[float]]:
    times: tuple[list[float], list[float]] = ([], [])
    due = time.perf_counter()
    for number in range(requests + 5):
        for side in ((0, 1), (1, 0))[number % 2]:
            due += every_s / 2
            time.sleep(max(0.0, due - time.perf_counter()))
            taken = ask((ours, bare)[side], body)
            if number >= 5:  # the first ones warm up
                times[side].append(taken)
    return sorted(times[0]), sorted(times[1])


def _result(name: str, quantile: int, rows: tuple[list[float], list[float]]) -> Result:
    ours, bare = (side[min(len(side) - 1, len(side) * quantile // 100)] for side in rows)
    return Result(
        name=f"wall, {name}, p{quantile} (bare {bare:.2f})",
        value=round(ours, 2),
        unit="ms/request",
    )


if __name__ == "__main__":
    serve()
