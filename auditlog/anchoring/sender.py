"""Signing and sending: from a call to a journalled transaction, and the pushes it needs until it is mined.

Decision 0003, "Sending". Promises: sign, journal, broadcast, in this order; one
nonce for one checkpoint; every attempt of it pays more than the one before and never
more than the cap. What a node answers to a send decides nothing. Must never: be used
by two threads at once (the ledger holds its lock), or send what is not journalled.
"""

from __future__ import annotations

from auditlog.anchoring.account import Account
from auditlog.anchoring.evm import AnchorCall, encode_anchor
from auditlog.anchoring.fees import FeePolicy, Offer, first_offer, next_offer, with_margin
from auditlog.anchoring.journal import Attempt, Intent, Journal, Plan
from auditlog.anchoring.registry import Registry
from auditlog.errors import LedgerError
from auditlog.log.clock import Clock


class Sender:
    """Sends for one account on one chain. Arguments as those of `RpcLedger`."""

    def __init__(
        self, registry: Registry, *, account: Account, journal: Journal, fees: FeePolicy, clock: Clock
    ) -> None:
        self._registry = registry
        self._node = registry.node
        self._account = account
        self._journal = journal
        self._fees = fees
        self._clock = clock

    def start(self, call: AnchorCall, note: str) -> Intent:
        """Sign, journal and broadcast the first attempt; `note` is the signed checkpoint, kept with it.

        Raises:
            LedgerError: it would revert, the balance is too small, or the node failed: after the journal too.
        """
        calldata = encode_anchor(call)
        # A call that would revert fails here, before it is signed and takes a nonce.
        gas = with_margin(self._node.estimate_gas(self._account.address, self._registry.contract, calldata))
        offer = first_offer(self._node.fees(), self._fees)
        self._check_balance(gas * offer.max_fee)
        nonce = max(self._node.nonce(self._account.address), self._journal.next_nonce())
        plan = Plan(nonce, gas, calldata)
        attempt = self._sign(plan, offer)
        intent = self._journal.open_intent(
            log_id=call.log_id,
            root=call.root,
            note=note,
            opening=call.previous.then(call.size, call.root),
            plan=plan,
            attempt=attempt,
        )
        self._broadcast(attempt)
        return intent

    def push(self, intent: Intent, newest: Attempt) -> None:
        """No attempt is in a block: give up, wait, raise the fee, or send the newest again."""
        plan = intent.plan
        if plan is None:
            self._journal.fail(intent)
            raise LedgerError("expected the transaction found on the chain to stay, it is gone")
        if self._node.nonce(self._account.address) > plan.nonce:
            if self._node.nonce(self._account.address, "finalized") > plan.nonce:
                self._journal.fail(intent)
                raise LedgerError(f"expected nonce {plan.nonce} to be ours, it is used for good by another")
            return  # some transaction used it on this branch only: finality decides
        if self._clock.unix_us() - newest.signed_us >= self._fees.bump_after_us:
            offer = next_offer(newest.offer, self._node.fees(), self._fees)
            if offer is not None:
                newest = self._sign(plan, offer)
                self._journal.add_attempt(intent, newest)
        self._broadcast(newest)

    def _sign(self, plan: Plan, offer: Offer) -> Attempt:
        signed = self._account.sign(
            chain_id=self._registry.chain_id,
            nonce=plan.nonce,
            to=self._registry.contract,
            data=plan.calldata,
            gas=plan.gas,
            offer=offer,
        )
        return Attempt(signed.tx, signed.raw, offer, self._clock.unix_us())

    def _broadcast(self, attempt: Attempt) -> None:
        """Send. What the node answers decides nothing: the receipts of the next `confirm` do.

        A refusal or a time-out may come although the transaction went out, so neither undoes the journal.
        """
        assert attempt.raw is not None
        self._node.send(attempt.raw)

    def _check_balance(self, needed: int) -> None:
        found = self._node.balance(self._account.address)
        if found < needed:
            raise LedgerError(f"expected a balance of at least {needed} wei, found {found}")
