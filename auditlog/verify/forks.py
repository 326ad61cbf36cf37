"""Two histories in one hand: checkpoints of several receipts that cannot both be of one log.

Spec: auditlog/spec/verification.md, "Several receipts". One receipt cannot show that its log shows others
another history; two can. Of one origin and size there is one root, and a log that has signed two has
convicted itself, whatever else either receipt proves. Everything read here is attacker-controlled but the
trust file. Must never: judge checkpoints of different sizes, which only the log's own tiles can compare.
"""

from __future__ import annotations

import dataclasses
import hashlib

from auditlog.core.receipt import parse_receipt
from auditlog.core.trust import Trust
from auditlog.errors import EvidenceError, InconsistentLogError
from auditlog.verify.evidence_notes import open_signed
from auditlog.verify.headline import write_headline
from auditlog.verify.report import Grade, Outcome, Report, Step
from auditlog.verify.shown import Shown
from auditlog.verify.steps import find_log

_COMPARISON = 13
_STANDING = 10  # a failure in a step up to here ends a run, and nothing after it is told

_Place = tuple[str, int]
"""Origin and tree size: what may have one root only."""


@dataclasses.dataclass(slots=True)
class _Seen:
    """One root at one place: the first note that showed it, and the receipts that did."""

    note: str
    receipts: list[int]


class Forks:
    """Collects the checkpoints, anchored ones too, of all receipts of one call. Not for several threads."""

    def __init__(self, trust: Trust) -> None:
        """Only checkpoints that a log of `trust` has signed count."""
        self._trust = trust
        self._seen: dict[_Place, dict[bytes, _Seen]] = {}
        self._opened: dict[bytes, tuple[_Place, bytes] | None] = {}

    def take(self, number: int, receipt: bytes) -> None:
        """Add what the receipt of that number shows; one that is none shows nothing. Never raises."""
        try:
            parsed = parse_receipt(receipt)
        except EvidenceError:
            return
        for note in (parsed.proof.checkpoint, *(anchor.checkpoint for anchor in parsed.anchors)):
            opened = self._open(note)
            if opened is not None:
                place, root = opened
                seen = self._seen.setdefault(place, {}).setdefault(root, _Seen(note, []))
                seen.receipts.append(number)

    def found(self) -> dict[int, InconsistentLogError]:
        """The contradiction each receipt is part of, by its number; those that are part of none lack."""
        found: dict[int, InconsistentLogError] = {}
        for (origin, size), roots in self._seen.items():
            first, *others = roots.values()
            for other in others:
                error = InconsistentLogError(
                    f"expected one root hash of {origin} at size {size}, found two in the receipts given, "
                    "both signed by the log: it has two histories",
                    smaller=first.note,
                    larger=other.note,
                )
                for number in (*first.receipts, *other.receipts):
                    found.setdefault(number, error)
        return found

    def _open(self, note: str) -> tuple[_Place, bytes] | None:
        """What a checkpoint note says, if a trusted log signed it; the receipts of one batch share a note."""
        digest = hashlib.sha256(note.encode("utf-8")).digest()
        if digest not in self._opened:
            try:
                # By the lines that hold: a log that adds a wrong one has signed all the same.
                opened = open_signed(note, find_log(note, self._trust).value)
                place = (opened.checkpoint.origin, opened.checkpoint.tree_size)
                self._opened[digest] = (place, opened.checkpoint.root_hash)
            except EvidenceError:
                self._opened[digest] = None
        return self._opened[digest]


def convict(report: Report, error: InconsistentLogError) -> Report:
    """The same report with step 13 failed and both notes as evidence.

    A report that ends before step 13, or failed there already, only gains the evidence it does not have.
    """
    evidence = report.evidence or error
    failure = report.first_failure
    if failure is not None and (failure.number <= _STANDING or failure.number == _COMPARISON):
        return dataclasses.replace(report, evidence=evidence)
    steps = tuple(
        Step(step.number, step.name, Outcome.FAILED, str(error)) if step.number == _COMPARISON else step
        for step in report.steps
    )
    facts = tuple(fact for fact in report.facts if (fact.name, fact.grade) != ("same_log_now", Grade.PROVEN))
    headline = write_headline(steps, Shown(), ())
    return dataclasses.replace(report, steps=steps, facts=facts, headline=headline, evidence=evidence)
