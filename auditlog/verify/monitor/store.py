"""The monitor's memory: one SQLite file for all logs it follows.

Spec: auditlog/spec/monitor.md, "State". One connection, rollback journal, synchronous=FULL. Promises: what a
batch of entries changed and the alarms it raised are in one transaction, so that a kill at any instant leaves
the memory before it or after it; an alarm is there before anybody hears of it, and its key is there for ever,
so that nobody hears of it twice. Must never: be shared by two processes (a lock file beside it).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from auditlog.errors import ConfigurationError, StorageError

_VERSION = 2
_SCHEMA = """
CREATE TABLE IF NOT EXISTS log (origin TEXT PRIMARY KEY, vkeys TEXT NOT NULL, standing BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS producer (
    origin TEXT NOT NULL, form TEXT NOT NULL, id TEXT NOT NULL, heard_us INTEGER NOT NULL,
    content BLOB NOT NULL, PRIMARY KEY (origin, form, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS instance (
    origin TEXT NOT NULL, producer TEXT NOT NULL, instance TEXT NOT NULL, place INTEGER NOT NULL,
    PRIMARY KEY (origin, producer, instance)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS place (
    origin TEXT NOT NULL, life BLOB NOT NULL, low INTEGER NOT NULL, tile INTEGER NOT NULL,
    high INTEGER NOT NULL, PRIMARY KEY (origin, life, low, tile)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checkpoint (
    number INTEGER PRIMARY KEY, origin TEXT NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL,
    seen_us INTEGER NOT NULL, note TEXT NOT NULL, UNIQUE (origin, size, root));
CREATE TABLE IF NOT EXISTS alarm (
    number INTEGER PRIMARY KEY, origin TEXT NOT NULL, key TEXT NOT NULL, alarm TEXT NOT NULL,
    raised_us INTEGER NOT NULL, line TEXT NOT NULL, evidence BLOB, channels TEXT NOT NULL,
    UNIQUE (origin, key));
CREATE INDEX IF NOT EXISTS alarm_word ON alarm (origin, alarm);
CREATE INDEX IF NOT EXISTS alarm_open ON alarm (number) WHERE channels != '';
CREATE TABLE IF NOT EXISTS remark (
    number INTEGER PRIMARY KEY, origin TEXT NOT NULL, kind TEXT NOT NULL, producer TEXT NOT NULL,
    text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS promise (
    digest TEXT PRIMARY KEY, origin TEXT NOT NULL, tries INTEGER NOT NULL, next_us INTEGER NOT NULL,
    verdict TEXT NOT NULL, headline TEXT NOT NULL, is_settled INTEGER NOT NULL);
"""


class Store:
    """The one connection. Its lock is held for a whole transaction; threads take turns."""

    def __init__(self, folder: Path) -> None:
        """Open or create `folder`/monitor.sqlite for this process alone.

        Raises:
            ConfigurationError: another process has it. StorageError: it cannot be opened.
        """
        self.folder = folder
        self.floor = 0
        """Alarms are numbered behind this."""
        self._lock = threading.RLock()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._held = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"expected to open {folder}, found {error.strerror}") from error
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._held)
            raise ConfigurationError(
                f"expected {folder} for this monitor alone, found another on it"
            ) from None
        try:
            self._connection = _connect(folder / "monitor.sqlite")
        except (sqlite3.Error, OSError) as error:
            os.close(self._held)
            raise StorageError(f"monitor.sqlite: expected to open it, found {error}") from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing; durable when the block is left. Raises StorageError."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._undo()
                raise StorageError(f"monitor.sqlite: expected to write, found {error}") from error
            except BaseException:
                self._undo()
                raise

    def _undo(self) -> None:
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def read(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query. Raises StorageError."""
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise StorageError(f"monitor.sqlite: expected to read, found {error}") from error

    def close(self) -> None:
        """Close; twice is once."""
        with self._lock:
            self._connection.close()
            if self._held >= 0:
                os.close(self._held)
                self._held = -1


def _connect(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600, exist_ok=True)
    connection = sqlite3.connect(path, timeout=5.0, check_same_thread=False, isolation_level=None)
    connection.execute("PRAGMA journal_mode = TRUNCATE")
    connection.execute("PRAGMA synchronous = FULL")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in {0, _VERSION}:
        connection.close()
        raise StorageError(f"monitor.sqlite: expected version {_VERSION}, found {version}")
    connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
    return connection
