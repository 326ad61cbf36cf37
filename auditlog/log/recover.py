"""Recovery: from the stores to a tree that may be signed
on. Every start and every doubtful commit comes here.

Spec: design section 6. Reads the committed checkpoint, verifies it with the log's own key, reads the staged
object that the commit names, hashes all of that again from the stored bytes, and applies it with the same
`apply_staged` as every commit. Tree and chains are of one commit: both come from one snapshot. What was
staged but not committed is left alone: it was acknowledged to nobody. Must never: sign, or repair what
differs from the signed root.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from auditlog.core.checkpoint import Checkpoint, open_checkpoint
from auditlog.core.entry import LOG_WRITER, parse_entry
from auditlog.core.merkle import hash_leaf
from auditlog.core.note import NoteVerifier
from auditlog.errors import (
    DamagedStoreError,
    EvidenceError,
    MalformedError,
    NotFoundError,
    StorageError,
)
from auditlog.log.chains import CommittedChains
from auditlog.log.config import Layout
from auditlog.log.staging import Staged, apply_staged, find_staged, lost, open_staged
from auditlog.log.tree import Tree
from auditlog.storage.ports import ObjectStore, Snapshot
from auditlog.storage.records import Committed


class HasEntries(Protocol):
    """What reads one entry of the recovered tree: a `Reader`."""

    def entry(self, index: int) -> bytes:
        """The entry. Raises: NotFoundError, StorageError."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """The committed state, applied and checked."""

    tree: Tree
    committed: Committed
    staged_name: str
    chains: CommittedChains


def _any_size(_: int) -> None:
    """A running log had its guards asked at its start."""


def recover(
    layout: Layout, verifier: NoteVerifier, may_apply: Callable[[int], object] = _any_size
) -> Recovered | None:
    """Bring the tile tree up to the committed checkpoint; None for a log that was never committed.

    Any number of times, same result. `may_apply` hears the committed size before anything is written, and
    raises where nothing may be. Another process may commit at any moment: what is returned is one commit,
    whole, and the next compare-and-swap finds it passed over.

    Raises:
        StorageError: a store failed. DamagedStoreError, ImmutableObjectError: it holds something else than
        was signed.
    """
    state = layout.stores.state
    while True:
        seen = None
        try:
            with state.snapshot() as snapshot:
                if snapshot is None:
                    return None
                seen = snapshot.committed
                found, staged = _read(snapshot, layout, verifier, may_apply)
            apply_staged(staged, layout)
        except StorageError:
            # Another process that commits meanwhile removes the object that led to what we read.
            newest = None if seen is None else state.read()
            if newest is None or seen is None or newest.note == seen.note:
                raise
        else:
            return found


def _read(
    snapshot: Snapshot, layout: Layout, verifier: NoteVerifier, may_apply: Callable[[int], object]
) -> tuple[Recovered, Staged]:
    """One commit: its tree first, since who commits next removes that object; the chains do not change."""
    committed = snapshot.committed
    checkpoint = open_own(committed.note, verifier)
    may_apply(checkpoint.tree_size)
    name, _, staged = staged_of(committed, checkpoint, layout.stores.staging)
    tree, chains = replace(staged.tree, note=committed.note), CommittedChains.read(snapshot)
    return Recovered(tree, committed, name, chains), staged


def staged_of(
    committed: Committed, checkpoint: Checkpoint, staging: ObjectStore
) -> tuple[str, bytes, Staged]:
    """What a commit staged, whose `checkpoint` was opened: name, stored bytes, and what they hold, all of it
    hashed again.

    Raises:
        DamagedStoreError: it is gone, or does not lead to the signed tree. StorageError: the store failed.
    """
    size, root = checkpoint.tree_size, checkpoint.root_hash
    name = find_staged(staging, committed.staged, size, root)
    data = staging.get(name)
    if data is None:
        raise lost(size)
    return name, data, open_staged(name, data, size, root)


def check_own_head(committed: Committed, reader: HasEntries) -> None:
    """The log's own chain goes on from the entry that the database names.

    No sender would notice if it did not, as a producer does by its 409: the next entry of the log's own would
    be signed into a broken chain.

    Raises:
        DamagedStoreError: the row in the database is not what the tree says.
    """
    head = committed.own_head
    try:
        entry = reader.entry(head.index)
        found = parse_entry(entry)
    except (MalformedError, NotFoundError) as error:
        raise DamagedStoreError(
            f"entry {head.index}: expected one of the log's own, found: {error}"
        ) from error
    place = (found.producer, found.instance, found.seq, hash_leaf(entry))
    if place != (LOG_WRITER, head.instance, head.seq, head.leaf_hash):
        raise DamagedStoreError(
            f"expected entry {head.index} to be number {head.seq} of the log's own chain, as in the "
            f"database, found number {found.seq} of {found.producer}"
        )


def open_own(note: str, verifier: NoteVerifier) -> Checkpoint:
    """Open a checkpoint that this log must have signed.

    Raises:
        DamagedStoreError: it is another log's, or no checkpoint at all: the wrong key or the wrong stores.
    """
    try:
        return open_checkpoint(note, [verifier], verifier.name)[0]
    except EvidenceError as error:
        raise DamagedStoreError(
            f"expected a committed checkpoint signed by {verifier.vkey}, found another: {error}"
        ) from error
