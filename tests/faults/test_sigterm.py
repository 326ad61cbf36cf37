"""SIGTERM of real servers: each chain ends with `notice stopped`, and all that was answered is sent."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from auditlog.demo.processes import free_port
from tests.support.fake_service import FakeLog

CALLS = 12
ROOT = Path(__file__).parents[2]
APP = """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from auditlog.capture.asgi import AuditMiddleware

async def complete(request):
    await request.body()
    return JSONResponse({"choices": [{"index": 0, "text": "yes"}]})

app = Starlette(routes=[Route("/v1/completions", complete, methods=["POST"])])
app.add_middleware(AuditMiddleware)
"""


@contextmanager
def serving(arguments: list[str], folder: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server process that records."""
    (folder / "served.py").write_text(APP)
    environment = {
        **os.environ, "AUDITLOG_LOG": url, "AUDITLOG_PRODUCER": "p", "AUDITLOG_STATE": str(folder / "state"),
        "PYTHONPATH": f"{folder}:{ROOT}",
    }  # fmt: skip
    with (folder / "server.txt").open("ab") as output:
        server = subprocess.Popen(arguments, env=environment, stdout=output, stderr=output)
    try:
        yield server
    finally:
        if server.poll() is None:
            server.kill()
        server.wait()


def ask(port: int) -> int:
    """One call in a connection of its own; its status, 0 where nobody listens yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/completions", b'{"n":1}', headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except OSError:
        return 0
    finally:
        connection.close()


def commands(port: int, folder: Path) -> dict[str, list[str]]:
    """The servers: one process, two workers, and a parent that forks after it has recorded itself."""
    uvicorn = [sys.executable, "-m", "uvicorn", "served:app", "--port", str(port), "--log-level", "warning"]
    forking = [sys.executable, str(ROOT / "tests/support/chaos_server.py")]
    return {
        "uvicorn": uvicorn,
        "uvicorn with two workers": [*uvicorn, "--workers", "2"],
        "a forking parent": [*forking, str(port), "2", str(folder / "workers.txt")],
    }


@pytest.mark.parametrize("kind", ["uvicorn", "uvicorn with two workers", "a forking parent"])
def test_sigterm_ends_every_chain_in_order(tmp_path: Path, kind: str) -> None:
    """No gap, one end for each beginning, every answered call in the log."""
    log, port = FakeLog("log.example/main"), free_port()
    with log.serve() as url, serving(commands(port, tmp_path)[kind], tmp_path, url) as server:
        deadline, answered = time.monotonic() + 60, 0
        while answered < CALLS:
            assert time.monotonic() < deadline, (tmp_path / "server.txt").read_text()[-2000:]
            status = ask(port)
            answered += status == 200
            if status != 200:
                time.sleep(0.05)
        server.send_signal(signal.SIGTERM)
        # Uvicorn alone says by the signal how it ended.
        assert server.wait(60) in (0, -signal.SIGTERM), (tmp_path / "server.txt").read_text()[-2000:]
    entries = log.entries()
    begun = {entry.instance for entry in entries if entry.kind == "instance"}
    ended = [
        entry.instance for entry in entries if entry.kind == "notice" and entry.body["what"] == "stopped"
    ]
    assert sorted(ended) == sorted(begun), json.dumps([entry.kind for entry in entries])
    last = {entry.instance: entry.kind for entry in entries}
    assert set(last.values()) == {"notice"}
    assert [entry for entry in entries if entry.kind == "gap"] == []
    assert len(log.decisions()) >= CALLS
