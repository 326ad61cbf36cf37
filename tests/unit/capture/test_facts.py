"""Facts: what headers may state, what applications may add, in which forms."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

import auditlog
from auditlog.capture.asgi import AuditMiddleware
from auditlog.capture.audited import audited
from auditlog.capture.facts import (
    MAX_FACTS,
    MAX_HEADER_CHARS,
    MAX_HEADER_FACTS,
    check_facts,
    decimal_text,
    facts_from_headers,
    merged,
    outcome_from_headers,
)
from auditlog.errors import AuditLogError, FactsError
from tests.support.observing import DECISION_ID, ObservingRecorder, drive, http_scope

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ID = DECISION_ID.format(7)


def test_headers_become_facts_and_say_where_they_came_from() -> None:
    """Trace context and request id are facts; `Audit-Fact-*` are, and are named as the caller's word."""
    headers = [(b"TraceParent", TRACE), (b"x-request-id", b" r-1 "), (b"Audit-Fact-Subject", b"123")]
    assert facts_from_headers(headers) == {
        "subject": "123",
        "traceparent": TRACE.decode(),
        "request_id": "r-1",
        "from_headers": ["subject"],
    }
    assert facts_from_headers([(b"content-type", b"x")]) is None


def test_reason_codes_are_a_list() -> None:
    """A comma separates codes; other facts keep theirs."""
    facts = facts_from_headers([(b"audit-fact-reason-codes", b"R1, R2,,"), (b"audit-fact-label", b"a, b")])
    assert facts is not None
    assert (facts["reason_codes"], facts["label"]) == (["R1", "R2"], "a, b")


@pytest.mark.parametrize(
    "header",
    [
        (b"traceparent", b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        (b"traceparent", b"00-00000000000000000000000000000000-b7ad6b7169203331-01"),
        (b"traceparent", TRACE.upper()),
        (b"traceparent", TRACE + b"-x"),
        (b"x-request-id", b"a b"),
        (b"x-request-id", b"a" * 129),
        (b"audit-fact-", b"1"),
        (b"audit-fact-9", b"1"),
        (b"audit-fact-" + b"a" * 65, b"1"),
        (b"audit-fact-traceparent", TRACE),
        (b"audit-fact-from-headers", b"x"),
        (b"audit-fact-label", b""),
        (b"audit-fact-label", b"\xff"),
        (b"audit-fact-label", b"a" * (MAX_HEADER_CHARS + 1)),
    ],
)
def test_odd_headers_are_as_good_as_absent(header: tuple[bytes, bytes]) -> None:
    """What is malformed, too long or ours to fill leaves no fact."""
    assert facts_from_headers([header]) is None


def test_the_number_of_header_facts_is_bounded() -> None:
    """A caller cannot fill an entry's store with facts."""
    facts = facts_from_headers([(b"audit-fact-f%d" % number, b"1") for number in range(100)])
    assert facts is not None
    assert len(facts) == MAX_HEADER_FACTS + 1


@given(st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=60)), max_size=20))
def test_any_headers_give_facts_that_json_can_hold(headers: list[tuple[bytes, bytes]]) -> None:
    """No bytes make it raise, and what comes out can be committed to."""
    named = [(b"audit-fact-" + key, value) for key, value in headers]
    for given_headers in (headers, named, [(b"audit-outcome", value) for _, value in headers]):
        json.dumps(facts_from_headers(given_headers))
        outcome_from_headers(given_headers)


def test_facts_beside_an_outcome_are_about_the_other_decision() -> None:
    """With `Audit-Outcome` the facts are the outcome's; the request keeps its trace."""
    headers = [(b"audit-outcome", ID.encode()), (b"audit-fact-label", b"repaid"), (b"traceparent", TRACE)]
    assert facts_from_headers(headers) == {"traceparent": TRACE.decode()}
    asked = outcome_from_headers([*headers, (b"audit-outcome-item", b"instances/3")])
    assert asked == (ID, {"label": "repaid", "from_headers": ["label"]}, "instances/3")


@pytest.mark.parametrize(
    "headers",
    [
        [(b"audit-outcome", ID.encode())],
        [(b"audit-fact-label", b"x")],
        [(b"audit-outcome", b"7"), (b"audit-fact-label", b"x")],
        [(b"audit-outcome", ID.encode()), (b"audit-fact-label", b"x"), (b"audit-outcome-item", b"../3")],
    ],
)
def test_half_an_outcome_is_none(headers: list[tuple[bytes, bytes]]) -> None:
    """Without a decision id, a fact, or a proper item there is nothing to write."""
    assert outcome_from_headers(headers) is None


