"""Attributes on the caller's span: only if there is one, and never an exception."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider

from auditlog.capture import otel


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
