"""The parts of admission and commit that hold the interpreter longest, done in processes beside this one.

Checking a batch, reading a staged commit back, and putting it into the tree: the same functions as without
processes (`check_batch`, `hashes_of`, `apply_staged`), run where they do not keep the sequencer waiting. What
a process refuses, or was not there to do, is done here: so errors are made in one place, and losing a process
costs time alone. Must never: sign what one process alone says is stored: its hash of the entries' hashes is
compared with that of the hashes admission gave them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

import msgspec

from auditlog.core.head import ClaimedHead
from auditlog.core.note import Ed25519Verifier
from auditlog.core.tiles import TILE_WIDTH
from auditlog.log.admission import Batch, Check, CheckedBatch, check_batch
from auditlog.log.config import Layout
from auditlog.log.processes import Processes
from auditlog.log.questions import (
    HASH_BYTES,
    ApplyStaged,
    CheckBatch,
    CheckStaged,
    Finding,
    Folders,
    done,
    folders_of,
)
from auditlog.log.stager import Stager
from auditlog.log.staging import Staged, admitted_hashes, apply_staged, read_back, read_staged, write_staged
from auditlog.log.tree import Object, Tree

logger = logging.getLogger("auditlog.log")

WORTH_BYTES = 32 << 10
"""A smaller batch is checked sooner than it is handed over."""

WORTH_ENTRIES = TILE_WIDTH
"""The same of a commit."""


class BatchesAside:
    """`check_batch` in other processes. For any number of threads."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def __call__(
        self, batch: Batch, claimed: ClaimedHead, origin: str, keys: Sequence[Ed25519Verifier]
    ) -> CheckedBatch:
        """As `check_batch`, with all its errors."""
        framed = batch.framed
        if framed is None or len(framed) < WORTH_BYTES:
            return check_batch(batch, claimed, origin, keys)
        told = self._processes.ask(CheckBatch(origin, tuple(key.vkey for key in keys)), framed)
        finding = None if told is None else _finding(told, len(batch.entries))
        if finding is None:
            return check_batch(batch, claimed, origin, keys)
        hashes = finding.leaf_hashes
        return CheckedBatch(
            producer=bytes.fromhex(claimed.head.producer),
            head=claimed.head,
            head_note=batch.head_note,
            entries=batch.entries,
            leaf_hashes=[hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)],
            prev=finding.prev,
            decides=finding.decides,
            next_vkey=finding.next_vkey,
            retires=finding.retires,
        )


def _finding(told: bytes, entries: int) -> Finding | None:
    """What a process found of so many entries; None if that is no answer to what it was asked."""
    try:
        found = msgspec.msgpack.decode(told, type=Finding)
    except msgspec.DecodeError:
        found = None
    if found is None or len(found.leaf_hashes) != entries * HASH_BYTES:
        logger.warning("expected a finding of %d entries, found another answer", entries)
        return None
    return found


class StagerAside(Stager):
    """Stages and applies large commits of one log in another process, where its stores are folders."""

    def __init__(self, layout: Layout, processes: Processes) -> None:
        super().__init__(layout)
        self._processes = processes
        self._folders: Folders | None = folders_of(layout)

    def stage(
        self,
        old: Tree,
        tree: Tree,
        full: list[Object],
        entries: Sequence[bytes],
        leaf_hashes: Sequence[bytes],
    ) -> tuple[str, Staged]:
        """See `Stager.stage`."""
        if self._folders is None or len(entries) < WORTH_ENTRIES:
            return super().stage(old, tree, full, entries, leaf_hashes)
        staging = self._layout.stores.staging
        name = write_staged(staging, old, tree, full)
        admitted = admitted_hashes(old, leaf_hashes)
        told = self._processes.ask(CheckStaged(self._folders, name, tree.size, tree.root_hash))
        if told != sha256(b"".join(admitted)).digest():
            # Refused, other entries, or nobody there: whatever it is, it is found out, and told, here.
            return name, read_back(staging, name, tree, admitted)
        row = [*old.tail, *entries]
        first = old.size // TILE_WIDTH
        bundles = {
            first + at // TILE_WIDTH: row[at : at + TILE_WIDTH]
            for at in range(0, len(row) - len(tree.tail), TILE_WIDTH)
        }
        return name, Staged(old.size, tree, full, bundles)

    def apply(self, name: str, staged: Staged) -> None:
        """See `Stager.apply`."""
        if self._folders is None or staged.tree.size - staged.old_size < WORTH_ENTRIES:
            super().apply(name, staged)
            return
        size, root = staged.tree.size, staged.tree.root_hash
        if self._processes.ask(ApplyStaged(self._folders, name, size, root)) != done(len(staged.full)):
            # From the stored bytes, as the process does: those in memory were not compared with them.
            apply_staged(read_staged(self._layout.stores.staging, name, size, root), self._layout)


@dataclass(frozen=True, slots=True)
class Hands:
    """Who does what a log may have done elsewhere."""

    check: Check = check_batch
    stager: Callable[[Layout], Stager] = Stager


HERE = Hands()
"""Everything in this process."""


class Beside(NamedTuple):
    """How the processes beside a service do."""

    running: int
    """Processes there are."""
    restarts: int
    """How often one was given up since the start: it died, or did not answer in time."""


class Aside:
    """Processes for the logs of one service: some that check batches, one that stages."""

    def __init__(self, checking: int) -> None:
        """With 0, everything is done here."""
        self._checking, self._staging = Processes(checking), Processes(min(1, checking))
        self.hands = Hands(BatchesAside(self._checking), lambda layout: StagerAside(layout, self._staging))

    def beside(self) -> Beside:
        """How the processes do."""
        both = (self._checking, self._staging)
        return Beside(sum(each.running for each in both), sum(each.restarts for each in both))

    def close(self) -> None:
        """End the processes; close the logs first."""
        self._checking.close()
        self._staging.close()
