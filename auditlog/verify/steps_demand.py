"""Steps 14 and 15: what the caller insists on, and what the trust file insists on.

Spec: auditlog/spec/verification.md, "Expectations" and "Exit codes".
Promises: evidence that is absent is not checked, never passed. Must never:
let `quorum none` satisfy `quorum`, or a development chain satisfy `anchor`.
"""

from __future__ import annotations

from auditlog.core.trust import Trust
from auditlog.errors import ExpectationError
from auditlog.verify.expectations import Expectation
from auditlog.verify.judgement import Held, Judgement
from auditlog.verify.run import Checked, not_checked
from auditlog.verify.shown import Shown
from auditlog.verify.steps import Quorum
from auditlog.verify.steps_anchor import Anchored
from auditlog.verify.wording import printable


def check_expectations(judged: Judgement | None) -> Checked[None]:
    """(14) What the caller insists on must hold; `judged` is None where nothing was insisted on.

    Raises:
        ExpectationError: it does not; the message names everything that does not.
    """
    if judged is None:
        return not_checked(None, "none were given", is_required=False)
    detail = printable(judged.graded, 1000)
    if judged.held is Held.NO:
        raise ExpectationError(detail)
    if judged.held is Held.UNKNOWN:
        return not_checked(None, detail, is_required=True)
    return Checked(None, detail)


def judge(expect: Expectation | None, shown: Shown) -> Judgement | None:
    """What the receipt says to what the caller insists on."""
    return None if expect is None else expect.judge(shown)


def check_required(trust: Trust, quorum: Quorum, anchored: tuple[Anchored, ...] | None) -> Checked[None]:
    """(15) Each kind of evidence the trust file requires was found and checked."""
    if not trust.require:
        return Checked(None, "the trust file requires neither witnesses nor anchors")
    held = [anchor for anchor in anchored or () if anchor.is_checked]
    has = {
        "quorum": quorum.is_satisfied,
        "anchor": any(not anchor.is_devnet for anchor in held),
        "devnet": any(anchor.is_devnet for anchor in held),
    }
    missing = [name for name in trust.require if not has[name]]
    if missing:
        detail = f"the trust file requires {_listed(missing)}, which this receipt does not show"
        return not_checked(None, detail, is_required=True)
    return Checked(None, f"{_listed(list(trust.require))}: found and checked")


def _listed(names: list[str]) -> str:
    words = {"quorum": "a witness quorum", "anchor": "a final anchor", "devnet": "a devnet anchor"}
    return " and ".join(words[name] for name in names)
