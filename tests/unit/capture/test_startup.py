"""Settings that will not do what was meant: one clear line each, at start, and never at the first request."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

from auditlog.capture import CaptureSettings, Recorder
from auditlog.capture.settings import parse_routes
from auditlog.capture.startup import KNOWN_NAMES, doubts, merge_by_doubt

ROOT = Path(__file__).parents[3]
LOG = "https://log.example/logs/main"


def settings(tmp_path: Path, **changes: Any) -> CaptureSettings:
    """Settings with nothing against them, but for the changes."""
    good = {"log_url": LOG, "token": "alt_x", "state_dir": tmp_path / "state", "max_spool_bytes": 1}
    return CaptureSettings(**{**good, **changes})


def test_the_defaults_raise_no_doubt(tmp_path: Path) -> None:
    """A laptop, a server with sixteen workers and a pod start in silence, each with its own environment."""
    assert doubts(settings(tmp_path)) == []
    environ = {
        "AUDITLOG_LOG": LOG, "AUDITLOG_TOKEN": "alt_x", "AUDITLOG_STATE": str(tmp_path),
        "WEB_CONCURRENCY": "16", "AUDITLOG_SERVICE_HOST": "10.0.0.1", "AUDITLOG_SERVICE_PORT": "8700",
        "AUDITLOG_PORT": "tcp://10.0.0.1:8700",
        "AUDITLOG_PORT_8700_TCP_ADDR": "10.0.0.1", "AUDITLOG_LOG_SERVICE_SERVICE_PORT_HTTP": "8700",
        "AUDITLOG_SERVE_PORT": "8700", "AUDITLOG_SPOOL_MIB": "1",
    }  # fmt: skip
    found = CaptureSettings.from_environ(environ)
    assert found.problems == ()
    assert doubts(found, environ) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"durability": "log"},
            "AUDITLOG_WAIT_MS: expected 1000 or more with AUDITLOG_DURABILITY=log, found 20",
        ),
        ({"wait_ms": 0}, "AUDITLOG_WAIT_MS: expected more than 0"),
        (
            {"durability": "log", "mode": "fail_closed", "fail_after_ms": 500},
            "AUDITLOG_FAIL_AFTER_MS: expected 1000 or more",
        ),
        ({"heartbeat_s": 0}, "AUDITLOG_HEARTBEAT_S: expected more than 0, found 0"),
        (
            {"heartbeat_s": 0, "mode": "fail_closed"},
            "AUDITLOG_HEARTBEAT_S: expected more than 0 in fail_closed",
        ),
        ({"merge_by_s": 5}, "AUDITLOG_MERGE_BY_S: expected 60 or more, found 5"),
        ({"strict": True}, "AUDITLOG_STRICT: expected 0"),
        ({"model_name": "m"}, "AUDITLOG_MODEL_NAME: expected AUDITLOG_MODEL beside it"),
        ({"model_path": Path("/nonexistent/model")}, "AUDITLOG_MODEL: expected the model's files"),
        ({"token": None}, "AUDITLOG_TOKEN_FILE: expected a token with scopes enrol and submit, found none"),
        ({"token": "gehe\u00efm"}, "AUDITLOG_TOKEN: expected printable ASCII"),
        ({"token": None, "token_file": Path("/nonexistent/token")}, "AUDITLOG_TOKEN_FILE: expected to read"),
        ({"log_url": "http://log.example/logs/main"}, "AUDITLOG_LOG: expected https://"),
        ({"public_url": "http://log.example/logs/main"}, "AUDITLOG_PUBLIC_URL: expected https://"),
        ({"max_spool_bytes": 1 << 60}, "AUDITLOG_SPOOL_MIB: expected"),
        ({"state_dir": Path("/proc/version/state")}, "AUDITLOG_STATE: expected a directory to write in"),
    ],
)
def test_each_bad_value_or_combination_is_one_line(tmp_path: Path, changes: Any, says: str) -> None:
    """Naming the variable, what was expected and what was found, in that order."""
    (found,) = doubts(settings(tmp_path, **changes))
    assert found.startswith(says)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8700/l", "http://[::1]:8700/l", "http://localhost/l", ""])
def test_plain_http_on_this_host_is_fine(tmp_path: Path, url: str) -> None:
    """Nobody else is on that way."""
    assert doubts(settings(tmp_path, log_url=url, public_url=url)) == []


def test_a_switched_off_layer_has_nothing_to_complain_about(tmp_path: Path) -> None:
    """That it is off is said elsewhere."""
    assert doubts(settings(tmp_path, enabled=False, token=None, heartbeat_s=0), {"AUDITLOG_X": "1"}) == []


@pytest.mark.parametrize("content", [b"", b"two words", b"gehe\xc3\xafm", b"\xff"])
def test_a_token_file_that_holds_no_token_is_said_without_its_content(tmp_path: Path, content: bytes) -> None:
    """The content may be a secret all the same."""
    path = tmp_path / "token"
    path.write_bytes(content)
    (found,) = doubts(settings(tmp_path, token=None, token_file=path))
    assert found.startswith("AUDITLOG_TOKEN_FILE: expected one token")
    assert "words" not in found


def test_a_slip_of_the_pen_is_named_with_what_was_meant(tmp_path: Path) -> None:
    """A variable that nothing reads would otherwise be silence."""
    environ = {
        "AUDITLOG_TOKENFILE": "secret",
        "AUDITLOG_FAIL_CLOSED": "1",
        "OTHER": "x",
        "AUDITLOG_\x1b": "1",
    }
    found = doubts(settings(tmp_path), environ)
    assert len(found) == 3
    assert "perhaps AUDITLOG_TOKEN_FILE" in found[-1]
    assert "secret" not in "".join(found)
    assert "\x1b" not in "".join(found)


def test_adapters_are_looked_for_at_start(tmp_path: Path) -> None:
    """A pair that is none, a path that leads nowhere, and adapters of no model."""
    environ = {"AUDITLOG_ADAPTERS": f"a={tmp_path}, b={tmp_path / 'gone'}, c"}
    found = doubts(settings(tmp_path, model_path=tmp_path), environ)
    assert [text.partition(", found")[0] for text in found] == [
        f"AUDITLOG_ADAPTERS: expected the files of 'b' at {tmp_path / 'gone'}",
        "AUDITLOG_ADAPTERS: expected name=path",
    ]
    (found_alone,) = doubts(settings(tmp_path), environ)
    assert "expected AUDITLOG_MODEL beside it" in found_alone


def test_every_variable_that_the_package_reads_is_known() -> None:
    """So that no right name is called a slip."""
    found = set[str]()
    for path in (ROOT / "auditlog").rglob("*.py"):
        found |= set(re.findall(r'"(AUDITLOG_[A-Z_]*[A-Z])"', path.read_text("utf-8")))
    assert {name for name in found if not name.startswith("AUDITLOG_SERVE_")} <= KNOWN_NAMES


def test_a_merge_by_below_the_logs_own_delay_is_said(tmp_path: Path) -> None:
    """Promises then say the log's."""
    assert merge_by_doubt(settings(tmp_path, merge_by_s=90), 60) is None
    assert merge_by_doubt(settings(tmp_path), None) is None
    assert "at least the log's own delay of 100, found 90" in str(
        merge_by_doubt(settings(tmp_path, merge_by_s=90), 100)
    )


