"""What a witness remembers of each log: the checkpoint it cosigned last, in one SQLite file.

Spec: `auditlog/spec/witness.md`, "The store". The row of a log holds that checkpoint note itself, with the
log's signature and the witness's own: size and root are read from it, and both signatures are checked when it
is read. Durable before a cosignature leaves, and then the high-water mark, so that dying anywhere leaves a
memory of everything that left. Must never: take a row that is damaged, or a store that is gone or older than
the mark, for a log never seen, since a witness that forgot would sign a second history.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from auditlog.core.checkpoint import Checkpoint, open_checkpoint
from auditlog.core.cosignature import CosignatureVerifier, cosignature_timestamp
from auditlog.core.keys import Ed25519Verifier
from auditlog.core.note import NoteVerifier
from auditlog.core.witnessing import AddCheckpoint, format_add_checkpoint
from auditlog.errors import DamagedStoreError, EvidenceError
from auditlog.witness.commits import Commits, Row, Spent
from auditlog.witness.database import STORE, FolderLock, create_store, open_store
from auditlog.witness.followed import FollowedLog, follow, name_of
from auditlog.witness.guard import Guard

__all__ = ["MAX_GROWTH", "Conflict", "Cosigned", "States", "as_followed", "name_of"]

MAX_GROWTH = 16
"""Kept of growth that did not hold, a log: whoever has true checkpoints could make more of them for ever."""

FORK, GROWTH = "fork", "growth"


@dataclass(frozen=True, slots=True)
class Cosigned:
    """The newest checkpoint cosigned, as a note, and when (POSIX seconds)."""

    checkpoint: Checkpoint
    note: str
    timestamp: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """What a log showed that does not go with what was cosigned.

    `kind` fork: `shown` is a note of the same size with another root. growth: `shown` is the whole request,
    whose proof does not join its larger tree to `cosigned`.
    """

    origin: str
    kind: str
    size: int
    shown: str
    cosigned: str
    found_s: int


class States:
    """The memory of one witness, in a folder of its own. One process at a time; any thread of it."""

    def __init__(
        self,
        folder: Path,
        verifier: CosignatureVerifier,
        *,
        mark: Path | None = None,
        may_create: bool = True,
        accept_restored: bool = False,
        unix_s: Callable[[], int] = lambda: int(time.time()),
    ) -> None:
        """Open the store in `folder`; `mark` is the high-water file (by default beside it, which guards
        against little). Both are made if neither is there and `may_create`.

        Raises:
            ConfigurationError: another process has it, or it is another witness's.
            RestoredStoreError: it is older than the mark, or the mark is gone, and not `accept_restored`.
            DamagedStoreError: it is damaged or gone. StorageError: it cannot be made or read.
        """
        self._verifier = verifier
        self._unix_s = unix_s
        self._seen: dict[str, Cosigned] = {}
        self._reading = threading.Lock()
        path, mark = folder / STORE, mark or folder / "high-water"
        self._lock = FolderLock(folder)
        try:
            if may_create and not path.exists() and not mark.exists():
                create_store(path, os.urandom(16).hex(), verifier.vkey)
                Guard.begin(path, mark)
            self._connection = open_store(path)
        except BaseException:
            self._lock.release()
            raise
        try:
            self.guard = Guard(self._connection, mark, verifier.vkey)
            self.guard.check(accept_restored=accept_restored, now_s=unix_s())
        except BaseException:
            self._close_all()
            raise
        self._commits = Commits(self._connection, self.guard)

    def load(self, log: FollowedLog | Ed25519Verifier) -> Cosigned | None:
        """What was cosigned last for a log; None if nothing ever was.

        Raises:
            DamagedStoreError: it is not what this witness wrote. StorageError: it cannot be read.
        """
        followed = as_followed(log)
        found = self._seen.get(followed.origin)
        if found is not None:
            return found
        # From the disk at the first use, and after a commit that failed: then only it knows what is stored.
        with self._reading:
            row = self._commits.read(followed.origin)
            if row is None:
                return None
            cosigned = self._opened(followed, row)
            self._seen[followed.origin] = cosigned
            return cosigned

    def save(self, origin: str, cosigned: Cosigned) -> None:
        """Remember what was cosigned; durable on return. One save of a log at a time.

        Raises:
            StorageError: it failed, and may have happened all the same; nothing may leave.
        """
        self._seen.pop(origin, None)
        self._commits.save(Row(origin, cosigned.note, cosigned.checkpoint.tree_size, cosigned.timestamp))
        self._seen[origin] = cosigned

    def keep_evidence(self, origin: str, note: str, known: Cosigned) -> None:
        """Keep the first note of one size with another root than what was cosigned. Raises StorageError."""
        if self._commits.count_conflicts(origin, FORK) == 0:
            self._keep(origin, FORK, known.checkpoint, note, known)

    def keep_growth(
        self, origin: str, checkpoint: Checkpoint, request: AddCheckpoint, known: Cosigned
    ) -> None:
        """Keep a request whose proof does not join its checkpoint to the one cosigned last: the same root
        once, and at most `MAX_GROWTH` a log. Raises StorageError.
        """
        root = checkpoint.root_hash
        kept = self._commits.count_conflicts(origin, GROWTH)
        if kept >= MAX_GROWTH or self._commits.count_conflicts(origin, GROWTH, root.hex()):
            return
        self._keep(origin, GROWTH, checkpoint, format_add_checkpoint(request).decode("utf-8"), known)

    def _keep(self, origin: str, kind: str, about: Checkpoint, shown: str, known: Cosigned) -> None:
        root, size = about.root_hash.hex(), about.tree_size
        self._commits.keep_conflict((origin, kind, root, size, shown, known.note, self._unix_s()))

    def conflicts(self) -> list[Conflict]:
        """Everything kept that does not go together, oldest first. Raises StorageError."""
        return [Conflict(*row) for row in self._commits.conflicts()]

    @property
    def spent(self) -> Spent:
        """What its commits took."""
        return self._commits.spent

    def is_whole(self) -> bool:
        """Whether the last write went well."""
        return self._commits.is_whole

    def close(self) -> None:
        """Give the folder free. Twice is once."""
        self._close_all()

    def _close_all(self) -> None:
        self._connection.close()
        guard = getattr(self, "guard", None)
        if guard is not None:
            guard.close()
        self._lock.release()

    def _opened(self, log: FollowedLog, row: Row) -> Cosigned:
        keys: list[NoteVerifier] = [*log.keys, self._verifier]
        try:
            checkpoint, opened = open_checkpoint(row.note, keys, log.origin, key_name=log.key_name)
            mine = [each for each in opened.verified if each.vkey == self._verifier.vkey]
            return Cosigned(checkpoint, row.note, cosignature_timestamp(mine[0]))
        except (EvidenceError, IndexError) as error:
            raise DamagedStoreError(
                f"expected the checkpoint that this witness cosigned for {log.origin}, found damage: {error}"
            ) from error


def as_followed(log: FollowedLog | Ed25519Verifier) -> FollowedLog:
    """A log whose only key is named like its origin may be given by that key."""
    return log if isinstance(log, FollowedLog) else follow([log.vkey])
