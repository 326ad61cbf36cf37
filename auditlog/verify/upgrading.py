"""Upgrading a receipt by a later one, with both verified, so that what comes out never proves less.

Spec: auditlog/spec/receipt.md, "Rules for who writes receipts". `auditlog.core.upgrading` says what may be
added or replaced; this takes of it only what holds. Promises: whatever step the kept receipt passes, the
result passes; whatever it states, the result states, but for what a checkpoint with a quorum replaces
(`REPLACED`). Must never: let the later receipt, which is attacker-controlled, take anything away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from auditlog.core.receipt import Receipt, ReceiptAnchor, format_receipt
from auditlog.core.trust import Trust
from auditlog.core.upgrading import upgrade_receipt
from auditlog.errors import VerificationError
from auditlog.verify.report import EXIT_FAILED, Fact, Grade, Outcome, Report
from auditlog.verify.verifier import Verifier

REPLACED: Final = ("tree_size", "cosigned")
"""Facts about a checkpoint without a quorum, which one with a quorum may replace by its own."""
_RANK: Final = {Grade.NOT_CHECKED: 0, Grade.STATED: 1, Grade.PROVEN: 2}
_ANCHORS: Final = 12


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What to keep from now on: `receipt` is the kept object itself if nothing was added."""

    receipt: Receipt
    report: Report
    not_taken: tuple[str, ...]
    """What of the later receipt was left out, and why."""


def upgrade_verified(kept: Receipt, later: Receipt, trust: Trust) -> Upgraded:
    """The kept receipt with what the later one adds to it and what holds by the trust file.

    Raises:
        VerificationError: either does not verify, they are of two entries, or contradict each other.
    """
    verifier = Verifier(trust)
    before = _verified(verifier, kept, "a receipt")
    _verified(verifier, later, "a later receipt")
    anchors = tuple(each for each in later.anchors if _holds(verifier, later, each))
    told = []
    if missing := len([each for each in later.anchors if each not in anchors]):
        told.append(f"{missing} anchor(s) that the trust file gives no way to check")
    later = replace(later, anchors=anchors)
    found = upgrade_receipt(kept, later, trust.policy)
    report = _verified(verifier, found, "a later receipt that agrees with the kept one")
    worse = find_worse(before, report)
    if worse is not None:
        told.append(f"its checkpoint: with it {worse}")
        # Of its checkpoint nothing is taken; its anchors stand by themselves.
        found = upgrade_receipt(kept, replace(later, proof=kept.proof, related=kept.related), trust.policy)
        report = _verified(verifier, found, "a later receipt that agrees with the kept one")
        if worse := find_worse(before, report):
            raise VerificationError(f"expected a later receipt that adds, found one with which {worse}")
    return Upgraded(found, report, tuple(told))


def find_worse(before: Report, after: Report) -> str | None:
    """In what the second report says less than the first, of one entry; None if in nothing."""
    for one, other in zip(before.steps, after.steps, strict=True):
        if one.outcome is Outcome.PASSED and other.outcome is not Outcome.PASSED:
            return f"step {one.number} ({one.name}) would no longer pass: {other.detail}"
    told = {(fact.name, fact.value): _RANK[fact.grade] for fact in after.facts}
    for fact in before.facts:
        if _counts(fact) and told.get((fact.name, fact.value), 0) < _RANK[fact.grade]:
            return f"{fact.name} would no longer be {fact.grade}"
    known = {fact.name for fact in before.facts}
    opened = [fact.name for fact in after.facts if fact.name not in known and not _RANK[fact.grade]]
    return f"{opened[0]} would be open" if opened else None


def _counts(fact: Fact) -> bool:
    # That a model was pending is what an answer replaces.
    return fact.name not in REPLACED and (fact.name, fact.value) != ("model", "pending")


def _verified(verifier: Verifier, receipt: Receipt, what: str) -> Report:
    report = verifier.verify(format_receipt(receipt))
    if report.exit_code == EXIT_FAILED:
        raise VerificationError(f"expected {what} that holds, found: {report.headline}")
    return report


def _holds(verifier: Verifier, receipt: Receipt, anchor: ReceiptAnchor) -> bool:
    """Whether the evidence of this anchor alone was checked, and holds."""
    report = verifier.verify(format_receipt(replace(receipt, anchors=(anchor,))))
    return report.steps[_ANCHORS - 1].outcome is Outcome.PASSED
