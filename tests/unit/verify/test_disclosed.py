"""Step 11: what is shown opens the entry's commitments, and a field is proven only with its whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from auditlog.core.disclosure import (
    Disclosure,
    Disclosures,
    FieldDisclosure,
    WholeDisclosure,
    format_disclosures,
)
from auditlog.verify import Grade, Outcome, Report, Verifier
from auditlog.verify.disclosed import is_about
from tests.support.receipts_factory import (
    FACTS,
    REQUEST,
    RESPONSE,
    Factory,
    committed,
    decision_id,
    seed,
    shown_field,
    shown_whole,
)

FACTORY = Factory(decisions=3)
INDEX = FACTORY.decisions[1]
RECEIPT = FACTORY.receipt_bytes(INDEX)


def file(*items: Disclosure, about: str | None = None) -> bytes:
    """A disclosure file about the second decision."""
    return format_disclosures(Disclosures(about or decision_id(1), items))


def verify(disclosures: bytes | None = None, receipt: bytes = RECEIPT) -> Report:
    """Verify with a disclosure file."""
    return Verifier(FACTORY.trust()).verify(receipt, disclosures=disclosures)


def grades(report: Report, name: str) -> list[Grade]:
    """Grades of the facts of one name."""
    return [fact.grade for fact in report.facts if fact.name == name]


def test_a_whole_body_is_proven() -> None:
    """The bytes are exactly those committed to, and the report quotes them."""
    report = verify(file(shown_whole(1), shown_whole(1, "response")))
    assert report.exit_code == 0
    assert (grades(report, "request"), grades(report, "response")) == ([Grade.PROVEN], [Grade.PROVEN])
    assert any(RESPONSE.decode() in fact.text for fact in report.facts)
    assert grades(report, "facts") == [Grade.NOT_CHECKED]


def test_a_field_alone_is_stated_and_with_its_whole_proven() -> None:
    """The field root is the producer's word until the whole body shows that it is of these bytes."""
    alone = verify(file(shown_field(1)))
    both = verify(file(shown_field(1), shown_whole(1)))
    assert grades(alone, "field") == [Grade.STATED]
    assert grades(both, "field") == [Grade.PROVEN]
    assert any(fact.value == "request /amount = 180000" for fact in alone.facts)
    assert grades(verify(file(shown_field(1), shown_whole(1, "response"))), "field") == [Grade.STATED]


def test_disclosures_inside_the_receipt_are_checked_as_well() -> None:
    """A receipt may carry them; they join those given beside it."""
    inside = FACTORY.receipt_bytes(INDEX, disclosures=[shown_field(1)])
    assert grades(verify(None, inside), "field") == [Grade.STATED]
    assert grades(verify(file(shown_whole(1)), inside), "field") == [Grade.PROVEN]
    broken = FACTORY.receipt_bytes(INDEX, disclosures=[shown_field(0)])
    assert verify(None, broken).exit_code == 1


def _changed(items: Sequence[tuple[Disclosure, dict[str, object]]]) -> list[Disclosure]:
    return [dataclasses.replace(item, **changes) for item, changes in items]  # type: ignore[type-var]


_FIELD, _WHOLE = shown_field(1), shown_whole(1)
assert isinstance(_FIELD, FieldDisclosure)
assert isinstance(_WHOLE, WholeDisclosure)


@pytest.mark.parametrize(
    "item",
    [
        shown_field(0),
        shown_whole(0),
        *_changed(
            [
                (_FIELD, {"value": b"180001"}),
                (_FIELD, {"pointer": "/income"}),
                (_FIELD, {"body": "response"}),
                (_FIELD, {"body": "facts"}),
                (_FIELD, {"index": _FIELD.index + 1}),
                (_FIELD, {"salt": bytes(32)}),
                (_FIELD, {"path": _FIELD.path[:-1]}),
                (_WHOLE, {"data": REQUEST + b" "}),
                (_WHOLE, {"data": b""}),
                (_WHOLE, {"body": "response"}),
                (_WHOLE, {"salts": _WHOLE.salts[:-32]}),
                (_WHOLE, {"salts": _WHOLE.salts[:-32] + bytes(32)}),
            ]
        ),
    ],
    ids=range(14),
)
def test_what_does_not_open_the_commitment_fails(item: Disclosure) -> None:
    """Another value, pointer, place, salt, body or decision is a failed step 11."""
    report = verify(file(item))
    assert report.exit_code == 1
    assert report.first_failure is not None
    assert report.first_failure.number == 11


