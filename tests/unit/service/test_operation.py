"""Health, metrics, the request log, the OpenAPI page, and the anchoring worker."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from auditlog import errors
from auditlog.anchoring.scheduler import State, Turn
from auditlog.core.batch import encode_batch
from tests.unit.service.fakes import Caller, FakeOpener, expect_problem, running, settings_for


def test_health_and_readiness(call: Caller, opener: FakeOpener) -> None:
    """Health answers always; ready follows the engines."""
    assert call("GET", "/health").json() == {"status": "ok"}
    assert call("GET", "/ready").json() == {"ready": True, "logs": {}, "standing": {}}
    opener.logs["hashes"].fault = "halted: a store failed"
    answer = call("GET", "/ready")
    assert (answer.status_code, answer.json()) == (
        503,
        {"ready": False, "logs": {"hashes": "halted"}, "standing": {}},
    )
    assert call("GET", "/health").status_code == 200


def test_a_log_that_does_not_publish_in_time_is_not_ready(call: Caller, opener: FakeOpener) -> None:
    """Committed is not enough: what is not published within the merge delay shows outside."""
    opener.logs["hashes"].publication_lag_s = 60.0
    assert call("GET", "/ready").status_code == 200
    opener.logs["hashes"].publication_lag_s = 61.5
    answer = call("GET", "/ready")
    assert (answer.status_code, answer.json()["logs"]) == (503, {"hashes": "publication_late"})
    text = call("GET", "/metrics").text
    assert 'auditlog_publication_lag_seconds{log="hashes"} 61.5' in text
    assert 'auditlog_log_ready{log="hashes"} 0.0' in text
    state = call("GET", "/logs", token="admin").json()["logs"]
    assert [(each["ready"], each["fault"]) for each in state if each["name"] == "hashes"] == [
        (False, "publication_late")
    ]


def test_metrics_count_what_happened(call: Caller, opener: FakeOpener) -> None:
    """Requests by template, problems by code, entries by log, sizes and readiness."""
    headers = {"Content-Type": "application/vnd.auditlog.batch"}
    body = encode_batch("head\n", [b"a", b"b"])
    call("POST", "/logs/hashes/batches", token="submit", content=body, headers=headers)
    call("GET", "/logs/hashes/entries/3")
    opener.logs["public"].fault = "halted"
    text = call("GET", "/metrics").text
    assert 'auditlog_http_requests_total{method="POST",route="/logs/{log}/batches",status="200"} 1.0' in text
    assert 'auditlog_problems_total{code="authentication"} 1.0' in text
    assert 'auditlog_entries_acknowledged_total{log="hashes"} 2.0' in text
    assert 'auditlog_log_published_size{log="hashes"} 8.0' in text
    assert 'auditlog_entries_flagged_total{flag="id_repeated",log="hashes"} 1.0' in text
    assert 'auditlog_log_ready{log="public"} 0.0' in text
    assert "auditlog_beside_processes 2.0" in text
    assert "auditlog_beside_restarts_total 1.0" in text


def test_no_label_holds_what_a_caller_wrote(call: Caller) -> None:
    """Paths, odd methods and capabilities never become labels."""
    call("GET", "/logs/hashes/receipts/0011223344556677/some-id/SECRETCAPABILITY")
    call("GET", "/made/up/path")
    call("BREW", "/logs")
    text = call("GET", "/metrics").text
    for word in ("SECRETCAPABILITY", "some-id", "made", "BREW"):
        assert word not in text


def test_metrics_can_ask_for_a_token_or_be_off(tmp_path: Path) -> None:
    """Beyond the loopback address a token is asked for unless told otherwise."""
    outside = {"host": "0.0.0.0", "public_url": "https://log.example"}
    with running(settings_for(tmp_path / "a", **outside), FakeOpener()) as call:
        expect_problem(call("GET", "/metrics"), 401, "authentication")
        assert call("GET", "/metrics", token="read").status_code == 200
    with running(settings_for(tmp_path / "b", metrics="off"), FakeOpener()) as call:
        expect_problem(call("GET", "/metrics", token="read"), 404, "not_found")


def test_two_apps_do_not_share_metrics(tmp_path: Path) -> None:
    """Each app has its own registry."""
    with (
        running(settings_for(tmp_path / "a"), FakeOpener()) as one,
        running(settings_for(tmp_path / "b"), FakeOpener()) as two,
    ):
        one("GET", "/health")
        assert 'route="/health"' in one("GET", "/metrics").text
        assert 'route="/health"' not in two("GET", "/metrics").text


def test_the_request_log_holds_no_secret(tmp_path: Path) -> None:
    """One line a request: template, status, time; no path, token, query or body."""
    with structlog.testing.capture_logs() as lines, running(settings_for(tmp_path), FakeOpener()) as call:
        call("GET", "/logs/hashes/receipts/0011223344556677/some-id/SECRETCAPABILITY?x=QUERY", token="read")
    done = [line for line in lines if line["event"] == "request_done"]
    assert done[0]["route"] == "/logs/{log}/receipts/{producer}/{decision}/{capability}"
    assert (done[0]["status"], done[0]["problem"]) == (404, "not_found")
    for word in ("SECRETCAPABILITY", "some-id", "QUERY", "token-for"):
        assert word not in str(lines)


def test_an_unexpected_error_is_told_inside_and_hidden_outside(tmp_path: Path) -> None:
    """The operator reads the error, the caller a problem without it."""
    opener = FakeOpener()
    with structlog.testing.capture_logs() as lines, running(settings_for(tmp_path), opener) as call:
        opener.logs["public"].entries = None  # type: ignore[assignment]
        answer = call("GET", "/logs/public/entries/3")
    expect_problem(answer, 500, "internal")
    assert "NoneType" not in answer.text
    assert any(line["event"] == "request_failed" and "NoneType" in str(line["exc_info"]) for line in lines)


def test_what_a_store_said_is_told_inside(tmp_path: Path) -> None:
    """A 503 hides the store's words from the caller and logs them."""
    opener = FakeOpener()
    with structlog.testing.capture_logs() as lines, running(settings_for(tmp_path), opener) as call:
        opener.logs["hashes"].refusal = errors.StorageError("no space left on /srv/data")
        body, headers = encode_batch("h\n", [b"a"]), {"Content-Type": "application/vnd.auditlog.batch"}
        answer = call("POST", "/logs/hashes/batches", token="submit", content=body, headers=headers)
    expect_problem(answer, 503, "storage")
    assert any("no space left" in str(line.get("error")) for line in lines)


