"""The one recorder of a process: made late, shared, remade after closing or forking, and it measures the
model.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from auditlog.capture import CaptureSettings, Recorder
from auditlog.capture.asgi import AuditMiddleware
from auditlog.capture.audited import audited
from auditlog.capture.process import RecorderSource, measure_model, parse_adapters
from auditlog.fingerprint import fingerprint_path
from tests.support.observing import START, ObservingRecorder, answering, body, drive, http_scope


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Settings with a log that is not there."""
    return {"AUDITLOG_LOG": "http://127.0.0.1:9/logs/main", "AUDITLOG_STATE": str(tmp_path / "state")}


def test_nothing_happens_before_first_use(environ: dict[str, str], tmp_path: Path) -> None:
    """Making a source and wrapping an application touches no file."""
    AuditMiddleware(answering(), source=RecorderSource(environ))
    assert list(tmp_path.iterdir()) == []


def test_one_recorder_until_it_is_closed(environ: dict[str, str]) -> None:
    """Every use gets the same recorder, started; after closing there is a new one."""
    source = RecorderSource(environ)
    first = source.get()
    assert first is not None
    assert first is source.get()
    assert first.is_recording
    source.close()
    assert not first.is_recording
    second = source.get()
    assert second is not None
    assert second is not first
    source.close()
    source.close()


