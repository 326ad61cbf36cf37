"""Attributes on the caller's OpenTelemetry span, so that a trace leads to the entry (README.md, "Signals").

    auditlog.decision.id     the id in `Audit-Id`
    auditlog.entry.status    promised | deferred | recorded

Only if the application has loaded OpenTelemetry itself and a span is recording; `gen_ai.*` belongs to the
instrumentation of the model and is left alone. Must never: import OpenTelemetry, start a span, or raise.
"""

from __future__ import annotations

import sys
from typing import Any, Literal

EntryStatus = Literal["promised", "deferred", "recorded"]
"""What was known of the entry when the answer left: promised, waited for in vain, or handed over."""

DECISION_ID = "auditlog.decision.id"
ENTRY_STATUS = "auditlog.entry.status"


def current_span() -> Any | None:
    """The span of the code that calls, if it records; to be annotated later, from another context."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    try:
        span = trace.get_current_span()
        return span if span.is_recording() else None
    except Exception:  # noqa: BLE001  another library's code, in front of a request
        return None


def annotate(exchange_id: str, status: EntryStatus, span: Any | None = None) -> None:
    """Put id and status on `span`, or on the one that is current; nothing where there is none that records.

    Costs one dictionary look-up in a process without OpenTelemetry. Called again, the last status stands.
    """
    found = current_span() if span is None else span
    if found is None:
        return
    try:
        found.set_attribute(DECISION_ID, exchange_id)
        found.set_attribute(ENTRY_STATUS, status)
    except Exception:  # noqa: BLE001  another library's code, in front of a request
        return
