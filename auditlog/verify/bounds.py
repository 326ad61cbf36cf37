"""How large a rate may be, given how often something was found: the exact one-sided bound of Clopper and
Pearson (Biometrika 26, 1934).

Promises: for k found of n tried at confidence c, the p at which k or fewer would be found with probability
1 - c: in c of all cases the true rate is at most this. Right to six digits and more for n up to a million; no
tables, no libraries. Must never: be read as a rate of what was not tried.
"""

from __future__ import annotations

from math import exp, lgamma, log, log1p

_STEPS = 200


def upper_bound(found: int, tried: int, confidence: float = 0.95) -> float:
    """The one-sided upper bound of a rate.

    Raises:
        ValueError: not 0 <= found <= tried, or a confidence outside 0 to 1.
    """
    if not 0 <= found <= tried:
        raise ValueError(f"expected from 0 to {tried} found, found {found}")
    if not 0 < confidence < 1:
        raise ValueError("expected a confidence between 0 and 1, found another")
    if found == tried:
        return 1.0
    low, high, wanted = found / tried, 1.0, 1.0 - confidence
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        # The chance of so few falls as the rate grows.
        if _at_most(found, tried, middle) > wanted:
            low = middle
        else:
            high = middle
    return high


def _at_most(found: int, tried: int, rate: float) -> float:
    """Probability of `found` or fewer among `tried` at a rate: the tail of the binomial distribution."""
    if rate >= 1.0:
        return 1.0 if found >= tried else 0.0
    hit, miss = log(rate) if rate else float("-inf"), log1p(-rate)
    total = 0.0
    for count in range(found + 1):
        ways = lgamma(tried + 1) - lgamma(count + 1) - lgamma(tried - count + 1)
        total += exp(ways + (count * hit if count else 0.0) + (tried - count) * miss)
    return total
