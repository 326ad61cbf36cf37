"""`auditlog doctor` on a recording host: settings as a start judges them, slots, heartbeats, promises."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auditlog.capture import CaptureSettings, Observation, ObservedBody, Recorder
from auditlog.capture.disabled import mark_disabled
from auditlog.capture.pulse import PulseNote, write_pulse
from auditlog.cli.main import run
from auditlog.service.instants import format_instant
from tests.support.fake_service import Answer, FakeLog

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory of a host whose log does not answer."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("AUDITLOG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AUDITLOG_LOG", "http://127.0.0.1:9/logs/main")
    monkeypatch.setenv("AUDITLOG_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("AUDITLOG_TOKEN", "alt_a-secret")
    return tmp_path / "state"


@pytest.fixture
def recorder(state: Path) -> Iterator[Recorder]:
    """A process that records there, with one decision that the log does not have."""
    found = Recorder(
        CaptureSettings(
            log_url="http://127.0.0.1:9/logs/main", producer="p", state_dir=state, close_timeout_s=0.5
        )
    )
    exchange = found.new_exchange()
    assert exchange is not None
    body = ObservedBody(b"{}")
    found.record(Observation(exchange, "chat", "in_process", 1, "ok", request=body, response=body))
    deadline = time.monotonic() + 20
    while found.metrics.get("recorded") == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield found
    found.close()


def findings(capsys: Capture) -> dict[str, list[tuple[str, str]]]:
    """What doctor says, by check."""
    run(["doctor", "--json"])
    found: dict[str, list[tuple[str, str]]] = {}
    said = capsys.readouterr()
    assert "alt_a-secret" not in said.out + said.err
    for each in json.loads(said.out)["checks"]:
        found.setdefault(each["check"], []).append((each["level"], each["text"]))
    return found


def levels(found: dict[str, list[tuple[str, str]]], check: str, words: str) -> set[str]:
    """How bad what is said with these words is."""
    return {level for level, text in found.get(check, []) if words in text}


def test_settings_are_judged_as_at_a_start(
    state: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bad values are problems, bad combinations and slips warnings, missing files problems of their own."""
    for name, value in {
        "MODE": "fail_shut", "DURABILITY": "log", "HEARTBEAT_S": "0", "SPOOL": "1",
        "MODEL": str(state / "none"),
    }.items():  # fmt: skip
        monkeypatch.setenv(f"AUDITLOG_{name}", value)
    monkeypatch.delenv("AUDITLOG_TOKEN")
    monkeypatch.setenv("AUDITLOG_TOKEN_FILE", str(state / "gone"))
    found = findings(capsys)
    assert levels(found, "capture", "AUDITLOG_MODE: expected one of") == {"problem"}
    assert levels(found, "capture", "AUDITLOG_WAIT_MS: expected 1000 or more") == {"warning"}
    assert levels(found, "capture", "AUDITLOG_HEARTBEAT_S: expected more than 0") == {"warning"}
    assert levels(found, "capture", "perhaps AUDITLOG_SPOOL_MIB") == {"warning"}
    assert levels(found, "model", "AUDITLOG_MODEL: expected the model's files") == {"problem"}
    assert levels(found, "token", "expected to read") == {"problem"}


def test_what_is_set_is_said_in_one_line(state: Path, capsys: Capture) -> None:
    """Mode, durability, wait, merge-by and heartbeat, as they will be."""
    text = "fail_open, durable on this host's disk, waits 20 ms, merge-by 86400 s, heartbeat 60"
    assert levels(findings(capsys), "capture", text) == {"ok"}


def test_a_state_directory_that_cannot_be_written_is_a_problem(
    state: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is a file in the way."""
    state.write_text("a file")
    monkeypatch.setenv("AUDITLOG_STATE", str(state / "below"))
    assert levels(findings(capsys), "state", "expected a directory to write in") == {"problem"}


def test_starts_that_were_switched_off_are_said(state: Path, capsys: Capture) -> None:
    """Until a start that records has declared them."""
    for _ in range(3):
        mark_disabled(state, 1_767_225_600_000_000, os.urandom)
    assert levels(findings(capsys), "disabled", "3 start(s) with AUDITLOG_ENABLED=0") == {"warning"}


def test_a_living_process_is_seen_by_its_heartbeat(recorder: Recorder, capsys: Capture) -> None:
    """Its age, and what the process itself complains about; a process that stopped beating is a problem."""
    running = recorder.running
    assert running is not None
    assert running.slot is not None
    now_us = time.time_ns() // 1000
    write_pulse(running.slot.directory, PulseNote(now_us, 60, ("middleware: \x1b[31mexpected",)))
    found = findings(capsys)
    assert levels(found, "heartbeat", "one every 60 s") == {"ok"}
    assert levels(found, "process", "middleware: ?[31mexpected") == {"warning"}
    write_pulse(running.slot.directory, PulseNote(now_us - 10**9, 60))
    assert levels(findings(capsys), "heartbeat", "the process hangs") == {"problem"}


def test_promises_past_due_are_a_problem(
    recorder: Recorder, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry is older than merge-by and not in the log."""
    assert "promises" not in findings(capsys)
    monkeypatch.setattr("time.time", lambda: time.time_ns() / 1e9 + 100_000)
    assert levels(findings(capsys), "promises", "past due") == {"problem"}
    assert levels(findings(capsys), "unsent", "not in the log") == {"problem"}


@pytest.mark.parametrize(("days", "level"), [(-1, "problem"), (2, "warning"), (300, "ok")])
def test_the_end_of_the_token_is_told(
    state: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, days: int, level: str
) -> None:
    """As the log said when a slot enrolled with it; of another token nothing is known."""
    log = FakeLog()
    log.token_expires = format_instant((time.time_ns() // 1000) + days * 86_400_000_000)
    with log.serve() as url:
        monkeypatch.setenv("AUDITLOG_LOG", url)
        assert levels(findings(capsys), "token", log.token_expires) == set()
        made = Recorder(CaptureSettings.from_environ(os.environ))
        made.start()
        deadline = time.monotonic() + 20
        while not list(state.glob("slots/*/enrolment.json")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        made.close()
        assert levels(findings(capsys), "token", log.token_expires) == {level}
        monkeypatch.setenv("AUDITLOG_TOKEN", "alt_another")
        assert levels(findings(capsys), "token", log.token_expires) == set()


def test_a_merge_by_below_the_logs_delay_is_said(
    state: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the log itself says its delay; nonsense is ignored."""
    log = FakeLog()
    honest = log._handle
    said: list[Any] = [100]

    def handle(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        answer = honest(method, path, headers, body)
        if path == "":
            answer.members["max_merge_delay_s"] = said[0]
        return answer

    monkeypatch.setattr(log, "_handle", handle)
    monkeypatch.setenv("AUDITLOG_MERGE_BY_S", "90")
    with log.serve() as url:
        monkeypatch.setenv("AUDITLOG_LOG", url)
        assert levels(findings(capsys), "merge_by", "found 90") == {"warning"}
        said[0] = "x"
        assert "merge_by" not in findings(capsys)
