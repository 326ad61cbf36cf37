"""Anchors of this log, and the outbox that says when one is due.

Spec: design section 5, "Anchor": only published checkpoints are anchored, when a decision was added since the
last. The outbox mark moves in the commit itself, so no decision is forgotten by a crash; recording an anchor
marks it done in the same transaction that keeps the evidence. Must never: judge evidence (the verifier does),
beyond that it is about a checkpoint of this log.
"""

from __future__ import annotations

from auditlog.errors import AnchorError, StorageError
from auditlog.log.live import Live
from auditlog.log.reader import Reader
from auditlog.log.recover import open_own
from auditlog.storage.records import AnchorRecord


class Anchors:
    """The anchors of one log."""

    def __init__(self, live: Live, reader: Reader) -> None:
        self._live = live
        self._reader = reader

    def record(self, anchor: AnchorRecord) -> None:
        """Keep an anchor of a checkpoint of this log; the same again is kept once.

        Raises:
            AnchorError: it is not about a tree this log had.
            StorageError: it could not be kept; call again.
        """
        try:
            checkpoint = open_own(anchor.checkpoint, self._live.signer.verifier)
        except StorageError as error:
            raise AnchorError(f"expected an anchored checkpoint of this log, found: {error}") from error
        size, root = anchor.tree_size, anchor.root_hash
        if (checkpoint.tree_size, checkpoint.root_hash) != (size, root):
            raise AnchorError("expected size and root of the anchored checkpoint, found others")
        if size > self._live.tree.size or self._reader.root_at(size) != root:
            raise AnchorError(f"expected a tree that this log had at size {size}, found another")
        self._live.stores.state.add_anchor(anchor)

    def newest(self, above_index: int = -1) -> AnchorRecord | None:
        """The anchor recorded last whose tree holds that index. Raises: StorageError."""
        return self._live.stores.state.newest_anchor(above_index)

    def all(self) -> list[AnchorRecord]:
        """Every anchor, oldest first. Raises: StorageError."""
        return self._live.stores.state.anchors()


class Outbox:
    """Whether an anchor is due."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def pending(self) -> int:
        """The tree size that an anchor must reach to cover every decision; 0 if all are covered.

        Raises:
            StorageError: the state store failed.
        """
        committed = self._live.stores.state.read()
        if committed is None or committed.decisions_size <= committed.anchored_size:
            return 0
        return committed.decisions_size
