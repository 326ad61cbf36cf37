"""What a call gets when it arrives: its id and the key of its exchange (entry.md, "Decision body")."""

from __future__ import annotations

import time
from collections.abc import Callable

from auditlog.capture.attempts import Attempts
from auditlog.capture.forking import SameProcess
from auditlog.capture.observation import Exchange
from auditlog.core.commitment import BodyCommitment

Clock = Callable[[], int]
"""Gives the time in Unix microseconds."""
Random = Callable[[int], bytes]
"""Gives that many random bytes, fit for keys."""

_VARIANTS = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
"""A hexadecimal digit with its two high bits set to those of RFC 9562."""

RANDOM_BYTES = 42
"""Of one exchange: 32 for its key, 10 for its id."""


class RandomBlocks:
    """Randomness for one exchange after the other, asked from the system in blocks.

    Asking gives the interpreter to whatever thread waits for it, and getting it back can take milliseconds:
    not something to do in the way of every request. Thread-safe; a forked child never sees a byte that its
    parent may use.
    """

    def __init__(self, rng: Random, *, per_block: int = 64) -> None:
        self._rng = rng
        self._per_block = per_block
        self._ready: list[bytes] = []
        self._process = SameProcess()

    def take(self) -> bytes:
        """`RANDOM_BYTES` that nobody else gets."""
        if not self._process.is_here():
            self._ready = []
            self._process.renew()
        while True:
            try:
                return self._ready.pop()  # one step of the interpreter: no two threads get the same
            except IndexError:
                block = self._rng(RANDOM_BYTES * self._per_block)
                ends = range(RANDOM_BYTES, len(block) + 1, RANDOM_BYTES)
                self._ready.extend(block[end - RANDOM_BYTES : end] for end in ends)


def wall_clock_us() -> int:
    """The system clock, in Unix microseconds."""
    return time.time_ns() // 1000


def mint_id(now_us: int, random: bytes) -> str:
    """A UUIDv7 (RFC 9562 section 5.7) from a time and 10 random bytes."""
    time_ms, digits = f"{now_us // 1000 & 0xFFFFFFFFFFFF:012x}", random.hex()
    variant = _VARIANTS[digits[4]]
    return f"{time_ms[:8]}-{time_ms[8:]}-7{digits[1:4]}-{variant}{digits[5:8]}-{digits[8:]}"


def mint_exchange(
    now_us: int,
    random: bytes,
    *,
    receipt_url: Callable[[str], str | None],
    attempts: Attempts | None,
    counted: object = None,
) -> Exchange:
    """An exchange from `RANDOM_BYTES` of randomness, marked as begun before anybody is called."""
    key, name = random[:32], mint_id(now_us, random[32:])
    if attempts is not None:
        attempts.start()
    return Exchange(
        name,
        key,
        now_us,
        BodyCommitment(key, "request"),
        BodyCommitment(key, "response"),
        receipt_url(name),
        attempts,
        counted,
    )
