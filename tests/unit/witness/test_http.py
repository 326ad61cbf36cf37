"""The witness's server is bounded: in bytes, in time, in connections; and a stop answers what had arrived."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlog.witness.cosigner import Cosigner
from auditlog.witness.http import Answer, HttpServer, Limits
from auditlog.witness.metrics import METRICS, PREFIX, page
from auditlog.witness.requests import Head, MalformedRequest, parse_head
from auditlog.witness.server import WitnessServer
from auditlog.witness.states import States
from tests.support.build_witness_vectors import FORKED, LOG, NOW, WITNESS, grow

QUICK = Limits(connections=4, requests=2, request_s=0.5, idle_s=0.5)


class Echo:
    """Answers what came; waits where a test says so."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.counted: list[int] = []

    def room(self, head: Head) -> int | Answer:
        """Ten bytes."""
        return Answer(404, b"no\n") if head.path == "/none" else 10

    def answer(self, head: Head, body: bytes) -> Answer:
        """After the gate, if it is asked for."""
        if head.path == "/wait":
            self.entered.set()
            self.gate.wait(10)
        if head.path == "/fail":
            raise RuntimeError("a reason nobody foresaw")
        return Answer(200, body or b"-")

    def count(self, answer: Answer) -> None:
        """Statuses."""
        self.counted.append(answer.status)


