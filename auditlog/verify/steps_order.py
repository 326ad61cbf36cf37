"""Step 10: every number, index and link in the receipt can be true of one honest chain.

Spec: auditlog/spec/verification.md, "Step 10"; auditlog/spec/entry.md, "Chains". Promises: what can be
compared is compared, with a head or without, and a contradiction fails. Must never: call an entry bound to
its writer while the head, or an entry it stands on, is missing; take a later entry for the answer to a
`pending` model that is not shown to be the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from auditlog.core.entry import Entry
from auditlog.core.head import Head
from auditlog.errors import VerificationError
from auditlog.verify.run import Checked, not_checked
from auditlog.verify.steps_chain import Placed, Standing, missing_entries


def check_chain(this: Placed, standing: Standing, head: Head | None) -> Checked[bool]:
    """(10) Everything that names a producer, an instance, a number or an order must say the same.

    Hands on whether the entry is bound to its writer, with all it stands on: steps 8 to 10 passed. Only then
    is what it says stated by somebody.
    """
    entry = this.entry
    home = standing.producer.placed if standing.producer is not None else None
    beside = (standing.instance, standing.model, standing.ending, *standing.rotations)
    others = [item for item in beside if item is not None]
    for item in (this, *others, *([home] if home is not None else [])):
        _check_log_number(item)
    if entry.by_log:
        return Checked(True, f"number {entry.seq} of the log's own entries")
    if head is not None and (head.origin, head.producer, head.instance) != (
        entry.origin,
        entry.producer,
        entry.instance,
    ):
        raise VerificationError("expected a head of this entry's producer and instance, found another's")
    if head is not None:
        _check_batch(head, [this, *standing.rotations])
    _check_numbers([this, *others])
    if home is not None:
        _check_enrolment(home, [this, *others])
    if standing.model is not None:
        _check_model(this, standing.model)
    if standing.ending is not None:
        _check_later(this, standing.ending)
    if standing.producer is None or head is None:
        return not_checked(False, "no contradiction, but no head to compare with", is_required=True)
    detail = f"number {entry.seq} of instance {entry.instance[:8]} of producer {standing.producer.name}"
    return Checked(not missing_entries(entry, standing), detail)


def find_model_doubt(entry: Entry, standing: Standing) -> str | None:
    """Why nobody can tell which model a `pending` decision had; None where that is shown, or no question.

    Who hands over the receipt picks which later entry goes along, so an answer counts only where it has the
    very next number: with others between, one of them may have answered first. Holds after step 10 alone,
    which has compared the links.
    """
    if entry.kind != "decision" or not entry.understood or entry.body["model"] != "pending":
        return None
    answer = standing.model or standing.ending
    if answer is None:
        return "the decision says pending, and the receipt has no entry that answers it"
    if answer.entry.seq == entry.seq + 1:
        return None
    return (
        f"the decision says pending; entry {answer.index} (number {answer.entry.seq}) answers, but number "
        f"{entry.seq} does not come right before it, and an entry between may have answered first"
    )


def _check_batch(head: Head, placed: Sequence[Placed]) -> None:
    """A batch has one key: a rotation is the last entry of its own."""
    for item in placed:
        entry = item.entry
        if (entry.kind, entry.v) != ("rotation", 1) or entry.instance != head.instance:
            continue
        if head.first_seq <= entry.seq < head.seq:
            raise VerificationError(
                f"expected a batch that ends with its rotation at number {entry.seq}, "
                f"found one that goes on to {head.seq}"
            )


def _check_log_number(item: Placed) -> None:
    """The log begins with genesis at index 0, and each of its numbers has an index of its own."""
    if (item.index == 0) != (item.entry.kind == "genesis"):
        raise VerificationError(
            f"expected genesis, and only that, at index 0, found {item.entry.kind} at index {item.index}"
        )
    if item.entry.by_log and item.entry.seq > item.index:
        raise VerificationError(
            f"expected the log's number {item.entry.seq} at an index of at least {item.entry.seq}, "
            f"found {item.index}"
        )


def _check_numbers(placed: Sequence[Placed]) -> None:
    """Number 0 begins an instance, and nothing else does; entries of one instance are in its order."""
    for item in placed:
        if (item.entry.seq == 0) != (item.entry.kind == "instance"):
            raise VerificationError(
                "expected an instance entry, and only that, at number 0, "
                f"found {item.entry.kind} at number {item.entry.seq}"
            )
    for one, other in combinations(placed, 2):
        if (one.entry.producer, one.entry.instance) == (other.entry.producer, other.entry.instance):
            _check_pair(*sorted((one, other), key=lambda item: item.entry.seq))


def _check_pair(first: Placed, second: Placed) -> None:
    """Two entries of one instance: each number has an index of its own, and neighbours are linked."""
    step = second.entry.seq - first.entry.seq
    if step == 0:
        raise VerificationError(f"expected one entry with number {first.entry.seq}, found two")
    if second.index - first.index < step:
        raise VerificationError(
            f"expected number {second.entry.seq} at an index of at least {first.index + step}, "
            f"since number {first.entry.seq} is at {first.index}, found {second.index}"
        )
    if step == 1 and second.entry.prev != first.leaf_hash.hex():
        raise VerificationError(
            f"expected number {second.entry.seq} to follow number {first.entry.seq}, found another prev"
        )


def _check_enrolment(home: Placed, placed: Sequence[Placed]) -> None:
    """Nobody writes before the entry that enrols them."""
    for item in placed:
        if item.entry.producer == home.leaf_hash.hex() and item.index <= home.index:
            raise VerificationError(
                f"expected the {item.entry.kind} entry after its producer's at {home.index}, "
                f"found index {item.index}"
            )


def _check_model(this: Placed, model: Placed) -> None:
    """A model named by its hash was there before; one that resolves `pending` is a later statement."""
    if this.entry.body["model"] != "pending":
        if model.index > this.index:
            raise VerificationError(
                f"expected the model entry before the decision, found index {model.index}"
            )
        return
    _check_later(this, model)


def _check_later(this: Placed, later: Placed) -> None:
    """What becomes of a `pending` model, the same instance says afterwards."""
    kind = later.entry.kind
    if (later.entry.producer, later.entry.instance) != (this.entry.producer, this.entry.instance):
        raise VerificationError(f"expected the {kind} entry of the same instance, found another's")
    if later.index < this.index or later.entry.seq < this.entry.seq:
        raise VerificationError(
            f"expected the {kind} entry after the decision, found number {later.entry.seq} "
            f"at index {later.index}"
        )
