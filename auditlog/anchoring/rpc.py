"""A public (or any) EVM chain through JSON-RPC: the `Ledger` a production log anchors on.

Decision 0003, "Sending". The life of one checkpoint: read the slot, estimate, sign,
journal, broadcast; then each `confirm` looks up the receipts of every attempt, sends
again what a node forgot, raises the fee of what waits too long, and says `Anchored`
only when the block is final by the node's `finalized` tag and still canonical.

Crash table: before the journal's commit nothing was sent; after it the same bytes
are sent again. An answer that never came, "already known" and "nonce too low" all
mean the same: look up the receipts. Must never: sign two checkpoints under one
nonce, trust a node for another chain, or call a block final by counting.
"""

from __future__ import annotations

import threading

from auditlog.anchoring.account import Account
from auditlog.anchoring.evm import (
    NEVER_ANCHORED,
    ZERO_SLOT,
    AnchorCall,
    Opening,
    format_address,
)
from auditlog.anchoring.fees import FeePolicy, Offer
from auditlog.anchoring.journal import Attempt, Intent, Journal
from auditlog.anchoring.ledger import Anchored, AnchorTx, BlockRef
from auditlog.anchoring.node import Block, TxReceipt
from auditlog.anchoring.registry import Mined, Registry
from auditlog.anchoring.sender import Sender
from auditlog.errors import ConfigurationError, LedgerError
from auditlog.log.clock import Clock


