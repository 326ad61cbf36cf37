"""The ledger: an outside chain seen through a port that knows checkpoints and nothing else of us.

Design section 5, Anchor. An implementation promises that `submit` may be called again after any crash
without a second transaction for the same checkpoint, and that what `confirm` returns can no longer be
undone by the rules the implementation was configured with (finality). It must never report an anchor it
has not read back from the chain, and never wait inside a call for a block to come: waiting is the
scheduler's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

LOG_ID_SIZE = 32
ROOT_SIZE = 32
MAX_TREE_SIZE = (1 << 53) - 1
"""Tree sizes stay readable as JSON integers everywhere (the entry format's bound), well inside uint64."""


@dataclass(frozen=True, slots=True)
class AnchorTx:
    """One checkpoint on its way to the chain. Fee bumps change `tx`, so a ledger knows it by the rest."""

    log_id: bytes
    """32 bytes: `auditlog.core.anchor.log_id(origin)`."""
    size: int
    """Tree size of the checkpoint."""
    root: bytes
    """Root hash of the checkpoint, 32 bytes."""
    tx: bytes
    """Hash of the newest transaction that carries it, 32 bytes."""
    sent_us: int
    """When it was first signed, microseconds since the epoch, by our clock: for alarms, proves nothing."""
    is_final: bool = False
    """Whether it was confirmed in an earlier turn that did not come to `acknowledge`."""
    note: str = ""
    """The signed checkpoint as `submit` was given it: after a restart a newer one may be published."""


@dataclass(frozen=True, slots=True)
class Anchored:
    """One checkpoint on the chain, final by the ledger's rule."""

    chain_id: int
    contract: bytes
    """Address of the registry, 20 bytes."""
    owner: bytes
    """Address that sent the transaction and owns the slot, 20 bytes."""
    log_id: bytes
    size: int
    root: bytes
    tx: bytes
    """Hash of the transaction that was mined, 32 bytes."""
    block_number: int
    block_hash: bytes
    """32 bytes."""
    block_time: int
    """Seconds since the epoch, as the block's header says."""


@dataclass(frozen=True, slots=True)
class BlockRef:
    """One block of a chain: what a heartbeat names to show that it is not older."""

    chain_id: int
    number: int
    hash: bytes
    """32 bytes."""


class Ledger(Protocol):
    """The port. Calls may come from any thread."""

    @property
    def is_devnet(self) -> bool:
        """Whether the chain is ours, in this process, and
        gone at exit. Named so wherever its anchors show.
        """

    @property
    def chain_id(self) -> int:
        """The chain's id (EIP-155)."""

    @property
    def contract(self) -> bytes:
        """Address of the registry, 20 bytes."""

    def submit(self, log_id: bytes, size: int, root: bytes, *, note: str = "") -> AnchorTx:
        """Send one checkpoint, or return the transaction that is already on its way for this log.

        At most one is open for a log at a time: while an older one is, it is returned unchanged, and the
        caller sends the newer one after that is confirmed.

        Raises:
            LedgerError: the node failed, or the slot already holds a checkpoint this one does not extend.
        """

    def pending(self, log_id: bytes) -> AnchorTx | None:
        """Return what is on its way or not acknowledged, from before a restart too; None when nothing is."""

    def confirm(self, tx: AnchorTx) -> Anchored | None:
        """Return the anchor once final, None while it is not. May send again or raise the fee meanwhile.

        Answers the same for an anchor confirmed before, also after a restart (the devnet: while it lives).

        Raises:
            LedgerError: the node failed, or the transaction can no longer succeed; `submit` starts afresh.
        """

    def acknowledge(self, tx: AnchorTx) -> None:
        """Take note that a confirmed anchor was told to whom it concerns; `pending` then forgets it."""

    def finalized_block(self) -> BlockRef:
        """Return the newest block that is final by the ledger's rule (a devnet's newest).

        Raises:
            LedgerError: the node failed, or has no final block yet.
        """

    def slot(self, log_id: bytes) -> bytes:
        """Return the 32 bytes in the contract's slot for this log; zeros when it was never anchored."""
