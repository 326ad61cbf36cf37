"""What is kept between receipts: only what held, only small entries, and never a verdict."""

from __future__ import annotations

import random
from itertools import islice

import pytest

from auditlog.errors import MalformedError
from auditlog.verify import Verifier
from auditlog.verify.familiar import MAX_ENTRY_BYTES, Familiar
from tests.support.mutations import Mutator
from tests.support.receipts_factory import Factory

FACTORY = Factory(decisions=12, producers=2, batch=3, anchored=(12,))
RECEIPTS = [FACTORY.receipt_bytes(index) for index in FACTORY.decisions]


def test_what_held_is_found_again_and_what_failed_is_not() -> None:
    """A failure is not kept: the next time it is found again, by looking."""
    familiar, calls = Familiar(), []

    def find() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise MalformedError("no")
        return "yes"

    with pytest.raises(MalformedError):
        familiar.recall("x", 1, find)
    assert [familiar.recall("x", 1, find) for _ in range(3)] == ["yes"] * 3
    assert len(calls) == 2


def test_large_entries_are_not_kept_and_many_are_forgotten() -> None:
    """Bounded in both ways."""
    familiar = Familiar()
    assert familiar.recall("large", MAX_ENTRY_BYTES + 1, lambda: 1) == 1
    assert familiar.recall("large", MAX_ENTRY_BYTES + 1, lambda: 2) == 2
    assert familiar.recall("first", 1, lambda: 1) == 1
    for number in range(2000):
        familiar.recall(number, 1, lambda: None)
    assert familiar.recall("first", 1, lambda: 2) == 2


def test_no_verdict_depends_on_what_was_seen_before() -> None:
    """Damaged receipts after honest ones: the report of a verifier that has seen nothing, word for word."""
    rng, trust = random.Random(3), FACTORY.trust(quorum=2)
    seasoned = Verifier(trust)
    for receipt in RECEIPTS:
        assert seasoned.verify(receipt).exit_code == 0
    for data in islice(Mutator(RECEIPTS[0], RECEIPTS[1:], rng), 500):
        assert seasoned.verify(data).to_json() == Verifier(trust).verify(data).to_json()
