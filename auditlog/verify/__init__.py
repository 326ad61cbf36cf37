"""Checking receipts and logs with nothing but a trust file: no account, no database, no word of the operator.

`Verifier` is the way in; see auditlog/spec/verification.md.
Importing this loads neither the service nor a model library.
"""

from __future__ import annotations

from auditlog.verify.expectations import Expectation, parse_expectation
from auditlog.verify.report import Fact, Grade, Outcome, Report, Step
from auditlog.verify.verifier import Verifier

__all__ = ["Expectation", "Fact", "Grade", "Outcome", "Report", "Step", "Verifier", "parse_expectation"]