def test_a_start_says_all_of_it_once_before_the_first_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Problems keep it from recording and are errors, doubts are warnings; each is one event."""
    environ = {
        "AUDITLOG_LOG": "http://127.0.0.1:9/logs/main", "AUDITLOG_STATE": str(tmp_path),
        "AUDITLOG_TOKEN": "alt_secret", "AUDITLOG_HEARTBEATS": "5", "AUDITLOG_WAIT_MS": "0",
        "AUDITLOG_MODE": "open", "AUDITLOG_SPOOL_MIB": "1",
    }  # fmt: skip
    recorder = Recorder.from_environ(environ)
    recorder.start()
    assert recorder.new_exchange() is None
    recorder.close()
    said = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in said] == [logging.ERROR, logging.WARNING, logging.WARNING]
    assert "not recording: AUDITLOG_MODE: expected one of fail_open, fail_closed" in said[0][1]
    assert "AUDITLOG_WAIT_MS" in said[1][1]
    assert "perhaps AUDITLOG_HEARTBEAT_S" in said[2][1]
    assert recorder.problems == tuple(text.removeprefix("auditlog: ") for _, text in said)
    assert {getattr(record, "event", None) for record in caplog.records} == {"problem"}
    assert "alt_secret" not in caplog.text


def test_a_state_directory_that_cannot_be_used_is_one_clear_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At start, and not again with every try."""
    (tmp_path / "file").write_text("in the way")
    recorder = Recorder(
        settings(tmp_path, log_url="http://127.0.0.1:9/x", state_dir=tmp_path / "file" / "state")
    )
    recorder.start()
    recorder.start()
    recorder.close()
    lines = [record.getMessage() for record in caplog.records if "AUDITLOG_STATE" in record.getMessage()]
    assert lines
    assert len(lines) == len(set(lines))
    assert all("expected a directory to write in" in line for line in lines)


def test_names_no_file_system_takes_are_a_doubt_and_no_error(tmp_path: Path) -> None:
    """A path that is too long is said in a line, as one that is not there."""
    long = Path("/" + "a" * 5000)
    found = doubts(settings(tmp_path, model_path=long), {"AUDITLOG_ADAPTERS": f"a={long}"})
    assert len(found) == 2
    assert all("found nothing" in doubt for doubt in found)
    assert "File name too long" in doubts(settings(tmp_path, state_dir=long))[0]


def test_a_method_nobody_sends_is_said(tmp_path: Path) -> None:
    """A slip of the pen in a rule is named, with what was meant."""
    found = doubts(settings(tmp_path, routes=parse_routes("PSOT /x=values, * /y=skip, post /z=record", [])))
    assert found == ["AUDITLOG_ROUTES: expected a method of HTTP, perhaps POST, found 'PSOT'"]
