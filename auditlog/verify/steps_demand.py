"""Steps 14 and 15: what the caller insists on, and what the trust file insists on.

Spec: auditlog/spec/verification.md, "Expectations" and "Exit codes".
Promises: evidence that is absent is not checked, never passed. Must never:
let `quorum none` satisfy `quorum`, or a development chain satisfy `anchor`.
"""

from __future__ import annotations

from collections.abc import Sequence

from auditlog.core.trust import Trust
from auditlog.errors import ExpectationError
from auditlog.verify.expectations import Expectation, Held
from auditlog.verify.run import Checked, not_checked
from auditlog.verify.shown import Shown
from auditlog.verify.steps import Quorum
from auditlog.verify.steps_anchor import Anchored
from auditlog.verify.wording import printable


def check_expectations(expectations: Sequence[Expectation], shown: Shown) -> Checked[None]:
    """(14) Every expectation must hold.

    Raises:
        ExpectationError: one does not; the message names all that do not.
    """
    if not expectations:
        return not_checked(None, "none were given", is_required=False)
    results = [expectation.check(shown.values) for expectation in expectations]
    broken = [line for held, line in results if held is Held.NO]
    if broken:
        raise ExpectationError(printable("; ".join(broken), 1000))
    unknown = [line for held, line in results if held is Held.UNKNOWN]
    if unknown:
        return not_checked(None, printable("; ".join(unknown), 1000), is_required=True)
    return Checked(None, printable("; ".join(line for _, line in results), 1000))


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
