"""Whether a store is the newest there is: compared with its high-water mark before anything is signed.

Spec: `auditlog/spec/witness.md`, "A restored store". Refused: a store behind its mark, one that differs from
it at the same count, one whose mark is gone, damaged or another store's, one whose rows are not those it
counted. `accept_restored` goes on all the same, and the store says so from then on. Must never: accept
silently, or let the count go back.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from auditlog.errors import ConfigurationError, DamagedStoreError, StorageError
from auditlog.witness.errors import RestoredStoreError
from auditlog.witness.mark import Mark, MarkFile, create_mark

_ADVICE = (
    "Start the newest copy of the store; or make a witness with a new key, which owes nobody anything. "
    "--accept-restored signs on from this one and says so for ever: what it forgot it may sign against"
)


class Guard:
    """The mark of one open store."""

    def __init__(self, connection: sqlite3.Connection, path: Path, vkey: str) -> None:
        """Read whose store it is.

        Raises:
            ConfigurationError: another key's.
        """
        self._connection = connection
        self._path = path
        self._mark: MarkFile | None = None
        self.restored: list[tuple[int, str]] = []
        """When an older store was accepted (POSIX seconds), and why it was one; set by `check`."""
        self.store, owner, self.epoch, self.content = connection.execute(
            "SELECT store, vkey, epoch, content FROM meta"
        ).fetchone()
        if owner != vkey:
            raise ConfigurationError(f"expected the store of {vkey}, found that of {owner}")

    @staticmethod
    def begin(store: Path, mark: Path) -> None:
        """The first mark of a store just made. Raises ConfigurationError, StorageError.

        Dying before it leaves a store without a mark, which is refused: it has signed nothing, make it again.
        """
        connection = sqlite3.connect(store)
        try:
            name, epoch, content = connection.execute("SELECT store, epoch, content FROM meta").fetchone()
        finally:
            connection.close()
        create_mark(mark, Mark(name, epoch, content))

    def check(self, *, accept_restored: bool, now_s: int) -> None:
        """Compare store and mark, and bring the mark up to the store.

        Raises:
            RestoredStoreError: the store is not the newest, as far as can be told, and not accepted.
            DamagedStoreError: rows are missing or other than counted, which nothing makes acceptable.
        """
        from auditlog.witness.commits import content_of

        try:
            stored = content_of(self._connection)
        except sqlite3.Error as error:
            raise DamagedStoreError(f"expected to read what was signed, found: {error}") from error
        if stored != self.content:
            raise DamagedStoreError("expected the rows that this store counted, found others: it is damaged")
        reason, known = self._compare()
        if reason and not accept_restored:
            raise RestoredStoreError(f"{reason}. {_ADVICE}")
        if reason:
            self._accept(reason, known, now_s)
        if self._mark is None:
            create_mark(self._path, Mark(self.store, self.epoch, self.content))
            self._mark = MarkFile(self._path)
        self._mark.write(Mark(self.store, self.epoch, self.content))
        self.restored = restored_of(self._connection)

    def _compare(self) -> tuple[str, int]:
        """Why the store cannot be the newest, or nothing; and the count the mark knows."""
        try:
            self._mark = MarkFile(self._path)
        except FileNotFoundError:
            return f"expected the high-water mark {self._path}, found none", 0
        try:
            mark = self._mark.read()
        except DamagedStoreError as error:
            return str(error), 0
        if mark.store != self.store:
            return f"expected the high-water mark of this store in {self._path}, found another's", mark.epoch
        if mark.epoch > self.epoch:
            behind = mark.epoch - self.epoch
            seen = f"expected a store of {mark.epoch} commits, as {self._path} has seen, found {self.epoch}"
            return f"{seen}: an older copy, {behind} behind", mark.epoch
        if mark.epoch == self.epoch and mark.content != self.content:
            return f"expected the content that {self._path} has seen, found another copy's", mark.epoch
        return "", mark.epoch

    def _accept(self, reason: str, known: int, now_s: int) -> None:
        epoch = max(self.epoch, known) + 1
        run = self._connection.execute
        try:
            run("BEGIN IMMEDIATE")
            run("INSERT INTO restored (accepted_s, found) VALUES (?, ?)", (now_s, reason))
            run("UPDATE meta SET epoch = ?", (epoch,))
            run("COMMIT")
        except sqlite3.Error as error:
            raise StorageError(f"expected to record an accepted backup, found: {error}") from error
        self.epoch = epoch

    def advance(self, epoch: int, content: bytes) -> None:
        """Move the mark behind a commit. Raises StorageError."""
        self.epoch, self.content = epoch, content
        if self._mark is None:
            raise StorageError("expected the high-water mark to be open, found it closed")
        self._mark.write(Mark(self.store, epoch, content))

    def close(self) -> None:
        """Give the mark free. Twice is once."""
        if self._mark is not None:
            self._mark.close()
            self._mark = None


def restored_of(connection: sqlite3.Connection) -> list[tuple[int, str]]:
    """The times an older store was accepted, and why it was one. Raises sqlite3.Error."""
    return connection.execute("SELECT accepted_s, found FROM restored ORDER BY number").fetchall()
