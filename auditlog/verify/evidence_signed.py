"""What producers signed, or did not: enrolments, starts, changes of keys, and heads.

Spec: auditlog/spec/evidence.md, "ENTRIES", `forged_enrolment`, `wrong_key` and `broken_head`. A key is judged
only by a chain from the enrolment on in which nothing is left out: else a rotation that was not shown would
convict an honest log. Promises: pure; returns a sentence or raises an `EvidenceError`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from auditlog.core.bodies import check_body
from auditlog.core.checkpoint import Checkpoint
from auditlog.core.head import Head, parse_head_text
from auditlog.core.keys import Ed25519Verifier
from auditlog.core.merkle import root_hash
from auditlog.core.receipt import Related
from auditlog.core.signed import check_one, open_one
from auditlog.core.statements import instance_text, open_rotation, parse_producer_text, producer_key_name
from auditlog.errors import EvidenceError, SignatureError, VerificationError
from auditlog.verify.evidence_rules import expect
from auditlog.verify.promise_keys import prove_producer, prove_rotations
from auditlog.verify.steps_chain import Placed


def forged_enrolment(found: Sequence[Placed]) -> str:
    """A producer entry whose enrolment does not hold."""
    expect(found, 1)
    entry = found[0].entry
    if entry.kind != "producer" or entry.v != 1:
        raise VerificationError("entries: expected an enrolment, found another entry")
    try:
        _enrolled_key(found[0])
    except EvidenceError:
        return f"Entry {found[0].index} enrols a producer without a valid statement by its key."
    raise VerificationError("entries: expected an enrolment that does not hold, found one that does")


def wrong_key(found: Sequence[Placed]) -> str:
    """The whole chain of a producer, up to a statement that is not by the key in force."""
    if len(found) < 2:
        raise VerificationError("entries: expected an enrolment and what follows it, found one entry")
    first, last = found[0], found[-1]
    keys = [_enrolled_key(first)]
    for before, item in itertools.pairwise(found):
        is_next = item.entry.prev == before.leaf_hash.hex()
        if item.entry.producer != first.leaf_hash.hex() or not is_next:
            raise VerificationError("entries: expected a producer's chain without a hole, found another")
        if item is not last and item.entry.kind == "rotation" and item.entry.understood:
            keys.append(_following_key(item, keys))
    if last.entry.kind not in ("instance", "rotation") or not last.entry.understood:
        raise VerificationError("entries: expected a start or a change of key at the end, found another")
    try:
        _check_last(last, keys)
    except EvidenceError:
        what = "starts a life" if last.entry.kind == "instance" else "changes the key"
        return f"Entry {last.index} {what} of its producer without a valid statement by the key it had."
    raise VerificationError("entries: expected a statement that does not hold, found one that does")


def _check_last(last: Placed, keys: Sequence[Ed25519Verifier]) -> None:
    entry = last.entry
    if entry.kind == "rotation":
        _following_key(last, keys)
        return
    note = entry.body.get("note")
    expected = instance_text(entry.origin, entry.producer, entry.instance, entry.prev)
    if type(note) is not str or open_one(note, keys[-1]) != expected:
        raise SignatureError("instance: expected a statement over this start, found another")


def _following_key(item: Placed, keys: Sequence[Ed25519Verifier]) -> Ed25519Verifier:
    entry = item.entry
    check_body("rotation", entry.body)
    return open_rotation(entry.body, origin=entry.origin, producer=entry.producer, keys=keys)


def _enrolled_key(placed: Placed) -> Ed25519Verifier:
    """The key that a producer entry enrols; raises EvidenceError where it does not hold."""
    entry = placed.entry
    if entry.kind != "producer" or not entry.understood:
        raise VerificationError("entries: expected an enrolment first, found another entry")
    check_body("producer", entry.body)
    key = Ed25519Verifier.from_vkey(entry.body["vkey"])
    if key.name != producer_key_name(entry.origin, entry.body["name"]):
        raise VerificationError("enrolment: expected a key named like the producer, found another name")
    if parse_producer_text(open_one(entry.body["note"], key)) != (entry.origin, entry.body["name"]):
        raise SignatureError("enrolment: expected a statement over this name, found another")
    return key


def open_producer_head(
    note: str, checkpoint: Checkpoint, producer: Related, rotations: Sequence[Related]
) -> Head:
    """Check that a head is of this log, and signed by a key its producer ever had.

    Raises:
        EvidenceError: it is not.
    """
    head = parse_head_text(check_one(note))
    if head.origin != checkpoint.origin:
        raise VerificationError("head: expected one of this log, found one of another origin")
    _, keys = prove_rotations(rotations, checkpoint, prove_producer(producer, checkpoint, head.producer))
    for key in keys:
        try:
            open_one(note, key)
        except SignatureError:
            continue
        return head
    raise SignatureError("head: expected the signature of a key of its producer, found another")


def broken_head(found: Sequence[Placed], head: Head) -> str:
    """A head, and the entries that the log has in the place of those it covers."""
    of = (head.producer, head.instance)
    numbers = [item.entry.seq for item in found]
    is_of = all((item.entry.producer, item.entry.instance) == of for item in found)
    if len(found) == 1:
        if not is_of or numbers != [head.seq] or found[0].leaf_hash == head.leaf_hash:
            raise VerificationError("entries: expected another at the head's last number, found none")
        return f"Entry {found[0].index} has the last number of a head that was signed over another entry."
    if not is_of or head.size != len(found) or numbers != list(range(head.first_seq, head.seq + 1)):
        raise VerificationError("entries: expected all numbers of the head, found others")
    if root_hash([item.leaf_hash for item in found]) == head.root:
        raise VerificationError("entries: expected others than the head was signed over, found the same")
    return f"The entries with the numbers {head.first_seq} to {head.seq} are not those of a signed head."
