"""Settings from the environment: whatever they hold, they never raise; what is wrong is listed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlog.capture.settings import CaptureSettings, RouteRule

GOOD = {
    "AUDITLOG_LOG": "http://127.0.0.1:8700/logs/main/",
    "AUDITLOG_ORIGIN": "log.example/main",
    "AUDITLOG_TOKEN": "very-secret",
    "AUDITLOG_PRODUCER": "gpu-7",
    "AUDITLOG_STATE": "/var/lib/auditlog",
    "AUDITLOG_MODEL": "/models/m",
    "AUDITLOG_ROUTES": "POST /score=values, * /health=skip,post /x=record",
    "AUDITLOG_WAIT_MS": "35",
    "AUDITLOG_KEEP_DAYS": "30",
}
NAMES = [
    "LOG", "ORIGIN", "TOKEN", "TOKEN_FILE", "PRODUCER", "STATE", "MODEL", "MODEL_NAME", "ROUTES",
    "PUBLIC_URL", "WAIT_MS", "ENABLED", "STRICT", "KEEP_DAYS", "SPOOL_MIB", "STORE_MIB",
]  # fmt: skip


def test_good_settings_are_read() -> None:
    """Every variable lands in its field, and nothing is listed as wrong."""
    found = CaptureSettings.from_environ(GOOD)
    assert found.problems == ()
    assert found.is_usable
    assert found.log_url == "http://127.0.0.1:8700/logs/main"
    assert found.receipt_base == found.log_url
    assert found.routes == (
        RouteRule("POST", "/score", "values"),
        RouteRule("*", "/health", "skip"),
        RouteRule("POST", "/x", "record"),
    )
    assert (found.wait_ms, found.keep_s, found.producer) == (35, 30 * 86_400, "gpu-7")
    assert found.model_path == Path("/models/m")
    assert "very-secret" not in repr(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOG", "ftp://x"),
        ("LOG", "http://user:pw@host/logs/x"),
        ("LOG", "http://[::1"),
        ("LOG", "nonsense"),
        ("PRODUCER", "a b"),
        ("PRODUCER", "x" * 97),
        ("ORIGIN", "two words"),
        ("ORIGIN", "12345"),
        ("MODEL_NAME", "x" * 256),
        ("ROUTES", "POST=values"),
        ("ROUTES", "POST /x=maybe"),
        ("WAIT_MS", "-1"),
        ("WAIT_MS", "ten"),
        ("WAIT_MS", "9999999"),
        ("ENABLED", "perhaps"),
        ("TOKEN_FILE", "/run/secrets/token"),
    ],
)
def test_bad_values_are_listed_and_stop_recording(name: str, value: str) -> None:
    """A bad value is named, its text is not repeated if it may be a secret, and nothing is recorded."""
    found = CaptureSettings.from_environ({**GOOD, f"AUDITLOG_{name}": value})
    assert any(f"AUDITLOG_{name}" in problem for problem in found.problems)
    assert not found.is_usable
    assert "pw" not in "".join(found.problems)


def test_no_log_is_a_problem_unless_switched_off() -> None:
    """Installed but not configured is listed; switched off is nobody's problem."""
    assert CaptureSettings.from_environ({}).problems != ()
    off = CaptureSettings.from_environ({"AUDITLOG_ENABLED": "0"})
    assert off.problems == ()
    assert not off.is_usable


def test_token_file_is_read_each_time(tmp_path: Path) -> None:
    """A rotated token is found without a restart."""
    path = tmp_path / "token"
    path.write_text("one\n")
    env = {**GOOD, "AUDITLOG_TOKEN_FILE": str(path)}
    del env["AUDITLOG_TOKEN"]
    found = CaptureSettings.from_environ(env)
    assert found.read_token() == "one"
    path.write_text("two\n")
    assert found.read_token() == "two"


@given(st.dictionaries(st.sampled_from([f"AUDITLOG_{name}" for name in NAMES]), st.text(max_size=60)))
def test_no_environment_raises(env: dict[str, str]) -> None:
    """Any text in any variable gives settings."""
    found = CaptureSettings.from_environ(env)
    assert isinstance(found, CaptureSettings)
    assert found.is_usable <= bool(found.log_url)
