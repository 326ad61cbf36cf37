"""What becomes known of a decision: `auditlog.outcome(...)`, and facts for a decision being made.

    auditlog.outcome(id, label="repaid", score=0.93, reason_codes=["R1"], subject="123", item="instances/17")
    auditlog.facts(label="approved", subject="123")          inside the handler or the `@audited` function

Spec: entry.md, "outcome"; api.md, "Outcomes". In the serving process the recorder writes the entry; any other
process or service sends it to the log (AUDITLOG_LOG, AUDITLOG_TOKEN), which writes it. An outcome may come at
any time, and more than once: the log keeps all of them, a reader takes the newest.

Promises: bounded time; a wrong argument is a `FactsError` in the call that gave it. With AUDITLOG_ENABLED=0
both do nothing. Must never: put a fact in clear into an entry.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING

from auditlog.capture.facts import (
    MAX_LABEL_CHARS,
    RawHeaders,
    check_facts,
    decimal_text,
    is_decision_id,
    is_item,
    outcome_from_headers,
)
from auditlog.capture.process import recorder_of_this_process
from auditlog.capture.settings import CaptureSettings
from auditlog.errors import ConfigurationError, FactsError

if TYPE_CHECKING:
    from auditlog.capture.recorder import Recorder

SEND_TIMEOUT_S = 5.0
MAX_REASON_CODES = 64


def write_outcome(
    id: str,  # noqa: A002  the word of the format
    named: Mapping[str, object],
    *,
    item: str | None = None,
    recorder: Recorder | None = None,
    environ: Mapping[str, str] | None = None,
) -> None:
    """Record an outcome of the decision `id`, through this process's recorder or else over HTTP.

    Raises:
        FactsError: an id, item or fact that cannot be recorded.
        ConfigurationError: neither a recorder in this process nor AUDITLOG_LOG.
        LogUnreachable, AuthenticationError, NotFoundError, Pushback, SubmissionRefused: the log did not take
        it (other processes only); the same call may be made again.
    """
    facts = check_outcome(id, named, item)
    recorder = recorder or recorder_here()
    if recorder is not None and not recorder.settings.enabled:
        return
    if recorder is not None and recorder.is_recording and recorder.record_outcome(id, facts, item=item):
        return
    _send(id, facts, item, os.environ if environ is None else environ)


def check_outcome(id: object, named: Mapping[str, object], item: object) -> dict[str, object]:  # noqa: A002
    """The facts of an outcome in their committed forms. Raises FactsError."""
    if not is_decision_id(id):
        raise FactsError("outcome: expected the id of a decision (Audit-Id, a UUIDv7), found something else")
    check_item(item)
    facts = check_facts(checked_names(named))
    if not facts:
        raise FactsError("outcome: expected at least one fact, such as a label, found none")
    return facts


def check_item(item: object) -> None:
    """Whether this names one item of a decision: `instances/17`, `choices/1`, `data/3`. Raises FactsError."""
    if item is not None and not is_item(item):
        raise FactsError("item: expected a place such as 'instances/17', found something else")


def checked_names(named: Mapping[str, object]) -> dict[str, object]:
    """Facts by their well-known names, in the forms these have; others as they are. Raises FactsError."""
    facts = {name: value for name, value in named.items() if value is not None}
    for name in ("label", "subject", "purpose"):
        if name in facts:
            facts[name] = _text(facts[name], name)
    if "score" in facts:
        facts["score"] = decimal_text(facts["score"], "score")
    if "reason_codes" in facts:
        facts["reason_codes"] = _codes(facts["reason_codes"])
    return facts


def add_facts(named: Mapping[str, object]) -> bool:
    """Add facts to the decision being made here; whether there is one that takes them.

    Raises:
        FactsError: a fact that cannot be recorded.
    """
    from auditlog.capture.http_exchange import current_exchange
    from auditlog.capture.in_process import current_call

    facts = check_facts(checked_names(named))
    call, exchange = current_call.get(), current_exchange.get()
    if call is not None and call.add_facts(facts):
        return True
    return exchange is not None and exchange.add_facts(facts)


def recorder_here() -> Recorder | None:
    """The recorder of the request being answered, else the one this process has made; none is made here."""
    from auditlog.capture.http_exchange import current_exchange

    exchange = current_exchange.get()
    return exchange.recorder if exchange is not None else recorder_of_this_process.made()


def outcome_by_headers(recorder: Recorder, headers: RawHeaders, status: int | None) -> bool:
    """Write the outcome that the headers of an answered request ask for; whether there was one.

    Only with AUDITLOG_OUTCOME_HEADERS=1, and only if the application let the request through (below 400): the
    headers are the caller's word. Never raises, never waits.
    """
    if not recorder.settings.outcome_headers or status is None or not 200 <= status < 400:
        return False
    asked = outcome_from_headers(headers)
    if asked is None:
        return False
    recorder.record_outcome(asked.decision, asked.facts, item=asked.item)
    return True


def _text(value: object, name: str) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not 0 < len(text) <= MAX_LABEL_CHARS:
        raise FactsError(f"{name}: expected 1 to {MAX_LABEL_CHARS} characters, found something else")
    return text


def _codes(value: object) -> list[str]:
    codes = [value] if isinstance(value, str) else list(value) if isinstance(value, Iterable) else []
    if not 0 < len(codes) <= MAX_REASON_CODES:
        raise FactsError(f"reason_codes: expected 1 to {MAX_REASON_CODES} codes, found another number")
    return [_text(code, "reason_codes") for code in codes]


def _send(id: str, facts: Mapping[str, object], item: str | None, environ: Mapping[str, str]) -> None:  # noqa: A002
    """Have the log write the outcome: one request, at most `SEND_TIMEOUT_S`."""
    if environ.get("AUDITLOG_ENABLED", "1").strip().lower() in {"0", "false", "no", "off"}:
        return
    if not environ.get("AUDITLOG_LOG"):
        raise ConfigurationError(
            "outcome: expected a recorder in this process, or AUDITLOG_LOG and AUDITLOG_TOKEN, found neither"
        )
    from auditlog.capture.client import LogClient

    settings = CaptureSettings.from_environ(environ)
    if not settings.log_url:
        raise ConfigurationError("AUDITLOG_LOG: expected the URL of a log, found something else")
    members: dict[str, object] = {"decision": id, "facts": facts}
    if item is not None:
        members["item"] = item
    body = json.dumps(members, ensure_ascii=False, allow_nan=False).encode("utf-8")
    with closing(LogClient(settings.log_url, settings.read_token, timeout_s=SEND_TIMEOUT_S)) as client:
        client.keep_outcome(body)