def test_the_application_wins_over_headers() -> None:
    """What it adds replaces a header's fact, which is then no longer the caller's word."""
    stated = facts_from_headers([(b"audit-fact-label", b"yes"), (b"audit-fact-subject", b"1")])
    assert merged(stated, {"label": "no"}) == {"label": "no", "subject": "1", "from_headers": ["subject"]}
    assert merged(None, {}) is None
    assert merged(None, {"a": 1}) == {"a": 1}


def test_facts_are_checked_and_copied() -> None:
    """Floats become decimal strings, sets lists, None nothing; a later change of a value changes nothing."""
    codes = ["a"]
    facts = check_facts(
        {"score": 0.1, "codes": codes, "seen": {"b", "a"}, "left_out": None, "deep": {"x": [1.5]}}
    )
    codes.append("b")
    assert facts == {"score": "0.1", "codes": ["a"], "seen": ["a", "b"], "deep": {"x": ["1.5"]}}


@pytest.mark.parametrize(
    "facts",
    [
        {"Label": 1},
        {"a" * 65: 1},
        {"traceparent": "x"},
        {"from_headers": []},
        {"x": object()},
        {"x": float("nan")},
        {"x": "a" * 70_000},
        {"x": b"bytes"},
        {f"f{number}": 1 for number in range(MAX_FACTS + 1)},
    ],
)
def test_facts_that_cannot_be_recorded_are_refused(facts: dict[str, Any]) -> None:
    """Names, sizes and forms are checked in the call that gave them, with an error of ours."""
    with pytest.raises(FactsError) as caught:
        check_facts(facts)
    assert isinstance(caught.value, AuditLogError | ValueError)
    assert "expected" in str(caught.value)


@pytest.mark.parametrize("score", [0.93, "0.930", 1, Decimal("-1.5"), "1e-7"])
def test_scores_are_decimal_strings(score: Any) -> None:
    """A number's own digits are kept."""
    assert decimal_text(score, "score") == str(score)


@pytest.mark.parametrize("score", [float("inf"), "nan", "", "0x1", "1.", True, None, "1" * 50])
def test_scores_are_finite_numbers(score: Any) -> None:
    """Anything else is refused."""
    with pytest.raises(FactsError):
        decimal_text(score, "score")


def test_a_handler_adds_facts_to_its_own_request() -> None:
    """`auditlog.facts` reaches the decision being answered, from a thread of the server as well."""
    recorder = ObservingRecorder()
    app = FastAPI()

    @app.post("/predict")
    def predict() -> dict[str, bool]:
        return {"took": auditlog.facts(label="approved", score=0.25, subject=123)}

    headers = [(b"audit-fact-label", b"denied"), (b"x-request-id", b"r-1")]
    sent = asyncio.run(drive(AuditMiddleware(app, recorder), http_scope("/predict", headers=headers)))  # type: ignore[arg-type]
    assert sent[1]["body"] == b'{"took":true}'
    assert recorder.only().facts == {
        "label": "approved", "score": "0.25", "subject": "123", "request_id": "r-1"
    }  # fmt: skip


def test_without_a_decision_facts_go_nowhere() -> None:
    """Outside a request, or where nothing is recorded, the application runs on."""
    assert auditlog.facts(label="x") is False
    with pytest.raises(FactsError):
        auditlog.facts(BAD=1)


def test_an_audited_function_adds_facts_to_its_own_call() -> None:
    """In a plain function, a coroutine, and every step of a generator; the inner call is the nearest."""
    recorder: Any = ObservingRecorder()

    @audited(recorder=recorder)
    def inner() -> None:
        auditlog.facts(label="inner")

    @audited(recorder=recorder)
    async def outer() -> None:
        inner()
        auditlog.facts(label="outer")

    @audited(recorder=recorder)
    def steps() -> Iterator[int]:
        auditlog.facts(label="step")
        yield 1
        auditlog.facts(count=1)

    asyncio.run(outer())
    assert [seen.facts for seen in recorder.observations] == [{"label": "inner"}, {"label": "outer"}]
    walk = steps()
    next(walk)
    assert auditlog.facts(label="between") is False
    assert list(walk) == []
    assert recorder.observations[2].facts == {"label": "step", "count": 1}
