"""A transparent record of AI decisions. Importing this package costs nothing; import the part you need.

auditlog.outcome(decision_id, label="repaid", score=0.93)    what became of a decision, later, from anywhere
auditlog.facts(label="approved", subject="123")              about the decision being made right here
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

__version__ = "0.1.0"


def outcome(
    id: str,  # noqa: A002  the word of the format
    *,
    label: str | None = None,
    score: float | str | Decimal | None = None,
    reason_codes: Iterable[str] | None = None,
    subject: str | int | None = None,
    purpose: str | None = None,
    item: str | None = None,
    override: object = None,
    **facts: object,
) -> None:
    """Record what became known of the decision `id` (its `Audit-Id`): an `outcome` entry of the log.

    `item` names one item of a batch (`instances/17`, `choices/1`); `override` says what a person decided
    instead, in any JSON. All of it is committed under a key of its own; only id and item are readable. In a
    process that records, this returns at once; elsewhere it is one request to AUDITLOG_LOG, of 5 seconds at
    most.

    Raises:
        FactsError: an argument that cannot be recorded (it is a ValueError too).
        ConfigurationError: this process neither records nor knows a log.
        AuditLogError: the log did not take it; the same call may be made again.
    """
    from auditlog.capture.outcomes import write_outcome

    named: dict[str, object] = {
        "label": label, "score": score, "reason_codes": reason_codes, "subject": subject, "purpose": purpose,
        "override": override, **facts,
    }  # fmt: skip
    write_outcome(id, named, item=item)


def facts(
    *,
    label: str | None = None,
    score: float | str | Decimal | None = None,
    reason_codes: Iterable[str] | None = None,
    subject: str | int | None = None,
    purpose: str | None = None,
    **others: object,
) -> bool:
    """Add facts to the decision being made here: in a handler behind the middleware, or in an `@audited`
    function. Whether a decision took them; False where none is being recorded. Later ones win.

    Raises:
        FactsError: an argument that cannot be recorded (it is a ValueError too).
    """
    from auditlog.capture.outcomes import add_facts

    named: dict[str, object] = {
        "label": label, "score": score, "reason_codes": reason_codes, "subject": subject, "purpose": purpose,
        **others,
    }  # fmt: skip
    return add_facts(named)
