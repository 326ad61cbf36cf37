"""What an evidence file proves, as data: one headline, graded facts, against whom, an exit code.

Spec: auditlog/spec/evidence.md, "Checking". Promises: exit code 0 exactly if the evidence proves what it
says; the JSON form only ever gains members. Must never: name anyone in `against` whom the file does not
convict, alone or as one of several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from auditlog.verify.promise_evidence import Evidence
from auditlog.verify.promise_proofs import NotDatableError, Proof
from auditlog.verify.promise_report import PromiseReport
from auditlog.verify.report import Fact

EVIDENCE_REPORT_VERSION: Final = "auditlog/evidence-report@v1"


@dataclass(frozen=True, slots=True)
class EvidenceReport:
    """What an evidence file proves, if anything."""

    exit_code: int
    headline: str
    facts: tuple[Fact, ...]
    report: PromiseReport | None = None
    """Of a promise, and of FORK: the verdict in the words of promises."""
    proof: Proof | None = None
    evidence: Evidence | None = None
    verdict: str | None = None
    """The word of the file; None where it is no evidence file, or proves nothing."""
    alarm: str | None = None
    """The word of registry.md, "Alarms"."""
    origin: str | None = None
    tree_size: int | None = None
    """Of the checkpoint that all proofs lead into."""
    index: int | None = None
    """Of the entry it is about, if it is about one."""
    against: tuple[str, ...] = ()
    """Who is convicted. Several: one of them, and the file does not say which; but of FORK, all."""

    def to_json(self) -> dict[str, Any]:
        """The stable JSON form: members are added in later versions, never renamed or removed."""
        return {
            "v": EVIDENCE_REPORT_VERSION,
            "exit_code": self.exit_code,
            "headline": self.headline,
            "verdict": self.verdict,
            "alarm": self.alarm,
            "origin": self.origin,
            "tree_size": self.tree_size,
            "index": self.index,
            "against": list(self.against),
            "facts": [fact.to_json() for fact in self.facts],
            "report": None if self.report is None else self.report.to_json(),
        }


def not_checked(error: NotDatableError, verdict: str, checkpoint: str) -> EvidenceReport:
    """The report of evidence whose checkpoint holds, and for which the trust file lacks something."""
    origin = checkpoint.split("\n", 1)[0]
    return EvidenceReport(3, f"NOT CHECKED: {error}", (), verdict=str(verdict), origin=origin)
