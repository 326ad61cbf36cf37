"""Settings from the environment: whatever they hold, they never raise; what is wrong is listed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlog.capture.settings import CaptureSettings, RouteRule, means_fail_closed

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
        ("ROUTES", "POST /x=skip;POST /y=skip"),
        ("ROUTES", "POST /x;/y=skip"),
        ("ROUTES", "POST /x GET /y=skip"),
        ("ROUTES", "POST /x\tskip=skip"),
        ("LOG", ""),
        ("LOG", " "),
        ("LOG", "/"),
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


@pytest.mark.parametrize("name", ["LOG", "PUBLIC_URL", "ENGINE_METRICS"])
@pytest.mark.parametrize(
    "value",
    [
        "https://exämple.org/r",
        "https://a.example/xé",
        "https://a.example/x\r\nSet-Cookie: a=b",
        "https://a.example/x\ty",
        "https://a.example/x y",
        "https://a b.example/x",
        "http://localhost:abc/logs/x",
        "http://localhost:99999/logs/x",
        "http://localhost:0/logs/x",
        "http://localhost:/logs/x",
        "http://999.1.1.1/",
        "http://a..b/",
        "http://h\\x/",
        "http://[::1/logs",
        "http://h/?a=b",
        "https://" + "a" * 3000,
    ],
)
def test_a_url_is_one_that_a_header_can_hold(name: str, value: str) -> None:
    """ASCII, no white space, a host, a port from 1 to 65535: anything else is a problem at the start."""
    found = CaptureSettings.from_environ({**GOOD, f"AUDITLOG_{name}": value})
    assert any(f"AUDITLOG_{name}: expected an http(s) URL" in problem for problem in found.problems)


@pytest.mark.parametrize(
    "value",
    ["http://[::1]:8700/logs/a", "https://log_1.svc.cluster.local./a%20b", "HTTP://h", "http://10.0.0.1:1/x"],
)
def test_ordinary_urls_are_taken(value: str) -> None:
    """Addresses, names of clusters, escapes and ports."""
    found = CaptureSettings.from_environ({**GOOD, "AUDITLOG_LOG": value})
    assert (found.problems, found.log_url) == ((), value)


@pytest.mark.parametrize(
    ("text", "closes"),
    [
        ("fail_closed", True),
        ("FAIL-CLOSED", True),
        ("fail_close", True),
        ("failclosed", True),
        ("closed!", True),
        ("fail_opne", False),
        ("strict", False),
        ("fail_open", False),
        ("", False),
    ],
)
def test_a_mode_with_a_slip_of_the_pen_fails_on_the_safe_side(text: str, closes: bool) -> None:
    """It is a problem at the start, and what speaks of closing refuses all the same."""
    found = CaptureSettings.from_environ({**GOOD, "AUDITLOG_MODE": text})
    assert found.mode == ("fail_closed" if closes else "fail_open")
    is_word = text.lower().replace("-", "_") in ("", "fail_open", "fail_closed")
    assert is_word == (found.problems == ())
    assert means_fail_closed({"AUDITLOG_MODE": text}) is closes
    assert not means_fail_closed({"AUDITLOG_MODE": text, "AUDITLOG_ENABLED": "0"})


def test_a_switched_off_layer_has_no_problems() -> None:
    """Whatever the other variables hold, nothing of them is an error."""
    found = CaptureSettings.from_environ({"AUDITLOG_ENABLED": "0", "AUDITLOG_LOG": "nonsense"})
    assert found.problems == ()
    assert not found.is_usable


def test_a_home_directory_is_found() -> None:
    """`~` in a path is the home directory, wherever the text came from; an unknown one is a problem."""
    env = {**GOOD, "HOME": "/srv/x", "AUDITLOG_STATE": "~/state", "AUDITLOG_MODEL": "~/m"}
    found = CaptureSettings.from_environ(env)
    assert (found.state_dir, found.model_path) == (Path("/srv/x/state"), Path("/srv/x/m"))
    assert CaptureSettings.from_environ({**env, "AUDITLOG_STATE": "~no-such-user-7/x"}).problems != ()
