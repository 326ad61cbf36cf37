"""What the middleware adds to a request: CPU time of the serving thread and of the process, wall latency.

A real FastAPI app answers in process, once bare and once wrapped with a real recorder: real spool with
fsync, real disclosure store, and a log service in another process that accepts the batches. The ceiling is
the bare app: ratio = bare / wrapped.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI
from latency import measure_latency
from measure import Result, arguments, report

LOAN = {"income_thousands": 72.0, "loan_thousands": 89.0, "loan_to_price": 0.75, "credit_history_ok": 1.0}
CHAT_TEXT = "Records of automated decisions should be open to check. " * 14
CHAT = {
    "model": "m",
    "temperature": 0.2,
    "max_tokens": 64,
    "messages": [{"role": "user", "content": CHAT_TEXT}],
}


def build_app() -> Any:
    """Two routes that cost next to nothing themselves, so that the difference is the middleware."""
    app = FastAPI()
    answer = {"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": CHAT_TEXT}}]}

    @app.post("/predict")
    async def predict(body: Annotated[dict[str, float], Body()]) -> dict[str, Any]:
        return {"approved": body["loan_to_price"] < 0.8, "probability": 0.93}

    @app.post("/v1/chat/completions")
    async def chat(body: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        return answer

    return app


async def call(app: Callable[..., Awaitable[None]], path: str, body: bytes) -> None:
    """One request through the ASGI interface, without a server around it."""
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        # A benchmark of an app that refuses its requests would measure something else.
        if message.get("status", 200) != 200:
            raise RuntimeError(f"expected 200, found {message['status']}")

    await app(scope, receive, send)


def _timed(app: Any, path: str, body: bytes, requests: int, drain: Callable[[], None]) -> tuple[float, float]:
    """CPU seconds of the serving thread, and of the process until everything is on disk and sent."""

    async def run() -> None:
        for _ in range(requests):
            await call(app, path, body)

    thread, process = time.thread_time(), time.process_time()
    asyncio.run(run())
    thread = time.thread_time() - thread
    drain()
    return thread, time.process_time() - process


@contextmanager
def log_process() -> Iterator[str]:
    """A log service in memory, in a process of its own; gives its URL."""
    program = "import time\nfrom tests.support.fake_service import FakeLog\n"
    program += "with FakeLog().serve() as url:\n    print(url, flush=True)\n    time.sleep(3600)\n"
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=root
    ) as child:
        assert child.stdout is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            child.kill()


def _drain(recorder: Any) -> None:
    """Wait until every observation is on disk and acknowledged."""
    running, quiet = recorder.running, 0
    # Between taking from the queue and writing to the spool neither shows the work: look twice, apart.
    while quiet < 2:
        quiet = quiet + 1 if not len(running.intake) and running.sender.is_drained else 0
        time.sleep(0.02)


def measure(path: str, body: bytes, *, pairs: int, requests: int) -> list[Result]:
    """Interleave bare and wrapped runs of one route."""
    from auditlog.capture.asgi import AuditMiddleware
    from auditlog.capture.recorder import Recorder
    from auditlog.capture.settings import CaptureSettings

    with tempfile.TemporaryDirectory() as state, log_process() as url:
        settings = CaptureSettings(log_url=url, token="t", producer="b", state_dir=Path(state))
        recorder = Recorder(settings)
        recorder.start()
        bare = build_app()
        wrapped = AuditMiddleware(build_app(), recorder)
        rows = []
        for number in range(pairs + 1):
            ours = _timed(wrapped, path, body, requests, lambda: _drain(recorder))
            ceiling = _timed(bare, path, body, requests, lambda: None)
            if number:  # the first pair warms up
                rows.append((ours, ceiling))
        recorder.close()
    return [
        _result(f"{path}: serving thread", [(o[0], c[0]) for o, c in rows], requests),
        _result(f"{path}: whole process", [(o[1], c[1]) for o, c in rows], requests),
    ]


def _result(name: str, rows: list[tuple[float, float]], requests: int) -> Result:
    added = sorted((ours - ceiling) / requests * 1e6 for ours, ceiling in rows)
    ratios = sorted(ceiling / ours for ours, ceiling in rows)
    middle = len(rows) // 2
    return Result(
        name=f"added, {name} [{added[0]:.0f}..{added[-1]:.0f}]",
        value=round(added[middle], 1),
        unit="us CPU/request",
        ratio=round(ratios[middle], 3),
        ratio_low=round(ratios[0], 3),
        ratio_high=round(ratios[-1], 3),
        against="the bare app",
    )


def main() -> None:
    """Print what a loan decision and a 1 KB chat request cost more, and what a caller waits more."""
    options = arguments(__doc__ or "")
    pairs, requests = (5, 200) if options.quick else (15, 500)
    results: list[Result] = []
    for path, body in (("/v1/chat/completions", CHAT), ("/predict", LOAN)):
        results += measure(path, json.dumps(body).encode(), pairs=pairs, requests=requests)
    with log_process() as url:
        results += measure_latency(url, is_quick=options.quick)
    report(results, as_json=options.json)


if __name__ == "__main__":
    main()
