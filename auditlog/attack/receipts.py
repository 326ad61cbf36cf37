"""Receipts as a log would issue them for a host of the suite: entry, proofs, head, what it stands on.

Spec: auditlog/spec/receipt.md. Honest; what attacks do to them afterwards is theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

from auditlog.attack.pen import Answered
from auditlog.attack.twin import read_entry
from auditlog.core.disclosure import Disclosures, WholeDisclosure, disclose_whole, format_disclosures
from auditlog.core.entry import Entry
from auditlog.core.merkle import hash_leaf, prove_inclusion
from auditlog.core.receipt import Receipt, ReceiptAnchor, Related, format_receipt
from auditlog.core.tlogproof import TlogProof


def issue(
    entries: Sequence[bytes], held: Answered, note: str, anchors: tuple[ReceiptAnchor, ...] = ()
) -> bytes:
    """A receipt for an answered call, under a signed checkpoint of the first entries."""
    index = held.index
    size = int(note.split("\n")[1])
    leaves = [hash_leaf(entry) for entry in entries[:size]]

    def place(at: int) -> Related:
        return Related(entries[at], at, tuple(prove_inclusion(leaves, at)))

    entry = read_entry(entries[index])
    related = () if entry is None or entry.by_log else tuple(map(place, _stands_on(entries, entry, leaves)))
    own = place(index)
    proof = TlogProof(index, own.proof, note)
    return format_receipt(
        Receipt(entry=own.entry, proof=proof, related=related, head=held.head, anchors=anchors)
    )


def _stands_on(entries: Sequence[bytes], entry: Entry, leaves: Sequence[bytes]) -> list[int]:
    """The enrolment of its writer and the start of the life it is of."""
    found = [leaves.index(bytes.fromhex(entry.producer))]
    for index, data in enumerate(entries[: len(leaves)]):
        other = read_entry(data)
        if other is not None and other.kind == "instance" and other.instance == entry.instance:
            return [*found, index]
    return found


def disclose(held: Answered, decision: str) -> bytes:
    """What the holder of an exchange shows of it: both bodies, opened."""
    bodies: list[WholeDisclosure] = [
        disclose_whole(held.exchange_key, "request", held.request, None),
        disclose_whole(held.exchange_key, "response", held.response, None),
    ]
    return format_disclosures(Disclosures(decision, tuple(bodies)))
