"""Attributes on the caller's span: only if there is one, and never an exception."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from auditlog.capture import otel
from auditlog.capture.asgi import AuditMiddleware
from tests.support.observing import DECISION_ID, ObservingRecorder, drive, http_scope


def test_a_recording_span_gets_id_and_status() -> None:
    """The last status stands; what the model's own instrumentation wrote is left alone."""
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("chat", attributes={"gen_ai.operation.name": "chat"}) as span:
        otel.annotate("id-1", "deferred")
        otel.annotate("id-1", "promised")
    assert dict(span.attributes) == {  # type: ignore[attr-defined]
        "gen_ai.operation.name": "chat",
        "auditlog.decision.id": "id-1",
        "auditlog.entry.status": "promised",
    }


def test_a_span_found_before_can_be_annotated_later() -> None:
    """From another context, as when the answer ends on another task."""
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("chat") as span:
        held = otel.current_span()
        with tracer.start_as_current_span("inner") as inner:
            otel.annotate("id-2", "recorded", held)
    assert span.attributes["auditlog.decision.id"] == "id-2"  # type: ignore[attr-defined]
    assert not inner.attributes  # type: ignore[attr-defined]


@pytest.mark.parametrize("scope_type", ["http", "websocket"])
def test_the_span_is_the_one_the_request_came_in_with(scope_type: str) -> None:
    """Not one that the application has open when the answer, or the end of a turn, leaves."""
    tracer = TracerProvider().get_tracer("test")
    inner: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with tracer.start_as_current_span("model") as span:
            inner.append(span)
            if scope["type"] == "http":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"{}"})
            else:
                await send({"type": "websocket.accept"})
                await send({"type": "websocket.close", "code": 1000})

    scope = http_scope("/v1/chat/completions")
    if scope_type == "websocket":
        scope = {**scope, "type": "websocket", "path": "/v1/realtime"}
    with tracer.start_as_current_span("request") as outer:
        asyncio.run(drive(AuditMiddleware(app, ObservingRecorder()), scope, [b"{}"]))
    assert outer.attributes["auditlog.decision.id"] == DECISION_ID.format(1)  # type: ignore[attr-defined]
    assert not inner[0].attributes


def test_without_a_span_nothing_happens() -> None:
    """No span, or one that does not record."""
    otel.annotate("id-3", "recorded")
    assert otel.current_span() is None


def test_a_broken_library_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another library's exception stays away from the request."""
    broken = type(sys)("opentelemetry.trace")
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", broken)
    otel.annotate("id-4", "recorded")


def test_open_telemetry_is_never_imported() -> None:
    """A process without it pays a dictionary look-up."""
    code = (
        "import sys, auditlog.capture.otel as o; o.annotate('x', 'recorded');"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
