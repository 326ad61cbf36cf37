"""The verdict for readers outside the field: fixed sentences that say no more than the report."""

from __future__ import annotations

from dataclasses import replace

import pytest

from auditlog.verify.headline import DEVNET, OPERATOR_ONLY
from auditlog.verify.plain_words import plain_words, what_to_do
from auditlog.verify.quorum_words import PARTING
from auditlog.verify.report import Fact, Grade, Outcome, Report, Step

OF_OPERATOR = "the trust file came from the operator (bank)"
MODEL = Fact("model", "ab", Grade.STATED, "producer gpu-0", "The model was ab.")
RESPONSE = Fact("response", "", Grade.NOT_CHECKED, "nobody", "What the response said.")
GRADES = ("Proven: ", "Only their word: ", "Not checked: ")


def report_of(*reservations: str, outcome: Outcome = Outcome.PASSED) -> Report:
    """A report with one step."""
    step = Step(4, "quorum", outcome, "detail")
    return Report((step,), (MODEL, RESPONSE), "headline", tuple(reservations))


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("said", [(), (OPERATOR_ONLY, OF_OPERATOR), (PARTING,), (DEVNET, OF_OPERATOR)])
def test_each_line_has_its_grade_and_there_is_always_a_next_step(
    outcome: Outcome, said: tuple[str, ...]
) -> None:
    """Whatever the verdict, nothing stands ungraded, and a failed receipt is called good in nothing."""
    report = report_of(*said, outcome=outcome)
    words = plain_words(report)
    assert all(line.startswith(GRADES) for line in words)
    assert what_to_do(report)
    if outcome is not Outcome.PASSED:
        assert not any("is in the" in line for line in words)


def test_what_nobody_outside_has_seen_is_not_called_safe() -> None:
    """The operator alone signed: the record could still be replaced."""
    alone = plain_words(report_of(OPERATOR_ONLY, OF_OPERATOR))
    assert "could still be replaced" in alone[0]
    assert not any("outsiders" in line for line in alone)
    seen = plain_words(report_of())
    assert "outsiders" in seen[0]


def test_every_weakness_of_a_verified_receipt_is_named() -> None:
    """Whose trust file, other witnesses, a test chain, the model, and that nothing was found right."""
    words = " ".join(plain_words(report_of(PARTING, DEVNET, OF_OPERATOR)))
    for part in ("another log", "from the operator itself", "test chain", "which model", "right or fair"):
        assert part in words


def test_the_next_steps_fit_what_is_missing() -> None:
    """Values that were shown are not asked for; a trust file of another's is not sent back for one."""
    report = report_of(OF_OPERATOR)
    assert [line for line in what_to_do(report) if "--disclosures" in line or "--trust" in line]
    shown = replace(report, facts=(MODEL,), reservations=())
    assert not [line for line in what_to_do(shown) if "--disclosures" in line or "--trust" in line]
