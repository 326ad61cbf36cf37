"""The retention document: one spelling, and a minimum that only old marks allow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from auditlog.core.keys import Ed25519Signer
from auditlog.core.retention import (
    DAY_US,
    Mark,
    Policy,
    Retention,
    format_retention,
    open_retention,
    parse_retention,
    sign_retention,
)
from auditlog.errors import EvidenceError, MalformedError

ORIGIN = "log.example.org/main"
NOW = 1_790_000_000_000_000
BEGUN = Retention(ORIGIN, Policy(days=90), 0, NOW, 0, ())


def _daily(days: int, policy: Policy) -> Retention:
    """A log that grows by 1,000 a day and is marked each day."""
    found = replace(BEGUN, policy=policy)
    for day in range(days + 1):
        found = found.marked(day * 1000, NOW + day * DAY_US, 90 * DAY_US)
    return found


def test_a_document_is_read_as_it_was_signed() -> None:
    """Every member comes back, under the log's key and for its origin only."""
    signer = Ed25519Signer.from_seed(ORIGIN, bytes(32))
    for policy in (Policy(90, None), Policy(None, 0), Policy(1, 5000)):
        document = replace(_daily(3, policy), minimum=512)
        note = sign_retention(document, signer)
        assert open_retention(note, signer.verifier, ORIGIN) == document
        with pytest.raises(MalformedError):
            open_retention(note, signer.verifier, "log.example.org/other")
    with pytest.raises(EvidenceError):
        open_retention(note, Ed25519Signer.from_seed(ORIGIN, b"x" * 32).verifier, ORIGIN)


def test_another_spelling_is_refused() -> None:
    """A minimum inside a bundle, one below where it began, marks out of order or missing lines."""
    good = format_retention(replace(_daily(3, Policy(90)), minimum=512))
    assert parse_retention(good)
    for old, new in (
        ("minimum 512", "minimum 513"),
        ("minimum 512", "minimum 0512"),
        ("since 0", "since 768"),
        ("days 90", "days"),
        ("mark 1000 ", "mark 3001 "),
        ("auditlog/retention@v1", "auditlog/retention@v2"),
        ("\nentries -", ""),
        ("mark 3000", "much 3000"),
    ):
        with pytest.raises(MalformedError):
            parse_retention(good.replace(old, new))
    with pytest.raises(MalformedError):
        parse_retention(good + "\n")


def test_nothing_goes_before_its_rule_was_public_for_so_long() -> None:
    """The minimum follows the mark that is as old as the rule asks; before there is one, nothing may go."""
    assert _daily(89, Policy(90)).allowed() == 0
    assert _daily(100, Policy(90)).allowed() == 10_000 // 256 * 256
    assert _daily(100, Policy(None, 30_000)).allowed() == 70_000 // 256 * 256
    assert _daily(100, Policy(90, 95_000)).allowed() == 5000 // 256 * 256
    assert _daily(100, Policy()).allowed() == 0


def test_marks_are_few() -> None:
    """One a day however often it is asked, none older than is needed, none by a clock that was set back."""
    found = BEGUN
    for hour in range(24 * 120):
        found = found.marked(hour, NOW + hour * DAY_US // 24, 90 * DAY_US)
    assert 90 <= len(found.marks) <= 120
    assert found.marks[0].at_us <= found.marks[-1].at_us - 90 * DAY_US
    assert found.marked(10**6, NOW, 90 * DAY_US) == found
    assert found.size_before(NOW) == 0
    assert replace(BEGUN, marks=(Mark(7, NOW),)).size_before(NOW) == 7
