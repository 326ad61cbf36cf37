"""The record of one verification as it goes: runs steps,
keeps outcomes and facts, stops where nothing more can hold.

Spec: auditlog/spec/verification.md, "Steps". Promises: every step ends in exactly one outcome;
an `EvidenceError` inside a step is that step's failure and nothing else. Must never: hide any other
exception, which is a defect of this code and must show in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from auditlog.errors import EvidenceError, InconsistentLogError
from auditlog.verify.report import STEP_NAMES, Fact, Outcome, Step

T = TypeVar("T")


class StoppedError(Exception):
    """A step failed on which all later ones stand. Never leaves `Verifier.verify`."""


@dataclass(frozen=True, slots=True)
class Checked(Generic[T]):
    """What a step hands on: its value for later steps, one line for people, and the facts it established."""

    value: T
    detail: str
    facts: tuple[Fact, ...] = ()
    outcome: Outcome = Outcome.PASSED
    is_required: bool = True


class Run:
    """Steps and facts of one verification, in order."""

    def __init__(self, names: Sequence[str] = STEP_NAMES) -> None:
        """`names` are those of the steps, from number 1 on: a receipt's unless told otherwise."""
        self._names = tuple(names)
        self._steps: dict[int, Step] = {}
        self._facts: list[Fact] = []
        self.evidence: InconsistentLogError | None = None
        """Two signed checkpoints that contradict each other, if a step found them."""

    def must(self, number: int, check: Callable[[], Checked[T]]) -> T:
        """Run a step that later ones stand on.

        Raises:
            StoppedError: it failed.
        """
        checked = self._run(number, check)
        if checked is None:
            raise StoppedError
        return checked.value

    def also(self, number: int, check: Callable[[], Checked[T]]) -> T | None:
        """Run a step that no other stands on; None if it failed."""
        checked = self._run(number, check)
        return None if checked is None else checked.value

    def steps(self) -> tuple[Step, ...]:
        """All steps; those that never ran are not
        checked, with the failure that kept them from running.
        """
        failed = next((step for step in self._steps.values() if step.outcome is Outcome.FAILED), None)
        reason = "not reached" if failed is None else f"step {failed.number} failed"
        return tuple(
            self._steps.get(number) or Step(number, name, Outcome.NOT_CHECKED, reason)
            for number, name in enumerate(self._names, start=1)
        )

    def facts(self) -> tuple[Fact, ...]:
        """All facts, in the order they were established."""
        return tuple(self._facts)

    def add_facts(self, facts: tuple[Fact, ...]) -> None:
        """Add facts that follow from several steps together."""
        self._facts.extend(facts)

    def _run(self, number: int, check: Callable[[], Checked[T]]) -> Checked[T] | None:
        name = self._names[number - 1]
        try:
            checked = check()
        except EvidenceError as error:
            self._steps[number] = Step(number, name, Outcome.FAILED, str(error))
            if isinstance(error, InconsistentLogError) and self.evidence is None:
                self.evidence = error  # one contradiction is proof enough, and the first needs the least
            return None
        self._steps[number] = Step(number, name, checked.outcome, checked.detail, checked.is_required)
        self._facts.extend(checked.facts)
        return checked


def not_checked(value: T, detail: str, *, is_required: bool, facts: tuple[Fact, ...] = ()) -> Checked[T]:
    """A step with nothing to look at, or nothing to look with."""
    return Checked(value, detail, facts, Outcome.NOT_CHECKED, is_required)
