"""`auditlog probe`: what it sends is ordinary, what it keeps is judged, what is open is said."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from auditlog.cli import probe_requests
from auditlog.cli.main import run
from auditlog.cli.probe_requests import Asking
from auditlog.cli.probe_store import ProbeFolder
from auditlog.core.trust import format_trust
from tests.support.promise_world import Kept, World, honest_start


class Endpoint:
    """An endpoint of a model that promises, defers, streams or drops, as the test says."""

    def __init__(self) -> None:
        self.world = honest_start()
        self.ways: list[str] = []
        self.first: Kept | None = None
        self.requests: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        handler = type("Handler", (_Handler,), {"endpoint": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1/chat/completions"

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer."""
        way = self.ways[(len(self.bodies) - 1) % len(self.ways)]
        if way == "error":
            return 500, {}, b"broken"
        if way == "again":
            kept = self.first = self.first or self.world.decide()
        elif way == "dropped":
            with self.world.drop():
                kept = self.world.decide()
        else:
            kept = self.world.decide()
        encoded = base64.b64encode(kept.note.encode()).decode()
        if way == "comment":
            return 200, {"Content-Type": "text/event-stream"}, _stream(kept, encoded)
        if way == "silent":
            return 200, {"Audit-Status": "deferred"}, kept.response
        headers = {"Audit-Promise": encoded}
        if "Audit-Want" in self.requests[-1]:
            headers["Audit-Key"] = base64.b64encode(kept.exchange_key).decode()
        return 200, headers, kept.response

    def close(self) -> None:
        """Stop answering."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def _stream(kept: Kept, encoded: str) -> bytes:
    return b"data: " + kept.response + f"\n\n: audit-promise {encoded}\n\ndata: [DONE]\n\n".encode()


class _Handler(BaseHTTPRequestHandler):
    endpoint: Endpoint

    def do_POST(self) -> None:
        """Answer as the endpoint says."""
        self.endpoint.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.endpoint.requests.append(dict(self.headers))
        status, headers, body = self.endpoint.answer()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """A running one; whoever asks it has its clock."""
    found = Endpoint()
    monkeypatch.setattr(probe_requests, "now_us", lambda: found.world.now_s * 1_000_000)
    yield found
    found.close()


def laid_out(folder: Path, world: World) -> None:
    """The log as it is now, well after every promise was due, and a trust file."""
    world.now_s += 600
    world.publish()
    for path, content in world.source().files.items():
        target = folder / "log" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    (folder / "trust.json").write_bytes(format_trust(world.trust()))


def probed(
    capsys: pytest.CaptureFixture[str], folder: Path, endpoint: Endpoint, *more: object, requests: int = 6
) -> tuple[int, Any]:
    """Send, lay out the log, judge: the exit code and report of the judgement."""
    laid_out(folder, endpoint.world)
    where = ["--log", str(folder / "log"), "--trust", str(folder / "trust.json"), "--json"]
    count = ["--requests", str(requests), "--keep", str(folder / "probe")]
    assert run(["probe", endpoint.url, *where, *count, *map(str, more)]) in (0, 1, 3)
    capsys.readouterr()
    laid_out(folder, endpoint.world)
    code = run(["probe", "check", str(folder / "probe"), *where])
    return code, json.loads(capsys.readouterr().out)


def test_an_honest_endpoint_has_a_bound(
    endpoint: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Promises in headers and comments, all kept: exit 0, and the bound for six of six."""
    endpoint.ways = ["header", "comment"]
    code, report = probed(capsys, tmp_path, endpoint)
    assert (code, report["counts"]) == (0, {"in the log": 6})
    assert report["upper_bound_95"] == "0.393038"
    assert {each["promise"] for each in report["judged"]} == {"header", "comment"}


