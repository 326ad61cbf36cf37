"""Evidence of a promise, or of a fork, judged by a third party with nothing but a trust file.

Spec: auditlog/spec/evidence.md, "Checking". Promises: any bytes give a report; exit code 0 exactly if the
evidence proves what it says. Must never: read a network or a clock.
"""

from __future__ import annotations

from auditlog.core.trust import Trust
from auditlog.errors import EvidenceError
from auditlog.verify.evidence_report import EVIDENCE_REPORT_VERSION, EvidenceReport, not_checked
from auditlog.verify.promise_evidence import Cause, Evidence, parse_evidence
from auditlog.verify.promise_proofs import NotDatableError, Proof, open_evidence_log, prove_evidence
from auditlog.verify.promise_report import PromiseReport
from auditlog.verify.promise_words import (
    broken,
    headline,
    promise_facts,
    proof_facts,
    reservations,
)
from auditlog.verify.report import Fact, Grade, Outcome, Step
from auditlog.verify.wording import printable

__all__ = ["EVIDENCE_REPORT_VERSION", "EvidenceReport", "judge_evidence"]

_WHO = {Cause.FORK: ("the log",), Cause.DECLARED_LOST: ()}


def judge_evidence(data: bytes, trust: Trust) -> EvidenceReport:
    """Check an evidence file; `data` is attacker-controlled. Never raises on any bytes."""
    try:
        evidence = parse_evidence(data)
        proof = _prove(evidence, trust)
        if isinstance(proof, NotDatableError):
            return not_checked(proof, evidence.verdict, evidence.checkpoint)
        twice = _cosigned_twice(evidence, trust) if evidence.verdict is Cause.FORK else ()
    except EvidenceError as error:
        return EvidenceReport(1, f"NOT PROVEN: {error}", ())
    told = (*(() if proof.promised is None else promise_facts(proof.promised)), *proof_facts(proof))
    facts = (*told, *map(_twice_fact, twice))
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
    return _proven(report, proof, evidence, twice)


def _prove(evidence: Evidence, trust: Trust) -> Proof | NotDatableError:
    try:
        return prove_evidence(evidence, trust)
    except NotDatableError as error:
        return error


def _proven(
    report: PromiseReport, proof: Proof, evidence: Evidence, twice: tuple[str, ...]
) -> EvidenceReport:
    checkpoint = proof.opened.checkpoint
    headline = f"PROVEN: {report.headline}"
    if evidence.verdict is Cause.FORK:
        headline = f"PROVEN (fork) against the log {checkpoint.origin}: {proof.text}"
    return EvidenceReport(
        0,
        headline,
        report.facts,
        report,
        proof,
        evidence,
        verdict=evidence.verdict.value,
        alarm="fork" if evidence.verdict is Cause.FORK else "promise_broken",
        origin=checkpoint.origin,
        tree_size=checkpoint.tree_size,
        index=proof.index,
        against=(*_WHO.get(evidence.verdict, ("the log", "its producer")), *twice),
    )


def _cosigned_twice(evidence: Evidence, trust: Trust) -> tuple[str, ...]:
    """Witnesses of the trust file whose cosignatures are on both checkpoints of a fork."""
    notes = (evidence.checkpoint, evidence.earlier.checkpoint if evidence.earlier else evidence.checkpoint)
    first, second = (
        {line.vkey for line in open_evidence_log(note, trust)[1].opened.verified} for note in notes
    )
    both = first & second
    return tuple(
        f"witness {printable(witness.name)}"
        for witness in trust.policy.witnesses
        if witness.verifier.vkey in both
    )


def _twice_fact(who: str) -> Fact:
    text = f"The {who} has cosigned both of these histories, which no witness that keeps its state does."
    return Fact("cosigned_twice", who, Grade.PROVEN, f"cosignatures of {who}", text)
