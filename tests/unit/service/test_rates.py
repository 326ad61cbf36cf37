"""Rates: a log and a token have their buckets, what is taken beyond is owed, and memory is bounded."""

from __future__ import annotations

import pytest

from auditlog.errors import TooLargeError, TooManyRequests
from auditlog.service.rates import BURST_S, MAX_BUCKETS, Rates
from auditlog.service.settings import LogSettings


class Clock:
    """Stands still until told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _log(**limits: int) -> LogSettings:
    return LogSettings(name="a", origin="a.example/log", **limits)


def test_a_batch_beyond_the_bucket_is_owed() -> None:
    """A large batch passes once, its sender waits as long as it is told, and others are not held up."""
    clock = Clock()
    rates = Rates(clock)
    log = _log(token_entries_per_s=10)
    rates.admit(log, "t", [b"x"] * (10 * BURST_S + 50))
    for refused in (lambda: rates.check(log, "t"), lambda: rates.admit(log, "t", [b"x"])):
        with pytest.raises(TooManyRequests) as caught:
            refused()
        assert caught.value.retry_after_s == 6
    rates.admit(log, "other", [b"x"])
    clock.now += caught.value.retry_after_s
    rates.check(log, "t")
    rates.admit(log, "t", [b"x"])


def test_a_log_has_one_rate_for_all() -> None:
    """Many tokens together pass no more than the log's rate; what was not taken in costs the log nothing."""
    clock = Clock()
    rates, log = Rates(clock), _log(max_entries_per_s=5, token_entries_per_s=100)
    rates.admit(log, "refused for its content", [b""] * 1_000_000)
    for number in range(5):
        rates.admit(log, f"t{number}", [b"x"] * BURST_S)
        rates.taken(log, BURST_S)
    with pytest.raises(TooManyRequests):
        rates.admit(log, "t9", [b"x"] * 2000)
    clock.now += 1
    rates.admit(log, "t9", [b"x"])
    rates.check(_log(), "t9")


def test_buckets_are_bounded() -> None:
    """However many tokens come, the table does not grow past its bound."""
    rates, log = Rates(Clock()), _log(token_entries_per_s=1)
    for number in range(MAX_BUCKETS + 100):
        rates.check(log, str(number))
    assert len(rates) == MAX_BUCKETS


def test_an_entry_over_the_limit_of_the_log_is_too_large() -> None:
    """The format's bound is the default; a log may have a lower one."""
    rates = Rates(Clock())
    rates.admit(_log(), "t", [b"x" * 65_535])
    with pytest.raises(TooLargeError):
        rates.admit(_log(max_entry_bytes=1024), "t", [b"x" * 1025])