def test_dropped_entries_are_counted_and_leave_evidence(
    endpoint: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two of six are never recorded: exit 1, the rate, its bound, and evidence that verifies."""
    endpoint.ways = ["header", "header", "dropped"]
    code, report = probed(capsys, tmp_path, endpoint)
    assert (code, report["counts"]) == (1, {"BROKEN": 2, "in the log": 4})
    assert (report["omitted"], report["decided"], report["upper_bound_95"]) == (2, 6, "0.728662")
    files = sorted((tmp_path / "probe").glob("*.evidence"))
    assert len(files) == 2
    assert run(["promise", "evidence", str(files[0]), "--trust", str(tmp_path / "trust.json")]) == 0
    capsys.readouterr()
    assert run(["probe", "check", str(tmp_path / "probe"), "--trust", str(tmp_path / "trust.json")]) == 1
    assert "omitted: 2 of 6 decided (33.33%)" in capsys.readouterr().out


def test_without_promise_or_receipt_nothing_is_concluded(
    endpoint: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Recorded or not, nobody outside can tell: exit 3, the worst case beside the rate, and it is said."""
    endpoint.ways = ["header", "silent", "error"]
    code, report = probed(capsys, tmp_path, endpoint)
    assert code == 3
    assert report["counts"] == {"in the log": 2, "no answer": 2, "no promise, no receipt": 2}
    assert (report["decided"], report["not_shown"], report["answered"]) == (2, 2, 4)
    run(["probe", "check", str(tmp_path / "probe"), "--trust", str(tmp_path / "trust.json")])
    assert "cannot be proven or disproven from outside" in capsys.readouterr().out


@pytest.mark.parametrize("more", [(), ("--want-key",)], ids=["ordinary", "with the key"])
def test_one_promise_is_one_decision(
    endpoint: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    """One decision is recorded and its promise handed to all: one answer is shown, five are not."""
    endpoint.ways = ["again"]
    code, report = probed(capsys, tmp_path, endpoint, *more)
    assert code == 3
    if not more:
        assert report["counts"] == {"given before": 5, "in the log": 1}
    assert (report["not_shown"], report["answered"]) == (5 if not more else 6, 6)
    run(["probe", "check", str(tmp_path / "probe"), "--trust", str(tmp_path / "trust.json")])
    assert more or "5 answer(s) came with a promise or receipt that another" in capsys.readouterr().out


def test_one_broken_promise_is_broken_once(
    endpoint: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A promise that is broken and handed to all is one of one, and the other answers are not shown."""
    with endpoint.world.drop():
        endpoint.first = endpoint.world.decide()
    endpoint.world.decide()
    endpoint.ways = ["again"]
    code, report = probed(capsys, tmp_path, endpoint)
    assert (code, report["counts"]) == (1, {"BROKEN": 1, "given before": 5})
    assert (report["omitted"], report["decided"], report["not_shown"]) == (1, 1, 6)


def test_a_promise_of_another_time_is_not_of_this_request(
    endpoint: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Made before it was asked for by more than the clocks may differ: not shown; with more slack it is."""
    endpoint.ways = ["again"]
    endpoint.first = endpoint.world.decide()
    endpoint.world.now_s += 31
    code, report = probed(capsys, tmp_path, endpoint, requests=1)
    assert (code, report["counts"]) == (3, {"of another time": 1})
    where = [str(tmp_path / "probe"), "--trust", str(tmp_path / "trust.json")]
    assert run(["probe", "check", *where, "--clock-slack", "31"]) == 3
    sent = ProbeFolder(tmp_path / "probe").read().sent[0]
    assert sent.sent_at == sent.answered_at
    assert run(["probe", "check", *where, "--clock-slack", "631"]) == 0


def test_no_two_requests_are_alike() -> None:
    """Questions differ even where the numbers drawn do not; so does a body of one's own that asks."""
    drawn = iter([1, 2, 1, 2, 1, 2] * 50)
    bodies = Asking(draw=lambda _below: next(drawn)).bodies()
    assert len({next(bodies) for _ in range(7)}) == 7
    bodies = Asking(body=b'{"q":"{random}"}').bodies()
    assert len({next(bodies) for _ in range(50)}) == 50
    fixed = Asking(body=b'{"q":1}')
    assert fixed.is_one_for_all
    assert {body for body, _ in zip(fixed.bodies(), range(3), strict=False)} == {b'{"q":1}'}


def test_a_probe_looks_like_a_customer(
    endpoint: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No header of ours unless the key is wanted; bodies of the dialect; a body of one's own as it is."""
    endpoint.ways = ["header"]
    probed(capsys, tmp_path, endpoint, requests=2)
    assert not any("audit" in name.lower() for headers in endpoint.requests for name in headers)
    assert json.loads(endpoint.bodies[0])["messages"][0]["role"] == "user"
    assert endpoint.bodies[0] != endpoint.bodies[1]
    endpoint.requests.clear()
    endpoint.bodies.clear()
    (tmp_path / "body").write_bytes(b'{"mine":1}')
    (tmp_path / "key").write_text("sk-secret\n")
    again = tmp_path / "again"
    code, report = probed(
        capsys,
        again,
        endpoint,
        *("--body", tmp_path / "body", "--bearer-file", tmp_path / "key", "--want-key"),
        requests=1,
    )
    assert endpoint.bodies == [b'{"mine":1}']
    assert endpoint.requests[0]["Audit-Want"] == "key"
    assert endpoint.requests[0]["Authorization"] == "Bearer sk-secret"
    assert b"sk-secret" not in b"".join(path.read_bytes() for path in (again / "probe").iterdir())
    # The endpoint of this test commits to a request of its own: the bytes are not ours, and that is told.
    assert (code, report["counts"]) == (3, {"other bytes": 1})


def test_a_probe_is_kept_once(endpoint: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with a probe is not written over; mistakes are exit 2."""
    endpoint.ways = ["header"]
    probed(capsys, tmp_path, endpoint, requests=1)
    where = ["--log", str(tmp_path / "log"), "--trust", str(tmp_path / "trust.json")]
    assert run(["probe", endpoint.url, *where, "--keep", str(tmp_path / "probe")]) == 2
    assert run(["probe", endpoint.url]) == 2
    assert run(["probe", "nonsense", *where]) == 2
    assert run(["probe", "check"]) == 2
    assert run(["probe", "check", str(tmp_path)]) == 2
    assert run(["probe", endpoint.url, *where, "--dialect", "klingon", "--keep", str(tmp_path / "new")]) == 2
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "probe" / "probe.json").stat().st_mode & 0o777 == 0o600
    assert ProbeFolder(tmp_path / "probe").read().sent[0].status == 200