def test_lifespan_owns_the_recorder(environ: dict[str, str]) -> None:
    """It is there before the application starts and closed when it has stopped."""
    source = RecorderSource(environ)
    seen: list[Recorder | None] = []

    async def app(scope: object, receive: object, send: object) -> None:
        seen.append(source._made)

    asyncio.run(AuditMiddleware(app, source=source)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert seen[0] is not None
    assert not seen[0].is_recording
    assert source._made is None


def test_the_first_request_makes_it_too(environ: dict[str, str]) -> None:
    """Servers without lifespan events get their recorder with the first request."""
    source = RecorderSource(environ)
    sent = asyncio.run(drive(AuditMiddleware(answering(START, body(b"{}")), source=source), http_scope()))
    assert b"audit-id" in dict(sent[0]["headers"])
    source.close()


def test_a_forked_worker_gets_its_own(environ: dict[str, str]) -> None:
    """A child process does not use its parent's recorder, which is another producer instance."""
    source = RecorderSource(environ)
    parent = source.get()
    assert parent is not None
    source._process._page, source._process._pid = None, os.getpid() + 1  # what a child finds
    child = source.get()
    assert child is not None
    assert child is not parent
    source.close()
    parent.close()


def test_a_recorder_that_cannot_be_made_is_logged(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The application is served all the same, and no secret of the settings is logged."""

    def broken(_: object) -> Recorder:
        raise RuntimeError("token-1234")

    monkeypatch.setattr(Recorder, "from_environ", broken)
    source = RecorderSource(environ)
    app = answering(START, body(b"{}"))
    assert asyncio.run(drive(AuditMiddleware(app, source=source), http_scope())) == [START, body(b"{}")]
    assert "RuntimeError" in caplog.text
    assert "token-1234" not in caplog.text
    source.close()


def test_middleware_and_functions_leave_one_entry() -> None:
    """An `@audited` handler behind the middleware is recorded once; the same function elsewhere by itself."""
    recorder = ObservingRecorder()

    @audited(recorder=recorder, operation="classify")  # type: ignore[arg-type]
    def decide(number: int) -> int:
        return number

    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        scope["endpoint"] = decide
        decide(1)
        decide(2)
        await answering(START, body(b"1"))(scope, receive, send)

    asyncio.run(drive(AuditMiddleware(app, recorder), http_scope("/own", "GET")))  # type: ignore[arg-type]
    decide(3)
    assert [seen.capture for seen in recorder.observations] == ["in_process", "asgi", "in_process"]
    assert [seen.request.data for seen in recorder.observations] == [b'{"number":2}', b"", b'{"number":3}']
    assert recorder.observations[1].operation == "classify"


def test_a_refusal_by_a_marked_handler_is_a_decision() -> None:
    """Where the layer knows that the handler ran, any status it chose is recorded."""
    recorder = ObservingRecorder()

    @audited(recorder=recorder)  # type: ignore[arg-type]
    def decide() -> None: ...

    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        scope["endpoint"] = decide
        decide()
        await answering({**START, "status": 429}, body(b"no"))(scope, receive, send)

    asyncio.run(drive(AuditMiddleware(app, recorder), http_scope("/own")))  # type: ignore[arg-type]
    assert recorder.only().status == 429


def test_the_model_of_the_settings_is_measured_and_registered(tmp_path: Path) -> None:
    """Root, file count, name and adapters reach the recorder when the measurement is done."""
    model, adapter = tmp_path / "model", tmp_path / "lora"
    for folder in (model, adapter):
        folder.mkdir()
        (folder / "weights.bin").write_bytes(folder.name.encode())
    settings = CaptureSettings(log_url="http://x.example", state_dir=tmp_path / "state", model_path=model)
    recorder = ObservingRecorder(settings)
    measurement = measure_model(recorder, adapters={"polite": adapter})  # type: ignore[arg-type]
    assert recorder.models == []
    measurement.start()
    assert measurement.join(30)
    [registered] = recorder.models
    assert (registered["name"], registered["files"], registered["source"]) == ("model", 1, None)
    assert registered["root"] == fingerprint_path(model, tmp_path / "other").root
    assert registered["adapters"] == (("polite", fingerprint_path(adapter, tmp_path / "other").root, 1),)
    assert (tmp_path / "state" / "fingerprints" / "manifests" / f"{registered['root'].hex()}.json").exists()


def test_a_model_that_cannot_be_measured_is_given_up(tmp_path: Path) -> None:
    """Decisions then read `unregistered` instead of waiting for ever; the server goes on."""
    settings = CaptureSettings(log_url="http://x.example", state_dir=tmp_path, model_path=tmp_path / "gone")
    recorder = ObservingRecorder(settings)
    measurement = measure_model(recorder)  # type: ignore[arg-type]
    measurement.start()
    assert measurement.join(30)
    assert recorder.models == [{"expected": False}]
    assert recorder.metrics.get("failures.fingerprint") == 1


def test_adapters_are_named_paths(caplog: pytest.LogCaptureFixture) -> None:
    """AUDITLOG_ADAPTERS is name=path, separated by commas; a bad item is logged without its text."""
    assert parse_adapters(" a=/x/a , b=/x=b,, secret") == {"a": Path("/x/a"), "b": Path("/x=b")}
    assert "expected name=path" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(("mode", "is_refused"), [("fail_closed", True), ("fail_close", True), ("", False)])
def test_without_any_recorder_the_mode_in_the_environment_decides(
    monkeypatch: pytest.MonkeyPatch, mode: str, is_refused: bool
) -> None:
    """fail_closed answers 503 where a decision would be made, and lets the rest pass."""

    def fail(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("auditlog.capture.process.Recorder.from_environ", fail)
    source = RecorderSource({"AUDITLOG_MODE": mode, "AUDITLOG_ROUTES": "GET /score=record, POST /free=skip"})
    app = AuditMiddleware(answering(START, body(b"{}")), source=source)
    for method, path, counts in (
        ("POST", "/v1/completions", True), ("PUT", "/x", True), ("GET", "/score", True),
        ("GET", "/health", False), ("POST", "/free", False),
    ):  # fmt: skip
        sent = asyncio.run(drive(app, http_scope(path, method)))
        assert sent[0]["status"] == (503 if is_refused and counts else 200), path


BAD = {"AUDITLOG_MODE": "fail_opne", "AUDITLOG_LOG": " "}


def problems_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines about settings."""
    return [record.getMessage() for record in caplog.records if getattr(record, "event", "") == "problem"]


def test_settings_are_judged_when_the_middleware_is_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A server without a lifespan says it at its start; one with several applications, and the recorder that
    is made later, do not say it again. Nothing is made on disk.
    """
    environ = {**BAD, "AUDITLOG_STATE": str(tmp_path / "state")}
    source = RecorderSource(environ)
    app = AuditMiddleware(answering(START, body(b"{}")), source=source)
    said = problems_in(caplog)
    assert [line.split(":")[2].strip() for line in said] == ["AUDITLOG_LOG", "AUDITLOG_MODE"]
    assert source.made() is None
    assert list(tmp_path.iterdir()) == []
    AuditMiddleware(answering(), source=source)
    asyncio.run(drive(app, http_scope()))
    made = source.made()
    assert problems_in(caplog) == said
    assert made is not None
    assert [f"auditlog: {problem}" for problem in made.problems] == said
    source.close()


def test_a_forked_worker_says_nothing_again(
    environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """What the process said that it was forked from; what only the worker finds it says."""
    source = RecorderSource({**environ, **BAD})
    AuditMiddleware(answering(), source=source)
    said = problems_in(caplog)
    source._process._page, source._process._pid = None, os.getpid() + 1  # what a child finds
    worker = source.get()
    assert worker is not None
    assert problems_in(caplog) == said
    worker.report("another")
    assert problems_in(caplog) == [*said, "auditlog: another"]
    source.close()


def test_a_function_that_redacts_is_not_imported_early(
    environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """The module that makes the middleware may be the one that defines it further down."""
    source = RecorderSource({**environ, "AUDITLOG_REDACT": "not.a.module:function", "AUDITLOG_TOKEN": "t"})
    AuditMiddleware(answering(), source=source)
    assert problems_in(caplog) == []
    source.get()
    assert "AUDITLOG_REDACT" in "".join(problems_in(caplog))
    source.close()


def test_a_recorder_that_was_handed_in_is_judged_too(caplog: pytest.LogCaptureFixture) -> None:
    """Settings made by hand without a log record nothing, and say so."""
    AuditMiddleware(answering(), Recorder(CaptureSettings()))
    assert "AUDITLOG_LOG: expected the URL of a log, found nothing" in problems_in(caplog)[0]
