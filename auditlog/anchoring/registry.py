"""One owner's slots in one AnchorRegistry, read through one node.

Decision 0003. Promises: what `final_block` returns lies at or below the node's `finalized` block and is
still canonical. A node can lie about all of it: this protects us from reorganisations and mistakes, not
from our own node. Receipts for others carry proofs instead (`evm@v1`). Must never: count confirmations,
or answer for another chain than configured.
"""

from __future__ import annotations

from dataclasses import dataclass

from auditlog.anchoring.artefact import load_artefact
from auditlog.anchoring.evm import (
    NEVER_ANCHORED,
    ZERO_SLOT,
    AnchoredEvent,
    decode_event,
    decode_slot,
    encode_slots,
    event_topics,
    format_address,
)
from auditlog.anchoring.node import Block, Node, TxReceipt
from auditlog.errors import ConfigurationError, LedgerError

_SPANS = (50_000, 5_000, 500, 10)
"""How many blocks to ask events of at once; nodes refuse too many, each with another limit."""


@dataclass(frozen=True, slots=True)
class Found:
    """The event that wrote the present slot."""

    event: AnchoredEvent
    tx: bytes


@dataclass(frozen=True, slots=True)
class Mined:
    """Where a transaction lies, final."""

    tx: bytes
    block_number: int
    block_hash: bytes
    block_time: int
    """Seconds since the epoch."""


class Registry:
    """A view of one owner's slots. Holds no state.

    Args:
        chain_id: what every node must answer.
        contract: address of the registry, 20 bytes.
        owner: address of the key that anchors, 20 bytes.
        first_block: no event of the registry is older; where a search stops.
    """

    def __init__(
        self, node: Node, *, chain_id: int, contract: bytes, owner: bytes, first_block: int = 0
    ) -> None:
        self.node = node
        self.chain_id = chain_id
        self.contract = contract
        self.owner = owner
        self._first_block = first_block

    def check_chain(self) -> None:
        """Ask the node which chain it follows: what stands behind a URL can change.

        Raises:
            ConfigurationError: another chain.
        """
        found = self.node.chain_id()
        if found != self.chain_id:
            raise ConfigurationError(f"expected chain id {self.chain_id}, found {found}")

    def check_code(self) -> None:
        """Compare the code at the address with the committed artefact.

        Raises:
            ConfigurationError: other code, or none.
        """
        if self.node.code(self.contract) != load_artefact().runtime:
            raise ConfigurationError(
                f"expected the AnchorRegistry at {format_address(self.contract)}, found other code or none"
            )

    def slot(self, log_id: bytes) -> bytes:
        """Return the slot at the newest block, final or not; zeros when never anchored."""
        return decode_slot(self.node.call(self.contract, encode_slots(self.owner, log_id)))

    def newest(self, log_id: bytes) -> Found | None:
        """Return the event that wrote the present slot, searching backwards; None when it is empty.

        Raises:
            LedgerError: the node failed, or shows no event for a slot that is not empty.
        """
        slot = self.slot(log_id)
        if slot == ZERO_SLOT:
            return None
        head = self.node.block("latest")
        last = -1 if head is None else head.number
        while last >= self._first_block:
            found, last = self._search(log_id, slot, last)
            if found is not None:
                return found
        raise LedgerError(f"expected the event that wrote slot {slot.hex()}, found none")

    def final_block(self, receipt: TxReceipt) -> Block | None:
        """Return the block of a receipt, failed or not, once it is final and canonical; None before."""
        # The final block is read first: a block below it can no longer be exchanged between the two answers.
        final = self.node.block("finalized")
        block = self.node.block(receipt.block_number)
        if final is None or block is None or final.number < receipt.block_number:
            return None
        # Another hash at that height: the node is still changing branches.
        return block if block.hash == receipt.block_hash else None

    def check_event(self, receipt: TxReceipt, *, log_id: bytes, size: int, root: bytes) -> None:
        """Check that a receipt has our registry's event for exactly this checkpoint, and no other of it.

        Raises:
            LedgerError: it has not: the node is wrong about its own chain.
        """
        ours = [event for event in receipt.logs if event.address == self.contract]
        events = [decode_event(event.topics, event.data) for event in ours]
        found = [(event.owner, event.log_id, event.opening.size, event.root) for event in events]
        if found != [(self.owner, log_id, size, root)]:
            raise LedgerError(f"expected one event with tree size {size} in the receipt, found {len(found)}")

    def check_still_there(self, mined: Mined) -> None:
        """A block that was final must stay: else somebody must look before we build on the other branch.

        Raises:
            LedgerError: it is gone.
        """
        block = self.node.block(mined.block_number)
        if block is None or block.hash != mined.block_hash:
            found = "none" if block is None else block.hash.hex()
            raise LedgerError(
                f"expected block {mined.block_number}, final before, with hash {mined.block_hash.hex()},"
                f" found {found}: the chain undid a final block, or the node follows another"
            )

    def _search(self, log_id: bytes, slot: bytes, last: int) -> tuple[Found | None, int]:
        topics = event_topics(self.owner, log_id)
        for span in _SPANS:
            first = max(self._first_block, last - span + 1)
            try:
                events = self.node.events(self.contract, topics, first, last)
            except LedgerError:
                if span == _SPANS[-1]:
                    raise
                continue
            for event in reversed(events):
                decoded = decode_event(event.topics, event.data)
                if decoded.opening != NEVER_ANCHORED and decoded.opening.slot() == slot:
                    return Found(decoded, event.tx), last
            return None, first - 1
        raise AssertionError("unreachable")
