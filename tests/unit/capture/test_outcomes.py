"""Outcomes: what became of a decision, from the serving process, another service, or a request's headers."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import auditlog
from auditlog.capture.asgi import AuditMiddleware
from auditlog.capture.disclose import find_record
from auditlog.capture.outcomes import check_item, checked_names, write_outcome
from auditlog.capture.process import recorder_of_this_process
from auditlog.capture.settings import CaptureSettings
from auditlog.core.bodies import check_body
from auditlog.errors import ConfigurationError, FactsError, LogUnreachable, SubmissionRefused
from tests.support.drafts import sealed, unsent_recorder
from tests.support.observing import DECISION_ID, START, ObservingRecorder, answering, body, drive, http_scope

ID = DECISION_ID.format(7)


class LogDouble:
    """What a log would be sent, and an answer with `status`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None, Any]] = []
        self.status = 200
        double = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["content-length"])))
                double.asked.append((self.path, self.headers["authorization"], content))
                answer = b'{"index":1,"leaf_hash":"00"}'
                self.send_response(double.status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.environ = {
            "AUDITLOG_LOG": f"http://127.0.0.1:{self.server.server_address[1]}/logs/main",
            "AUDITLOG_TOKEN": "alt_x",
        }


@pytest.fixture
def log() -> Iterator[LogDouble]:
    """A log on loopback that keeps what it was asked."""
    double = LogDouble()
    thread = threading.Thread(target=double.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield double
    double.server.shutdown()
    double.server.server_close()
    thread.join(10)


def test_another_service_sends_it_to_the_log(log: LogDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request with the decision, the item and the facts in their committed forms."""
    for name, value in log.environ.items():
        monkeypatch.setenv(name, value)
    auditlog.outcome(
        ID, label="repaid", score=0.93, reason_codes=("R1", "R2"), subject=123, item="instances/17",
        override={"by": "clerk", "label": "denied"}, branch="north",
    )  # fmt: skip
    facts = {
        "label": "repaid",
        "score": "0.93",
        "reason_codes": ["R1", "R2"],
        "subject": "123",
        "override": {"by": "clerk", "label": "denied"},
        "branch": "north",
    }
    asked = {"decision": ID, "item": "instances/17", "facts": facts}
    assert log.asked == [("/logs/main/outcomes", "Bearer alt_x", asked)]


def test_a_log_that_does_not_take_it_is_an_error(log: LogDouble) -> None:
    """The caller hears of it and may try again; nothing waits longer than the time-out."""
    log.status = 400
    with pytest.raises(SubmissionRefused):
        write_outcome(ID, {"label": "x"}, environ=log.environ)
    with pytest.raises(LogUnreachable):
        write_outcome(ID, {"label": "x"}, environ={"AUDITLOG_LOG": "http://127.0.0.1:9/logs/main"})


def test_without_recorder_and_log_the_error_says_what_is_missing() -> None:
    """A clear error, before anything is asked; with AUDITLOG_ENABLED=0 there is nothing to do."""
    with pytest.raises(ConfigurationError, match="AUDITLOG_LOG"):
        write_outcome(ID, {"label": "x"}, environ={})
    with pytest.raises(ConfigurationError, match="AUDITLOG_LOG"):
        write_outcome(ID, {"label": "x"}, environ={"AUDITLOG_LOG": "no url"})
    write_outcome(ID, {"label": "x"}, environ={"AUDITLOG_ENABLED": "0"})
    assert recorder_of_this_process.made() is None


def test_the_serving_process_writes_it_itself(tmp_path: Path) -> None:
    """An `outcome` entry with facts under a key of their own; decision and item are all that is readable."""
    recorder = unsent_recorder(tmp_path)
    recorder.start()
    write_outcome(ID, {"label": "repaid", "score": 1.5}, item="choices/1", recorder=recorder, environ={})
    [entry] = sealed(recorder, "outcome")
    assert check_body("outcome", entry) == []
    assert entry == {"decision": ID, "item": "choices/1", "facts": entry["facts"]}
    kept = find_record(tmp_path, ID, "outcome")
    assert kept.facts == b'{"label":"repaid","score":"1.5"}'


def test_a_handler_reaches_the_recorder_of_its_own_request() -> None:
    """Whatever recorder the middleware was given, an outcome from a handler goes there."""
    recorder: Any = ObservingRecorder()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        auditlog.outcome(ID, label="known")
        await answering(START, body(b"{}"))(scope, receive, send)

    asyncio.run(drive(AuditMiddleware(app, recorder), http_scope()))
    assert recorder.outcomes == [(ID, {"label": "known"}, None)]


def test_a_recorder_that_is_switched_off_is_silent() -> None:
    """AUDITLOG_ENABLED=0 breaks no application that reports outcomes."""
    recorder: Any = ObservingRecorder(CaptureSettings(enabled=False))
    write_outcome(ID, {"label": "x"}, recorder=recorder, environ={})
    assert recorder.outcomes == []


@pytest.mark.parametrize(
    "item", ["instances/17", "choices/1", "data/0", "inputs/0/data/3", "prompt/999999999"]
)
def test_items_of_batches(item: str) -> None:
    """A place of one item: names and a number."""
    check_item(item)


@pytest.mark.parametrize(
    "item",
    [
        "",
        "instances",
        "/instances/1",
        "instances/01",
        "instances/-1",
        "a/b",
        "1/1",
        "a//1",
        "a/1 ",
        7,
        "a/" * 200 + "1",
    ],
)
def test_other_items_are_refused(item: Any) -> None:
    """What names no item cannot be looked up by anyone."""
    with pytest.raises(FactsError, match="instances/17"):
        check_item(item)


@pytest.mark.parametrize(
    ("id", "named"),
    [
        ("7", {"label": "x"}),
        ("01900000-0000-7000-8000-00000000000A", {"label": "x"}),
        (None, {"label": "x"}),
        (ID, {}),
        (ID, {"label": None}),
        (ID, {"label": ""}),
        (ID, {"label": "a" * 5000}),
        (ID, {"label": 1.5}),
        (ID, {"subject": True}),
        (ID, {"score": "high"}),
        (ID, {"reason_codes": []}),
        (ID, {"reason_codes": [""]}),
        (ID, {"reason_codes": 5}),
        (ID, {"reason_codes": ["x"] * 65}),
        (ID, {"Bad-Name": 1}),
    ],
)
def test_wrong_arguments_are_errors_of_the_call(id: Any, named: dict[str, Any]) -> None:  # noqa: A002
    """Nothing is written; the message says what was expected."""
    with pytest.raises(FactsError, match="expected"):
        write_outcome(id, named, environ={})


def test_well_known_names_have_one_form() -> None:
    """Subjects are texts, one reason code is a list of one."""
    assert checked_names({"subject": 5, "reason_codes": "R1", "other": 5}) == {
        "subject": "5", "reason_codes": ["R1"], "other": 5
    }  # fmt: skip


@pytest.mark.parametrize(
    ("switched_on", "status", "expected"),
    [(True, 200, 1), (True, 204, 1), (False, 200, 0), (True, 401, 0), (True, 500, 0)],
)
def test_outcomes_by_headers_need_the_switch_and_the_application(
    switched_on: bool, status: int, expected: int
) -> None:
    """Any request that passes can carry one, if the operator lets it and the application let it through."""
    recorder: Any = ObservingRecorder(
        CaptureSettings(log_url="http://log.example/logs/main", strict=True, outcome_headers=switched_on)
    )
    headers = [(b"audit-outcome", ID.encode()), (b"audit-fact-label", b"repaid")]
    app = AuditMiddleware(answering({**START, "status": status}, body(b"")), recorder)
    for path, method in (("/v1/chat/completions", "POST"), ("/health", "GET")):
        asyncio.run(drive(app, http_scope(path, method, headers)))
    assert recorder.outcomes == [(ID, {"label": "repaid", "from_headers": ["label"]}, None)] * 2 * expected
