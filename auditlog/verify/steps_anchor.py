"""Step 12: every anchor in the receipt, asked for or not.

Spec: auditlog/spec/verification.md, "Step 12"; auditlog/spec/anchor.md.
Everything here is attacker-controlled. Promises: an anchor is bound to this
leaf hash, this index, this log and the size and root its own evidence names, or
it fails the step. Must never: let a development chain pass for a final anchor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from auditlog.core.anchor import DevnetAnchor, open_devnet_anchor, parse_devnet_text
from auditlog.core.checkpoint import Checkpoint
from auditlog.core.merkle import verify_inclusion
from auditlog.core.receipt import ReceiptAnchor
from auditlog.core.signed import check_one
from auditlog.core.trust import Trust
from auditlog.errors import AnchorError, InclusionError, InconsistentLogError
from auditlog.verify.report import Fact, Grade
from auditlog.verify.run import Checked, not_checked
from auditlog.verify.steps import LogTrust, Opened

DEVNET = "the devnet, a development chain run by whoever holds its key"


@dataclass(frozen=True, slots=True)
class Anchored:
    """One anchor whose checkpoint holds the entry. `is_checked` means its evidence was verified as well."""

    opened: Opened
    type: str
    is_checked: bool
    is_devnet: bool
    time: str
    """Block time; empty if the evidence was not checked."""
    chain_id: int = -1
    """As the evidence names it; -1 if it was not checked."""
    contract: bytes = b""
    """20 bytes, or empty."""


def check_anchors(
    anchors: Sequence[ReceiptAnchor], leaf_hash: bytes, index: int, *, own: Opened, log: LogTrust
) -> Checked[tuple[Anchored, ...]]:
    """(12) Check each anchor: its checkpoint, the entry's place in it, and its evidence.

    `own` is the receipt's own checkpoint.

    Raises:
        InconsistentLogError: two checkpoints of one size have different roots; carries both signed notes.
        EvidenceError: one of them does not hold; the message says which.
    """
    if not anchors:
        return not_checked((), "the receipt has no anchor", is_required=False)
    checked: list[Anchored] = []
    facts: list[Fact] = []
    for item in anchors:
        opened = log.open(item.checkpoint)
        for other in (own, *opened_checkpoints(tuple(checked))):
            _check_same_history(other, opened)
        _check_place(opened.checkpoint, leaf_hash, index, item.proof)
        found, told = _check_evidence(item, opened, log.trust)
        checked.append(found)
        facts += told
    held = [item for item in checked if item.is_checked]
    if not held:
        detail = (
            f"{len(checked)} anchor(s) hold the entry; the trust file has no key or pin to check the evidence"
        )
        return not_checked(tuple(checked), detail, is_required=False)
    sizes = ", ".join(f"{item.type} at size {item.opened.checkpoint.tree_size}" for item in held)
    unknown = f"; {len(checked) - len(held)} not checkable" if len(held) < len(checked) else ""
    return Checked(tuple(checked), f"{sizes}{unknown}", tuple(facts))


def opened_checkpoints(anchored: tuple[Anchored, ...] | None) -> Iterator[Opened]:
    """The anchored checkpoints, for the log comparison."""
    return (item.opened for item in anchored or ())


def _check_same_history(one: Opened, other: Opened) -> None:
    """Two signed trees of one size are one tree; of two sizes, only the current log can tell (step 13)."""
    first, second = one.checkpoint, other.checkpoint
    if first.tree_size == second.tree_size and first.root_hash != second.root_hash:
        raise InconsistentLogError(
            f"expected one root hash of size {first.tree_size}, found {first.root_hash.hex()} and "
            f"{second.root_hash.hex()}, both signed by the log: it has two histories",
            smaller=one.note,
            larger=other.note,
        )


def _check_place(checkpoint: Checkpoint, leaf_hash: bytes, index: int, proof: Sequence[bytes]) -> None:
    """The same leaf at the same index, straight into the anchored tree: it covers no later entry."""
    if index >= checkpoint.tree_size:
        raise AnchorError(f"expected an anchored size above index {index}, found {checkpoint.tree_size}")
    try:
        verify_inclusion(leaf_hash, index, checkpoint.tree_size, list(proof), checkpoint.root_hash)
    except InclusionError as error:
        raise AnchorError(f"anchor at size {checkpoint.tree_size}: {error}") from error


def _check_evidence(item: ReceiptAnchor, opened: Opened, trust: Trust) -> tuple[Anchored, list[Fact]]:
    if not item.understood:
        return Anchored(opened, item.type, is_checked=False, is_devnet=False, time=""), []
    if trust.devnet is None:
        # Nobody vouches for the signature, but a text that contradicts its own checkpoint is wrong all the
        # same.
        _check_agrees(parse_devnet_text(check_one(item.evidence)), opened.checkpoint)
        return Anchored(opened, item.type, is_checked=False, is_devnet=True, time=""), []
    anchor = open_devnet_anchor(item.evidence, trust.devnet)
    _check_agrees(anchor, opened.checkpoint)
    found = Anchored(
        opened, item.type, True, True, anchor.block_time, chain_id=anchor.chain_id, contract=anchor.contract
    )
    return found, [_devnet_fact(anchor)]


def _check_agrees(anchor: DevnetAnchor, checkpoint: Checkpoint) -> None:
    """The evidence names exactly the checkpoint beside it; its log id follows from the origin it names."""
    if anchor.origin != checkpoint.origin:
        raise AnchorError(f"expected an anchor of {checkpoint.origin}, found one of {anchor.origin}")
    if (anchor.size, anchor.root) != (checkpoint.tree_size, checkpoint.root_hash):
        raise AnchorError(
            f"expected an anchor of size {checkpoint.tree_size} with the checkpoint's root, "
            f"found size {anchor.size}{'' if anchor.size != checkpoint.tree_size else ' with another root'}"
        )


def _devnet_fact(anchor: DevnetAnchor) -> Fact:
    value = (
        f"chain {anchor.chain_id} contract 0x{anchor.contract.hex()} block {anchor.block_number} "
        f"0x{anchor.block_hash.hex()} tx 0x{anchor.tx.hex()} size {anchor.size} time {anchor.block_time}"
    )
    text = (
        f"Block {anchor.block_number} of development chain {anchor.chain_id}, dated {anchor.block_time}, "
        f"holds the log's state of {anchor.size} entries."
    )
    return Fact("devnet_anchor", value, Grade.STATED, DEVNET, text)
