"""The one sentence for someone who reads nothing else. Spec: auditlog/spec/verification.md, "Headline".

Promises: it names the weakest link (operator alone, devnet, the operator's own trust file) whatever the
verdict but failed. Must never: say "verified" for an exit code other than 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from auditlog.core.trust import Trust
from auditlog.verify.quorum_words import PARTING, cosigned_words, too_few_words
from auditlog.verify.report import Outcome, Step
from auditlog.verify.shown import Shown
from auditlog.verify.wording import printable

OPERATOR_ONLY = "signed by the operator only; the operator could still rewrite this"
BARE = "a bare proof shows that the record is in the log, not who sealed it"
DEVNET = "anchored on a development chain (devnet), which proves nothing to an outsider"


def write_headline(
    steps: Sequence[Step], shown: Shown, reservations: Sequence[str], trust: Trust | None = None
) -> str:
    """Put the verdict first, by how many it was cosigned, and every reservation after it."""
    failed = next((step for step in steps if step.outcome is Outcome.FAILED), None)
    if failed is not None:
        return f"FAILED at step {failed.number} ({failed.name}): {failed.detail}"
    missing = [step for step in steps if step.outcome is Outcome.NOT_CHECKED and step.is_required]
    if missing:
        reasons = "; ".join(f"{step.name}: {step.detail}" for step in missing)
        return ". ".join((f"NOT FULLY CHECKED: {reasons}", *map(_sentence, reservations))) + "."
    verdict = f"VERIFIED: entry {shown.first('index')} of log {shown.first('origin')}"
    if shown.has_quorum and trust is not None:
        verdict = f"{verdict}, {cosigned_words(trust.policy, shown.cosigned)}"
    if reservations:
        verdict = f"{verdict}, but {reservations[0]}"
    return ". ".join((verdict, *map(_sentence, reservations[1:]))) + "."


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def find_reservations(shown: Shown, trust: Trust) -> tuple[str, ...]:
    """What a reader must know before relying on any fact of the report, weightiest first."""
    found = []
    if not shown.has_quorum and not shown.has_final_anchor:
        found.append(OPERATOR_ONLY)
        if shown.cosigned and trust.policy.quorum is not None:
            found.append(too_few_words(trust.policy, shown.cosigned))
    if shown.has_quorum and not shown.has_final_anchor and not trust.policy.is_decided_by(shown.cosigned):
        found.append(PARTING)
    if shown.devnet is not None:
        found.append(DEVNET)
    if shown.is_bare:
        found.append(BARE)
    issuer = trust.issuer
    if issuer.role == "operator":
        found.append(f"the trust file came from the operator ({printable(issuer.name)})")
    return tuple(found)
