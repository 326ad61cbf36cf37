"""Field roots of large bodies: the helper gives the same roots, and its end costs nothing but time."""

from __future__ import annotations

import gzip
import json
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditlog.capture import field_roots as module
from auditlog.capture.field_roots import MAX_STARTS, FieldRootProcess, root_here
from auditlog.capture.request_fields import RequestFields, read_request_fields
from auditlog.capture.settings import CaptureSettings

KEY = bytes(range(32))
LARGE = json.dumps({"rows": [{"a": n, "b": "é"} for n in range(2000)]}).encode()
STREAM = b'data: {"choices":[{"index":0,"text":"hello"}]}\n\n' * 400 + b"data: [DONE]\n\n"


@pytest.fixture
def helper() -> Iterator[FieldRootProcess]:
    """A helper, ended at the end."""
    made = FieldRootProcess(logging.getLogger("test.fields"))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (b'{"a":1}', "json"),
        (LARGE, "json"),
        (gzip.compress(LARGE), "json"),
        (b"no json " * 2000, "json"),
        (b'{"a":1,"a":2,"x":"' + b"y" * 5000 + b'"}', "json"),
        (STREAM, "fold:openai.completions@v1"),
        (b"[" + b"1," * (1 << 20) + b"1]", "json"),
    ],
)
def test_the_helper_gives_the_same_roots(helper: FieldRootProcess, body: bytes, form: str) -> None:
    """Whatever the body, it is as if it had been cut here."""
    assert helper(KEY, "request", body, form) == root_here(KEY, "request", body, form)


def test_small_bodies_start_no_process(helper: FieldRootProcess) -> None:
    """Asking would take longer than doing it."""
    helper(KEY, "request", b'{"a":1}', "json")
    assert helper._child is None
    helper(KEY, "request", gzip.compress(b'{"a":1}'), "json")
    assert helper._child is not None


def test_a_killed_helper_is_replaced_and_at_last_given_up(helper: FieldRootProcess) -> None:
    """Every body has its root; after a few starts it is cut here."""
    expected = root_here(KEY, "request", LARGE, "json")
    for _ in range(MAX_STARTS + 2):
        assert helper(KEY, "request", LARGE, "json") == expected
        if helper._child is not None:
            os.kill(helper._child.pid, signal.SIGKILL)
            assert helper(KEY, "request", LARGE, "json") == expected
    assert helper._child is None
    assert helper._starts == MAX_STARTS


@pytest.mark.parametrize("program", ["", "raise SystemExit(1)", "print('something else', flush=True)"])
def test_a_program_that_is_no_helper_is_not_believed(
    helper: FieldRootProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """An embedded interpreter may have another program as its executable."""
    (tmp_path / "field_process.py").write_text(program)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "x.py"))
    assert helper(KEY, "request", LARGE, "json") == root_here(KEY, "request", LARGE, "json")
    assert helper._child is None


def test_a_helper_that_does_not_answer_is_ended(
    helper: FieldRootProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped helper holds nothing up for longer than the limit."""
    helper(KEY, "request", LARGE, "json")
    assert helper._child is not None
    os.kill(helper._child.pid, signal.SIGSTOP)
    monkeypatch.setattr(module, "ANSWER_S", 0.05)
    assert helper(KEY, "request", LARGE, "json") is not None
    assert helper._child is None


def test_no_secret_of_ours_is_in_its_environment(
    helper: FieldRootProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token stays in the serving process."""
    monkeypatch.setenv("AUDITLOG_TOKEN", "alt_secret-of-this-test")
    helper(KEY, "request", LARGE, "json")
    assert helper._child is not None
    assert b"alt_secret" not in Path(f"/proc/{helper._child.pid}/environ").read_bytes()


def test_the_setting_switches_it_off() -> None:
    """AUDITLOG_HELPER=0: everything in one process."""
    assert CaptureSettings.from_environ({"AUDITLOG_LOG": "http://x"}).helper
    assert not CaptureSettings.from_environ({"AUDITLOG_LOG": "http://x", "AUDITLOG_HELPER": "0"}).helper


@pytest.mark.parametrize(
    "request_body",
    [
        {"model": "m", "temperature": 0.7, "options": {"top_p": 0.5}, "stop": "x"},
        {"parameters": {"seed": 7}, "max_tokens": True, "model": 7},
        {"n": {"deep": [1]}, "model": 'é"\\'},
    ],
)
def test_large_requests_are_read_as_small_ones(request_body: dict[str, object]) -> None:
    """Leaving out what is not looked at changes nothing of what is."""
    small = json.dumps(request_body).encode()
    large = json.dumps({"messages": ["y" * 9000], **request_body, "tail": [1, {}]}).encode()
    assert read_request_fields(large) == read_request_fields(small) != RequestFields()


@pytest.mark.parametrize(
    "body", [b'{"a":' + b"[" * 9000, b'{"model":"m","x":NaN,"y":"' + b"z" * 9000 + b'"}']
)
def test_large_oddities_never_raise(body: bytes) -> None:
    """What the quick decoder does not take is left to the other one."""
    assert isinstance(read_request_fields(body), RequestFields)
