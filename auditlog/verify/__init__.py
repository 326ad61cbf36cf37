"""Checking receipts and logs with nothing but a trust file: no account, no database, no word of the operator.

>>> from auditlog.verify import AllOf, CosignedBy, ModelIs, OperatorIs, Verifier, parse_trust
>>> trust = parse_trust(Path("trust.json").read_bytes())
>>> approved = AllOf(OperatorIs("log.example/loans"), ModelIs(name="loan"), CosignedBy(at_least=2))
>>> report = Verifier(trust).verify(Path("receipt.json").read_bytes(), expect=approved)
>>> report.verdict, report.on_record_by
('verified', '2026-01-01T00:06:00.000000Z')
>>> for part in report.expectation.parts:
...     print(f"{part.held}: {part.graded}")
holds: the log is log.example/loans, as expected (proven)
holds: the model is called loan, as expected (stated by producer gpu-0)
holds: at least 2 witness(es) of the trust file cosigned, as expected (proven)

Spec: auditlog/spec/verification.md. Importing this loads neither the service nor a model library.
"""

from __future__ import annotations

from auditlog.core.trust import Trust, parse_trust
from auditlog.verify.expectation_text import parse_expectation, parse_expectations
from auditlog.verify.expectations import (
    AllOf,
    AnyOf,
    DecidedBetween,
    EntryIs,
    Expectation,
    ModelIs,
    Not,
    OperatorIs,
)
from auditlog.verify.expectations_outside import AnchoredOn, CosignedBy, MaxLag, RecordedBefore
from auditlog.verify.judgement import Held, Judgement
from auditlog.verify.report import Fact, Grade, Outcome, Report, Step
from auditlog.verify.verifier import Verifier

__all__ = [
    "AllOf",
    "AnchoredOn",
    "AnyOf",
    "CosignedBy",
    "DecidedBetween",
    "EntryIs",
    "Expectation",
    "Fact",
    "Grade",
    "Held",
    "Judgement",
    "MaxLag",
    "ModelIs",
    "Not",
    "OperatorIs",
    "Outcome",
    "RecordedBefore",
    "Report",
    "Step",
    "Trust",
    "Verifier",
    "parse_expectation",
    "parse_expectations",
    "parse_trust",
]
