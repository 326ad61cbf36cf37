"""Recovery: from the stores to a tree that may be signed
on. Every start and every doubtful commit comes here.

Spec: design section 6. Reads the committed checkpoint, verifies it with the log's own key, reads the staged
object that led to it, hashes all of that again from the stored bytes, and applies it with the same
`apply_staged` as every commit. What was staged but not committed is left alone: it was acknowledged to
nobody. Must never: sign, or repair what differs from the signed root.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from auditlog.core.checkpoint import Checkpoint, open_checkpoint
from auditlog.core.note import NoteVerifier
from auditlog.errors import DamagedStoreError, EvidenceError, StorageError
from auditlog.log.config import Layout
from auditlog.log.staging import apply_staged, find_staged, read_staged
from auditlog.log.tree import Tree
from auditlog.storage.records import Committed


@dataclass(frozen=True, slots=True)
class Recovered:
    """The committed state, applied and checked."""

    tree: Tree
    committed: Committed
    staged_name: str


def recover(layout: Layout, verifier: NoteVerifier) -> Recovered | None:
    """Bring the tile tree up to the committed checkpoint; None for a log that was never committed.

    Any number of times, same result.

    Raises:
        StorageError: a store failed. DamagedStoreError, ImmutableObjectError: it holds something else than
        was signed.
    """
    committed = layout.stores.state.read()
    while committed is not None:
        try:
            return _apply(committed, layout, verifier)
        except StorageError:
            # Another process that commits meanwhile removes the object that led to what we read.
            newer = layout.stores.state.read()
            if newer is None or newer.note == committed.note:
                raise
            committed = newer
    return None


def _apply(committed: Committed, layout: Layout, verifier: NoteVerifier) -> Recovered:
    checkpoint = open_own(committed.note, verifier)
    staging = layout.stores.staging
    name = find_staged(staging, checkpoint.tree_size, checkpoint.root_hash)
    staged = read_staged(staging, name, checkpoint.tree_size, checkpoint.root_hash)
    apply_staged(staged, layout)
    return Recovered(replace(staged.tree, note=committed.note), committed, name)


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
