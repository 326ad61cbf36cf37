"""The verdict of one receipt as data: numbered steps, graded facts, a headline and an exit code.

Spec: auditlog/spec/verification.md, sections "Steps", "Grades" and "Exit codes".
Promises: the exit code follows from the steps alone; every fact carries its grade and who stands behind it;
the JSON form only ever gains members. Must never: hold a sentence without a grade, or call something proven
that rests on a statement of the operator.

    Report
      steps     1..15, each passed / failed / not checked, with what was found
      facts     each proven / stated (by whom) / not checked
      headline  one sentence for someone who reads nothing else
      exit_code 0 verified, 1 failed, 3 something required could not be checked (2, usage, is the command
      line's)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from auditlog.errors import InconsistentLogError

if TYPE_CHECKING:
    from auditlog.verify.judgement import Judgement

REPORT_VERSION: Final = "auditlog/report@v1"

EXIT_VERIFIED: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_NOT_CHECKED: Final = 3

STEP_NAMES: Final[tuple[str, ...]] = (
    "receipt",
    "trust",
    "checkpoint",
    "quorum",
    "leaf hash",
    "inclusion",
    "content",
    "related entries",
    "head",
    "chain",
    "disclosures",
    "anchors",
    "log comparison",
    "expectations",
    "required evidence",
)
"""Name of step n is `STEP_NAMES[n - 1]`; the numbers are those of the specification and never change."""


class Outcome(StrEnum):
    """What became of one step."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


class Grade(StrEnum):
    """How far a fact may be relied on, whoever the operator is."""

    PROVEN = "proven"
    STATED = "stated"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Step:
    """One numbered step. `is_required` means: not checked here forbids the verdict "verified"."""

    number: int
    name: str
    outcome: Outcome
    detail: str
    is_required: bool = True

    def to_json(self) -> dict[str, Any]:
        """The step as reports print it."""
        return {
            "number": self.number,
            "name": self.name,
            "outcome": self.outcome.value,
            "required": self.is_required,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class Fact:
    """One graded fact. `name` and `value` are for programs, `text` is the same as a sentence.

    `by` says who stands behind it: for a proven fact the evidence, for a stated one the party that says so.
    """

    name: str
    value: str
    grade: Grade
    by: str
    text: str

    def to_json(self) -> dict[str, Any]:
        """The fact as reports print it."""
        return {
            "name": self.name,
            "value": self.value,
            "grade": self.grade.value,
            "by": self.by,
            "text": self.text,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict of one receipt."""

    steps: tuple[Step, ...]
    facts: tuple[Fact, ...]
    headline: str
    reservations: tuple[str, ...] = ()
    """What a reader must know before relying on any fact: operator alone, devnet, whose trust file."""
    claimed_time: str | None = None
    """The instant the producer claims (`T`), or None."""
    on_record_by: str | None = None
    """The earliest instant by which a witness quorum or a final anchor shows the entry existed (`U`), or
    None.
    """
    on_record_by_devnet: str | None = None
    """The same from the development chain, which proves nothing to an outsider."""
    evidence: InconsistentLogError | None = None
    """Two signed checkpoints that contradict each other, when step 12 or 13 found them."""
    expectation: Judgement | None = None
    """What became of the expectations, part by part; None if there were none or step 14 was not reached."""

    @property
    def exit_code(self) -> int:
        """Follow the steps: a failed one gives 1, else a required one not checked gives 3, else 0."""
        if any(step.outcome is Outcome.FAILED for step in self.steps):
            return EXIT_FAILED
        if any(step.outcome is Outcome.NOT_CHECKED and step.is_required for step in self.steps):
            return EXIT_NOT_CHECKED
        return EXIT_VERIFIED

    @property
    def verdict(self) -> str:
        """The exit code as a word: `verified`, `failed` or `not fully checked`."""
        return {EXIT_VERIFIED: "verified", EXIT_FAILED: "failed"}.get(self.exit_code, "not fully checked")

    @property
    def first_failure(self) -> Step | None:
        """The first failed step, or None."""
        return next((step for step in self.steps if step.outcome is Outcome.FAILED), None)

    def graded(self, grade: Grade) -> tuple[Fact, ...]:
        """All facts of one grade, in the order they were found."""
        return tuple(fact for fact in self.facts if fact.grade is grade)

    def to_json(self) -> dict[str, Any]:
        """The stable JSON form: members are added in later versions, never renamed or removed."""
        return {
            "v": REPORT_VERSION,
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "headline": self.headline,
            "reservations": list(self.reservations),
            "time": {
                "claims": self.claimed_time,
                "on_record_by": self.on_record_by,
                "on_record_by_devnet": self.on_record_by_devnet,
            },
            "steps": [step.to_json() for step in self.steps],
            "facts": [fact.to_json() for fact in self.facts],
            "expectation": self.expectation and self.expectation.to_json(),
            "evidence": self.evidence and {"smaller": self.evidence.smaller, "larger": self.evidence.larger},
        }


def combine_exit_codes(codes: list[int]) -> int:
    """Exit code over several receipts: a failure beats what could not be checked, which beats verified."""
    if EXIT_FAILED in codes:
        return EXIT_FAILED
    if EXIT_NOT_CHECKED in codes:
        return EXIT_NOT_CHECKED
    return EXIT_VERIFIED