Serve = Callable[[HttpServer], HttpServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve on a thread until the test ends."""
    running: list[tuple[HttpServer, threading.Thread]] = []

    def start(server: HttpServer) -> HttpServer:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join(10)
        assert not thread.is_alive()
        server.server_close()


def connect(server: HttpServer) -> socket.socket:
    """A raw connection."""
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def exchange(server: HttpServer, data: bytes) -> bytes:
    """Send, and read until the other side closes."""
    with connect(server) as raw:
        raw.sendall(data)
        found = b""
        while chunk := raw.recv(4096):
            found += chunk
        return found


def test_a_connection_carries_many_requests(serve: Serve) -> None:
    """Kept alive, with bodies and without, answers in order."""
    server = serve(HttpServer(("127.0.0.1", 0), Echo(), QUICK))
    with httpx.Client() as client:
        for number in range(5):
            assert client.post(f"{server.url}/x", content=b"%d" % number).content == b"%d" % number
            assert client.get(f"{server.url}/x").content == b"-"
            assert client.get(f"{server.url}/none").status_code == 404
        assert client.head(f"{server.url}/x").headers["content-length"] == "1"


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (b"400", b"nonsense\r\n\r\n"),
        (b"400", b"GET / HTTP/2.0\r\n\r\n"),
        (b"400", b"GET x HTTP/1.1\r\n\r\n"),
        (b"400", b"GET / HTTP/1.1\r\n folded\r\n\r\n"),
        (b"400", b"GET / HTTP/1.1\r\nA b: c\r\n\r\n"),
        (b"400", b"POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab"),
        (b"400", b"POST / HTTP/1.1\r\nContent-Length: +2\r\n\r\nab"),
        (b"400", b"POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n" + b"x" * 11),
        (b"411", b"POST / HTTP/1.1\r\n\r\n"),
        (b"501", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (b"431", b"GET / HTTP/1.1\r\nA: " + b"x" * (20 << 10) + b"\r\n\r\n"),
        (b"404", b"POST /none HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_ends(
    serve: Serve, status: bytes, data: bytes
) -> None:
    """Whatever two readers could read differently; nothing behind it is answered."""
    server = serve(HttpServer(("127.0.0.1", 0), Echo(), QUICK))
    answered = exchange(server, data + b"GET / HTTP/1.1\r\n\r\n")
    assert answered.startswith(b"HTTP/1.1 " + status)
    assert answered.count(b"HTTP/1.1 ") == 1


def test_a_failure_shows_no_trace(serve: Serve) -> None:
    """500 and a word; the next request is answered."""
    server = serve(HttpServer(("127.0.0.1", 0), Echo(), QUICK))
    with httpx.Client() as client:
        answer = client.get(f"{server.url}/fail")
        assert (answer.status_code, answer.text) == (500, "internal error\n")
        assert client.get(f"{server.url}/x").status_code == 200


def test_a_slow_client_is_cut_off_and_keeps_nobody_waiting(serve: Serve) -> None:
    """A head, a body, a next request that never come: the connection ends, others are answered meanwhile."""
    server = serve(HttpServer(("127.0.0.1", 0), Echo(), QUICK))
    begun = [b"", b"GET / HT", b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab"]
    slow = [connect(server) for _ in begun]
    for raw, data in zip(slow, begun, strict=True):
        raw.sendall(data)
    assert httpx.get(f"{server.url}/x").status_code == 200
    for raw in slow:
        assert raw.recv(100) == b""
        raw.close()


def test_connections_are_bounded(serve: Serve) -> None:
    """One too many is told to come back."""
    app = Echo()
    server = serve(HttpServer(("127.0.0.1", 0), app, Limits(connections=2, request_s=5, idle_s=5)))
    held = [connect(server) for _ in range(2)]
    for raw in held:
        raw.sendall(b"GET /x HTTP/1.1\r\n\r\n")
        assert raw.recv(1000).startswith(b"HTTP/1.1 200")
    assert exchange(server, b"").startswith(b"HTTP/1.1 503")
    for raw in held:
        raw.close()


def test_a_stop_answers_what_has_arrived(serve: Serve) -> None:
    """A request being worked on is answered; idle connections end at once; nobody new is let in."""
    app = Echo()
    server = serve(HttpServer(("127.0.0.1", 0), app, Limits(idle_s=60)))
    with connect(server) as idle, connect(server) as busy:
        busy.sendall(b"GET /wait HTTP/1.1\r\n\r\n")
        assert app.entered.wait(10)
        server.shutdown()
        assert idle.recv(10) == b""
        app.gate.set()
        answered = busy.recv(1000)
        assert answered.startswith(b"HTTP/1.1 200")
        assert b"Connection: close" in answered


def test_a_client_may_ask_before_it_sends_its_body(serve: Serve) -> None:
    """`Expect: 100-continue`."""
    server = serve(HttpServer(("127.0.0.1", 0), Echo(), QUICK))
    with connect(server) as raw:
        raw.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 100")
        raw.sendall(b"hi")
        assert raw.recv(1000).endswith(b"hi")


@given(st.binary(max_size=300))
def test_any_head_is_read_or_refused(data: bytes) -> None:
    """Nothing else is raised."""
    try:
        head = parse_head(data + b"\r\n\r\n", "peer")
    except MalformedRequest:
        return
    assert head.path.startswith("/")


def test_health_metrics_and_conflicts_are_shown(serve: Serve, tmp_path: Path) -> None:
    """Every log with its size and time; two histories; a store that was restored."""
    states = States(tmp_path, WITNESS.verifier)
    cosigner = Cosigner([LOG.verifier], WITNESS, states, lambda: NOW)
    server = serve(WitnessServer(("127.0.0.1", 0), cosigner, states))
    try:
        for body, status in ((grow(0, 8), 200), (grow(8, 8, FORKED), 422), (grow(0, 8), 409)):
            assert httpx.post(f"{server.url}/add-checkpoint", content=body).status_code == status
        health = httpx.get(f"{server.url}/health").json()
        assert health == {"status": "ok", "logs": 1, "epoch": 2, "restored": []}
        shown = httpx.get(f"{server.url}/metrics").text
    finally:
        states.close()
    for line in (
        f'{PREFIX}requests_total{{route="add-checkpoint",status="200"}} 1',
        f'{PREFIX}cosignatures_total{{log="{LOG.name}"}} 1',
        f'{PREFIX}refusals_total{{reason="not_consistent"}} 1',
        f'{PREFIX}refusals_total{{reason="other_size"}} 1',
        f'{PREFIX}tree_size{{log="{LOG.name}"}} 8',
        f'{PREFIX}cosigned_timestamp_seconds{{log="{LOG.name}"}} {NOW}',
        f'{PREFIX}conflicts{{kind="fork",log="{LOG.name}"}} 1',
        f"{PREFIX}commits_total 1",
        f"{PREFIX}restored 0",
        f"{PREFIX}epoch 2",
    ):
        assert line in shown.splitlines()
    names = {line.split(" ")[2] for line in shown.splitlines() if line.startswith("# TYPE")}
    assert names <= {PREFIX + metric.name for metric in METRICS}


def test_labels_are_escaped() -> None:
    """An origin may hold quotation marks and backslashes."""
    shown = page({"tree_size": [((("log", 'a"b\\c'),), 1.0)]}).decode()
    assert 'log="a\\"b\\\\c"} 1\n' in shown


def test_log_lines_are_json_and_name_no_peer() -> None:
    """One object a line, only the fields that are ours."""
    import logging

    from auditlog.witness.events import JsonLines

    record = logging.LogRecord("auditlog.witness", logging.INFO, "f", 1, "cosigned", None, None)
    record.__dict__ |= {"log": "x", "size": 3, "time": 5, "peer": "192.0.2.1"}
    value = json.loads(JsonLines().format(record))
    assert value["event"] == "cosigned"
    assert (value["log"], value["size"], value["at"]) == ("x", 3, 5)
    assert "192.0.2.1" not in json.dumps(value)
