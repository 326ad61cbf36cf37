"""Recovery: from the stores to a tree that may be signed
on. Every start and every doubtful commit comes here.

Spec: design section 6. Reads the committed checkpoint, verifies it with the log's own key, reads the staged
object that the commit names, hashes all of that again from the stored bytes, and applies it with the same
`apply_staged` as every commit. What was staged but not committed is left alone: it was acknowledged to
nobody. Must never: sign, or repair what differs from the signed root.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from auditlog.core.checkpoint import Checkpoint, open_checkpoint
from auditlog.core.entry import LOG_WRITER, parse_entry
from auditlog.core.merkle import hash_leaf
from auditlog.core.note import NoteVerifier
from auditlog.errors import (
    CommitConflictError,
    DamagedStoreError,
    EvidenceError,
    MalformedError,
    NotFoundError,
    StorageError,
)
from auditlog.log.config import Layout
from auditlog.log.staging import apply_staged, find_staged, read_staged
from auditlog.log.tree import Tree
from auditlog.storage.records import Committed

_OVERTAKEN = 10
_Found = TypeVar("_Found")


def until_still(step: Callable[[], _Found]) -> _Found:
    """Do it again as long as another commit came while it read: tree and heads must be of one commit.

    Raises:
        CommitConflictError: one came again and again. Whatever else the step raises.
    """
    for _ in range(_OVERTAKEN):
        with suppress(CommitConflictError):
            return step()
    return step()


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


def _any_size(_: int) -> None:
    """A running log had its guards asked at its start."""


def recover(
    layout: Layout, verifier: NoteVerifier, may_apply: Callable[[int], object] = _any_size
) -> Recovered | None:
    """Bring the tile tree up to the committed checkpoint; None for a log that was never committed.

    Any number of times, same result. `may_apply` hears the committed size before anything is written, and
    raises where nothing may be.

    Raises:
        StorageError: a store failed. DamagedStoreError, ImmutableObjectError: it holds something else than
        was signed.
    """
    committed = layout.stores.state.read()
    while committed is not None:
        try:
            return _apply(committed, layout, verifier, may_apply)
        except StorageError:
            # Another process that commits meanwhile removes the object that led to what we read.
            newer = layout.stores.state.read()
            if newer is None or newer.note == committed.note:
                raise
            committed = newer
    return None


def _apply(
    committed: Committed, layout: Layout, verifier: NoteVerifier, may_apply: Callable[[int], object]
) -> Recovered:
    checkpoint = open_own(committed.note, verifier)
    may_apply(checkpoint.tree_size)
    staging, size, root = layout.stores.staging, checkpoint.tree_size, checkpoint.root_hash
    name = find_staged(staging, committed.staged, size, root)
    staged = read_staged(staging, name, size, root)
    apply_staged(staged, layout)
    return Recovered(replace(staged.tree, note=committed.note), committed, name)


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
