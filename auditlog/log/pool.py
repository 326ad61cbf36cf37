"""The pool: what was admitted and has its place in the order, but is not yet committed (state: pending).

An item holds one batch, or one entry of the log's own, with everything its commit will change and the future
its caller waits on. Order in the pool is order in the log, so indices are known at admission. Nothing here is
durable: what is in the pool when the process dies was never acknowledged. Guarded by the log's lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from auditlog.storage.records import (
    BatchHead,
    ChainHead,
    ChainRun,
    HeadUpdate,
    LossRecord,
    ProducerRecord,
    RetirementRecord,
    RotationRecord,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """One admitted item. `entries` is empty for a batch that was all in the log or the pool already."""

    entries: Sequence[bytes]
    leaf_hashes: Sequence[bytes]
    chain: bytes
    """The producer's id, or `LOG_CHAIN`."""
    new_head: ChainHead | None
    run: ChainRun | None
    batch_head: BatchHead | None = None
    producer: ProducerRecord | None = None
    life: RotationRecord | RetirementRecord | LossRecord | None = None
    """What the last entry changes in the life of a producer."""
    decides: bool = False
    ends: bool = False
    """Whether its last entry is the log's `successor`: the last one of all."""
    future: Future[Any]
    result: Callable[[int], Any]
    """What the future resolves to, given the committed tree size."""


class Pool:
    """Admitted items in order, with their totals."""

    def __init__(self) -> None:
        self._items: deque[Pending] = deque()
        self.entries = 0
        self.bytes = 0

    def add(self, item: Pending) -> None:
        """Put an item at the end."""
        self._items.append(item)
        self.entries += len(item.entries)
        self.bytes += sum(map(len, item.entries))

    def take(self, max_entries: int, max_bytes: int) -> list[Pending]:
        """Take items from the front: up to about these limits, at least one item if there is any."""
        taken: list[Pending] = []
        entries = size = 0
        while self._items and entries < max_entries and size < max_bytes:
            item = self._items.popleft()
            taken.append(item)
            entries += len(item.entries)
            size += sum(map(len, item.entries))
        self.entries -= entries
        self.bytes -= size
        return taken

    def take_all(self) -> list[Pending]:
        """Empty the pool."""
        taken = list(self._items)
        self._items.clear()
        self.entries = self.bytes = 0
        return taken

    def __bool__(self) -> bool:
        return bool(self._items)

    def __iter__(self) -> Iterator[Pending]:
        return iter(self._items)


def head_updates(items: Sequence[Pending], committed: dict[bytes, ChainHead]) -> list[HeadUpdate]:
    """One compare-and-set for each chain the items touch: from its committed head to its last new one."""
    newest = {item.chain: item.new_head for item in items if item.new_head is not None}
    return [HeadUpdate(chain, committed.get(chain), new) for chain, new in newest.items()]


def merged_runs(items: Sequence[Pending]) -> list[ChainRun]:
    """The runs of the items, those that touch joined into one row."""
    runs: list[ChainRun] = []
    for run in (item.run for item in items if item.run is not None):
        last = runs[-1] if runs else None
        if (
            last is not None
            and (last.producer, last.instance, last.seq + 1) == (run.producer, run.instance, run.first_seq)
            and last.first_index + (run.first_seq - last.first_seq) == run.first_index
        ):
            runs[-1] = ChainRun(run.producer, run.instance, last.first_seq, run.seq, last.first_index)
        else:
            runs.append(run)
    return runs
