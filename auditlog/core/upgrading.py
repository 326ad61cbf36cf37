"""Upgrading a receipt by a newer one of the same entry: what may be added, and what may be replaced.

Spec: `auditlog/spec/receipt.md`, "Rules for who writes receipts". Anchors and cosignatures are added. Proof
and `related` are replaced, together, only if the old checkpoint has no quorum by the policy and the new one
has: a receipt that once had one keeps the checkpoint it had. Pure; nothing is verified here but who signed
and cosigned: `auditlog.verify.upgrading` holds the result against the old receipt. Must never: mix the proofs
of two checkpoints. Both receipts are attacker-controlled.
"""

from __future__ import annotations

from dataclasses import replace

from auditlog.core.checkpoint import open_checkpoint
from auditlog.core.note import format_signature
from auditlog.core.policy import Policy
from auditlog.core.receipt import MAX_ANCHORS, Receipt, ReceiptAnchor
from auditlog.core.tlogproof import TlogProof
from auditlog.errors import VerificationError


def upgrade_receipt(old: Receipt, new: Receipt, policy: Policy) -> Receipt:
    """The old receipt with what the new one adds to it; the same object if that is nothing.

    Raises:
        VerificationError: they are of different entries, or either checkpoint is not signed by a log of the
        policy. MalformedError: a checkpoint that is none.
    """
    if (old.entry, old.proof.index) != (new.entry, new.proof.index):
        raise VerificationError(
            f"expected a newer receipt of the same entry {old.proof.index}, found one of {new.proof.index}"
        )
    had = _has_quorum(old, policy)
    if not had and _has_quorum(new, policy):
        found = replace(old, proof=new.proof, related=new.related)
    else:
        found = replace(old, proof=_with_lines(old.proof, new.proof, policy))
    found = replace(found, anchors=_with_anchors(old, new))
    return old if found == old else found


def _with_anchors(old: Receipt, new: Receipt) -> tuple[ReceiptAnchor, ...]:
    """The old anchors, then those of known types whose evidence is new: what nobody can read, or the same
    once more, must not take the places that are left.
    """
    found = list(old.anchors)
    for anchor in new.anchors:
        known = [(each.type, each.evidence) for each in found]
        if anchor.understood and (anchor.type, anchor.evidence) not in known:
            found.append(anchor)
    return tuple(found[: max(MAX_ANCHORS, len(old.anchors))])


def _has_quorum(receipt: Receipt, policy: Policy) -> bool:
    _, opened = open_checkpoint(receipt.proof.checkpoint, policy.verifiers())
    return policy.check_quorum(opened.text, opened).satisfied


def _with_lines(old: TlogProof, new: TlogProof, policy: Policy) -> TlogProof:
    """The old proof, below its checkpoint the cosignatures of the policy's witnesses that it lacked."""
    _, held = open_checkpoint(old.checkpoint, policy.verifiers())
    _, found = open_checkpoint(new.checkpoint, policy.verifiers())
    if held.text != found.text:
        return old
    known = {line.vkey for line in held.verified}
    lines = [format_signature(line) for line in found.verified if line.vkey not in known]
    return replace(old, checkpoint=old.checkpoint + "".join(lines))
