"""How a witness's memory becomes durable: one transaction for all cosignatures that wait, then the mark.

Spec: `auditlog/spec/witness.md`, "The store". Each transaction counts one up (`epoch`) and keeps a digest of
all rows: the sum of their hashes modulo 2^256, so that a row that is gone shows at the next start. Order:
commit (rollback journal, FULL), then the mark, then whoever waits goes on. Dying after the commit leaves a
store ahead of its mark, which the next start brings up; nothing had left. Must never: let anyone go on whose
row is not in the store and under the mark.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

from auditlog.errors import StorageError
from auditlog.witness.guard import Guard

_SPACE = 1 << 256
_UPSERT = (
    "INSERT INTO log VALUES (?, ?, ?, ?) ON CONFLICT (origin) DO UPDATE SET "
    "note = excluded.note, size = excluded.size, timestamp = excluded.timestamp"
)
CONFLICTS = "SELECT origin, kind, size, shown, cosigned, found_s FROM conflict ORDER BY number"


class Row(NamedTuple):
    """One log as it is stored."""

    origin: str
    note: str
    size: int
    timestamp: int


def _taken() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(slots=True)
class _Waiting:
    """A row on its way, and what became of it."""

    row: Row
    is_done: bool = False
    error: StorageError | None = None
    turn: threading.Lock = field(default_factory=_taken)
    """Let go by the thread that commits the row, or hands the lead on."""


@dataclass(slots=True)
class Spent:
    """What commits took, for the metrics."""

    commits: int = 0
    rows: int = 0
    seconds: float = 0.0
    failures: int = 0


@dataclass(slots=True)
class Commits:
    """All use of the one connection, one thread at a time."""

    connection: sqlite3.Connection
    guard: Guard
    spent: Spent = field(default_factory=Spent)
    is_whole: bool = True
    """Whether the last write went well."""
    _turn: threading.Lock = field(default_factory=threading.Lock)
    """Held while the connection is used."""
    _queue: list[_Waiting] = field(default_factory=list)
    _is_leading: bool = False
    _queueing: threading.Lock = field(default_factory=threading.Lock)

    def save(self, row: Row) -> None:
        """Store a row with all others that wait now; durable, and under the mark, on return.

        Raises:
            StorageError: it failed, and may have happened all the same.
        """
        mine = _Waiting(row)
        with self._queueing:
            self._queue.append(mine)
            leads, self._is_leading = not self._is_leading, True
        if not leads:
            mine.turn.acquire()  # until another thread has committed it, or hands the lead on
        if not mine.is_done:
            self._lead(mine)
        if mine.error is not None:
            raise mine.error

    def _lead(self, mine: _Waiting) -> None:
        """Commit all that waits now, and wake it; then whoever came meanwhile leads."""
        batch: list[_Waiting] = []
        error: StorageError | None = StorageError("expected to store what is signed, found a failure")
        try:
            with self._turn:
                with self._queueing:
                    batch, self._queue = self._queue, []
                error = self._commit([each.row for each in batch])
        finally:
            with self._queueing:
                following = self._queue[0] if self._queue else None
                self._is_leading = following is not None
            for each in batch:
                each.is_done, each.error = True, error
                if each is not mine:
                    each.turn.release()
            if following is not None:
                following.turn.release()

    def _commit(self, rows: Sequence[Row]) -> StorageError | None:
        """Write a batch; why it failed, if it did."""
        error: StorageError | None = None
        started = time.perf_counter()
        try:
            self._write(rows)
        except StorageError as found:
            error = found
        except sqlite3.Error as found:
            error = StorageError(f"expected to store what is signed, found: {found}")
        self.is_whole = error is None
        self._count(len(rows), time.perf_counter() - started, failed=error is not None)
        return error

    def _write(self, rows: Sequence[Row]) -> None:
        run = self.connection.execute
        try:
            if self.connection.in_transaction:  # one whose end was reported as failed
                run("ROLLBACK")
            run("BEGIN IMMEDIATE")
            # From the file, not from memory: a commit that was reported as failed may have happened.
            epoch, content = run("SELECT epoch, content FROM meta").fetchone()
            total = int.from_bytes(content, "big")
            for row in rows:
                before = run("SELECT note FROM log WHERE origin = ?", (row.origin,)).fetchone()
                total += digest_of(row.origin, row.note)
                total -= 0 if before is None else digest_of(row.origin, before[0])
                run(_UPSERT, row)
            content = (total % _SPACE).to_bytes(32, "big")
            run("UPDATE meta SET epoch = ?, content = ?", (epoch + 1, content))
            run("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                run("ROLLBACK")
            raise
        self.guard.advance(epoch + 1, content)

    def _count(self, rows: int, seconds: float, *, failed: bool) -> None:
        self.spent.commits += 1
        self.spent.rows += rows
        self.spent.seconds += seconds
        self.spent.failures += failed

    def read(self, origin: str) -> Row | None:
        """What is stored of a log. Raises StorageError."""
        found = self._read("SELECT origin, note, size, timestamp FROM log WHERE origin = ?", (origin,))
        return Row(*found[0]) if found else None

    def conflicts(self) -> list[tuple[Any, ...]]:
        """Every row of the table, without its number and its root. Raises StorageError."""
        return self._read(CONFLICTS)

    def count_conflicts(self, origin: str, kind: str, root: str = "") -> int:
        """How many are kept of a log, or of one root. Raises StorageError."""
        query = "SELECT count(*) FROM conflict WHERE origin = ? AND kind = ? AND (? = '' OR root = ?)"
        return int(self._read(query, (origin, kind, root, root))[0][0])

    def keep_conflict(self, row: tuple[Any, ...]) -> None:
        """Store one; durable on return. Raises StorageError."""
        columns = "origin, kind, root, size, shown, cosigned, found_s"
        with self._turn:
            try:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                # A statement by itself is a transaction of its own.
                self.connection.execute(f"INSERT INTO conflict ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608  our own constants
            except sqlite3.Error as error:
                raise StorageError(f"expected to keep what does not go together, found: {error}") from error

    def _read(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._turn:
            try:
                return self.connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise StorageError(f"expected to read what was signed, found: {error}") from error


def digest_of(origin: str, note: str) -> int:
    """What one row adds to the digest of a store's content."""
    return int.from_bytes(sha256(f"{origin}\n{note}".encode()).digest(), "big")


def content_of(connection: sqlite3.Connection) -> bytes:
    """The digest of all rows there are. Raises sqlite3.Error."""
    total = sum(digest_of(*row) for row in connection.execute("SELECT origin, note FROM log"))
    return (total % _SPACE).to_bytes(32, "big")
