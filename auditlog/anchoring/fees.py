"""What a transaction may cost: the fee for a first attempt, and for each one after it.

`reference`: decision 0003, "Sending". Amounts are wei per gas. Nothing here knows a gas limit or a price
by heart: both come from the node, because forks change them (one changed the price of a new slot
tenfold). Pure arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

from auditlog.anchoring.node import Fees

BUMP_NUMERATOR, BUMP_DENOMINATOR = 9, 8
"""Nodes replace a transaction only for at least 10 % more of both amounts; 12.5 % is over it in integers
too.
"""
GAS_MARGIN_NUMERATOR, GAS_MARGIN_DENOMINATOR = 5, 4


@dataclass(frozen=True, slots=True)
class FeePolicy:
    """The operator's limits."""

    max_fee_cap: int = 500 * 10**9
    """Never offer more than this in all."""
    min_tip: int = 1
    """Never offer less to the block's builder; some chains ask for a fixed minimum (Polygon: 30 gwei)."""
    bump_after_us: int = 180 * 1_000_000
    """How long an attempt may wait before a dearer one takes its place, microseconds."""


@dataclass(frozen=True, slots=True)
class Offer:
    """The two amounts of an EIP-1559 transaction."""

    max_fee: int
    tip: int


def first_offer(fees: Fees, policy: FeePolicy) -> Offer:
    """Return twice the next base fee plus the usual tip, under the cap.

    At the cap the transaction waits for cheaper blocks; it is never refused for being dear today.
    """
    tip = min(max(fees.tip, policy.min_tip), policy.max_fee_cap)
    return Offer(min(2 * fees.base + tip, policy.max_fee_cap), tip)


def next_offer(previous: Offer, fees: Fees, policy: FeePolicy) -> Offer | None:
    """Return an offer nodes will take in the place of `previous`, or None when the cap leaves no room."""
    fresh = first_offer(fees, policy)
    raised = Offer(max(_raised(previous.max_fee), fresh.max_fee), max(_raised(previous.tip), fresh.tip))
    if raised.max_fee > policy.max_fee_cap:
        return None
    return Offer(raised.max_fee, min(raised.tip, raised.max_fee))


def with_margin(estimate: int) -> int:
    """Return a gas limit a quarter over the node's estimate: the state may differ by the time it is mined."""
    return estimate * GAS_MARGIN_NUMERATOR // GAS_MARGIN_DENOMINATOR


def _raised(amount: int) -> int:
    return -(-amount * BUMP_NUMERATOR // BUMP_DENOMINATOR)