def test_disclosures_about_another_decision_fail() -> None:
    """The file names its decision; the name must be this entry's."""
    report = verify(file(shown_field(1), about=decision_id(2)))
    assert report.exit_code == 1
    assert "found ones about" in report.steps[10].detail


def test_an_empty_disclosure_file_is_not_checked() -> None:
    """Asking for disclosures to be checked and giving none is exit 3."""
    assert verify(file()).exit_code == 3
    assert verify(None).exit_code == 0


def test_an_entry_that_commits_to_nothing_opens_nothing() -> None:
    """A disclosure beside an entry of another kind is a failure."""
    start = FACTORY.receipt_bytes(FACTORY.chains[0].start, disclosures=[shown_field(1)])
    assert verify(None, start).exit_code == 1


def test_an_unknown_kind_is_not_opened() -> None:
    """What a later version commits to cannot be opened by this one: not checked."""
    factory = Factory(decisions=1)
    place = factory.add(factory.chains[0], "review", {"id": decision_id(1)})
    factory.close_batch(factory.chains[0])
    verifier, receipt = Verifier(factory.trust()), factory.receipt_bytes(place)
    report = verifier.verify(receipt, disclosures=file(shown_field(1)))
    assert report.exit_code == 3
    assert report.steps[10].outcome is Outcome.NOT_CHECKED


def test_an_outcome_is_opened_by_its_decisions_id() -> None:
    """An outcome's facts are disclosed under the id of the decision it is about."""
    factory, key = Factory(decisions=1), seed("outcome")
    body = {"decision": decision_id(0), "facts": committed(key, "facts", FACTS)}
    place = factory.add(factory.chains[0], "outcome", body)
    factory.close_batch(factory.chains[0])
    from auditlog.core.disclosure import disclose_whole

    shown = file(disclose_whole(key, "facts", FACTS), about=decision_id(0))
    report = Verifier(factory.trust()).verify(factory.receipt_bytes(place), disclosures=shown)
    assert report.exit_code == 0
    assert grades(report, "facts") == [Grade.PROVEN]


def test_an_unknown_fold_leaves_fields_unchecked_against_the_whole() -> None:
    """The whole is proven; a field of a form this version cannot cut stays stated, and the step says so."""
    factory = Factory(decisions=0)
    chain, body = factory.chains[0], factory.decision_body(1, "unregistered")
    body["request"] = {**body["request"], "fields": {**body["request"]["fields"], "form": "fold:later@v1"}}
    place = factory.add(chain, "decision", body)
    factory.close_batch(chain)
    shown = file(shown_field(1), shown_whole(1))
    report = Verifier(factory.trust()).verify(factory.receipt_bytes(place), disclosures=shown)
    assert report.exit_code == 0
    assert grades(report, "field") == [Grade.STATED]
    assert "fields not checked against the whole: request" in report.steps[10].detail


def test_a_long_value_is_named_by_its_digest() -> None:
    """A value too long to show is told by its SHA-256, so that two of them never look alike."""
    from auditlog.core.disclosure import disclose_field

    factory, key, data = Factory(decisions=0), seed("long"), b'{"essay":"' + b"x" * 400 + b'"}'
    body = factory.decision_body(1, "unregistered") | {"request": committed(key, "request", data)}
    place = factory.add(factory.chains[0], "decision", body)
    factory.close_batch(factory.chains[0])
    shown = file(disclose_field(key, "request", data, "/essay"))
    report = Verifier(factory.trust()).verify(factory.receipt_bytes(place), disclosures=shown)
    assert any(fact.value.startswith("request /essay = sha256:") for fact in report.facts)


def test_a_file_is_matched_to_its_receipt() -> None:
    """One file beside several receipts goes to the one it names; malformed things match nothing."""
    shown = file(shown_field(1))
    assert is_about(shown, RECEIPT)
    assert not is_about(shown, FACTORY.receipt_bytes(FACTORY.decisions[0]))
    assert not is_about(shown, FACTORY.receipt_bytes(0))
    assert not is_about(b"", RECEIPT)
    assert not is_about(shown, b"")