class RpcLedger:
    """A `Ledger` for one key on one chain. One per key anywhere: the journal's lock keeps it so on a host.

    Args:
        registry: the contract and the owner, which must be the account's address.
        account: the key.
        journal: open, and this ledger's alone; `close` closes it.
        fees: the operator's limits.
        clock: its wall time decides when to raise a fee, and nothing else.

    Raises:
        ConfigurationError: another chain, no registry at the address, or a journal of another chain or key.
        LedgerError: the node does not answer.
    """

    is_devnet = False

    def __init__(
        self,
        registry: Registry,
        *,
        account: Account,
        journal: Journal,
        fees: FeePolicy,
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._journal = journal
        self._clock = clock
        self._sender = Sender(registry, account=account, journal=journal, fees=fees, clock=clock)
        self._lock = threading.RLock()
        if registry.owner != account.address:
            raise ConfigurationError(
                f"expected the key of {format_address(registry.owner)}, found that of"
                f" {format_address(account.address)}"
            )
        registry.check_chain()
        registry.check_code()
        genesis = registry.node.block(0)
        journal.bind(
            chain_id=str(registry.chain_id),
            contract=format_address(registry.contract),
            owner=format_address(account.address),
            # A development chain that was started anew has the old id and none of the old nonces.
            genesis="" if genesis is None else genesis.hash.hex(),
        )

    @property
    def chain_id(self) -> int:
        """The configured chain id; every node is held to it."""
        return self._registry.chain_id

    @property
    def contract(self) -> bytes:
        """Address of the registry, 20 bytes."""
        return self._registry.contract

    def close(self) -> None:
        """Give the journal free."""
        self._journal.close()

    def slot(self, log_id: bytes) -> bytes:
        """Return the slot at the newest block, final or not."""
        return self._registry.slot(log_id)

    def finalized_block(self) -> BlockRef:
        """Return the block of the node's `finalized` tag. Raises LedgerError."""
        self._registry.check_chain()
        block = self._registry.node.block("finalized")
        if block is None:
            raise LedgerError("expected a finalized block, found none yet")
        return BlockRef(self.chain_id, block.number, block.hash)

    def pending(self, log_id: bytes) -> AnchorTx | None:
        """Return what is at work for a log, out of the journal."""
        with self._lock:
            intent = self._journal.at_work_for(log_id)
            return None if intent is None else self._as_tx(intent)

    def submit(self, log_id: bytes, size: int, root: bytes, *, note: str = "") -> AnchorTx:
        """Send one checkpoint, unless one is on its way or this very one is anchored.

        Raises:
            LedgerError: the node failed (the transaction may be journalled and open all the same: see
                `pending`), the slot does not let it, the balance is too small, or a final block is gone.
        """
        with self._lock:
            known = self._journal.at_work_for(log_id) or self._journal.find(log_id, size, root)
            if known is not None and known.state != "failed":
                return self._as_tx(known)
            self._registry.check_chain()
            newest = self._journal.newest_final(log_id)
            if newest is not None and newest.mined is not None:
                self._registry.check_still_there(newest.mined)
            previous = self._opening(log_id, newest)
            if previous.size >= size:
                return self._as_tx(self._adopt(log_id, size, root, note))
            return self._as_tx(self._sender.start(AnchorCall(log_id, previous, size, root), note))

    def confirm(self, tx: AnchorTx) -> Anchored | None:
        """Look where the checkpoint stands, and push it on.

        Raises:
            LedgerError: the node failed, or no attempt can succeed any more.
        """
        with self._lock:
            intent = self._journal.find(tx.log_id, tx.size, tx.root)
            if intent is None or intent.state == "failed":
                found = "none" if intent is None else "a failed one"
                raise LedgerError(f"expected an anchor of tree size {tx.size} on its way, found {found}")
            if intent.mined is None:
                self._registry.check_chain()
                intent = self._look(intent)
            return self._as_anchored(intent)

    def acknowledge(self, tx: AnchorTx) -> None:
        """Mark the anchor told, durably."""
        with self._lock:
            intent = self._journal.find(tx.log_id, tx.size, tx.root)
            if intent is not None:
                self._journal.tell(intent)

    def _look(self, intent: Intent) -> Intent:
        """Settle the intent if one of its attempts is final; else keep it going."""
        attempts = self._journal.attempts(intent)
        for attempt in attempts:
            receipt = self._registry.node.receipt(attempt.tx)
            if receipt is None:
                continue
            block = self._registry.final_block(receipt)
            return intent if block is None else self._settle(intent, receipt, block)
        self._sender.push(intent, attempts[0])
        return intent

    def _settle(self, intent: Intent, receipt: TxReceipt, block: Block) -> Intent:
        if receipt.status != 1:
            self._journal.fail(intent)
            raise LedgerError(f"expected receipt status 1, found {receipt.status}: the slot was not as read")
        self._registry.check_event(receipt, log_id=intent.log_id, size=intent.size, root=intent.root)
        mined = Mined(receipt.tx, block.number, block.hash, block.timestamp)
        return self._journal.settle(intent, mined)

    def _opening(self, log_id: bytes, newest: Intent | None) -> Opening:
        slot = self.slot(log_id)
        if slot == ZERO_SLOT:
            return NEVER_ANCHORED
        if newest is not None and newest.opening.slot() == slot:
            return newest.opening
        found = self._registry.newest(log_id)
        return NEVER_ANCHORED if found is None else found.event.opening

    def _adopt(self, log_id: bytes, size: int, root: bytes, note: str) -> Intent:
        """Take over an anchor of ours that the journal lost: the slot already holds this checkpoint."""
        found = self._registry.newest(log_id)
        if found is None or (found.event.opening.size, found.event.root) != (size, root):
            held = 0 if found is None else found.event.opening.size
            raise LedgerError(
                f"expected to extend the anchored checkpoint with tree size {size}, found {held} anchored:"
                " another sender uses this key, or this log was rolled back"
            )
        attempt = Attempt(found.tx, None, Offer(0, 0), self._clock.unix_us())
        return self._journal.open_intent(
            log_id=log_id, root=root, note=note, opening=found.event.opening, plan=None, attempt=attempt
        )

    def _as_tx(self, intent: Intent) -> AnchorTx:
        attempts = self._journal.attempts(intent)
        return AnchorTx(
            log_id=intent.log_id,
            size=intent.size,
            root=intent.root,
            tx=attempts[0].tx,
            sent_us=attempts[-1].signed_us,
            is_final=intent.mined is not None,
            note=intent.note,
        )

    def _as_anchored(self, intent: Intent) -> Anchored | None:
        mined = intent.mined
        if mined is None:
            return None
        return Anchored(
            chain_id=self.chain_id,
            contract=self.contract,
            owner=self._registry.owner,
            log_id=intent.log_id,
            size=intent.size,
            root=intent.root,
            tx=mined.tx,
            block_number=mined.block_number,
            block_hash=mined.block_hash,
            block_time=mined.block_time,
        )
