"""What a log shows of what it does not show: findings about the producers of a period, and one exit code.

Spec: auditlog/spec/promise.md, "Completeness". A *contradiction* is what no honest log has; *incomplete* is a
time or a number of calls that nobody can check; a *note* is what a reader should know. Promises: everything a
producer says of itself is called stated; texts of strangers are made printable here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from auditlog.verify.wording import printable

COMPLETENESS_VERSION: Final = "auditlog/completeness@v1"
MAX_FINDINGS: Final = 10_000
"""Findings kept; all are counted."""

EXIT_WHOLE, EXIT_CONTRADICTION, EXIT_NOT_CHECKED = 0, 1, 3


class Weight(StrEnum):
    """How much a finding says."""

    CONTRADICTION = "contradiction"
    INCOMPLETE = "incomplete"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found. `kind` and `numbers` are for programs, `text` is the same as a sentence."""

    weight: Weight
    kind: str
    producer: str
    """Its name; "log" for the log itself, empty where it is nobody's in particular."""
    text: str
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class ProducerSummary:
    """What one producer has in the log, in the period asked about."""

    identity: str
    name: str
    entries: int = 0
    instances: int = 0
    decisions: int = 0
    outcomes: int = 0
    heartbeats: int = 0
    gaps: int = 0
    lost: int = 0
    """Calls that gaps with a count declare lost."""
    at_most: int = 0
    """Calls that gaps without a count bound."""
    unbounded_gaps: int = 0
    """Gaps with neither count nor bound."""
    silent_s: float = 0.0
    first: str = ""
    last: str = ""
    modes: dict[str, int] = field(default_factory=dict)
    """Decisions by mode."""

    def lose(self, body: Mapping[str, Any]) -> str:
        """Count a gap by its body, empty if that is none; returns what it declares, in words."""
        self.gaps += 1
        count = body.get("count")
        if type(count) is int:
            self.lost += count
            lost = f"{count} call(s)"
        elif "at_most" in body:
            self.at_most += body["at_most"]
            lost = f"at most {body['at_most']} call(s)"
        else:
            self.unbounded_gaps += 1
            lost = "an unknown number of calls"
        span = f"between {body['from']} and {body['to']}" if body else "in a body that is not that of a gap"
        return f"{lost} lost {span}"

    def to_json(self) -> dict[str, Any]:
        """Members as JSON values."""
        return {
            "producer": self.identity,
            "name": self.name,
            "entries": self.entries,
            "instances": self.instances,
            "decisions": self.decisions,
            "outcomes": self.outcomes,
            "heartbeats": self.heartbeats,
            "gaps": self.gaps,
            "lost": self.lost,
            "at_most": self.at_most,
            "unbounded_gaps": self.unbounded_gaps,
            "silent_s": round(self.silent_s, 6),
            "first": self.first or None,
            "last": self.last or None,
            "modes": dict(sorted(self.modes.items())),
        }


class Findings:
    """Collects findings of a running check."""

    def __init__(self) -> None:
        self.kept: list[Finding] = []
        self.counts: Counter[Weight] = Counter()

    def add(self, weight: Weight, kind: str, producer: str, text: str, **numbers: Any) -> None:
        """Keep one; beyond the limit only count it."""
        self.counts[weight] += 1
        if len(self.kept) < MAX_FINDINGS:
            self.kept.append(Finding(weight, kind, printable(producer), printable(text, 500), numbers))


@dataclass(frozen=True, slots=True)
class CompletenessReport:
    """The result of one check."""

    origin: str
    tree_size: int
    is_read_whole: bool
    """Whether every entry up to the end of the period was read."""
    findings: tuple[Finding, ...]
    counts: dict[Weight, int]
    producers: tuple[ProducerSummary, ...] = ()
    since: str | None = None
    until: str | None = None
    reservations: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 for any contradiction, else 3 for anything nobody can check, else 0."""
        if self.counts.get(Weight.CONTRADICTION):
            return EXIT_CONTRADICTION
        if self.counts.get(Weight.INCOMPLETE) or not self.is_read_whole:
            return EXIT_NOT_CHECKED
        return EXIT_WHOLE

    @property
    def headline(self) -> str:
        """One sentence for someone who reads nothing else."""
        decisions = sum(producer.decisions for producer in self.producers)
        found = f"{decisions} decisions by {len(self.producers)} producer(s)"
        if self.exit_code == EXIT_CONTRADICTION:
            verdict = f"CONTRADICTION: {self.counts[Weight.CONTRADICTION]} thing(s) no honest log has"
        elif not self.is_read_whole:
            return "NOT CHECKED: the entries could not all be read."
        elif self.exit_code == EXIT_NOT_CHECKED:
            verdict = f"NOT WHOLE: {self.counts[Weight.INCOMPLETE]} loss(es), silence(s) or open question(s)"
        else:
            verdict = "NOTHING MISSING FOUND"
        return f"{verdict}; {found}."

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values: members are added in later versions, never renamed or removed."""
        return {
            "v": COMPLETENESS_VERSION,
            "exit_code": self.exit_code,
            "headline": self.headline,
            "reservations": list(self.reservations),
            "origin": self.origin,
            "tree_size": self.tree_size,
            "read_whole": self.is_read_whole,
            "from": self.since,
            "to": self.until,
            "counts": {weight.value: self.counts.get(weight, 0) for weight in Weight},
            "producers": [producer.to_json() for producer in self.producers],
            "findings": [
                {
                    "weight": finding.weight.value,
                    "kind": finding.kind,
                    "producer": finding.producer,
                    "text": finding.text,
                    "numbers": finding.numbers,
                }
                for finding in self.findings
            ],
        }
