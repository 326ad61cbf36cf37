"""What a call gets when it arrives: its id and the key of its exchange (entry.md, "Decision body")."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from auditlog.capture.attempts import Attempts
from auditlog.capture.observation import Exchange
from auditlog.core.commitment import BodyCommitment

Clock = Callable[[], int]
"""Gives the time in Unix microseconds."""
Random = Callable[[int], bytes]
"""Gives that many random bytes, fit for keys."""

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
        self._pid = os.getpid()

    def take(self) -> bytes:
        """`RANDOM_BYTES` that nobody else gets."""
        if self._pid != os.getpid():
            self._ready, self._pid = [], os.getpid()
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
    value = (now_us // 1000 & 0xFFFFFFFFFFFF) << 80 | int.from_bytes(random, "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def mint_exchange(
    now_us: int, random: bytes, *, receipt_url: Callable[[str], str | None], attempts: Attempts | None
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
    )
