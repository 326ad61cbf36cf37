"""What one report comes to for someone outside the field, and what they can do with it.

Spec: auditlog/spec/verification.md, "Text report". A summary of facts and reservations that the report gives
in full below it, each line with its grade. Fixed sentences only: nothing that a stranger wrote stands in
them. Must never: say more than the report does, or call a decision right.
"""

from __future__ import annotations

from typing import Final

from auditlog.verify.headline import DEVNET, OPERATOR_ONLY
from auditlog.verify.quorum_words import PARTING
from auditlog.verify.report import EXIT_FAILED, EXIT_NOT_CHECKED, Grade, Report

_FROM_OPERATOR = "the trust file came from the operator"

_FAILED: Final = (
    "Proven: something in this file does not fit together. It was damaged or altered, or the log behind it "
    "was. Do not rely on what it says."
)
_MISSING: Final = (
    "Not checked: all that your trust file asks for. Nothing here was found to be false; what is missing "
    "stands in the first lines."
)
_SEEN: Final = (
    "Proven: this record is in the operator's log, and outsiders named in your trust file have seen the log "
    "with it. It cannot be changed or removed any more without that showing."
)
_UNSEEN: Final = (
    "Proven: the operator has signed that this record is in its log. Nobody else has seen it, so it "
    "could still be replaced."
)
_WHOSE_LIST: Final = (
    "Not checked: whether those outsiders are independent. You have the list of whom to trust (the trust "
    "file) from the operator itself."
)
_PARTED: Final = "Not checked: whether others of the outsiders you trust have seen another log."
_TEST_CHAIN: Final = "Not checked: the date on a test chain. It counts for nothing here."
_STATED: Final = (
    "Only their word: which model decided, when and how, as the operator's machine recorded it. A status "
    "like 200 means that an answer was sent, not that the answer was yes."
)
_NOT_RIGHT: Final = (
    "Not checked: whether the decision was right or fair. A receipt is about the record, not about that."
)

_AGAIN: Final = "Keep this file as it is, ask the operator for the receipt again, and check that one too."
_SHOW: Final = (
    "If that fails as well, show both to whoever oversees the operator: they can repeat this check."
)
_OTHER_LIST: Final = (
    "Get a trust file from someone else than the operator (an authority, a consumer group) and check again "
    "with it: --trust FILE."
)
_VALUES: Final = (
    "Ask the operator for the values behind this record (a disclosure): with --disclosures FILE you see what "
    "was asked and answered, and whether it is what was recorded."
)
_TODAY: Final = "Compare with the log as it is today, whenever you like: --log URL."
_REASONS: Final = (
    "Ask the operator for its reasons: no receipt holds them. Keep this file; it can be checked for ever."
)


def plain_words(report: Report) -> tuple[str, ...]:
    """The verdict in everyday words, weightiest first."""
    if report.exit_code == EXIT_FAILED:
        return (_FAILED,)
    if report.exit_code == EXIT_NOT_CHECKED:
        return (_MISSING, _NOT_RIGHT)
    said = report.reservations
    lines = (
        (_UNSEEN if OPERATOR_ONLY in said else _SEEN, True),
        (_PARTED, PARTING in said),
        (_WHOSE_LIST, _is_from_operator(report) and OPERATOR_ONLY not in said),
        (_TEST_CHAIN, DEVNET in said),
        (_STATED, any(fact.name == "model" for fact in report.graded(Grade.STATED))),
        (_NOT_RIGHT, True),
    )
    return tuple(line for line, is_so in lines if is_so)


def what_to_do(report: Report) -> tuple[str, ...]:
    """Steps that a holder can take next."""
    if report.exit_code == EXIT_FAILED:
        return (_AGAIN, _SHOW)
    unseen = {fact.name for fact in report.graded(Grade.NOT_CHECKED)}
    lines = (
        (_OTHER_LIST, _is_from_operator(report)),
        (_VALUES, bool(unseen & {"request", "response"})),
        (_TODAY, True),
        (_REASONS, True),
    )
    return tuple(line for line, is_so in lines if is_so)


def _is_from_operator(report: Report) -> bool:
    return any(text.startswith(_FROM_OPERATOR) for text in report.reservations)
