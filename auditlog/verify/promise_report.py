"""What became of a promise, as data: a verdict in one word, graded facts, numbered steps, an exit code.

Spec: auditlog/spec/promise.md, "Verdicts". Promises: the exit code follows from the verdict alone; a report
that says BROKEN carries the evidence for it. Must never: say BROKEN of what could not be checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from auditlog.verify.promise_evidence import Cause, Evidence
from auditlog.verify.report import Fact, Grade, Step

PROMISE_REPORT_VERSION: Final = "auditlog/promise-report@v1"

PROMISE_STEPS: Final[tuple[str, ...]] = (
    "promise",
    "trust",
    "checkpoint",
    "producer",
    "signature",
    "place",
    "date",
    "bytes",
)
"""Name of step n is `PROMISE_STEPS[n - 1]`."""


class Verdict(StrEnum):
    """What became of a promise."""

    IN_LOG = "in the log"
    NOT_YET_DUE = "not yet due"
    BROKEN = "BROKEN"
    DECLARED_LOST = "declared lost"
    WITHHELD = "withheld"
    NOT_CHECKED = "not checked"
    NO_PROMISE = "no promise"
    """The file is no promise by the producer it names."""


_EXIT_CODES: Final = {
    Verdict.IN_LOG: 0,
    Verdict.BROKEN: 1,
    Verdict.DECLARED_LOST: 1,
    Verdict.NO_PROMISE: 2,
    Verdict.NOT_YET_DUE: 3,
    Verdict.WITHHELD: 3,
    Verdict.NOT_CHECKED: 3,
}


@dataclass(frozen=True, slots=True)
class PromiseReport:
    """The verdict on one promise, or on one piece of evidence."""

    verdict: Verdict
    headline: str
    steps: tuple[Step, ...]
    facts: tuple[Fact, ...]
    reservations: tuple[str, ...] = ()
    cause: Cause | None = None
    """Why, where the verdict is BROKEN or declared lost."""
    evidence: Evidence | None = None
    """The proof of it, for `format_evidence`."""
    merge_by: str | None = None
    index: int | None = None
    """Where the promised entry, or the entry that breaks the promise, is in the log."""
    bytes_differ: bool = False
    """The caller's own bytes are not those the promise is about."""

    @property
    def exit_code(self) -> int:
        """0 in the log, 1 broken or declared lost, 2 no promise, 3 anything not decided."""
        if self.bytes_differ and self.verdict is Verdict.IN_LOG:
            return 1
        return _EXIT_CODES[self.verdict]

    def graded(self, grade: Grade) -> tuple[Fact, ...]:
        """All facts of one grade, in the order they were found."""
        return tuple(fact for fact in self.facts if fact.grade is grade)

    def to_json(self) -> dict[str, Any]:
        """The stable JSON form: members are added in later versions, never renamed or removed."""
        return {
            "v": PROMISE_REPORT_VERSION,
            "verdict": self.verdict.value,
            "cause": None if self.cause is None else self.cause.value,
            "exit_code": self.exit_code,
            "headline": self.headline,
            "reservations": list(self.reservations),
            "merge_by": self.merge_by,
            "index": self.index,
            "bytes_differ": self.bytes_differ,
            "steps": [step.to_json() for step in self.steps],
            "facts": [fact.to_json() for fact in self.facts],
        }
