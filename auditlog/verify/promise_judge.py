"""An evidence file, judged by a third party with nothing but a trust file.

Spec: auditlog/spec/evidence.md, "Checking". Promises: any bytes give a report; exit code 0 exactly if the
evidence proves what it says. Must never: read a network or a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from auditlog.core.trust import Trust
from auditlog.errors import EvidenceError
from auditlog.verify.promise_evidence import Evidence, parse_evidence
from auditlog.verify.promise_proofs import NotDatableError, Proof, prove_evidence
from auditlog.verify.promise_report import PromiseReport
from auditlog.verify.promise_words import (
    broken,
    headline,
    promise_facts,
    proof_facts,
    reservations,
)
from auditlog.verify.report import Fact, Outcome, Step

EVIDENCE_REPORT_VERSION: Final = "auditlog/evidence-report@v1"


@dataclass(frozen=True, slots=True)
class EvidenceReport:
    """What an evidence file proves, if anything."""

    exit_code: int
    headline: str
    facts: tuple[Fact, ...]
    report: PromiseReport | None = None
    proof: Proof | None = None
    evidence: Evidence | None = None

    def to_json(self) -> dict[str, Any]:
        """The stable JSON form: members are added in later versions, never renamed or removed."""
        return {
            "v": EVIDENCE_REPORT_VERSION,
            "exit_code": self.exit_code,
            "headline": self.headline,
            "report": None if self.report is None else self.report.to_json(),
        }


def judge_evidence(data: bytes, trust: Trust) -> EvidenceReport:
    """Check an evidence file; `data` is attacker-controlled. Never raises on any bytes."""
    try:
        evidence = parse_evidence(data)
        proof = prove_evidence(evidence, trust)
    except NotDatableError as error:
        return EvidenceReport(3, f"NOT CHECKED: {error}", ())
    except EvidenceError as error:
        return EvidenceReport(1, f"NOT PROVEN: {error}", ())
    facts = (*(() if proof.promised is None else promise_facts(proof.promised)), *proof_facts(proof))
    finding = broken(proof, evidence)
    kept = reservations(finding, trust, has_quorum=True)
    report = PromiseReport(
        verdict=finding.verdict,
        headline=headline(finding, kept),
        steps=(
            Step(1, "evidence", Outcome.PASSED, f"well formed, {len(data)} bytes, {evidence.verdict}"),
            Step(2, "proof", Outcome.PASSED, proof.text),
        ),
        facts=facts,
        reservations=kept,
        cause=finding.cause,
        evidence=evidence,
        merge_by=None if proof.promised is None else proof.promised.promise.merge_by,
        index=finding.index,
    )
    return EvidenceReport(0, f"PROVEN: {report.headline}", facts, report, proof, evidence)
