"""What a run saw: what was acknowledged and when, when it was published, and every violation. Any thread."""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from dataclasses import dataclass

from auditlog.hammer.chain import Chain, Sealed

MOST_TOLD = 100
"""Violations kept word for word; all are counted."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A batch that the log says is in its tree."""

    chain: Chain
    sealed: Sealed
    first_index: int
    posted_s: float
    """When it was sent for the first time, on the run's clock."""

    @property
    def count(self) -> int:
        """Entries in it."""
        return len(self.sealed.leaf_hashes) // 32

    def leaf_hash(self, at: int) -> bytes:
        """Leaf hash of its entry number `at`."""
        return self.sealed.leaf_hashes[32 * at : 32 * at + 32]


@dataclass(frozen=True, slots=True)
class Sample:
    """One latency: when it ended on the run's clock, how long it was, for how many entries."""

    at_s: float
    seconds: float
    entries: int


class Book:
    """The record of one run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.batches: list[Acknowledged] = []
        self._unpublished: deque[Acknowledged] = deque()
        self._owners: dict[int, Acknowledged] = {}
        self.acknowledged: list[Sample] = []
        self.published: list[Sample] = []
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        """Checks made, answers that were not 200, violations: by name."""

    def acknowledge(self, batch: Acknowledged, at_s: float) -> None:
        """Note a batch that the log acknowledged."""
        with self._lock:
            self.batches.append(batch)
            self._unpublished.append(batch)
            self.acknowledged.append(Sample(at_s, at_s - batch.posted_s, batch.count))
            other = self._owners.setdefault(batch.first_index, batch)
        if other is not batch:
            self.violate(f"index {batch.first_index} was given to two batches")

    def publish(self, size: int, at_s: float) -> None:
        """Note that a checkpoint of that size was seen."""
        with self._lock:
            waiting = deque[Acknowledged]()
            for batch in self._unpublished:
                if batch.first_index + batch.count <= size:
                    self.published.append(Sample(at_s, at_s - batch.posted_s, batch.count))
                else:
                    waiting.append(batch)
            self._unpublished = waiting

    @property
    def waiting(self) -> int:
        """Batches that were acknowledged and not seen published."""
        with self._lock:
            return len(self._unpublished)

    def pick(self, rng: random.Random, size: int) -> tuple[Acknowledged, int] | None:
        """An acknowledged entry below `size`: its batch and its place there."""
        with self._lock:
            if not self.batches:
                return None
            batch = rng.choice(self.batches)
        at = rng.randrange(batch.count)
        return (batch, at) if batch.first_index + at < size else None

    def count(self, what: str) -> None:
        """One more of something."""
        with self._lock:
            self.counts[what] += 1

    def violate(self, what: str) -> None:
        """The log did what it must never do."""
        with self._lock:
            self.counts["violations"] += 1
            if len(self.violations) < MOST_TOLD:
                self.violations.append(what)
