"""The SQLite file of a witness's memory: its tables, and how it is opened.

Spec: `auditlog/spec/witness.md`, "The store". One writer connection, rollback journal, synchronous=FULL: a
transaction is durable once its commit has returned. A folder is locked by the one process that has it.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

from auditlog.errors import ConfigurationError, DamagedStoreError, StorageError
from auditlog.witness.mark import sync_folder

STORE = "witness.sqlite"
_VERSION = 1
_SCHEMA = """
CREATE TABLE meta (store TEXT NOT NULL, vkey TEXT NOT NULL, epoch INTEGER NOT NULL, content BLOB NOT NULL);
CREATE TABLE log (
    origin TEXT PRIMARY KEY, note TEXT NOT NULL, size INTEGER NOT NULL, timestamp INTEGER NOT NULL);
CREATE TABLE conflict (
    number INTEGER PRIMARY KEY, origin TEXT NOT NULL, kind TEXT NOT NULL, root TEXT NOT NULL,
    size INTEGER NOT NULL, shown TEXT NOT NULL, cosigned TEXT NOT NULL, found_s INTEGER NOT NULL);
CREATE TABLE restored (
    number INTEGER PRIMARY KEY, accepted_s INTEGER NOT NULL, found TEXT NOT NULL);
"""


class FolderLock:
    """A folder that this process has to itself."""

    def __init__(self, folder: Path) -> None:
        """Lock `folder`, made if missing.

        Raises:
            ConfigurationError: another process has it. StorageError: it cannot be made.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(folder.parent)
            self._handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"expected to open {folder}, found {error.strerror}") from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._handle)
            # Two that do not know of each other's signatures could sign two histories between them.
            raise ConfigurationError(
                f"expected {folder} for this witness alone, found another process on it"
            ) from None

    def release(self) -> None:
        """Give the folder free. Twice is once."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def create_store(path: Path, store: str, vkey: str) -> None:
    """Make an empty store; it has its name only once it is whole.

    Dying before the rename leaves a file of another name, which the next attempt replaces.

    Raises:
        StorageError.
    """
    temporary = path.with_name(path.name + ".new")
    try:
        temporary.unlink(missing_ok=True)
        temporary.touch(mode=0o600)
        connection = connect(temporary)
        try:
            connection.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version = {_VERSION};")
            connection.execute("INSERT INTO meta VALUES (?, ?, 1, ?)", (store, vkey, bytes(32)))
            connection.execute("COMMIT")
        finally:
            connection.close()
        temporary.replace(path)
        sync_folder(path.parent)
    except (sqlite3.Error, OSError) as error:
        raise StorageError(f"expected to make {path}, found: {error}") from error


def open_store(path: Path) -> sqlite3.Connection:
    """The one writer connection of a store that is there.

    Raises:
        DamagedStoreError: it is gone, or no store of this version. StorageError: it cannot be opened.
    """
    if not path.is_file():
        raise DamagedStoreError(
            f"expected the store {path}, found none: a witness that forgot what it signed must not sign "
            "again. Bring the newest store back, or make a witness with a new key"
        )
    try:
        connection = connect(path)
    except sqlite3.Error as error:
        raise StorageError(f"expected to open {path}, found: {error}") from error
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        (count,) = connection.execute("SELECT count(*) FROM meta").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        raise DamagedStoreError(f"expected a witness's store in {path}, found: {error}") from error
    if (version, state, count) != (_VERSION, "ok", 1):
        connection.close()
        raise DamagedStoreError(f"expected a whole store of version {_VERSION} in {path}, found another")
    return connection


def connect(path: Path) -> sqlite3.Connection:
    """A connection in which each transaction is begun and ended by hand. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=5.0, check_same_thread=False, isolation_level=None)
    connection.execute("PRAGMA journal_mode = TRUNCATE")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def read_only(path: Path) -> sqlite3.Connection:
    """A connection for reading a store that another process may be writing.

    Raises:
        StorageError: there is none.
    """
    try:
        # Not read-only to SQLite: a writer that was killed in a transaction left pages to be put back first.
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=5.0)
        connection.execute("PRAGMA query_only = ON")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except (sqlite3.Error, ValueError) as error:
        raise StorageError(f"expected to open {path}, found: {error}") from error
    return connection
