"""What fsck found: steps with outcomes, counts, and one exit code.

Spec: `auditlog/spec/log.md`, "fsck". A step that failed stays failed; one that could not be checked never
becomes passed. Problems are sentences; only the first hundred of a step are kept, all are counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from auditlog.verify.lives import Declared
from auditlog.verify.wording import printable

if TYPE_CHECKING:
    from auditlog.verify.chains import ChainChecker
    from auditlog.verify.trusted_log import SignedCheckpoint

Outcome = Literal["passed", "failed", "not_checked", "nothing_to_check"]

STEP_NAMES = ("checkpoint", "tree", "entries", "chains", "heads")
"""The steps, in order."""

MAX_PROBLEMS = 100
EXIT_PASSED, EXIT_FAILED, EXIT_NOT_CHECKED = 0, 1, 3


@dataclass(slots=True)
class FsckStep:
    """One step. `problems` is what failed, `problem_count` how often, `detail` one line about the rest."""

    number: int
    name: str
    outcome: Outcome = "nothing_to_check"
    detail: str = ""
    problems: list[str] = field(default_factory=list)
    problem_count: int = 0

    def passed(self, detail: str) -> None:
        """Passed, unless something else was said before."""
        if self.outcome == "nothing_to_check":
            self.outcome, self.detail = "passed", detail

    def nothing(self, detail: str) -> None:
        """There was nothing to check, unless something else was said before."""
        if self.outcome == "nothing_to_check":
            self.detail = detail

    def not_checked(self, detail: str) -> None:
        """Not checked, unless it failed; the first reason stays."""
        if self.outcome in ("nothing_to_check", "passed"):
            self.outcome, self.detail = "not_checked", detail

    def problem(self, problem: str) -> None:
        """Failed."""
        self.outcome = "failed"
        self.problem_count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)
        self.detail = self.problems[0] + (
            f" (and {self.problem_count - 1} more)" if self.problem_count > 1 else ""
        )

    def to_json(self) -> dict[str, Any]:
        """Members as JSON values."""
        return {
            "number": self.number,
            "name": self.name,
            "outcome": self.outcome,
            "detail": self.detail,
            "problems": list(self.problems),
            "problem_count": self.problem_count,
        }


@dataclass(frozen=True, slots=True)
class FsckReport:
    """The result of one fsck. `origin`, `tree_size` and
    `root_hash` are the signed ones, absent without them.
    """

    steps: tuple[FsckStep, ...]
    origin: str | None = None
    tree_size: int | None = None
    root_hash: bytes | None = None
    ours: bool = False
    kinds: dict[str, int] = field(default_factory=dict)
    other_entries: int = 0
    not_understood: int = 0
    odd_bodies: int = 0
    producers: int = 0
    declared: Declared = field(default_factory=Declared)
    minimum_index: int = 0
    """Entries below it were pruned, as the log has published, and not read."""

    @property
    def exit_code(self) -> int:
        """1 if a step failed, else 3 if one was not checked, else 0."""
        outcomes = {step.outcome for step in self.steps}
        if "failed" in outcomes:
            return EXIT_FAILED
        return EXIT_NOT_CHECKED if "not_checked" in outcomes else EXIT_PASSED

    def step(self, name: str) -> FsckStep:
        """A step by name."""
        return next(step for step in self.steps if step.name == name)

    def lines(self) -> list[str]:
        """The report as lines for people: a step each, the problems of those that failed below it."""
        lines: list[str] = []
        for step in self.steps:
            outcome, detail = step.outcome.replace("_", " "), printable(step.detail, 500)
            lines.append(f"{step.number} {step.name:<10} {outcome:<16} {detail}".rstrip())
            if step.problem_count > 1:
                lines += [f"    {printable(problem, 500)}" for problem in step.problems]
        if self.tree_size is not None:
            lines.append(f"entries: {self._counted(self.tree_size)}")
        if declared := self.declared.line():
            lines.append(declared)
        return lines

    def _counted(self, size: int) -> str:
        """How many entries there are of each kind, and how many are in no such count: chains, and with them
        kinds, are followed from the first entry to the first hole.
        """
        found, pruned = sum(self.kinds.values()) + self.other_entries, self.minimum_index
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        parts = [counts or "none of auditlog", f"{self.other_entries} of other kinds"]
        if found < size and not found:
            parts = ["none counted by kind"]
        if pruned:
            parts.append(f"{pruned} were pruned and not looked at")
        if rest := size - found - pruned:
            parts.append(f"{rest} others were not counted" if pruned else f"{rest} were not counted")
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "exit_code": self.exit_code,
            "origin": self.origin,
            "tree_size": self.tree_size,
            "root_hash": None if self.root_hash is None else self.root_hash.hex(),
            "minimum_index": self.minimum_index,
            "auditlog": self.ours,
            "entries": dict(sorted(self.kinds.items())),
            "other_entries": self.other_entries,
            "not_understood": self.not_understood,
            "odd_bodies": self.odd_bodies,
            "producers": self.producers,
            "declared": self.declared.to_json(),
            "steps": [step.to_json() for step in self.steps],
        }


class StepLog:
    """The steps of a running fsck, by name."""

    def __init__(self) -> None:
        self._steps = {name: FsckStep(number, name) for number, name in enumerate(STEP_NAMES, start=1)}

    def __getitem__(self, name: str) -> FsckStep:
        return self._steps[name]

    def report(
        self, *, signed: SignedCheckpoint | None, chains: ChainChecker | None, minimum: int = 0
    ) -> FsckReport:
        """The final report."""
        steps = tuple(self._steps.values())
        if signed is None or chains is None:
            return FsckReport(steps)
        return FsckReport(
            steps=steps,
            origin=signed.checkpoint.origin,
            tree_size=signed.tree_size,
            root_hash=signed.root_hash,
            ours=chains.ours,
            kinds=dict(chains.kinds),
            other_entries=chains.other,
            not_understood=chains.not_understood,
            odd_bodies=chains.odd_bodies,
            producers=chains.producers,
            declared=chains.declared,
            minimum_index=minimum,
        )
