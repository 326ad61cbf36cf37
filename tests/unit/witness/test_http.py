"""The witness's server is bounded: in bytes, in time, in connections; and a stop answers what had arrived."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlog.witness.cosigner import Cosigner
from auditlog.witness.followed import name_of
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


class Large(Echo):
    """Answers of some size."""

    def answer(self, head: Head, body: bytes) -> Answer:
        """60 kB."""
        return Answer(200, bytes(60_000))


_LARGE_ANSWER = 60_000 + len(
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 60000\r\n"
    b"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: keep-alive\r\n\r\n"
)


def connect(server: HttpServer, sender: str = "127.0.0.1") -> socket.socket:
    """A raw connection."""
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10, source_address=(sender, 0))


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


@pytest.mark.parametrize("path", [b"/none", b"/none HTTP/9", b"/x HTTP/1.1\r\nTransfer-Encoding: chunked"])
def test_a_refused_head_has_no_body(serve: Serve, path: bytes) -> None:
    """Whatever it is refused for."""
    server = serve(HttpServer(("127.0.0.1", 0), Echo(), QUICK))
    line = path if b"HTTP" in path else path + b" HTTP/1.1"
    answered = exchange(server, b"HEAD " + line + b"\r\nContent-Length: 5\r\nConnection: close\r\n\r\n")
    assert answered.split(b" ")[1][:1] in (b"4", b"5")
    assert answered.endswith(b"\r\n\r\n")


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


def hold(server: HttpServer, app: Echo, sender: str = "127.0.0.1") -> socket.socket:
    """A connection whose request is being worked on."""
    app.entered.clear()
    raw = connect(server, sender)
    raw.sendall(b"GET /wait HTTP/1.1\r\n\r\n")
    assert app.entered.wait(10)
    return raw


def idle(server: HttpServer, sender: str = "127.0.0.1") -> socket.socket:
    """A connection that has been answered, and asks no more."""
    raw = connect(server, sender)
    raw.sendall(b"GET /x HTTP/1.1\r\n\r\n")
    assert raw.recv(1000).startswith(b"HTTP/1.1 200")
    return raw


def test_a_newcomer_takes_the_place_of_whoever_asks_nothing_for_longest(serve: Serve) -> None:
    """Idle connections starve nobody, begun requests neither; the others stay."""
    server = serve(HttpServer(("127.0.0.1", 0), Echo(), Limits(connections=3, request_s=9, idle_s=9)))
    held = [idle(server) for _ in range(3)]
    held[0].sendall(b"GET /x HT")
    assert httpx.get(f"{server.url}/x").status_code == 200
    assert held[0].recv(100) == b""
    held[1].sendall(b"GET /x HTTP/1.1\r\n\r\n")
    assert held[1].recv(1000).startswith(b"HTTP/1.1 200")
    for raw in held:
        raw.close()


def test_where_all_are_busy_one_too_many_is_told_to_come_back(serve: Serve) -> None:
    """The 503 arrives, whatever the newcomer has sent and nobody read."""
    app = Echo()
    server = serve(HttpServer(("127.0.0.1", 0), app, Limits(connections=2, request_s=9, idle_s=9)))
    held = [hold(server, app) for _ in range(2)]
    for _ in range(5):
        body = b"x" * (200 << 10)
        answered = exchange(server, b"POST /x HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        assert answered.startswith(b"HTTP/1.1 503")
        assert b"Retry-After: 1" in answered
    app.gate.set()
    for raw in held:
        assert raw.recv(1000).startswith(b"HTTP/1.1 200")
        raw.close()


def test_one_address_has_a_share_of_the_connections(serve: Serve) -> None:
    """It displaces its own alone; others find a place."""
    app = Echo()
    limits = Limits(connections=4, connections_per_peer=2, request_s=9, idle_s=9)
    server = serve(HttpServer(("127.0.0.1", 0), app, limits))
    quiet = idle(server, "127.0.0.2")
    own = idle(server)
    held = [hold(server, app)]
    held.append(hold(server, app))
    assert own.recv(100) == b"", "the one of this address that asked nothing"
    assert exchange(server, b"").startswith(b"HTTP/1.1 503")
    quiet.sendall(b"GET /x HTTP/1.1\r\n\r\n")
    assert quiet.recv(1000).startswith(b"HTTP/1.1 200")
    idle(server, "127.0.0.3").close()
    app.gate.set()
    for raw in (*held, own, quiet):
        raw.close()


def test_what_is_never_read_is_dropped_with_its_connection(serve: Serve) -> None:
    """Many requests, no answer taken: when its place is given back nothing of it is left to send."""
    server = serve(HttpServer(("127.0.0.1", 0), Large(), QUICK))
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    raw.connect((host, int(port)))
    raw.sendall(b"GET /x HTTP/1.1\r\n\r\n" * 500)
    with raw:
        while server.connections == 0:
            time.sleep(0.01)
        while server.connections:
            time.sleep(0.01)
        raw.settimeout(10)
        answered = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := raw.recv(1 << 20):
                answered += chunk
    assert 0 < answered.count(b"HTTP/1.1 200") < 500
    assert len(answered) % _LARGE_ANSWER, "cut, not sent out to the end of what was written"


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


def test_another_method_is_told_the_right_one(serve: Serve, tmp_path: Path) -> None:
    """405 with Allow wherever something is, 404 elsewhere."""
    states = States(tmp_path, WITNESS.verifier)
    cosigner = Cosigner([LOG.verifier], WITNESS, states, lambda: NOW)
    server = serve(WitnessServer(("127.0.0.1", 0), cosigner, states))
    try:
        for method, path, allowed in (
            ("GET", "/add-checkpoint", "POST"),
            ("HEAD", "/add-checkpoint", "POST"),
            ("PUT", "/add-checkpoint", "POST"),
            ("POST", "/health", "GET, HEAD"),
            ("DELETE", f"/{name_of(LOG.name)}/checkpoint", "GET, HEAD"),
        ):
            answer = httpx.request(method, f"{server.url}{path}")
            assert (answer.status_code, answer.headers.get("Allow")) == (405, allowed), (method, path)
        assert httpx.post(f"{server.url}/promises").status_code == 404
        assert httpx.post(f"{server.url}/elsewhere").status_code == 404
    finally:
        states.close()


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