def test_openapi_tells_the_truth_about_errors_and_bodies(call: Caller) -> None:
    """Every operation answers with a problem otherwise; the batch route is there."""
    page = call("GET", "/openapi.json").json()
    assert "/logs/{log}/batches" in page["paths"]
    assert "HTTPValidationError" not in str(page)
    for operations in page["paths"].values():
        for operation in operations.values():
            assert "application/problem+json" in operation["responses"]["default"]["content"]
            assert "422" not in operation["responses"]


class Anchors:
    """Counts its runs; each ends as it was told, or fails with what it was given."""

    def __init__(self, outcome: Turn | Exception | None = None) -> None:
        self.runs = 0
        self.outcome = outcome or Turn(State.IDLE)

    def run_once(self) -> Turn:
        """One run."""
        self.runs += 1
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@contextmanager
def anchoring(tmp_path: Path, anchors: Anchors, **more: Any) -> Iterator[Caller]:
    """The app, with turns as fast as they can be."""
    settings = settings_for(tmp_path)
    changed = {"interval_s": 0.01, "mode": "devnet", **more}
    settings = settings.model_copy(update={"anchoring": settings.anchoring.model_copy(update=changed)})
    opener = FakeOpener()
    opener.anchors = anchors
    with running(settings, opener) as call:
        yield call


def run_again(call: Caller, anchors: Anchors, times: int = 7) -> str:
    """Wait until there were so many more turns; return the metrics."""
    wanted = anchors.runs + times

    async def until() -> None:
        while anchors.runs < wanted:  # noqa: ASYNC110  the worker runs on a thread
            await asyncio.sleep(0.005)

    call.runner.run(until())
    return call("GET", "/metrics").text


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [(None, "ok"), (errors.LedgerError("x"), "ledger"), (RuntimeError("x"), "unexpected")],
)
def test_anchoring_goes_on_whatever_the_chain_does(tmp_path: Path, failure: Any, outcome: str) -> None:
    """Every log has its turn, failures are counted, and the next turn comes."""
    anchors = Anchors(failure)
    with structlog.testing.capture_logs(), anchoring(tmp_path, anchors) as call:
        text = run_again(call, anchors)
        assert f'auditlog_anchor_runs_total{{log="public",outcome="{outcome}"}}' in text


def waiting_s(metrics: str) -> float:
    """What the metrics say of one log's anchor."""
    found = re.search(r'^auditlog_anchor_waiting_seconds\{log="public"\} (\S+)$', metrics, re.MULTILINE)
    assert found is not None
    return float(found[1])


def test_finality_that_stalls_is_told_once_and_measured(tmp_path: Path) -> None:
    """A wait that began before this process counts; the warning comes once for each log, its end is said."""
    anchors = Anchors(Turn(State.WAITING, 9, waited_s=50.0))
    with structlog.testing.capture_logs() as lines, anchoring(tmp_path, anchors, stalled_after_s=100) as call:
        assert 50 <= waiting_s(run_again(call, anchors)) < 100
        assert not [line for line in lines if line["event"] == "anchor_stalled"]
        anchors.outcome = Turn(State.WAITING, 9, waited_s=7200.0)
        assert waiting_s(run_again(call, anchors)) >= 7200
        anchors.outcome = errors.LedgerError("the node is away too")
        assert waiting_s(run_again(call, anchors)) >= 7200
        anchors.outcome = Turn(State.ANCHORED, 9, waited_s=7201.0)
        assert waiting_s(run_again(call, anchors)) == 0
    told = [line["log"] for line in lines if line["event"] == "anchor_stalled"]
    assert sorted(told) == ["hashes", "private", "public"]
    assert {(line["size"], line["waited_s"]) for line in lines if line["event"] == "anchored"} == {
        (9, 7201.0)
    }


def test_a_chain_that_never_answers_is_a_stall_too(tmp_path: Path) -> None:
    """Nothing is on its way, since nothing could be sent: the wait counts from the first failure."""
    anchors = Anchors(errors.LedgerError("away"))
    with (
        structlog.testing.capture_logs() as lines,
        anchoring(tmp_path, anchors, stalled_after_s=0.01) as call,
    ):
        assert waiting_s(run_again(call, anchors)) > 0
    assert "anchor_stalled" in {line["event"] for line in lines}
