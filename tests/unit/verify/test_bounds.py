"""The exact bound of a rate, against values known from elsewhere."""

from __future__ import annotations

import pytest

from auditlog.verify.bounds import upper_bound


@pytest.mark.parametrize(
    ("found", "tried", "bound"),
    [
        (0, 1, 0.95),
        (0, 10, 0.258866),
        (0, 59, 0.049508),
        (0, 100, 0.029513),
        (0, 299, 0.009969),
        (1, 10, 0.394163),
        (5, 10, 0.777559),
        (2, 100, 0.061619),
        (10, 10, 1.0),
        (0, 0, 1.0),
    ],
)
def test_known_values(found: int, tried: int, bound: float) -> None:
    """The upper 95 % limits of the published tables (one-sided)."""
    assert upper_bound(found, tried) == pytest.approx(bound, abs=2e-6)


def test_zero_found_has_a_closed_form() -> None:
    """With nothing found the bound is 1 - 0.05^(1/n)."""
    for tried in (1, 7, 1000, 100_000):
        assert upper_bound(0, tried) == pytest.approx(1 - 0.05 ** (1 / tried), rel=1e-9)


def test_the_bound_is_where_so_few_are_rare() -> None:
    """At the bound, as many or fewer are found with a probability of 5 %, summed exactly in integers."""
    from fractions import Fraction
    from math import comb

    for found, tried in ((3, 50), (7, 120), (1, 400)):
        rate = Fraction(upper_bound(found, tried))
        chance = sum(
            comb(tried, count) * rate**count * (1 - rate) ** (tried - count) for count in range(found + 1)
        )
        assert float(chance) == pytest.approx(0.05, rel=1e-9)


@pytest.mark.parametrize(("found", "tried"), [(-1, 5), (6, 5)])
def test_impossible_counts_are_refused(found: int, tried: int) -> None:
    """More found than tried is a caller's mistake."""
    with pytest.raises(ValueError, match="expected from 0"):
        upper_bound(found, tried)
    with pytest.raises(ValueError, match="confidence"):
        upper_bound(0, 1, confidence=1.0)
