"""The embedded disclosure store: one SQLite file per slot, encrypted record by record.

One writer connection, rollback journal, synchronous=FULL, so a record is durable once `keep` has returned.
Each record is sealed with AES-256-GCM under its own random key; that key is kept wrapped by the store key (a
0600 file beside the database), in a table of its own. Erasing deletes both and SQLite overwrites the pages
(secure_delete). Sealed bytes are bound to their row and decision id. Must never: hold a body or a record's
key in clear. Facts can be searched for by keyed digests (`private_index`).
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from auditlog.capture.disclosures import KeptRecord, StoreFullError
from auditlog.capture.private_index import PrivateIndex
from auditlog.core.sealing import RANDOM_BYTES, open_record, seal_record
from auditlog.errors import StorageError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL, stored_us INTEGER NOT NULL, size INTEGER NOT NULL,
    sealed BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS record_key (number INTEGER PRIMARY KEY, wrapped BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS fact (digest BLOB NOT NULL, kind TEXT NOT NULL, number INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS fact_digest ON fact (digest);
CREATE INDEX IF NOT EXISTS fact_number ON fact (number);
CREATE INDEX IF NOT EXISTS record_id ON record (id);
CREATE INDEX IF NOT EXISTS record_stored ON record (stored_us);
"""
_VERSION = 1
_DOMAIN = b"auditlog/disclosure-record@v1\0"
_ERASE_AT_ONCE = 1000


class SqliteDisclosureStore:
    """The embedded store. Thread-safe by one lock around the one connection."""

    def __init__(
        self,
        path: Path,
        store_key: bytes,
        rng: Callable[[int], bytes],
        *,
        keep_s: int,
        max_bytes: int,
    ) -> None:
        """Open or create the file at `path` (0600). Raises StorageError."""
        self._rng = rng
        self._keep_us = keep_s * 1_000_000
        self._max_bytes = max_bytes
        self._wrapping = AESGCM(store_key)
        self._index = PrivateIndex(store_key)
        self._lock = threading.Lock()
        try:
            path.touch(mode=0o600, exist_ok=True)
            self._connection = _connect(path)
            self._size = int(
                self._connection.execute("SELECT coalesce(sum(size), 0) FROM record").fetchone()[0]
            )
            highest = self._connection.execute("SELECT coalesce(max(number), 0) FROM record").fetchone()[0]
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"disclosure store: expected to open {path.name}, found {error}") from error
        self._next = int(highest) + 1

    @property
    def size_bytes(self) -> int:
        """Bytes of sealed records held."""
        return self._size

    @property
    def is_settled(self) -> bool:
        """See `DisclosureStore.is_settled`: nothing is left over here."""
        return True

    def keep(self, records: Sequence[KeptRecord], now_us: int) -> None:
        """See `DisclosureStore.keep`: one transaction, one fsync, for the whole group."""
        if not records:
            return
        with self._lock:
            rows, keys, size = [], [], 0
            facts: list[tuple[bytes, str, int]] = []
            for number, record in enumerate(records, self._next):
                sealed, wrapped = self._seal(record, number)
                rows.append((number, record.id, now_us, len(sealed) + len(wrapped), sealed))
                keys.append((number, wrapped))
                if record.facts is not None:
                    digests = self._index.digests_of(record.facts)
                    facts += [(digest, record.kind, number) for digest in digests]
                size += rows[-1][3]
            if self._size + size > self._max_bytes:
                raise StoreFullError(
                    f"disclosure store: expected at most {self._max_bytes} bytes, found it full"
                )
            try:
                with self._connection:
                    self._connection.executemany("INSERT INTO record_key VALUES (?, ?)", keys)
                    self._connection.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?)", rows)
                    if facts:
                        self._connection.executemany("INSERT INTO fact VALUES (?, ?, ?)", facts)
            except sqlite3.Error as error:
                raise StorageError(f"disclosure store: expected to write, found {error}") from error
            self._next += len(rows)
            self._size += size

    def find(self, id: str) -> list[KeptRecord]:  # noqa: A002  the word of the format
        """See `DisclosureStore.find`."""
        with self._lock:
            return _find(self._connection, self._wrapping, id)

    def erase(self, id: str) -> int:  # noqa: A002  the word of the format
        """See `DisclosureStore.erase`."""
        return self._delete("id = ?", (id,))

    def expire(self, now_us: int) -> int:
        """See `DisclosureStore.expire`; at most a thousand at a time, so that the writer is never
        held long.
        """
        oldest = (now_us - self._keep_us, _ERASE_AT_ONCE)
        return self._delete("number IN (SELECT number FROM record WHERE stored_us < ? LIMIT ?)", oldest)

    def close(self) -> None:
        """See `DisclosureStore.close`."""
        with self._lock:
            self._connection.close()

    def _delete(self, where: str, values: tuple[object, ...]) -> int:
        with self._lock:
            try:
                with self._connection:
                    select = f"SELECT number, size FROM record WHERE {where}"  # noqa: S608  our own constants
                    rows = self._connection.execute(select, values).fetchall()
                    numbers = [(number,) for number, _ in rows]
                    self._connection.executemany("DELETE FROM record_key WHERE number = ?", numbers)
                    self._connection.executemany("DELETE FROM fact WHERE number = ?", numbers)
                    self._connection.executemany("DELETE FROM record WHERE number = ?", numbers)
            except sqlite3.Error as error:
                raise StorageError(f"disclosure store: expected to erase, found {error}") from error
            self._size -= sum(size for _, size in rows)
            return len(rows)

    def _seal(self, record: KeptRecord, number: int) -> tuple[bytes, bytes]:
        content, name = msgspec.msgpack.encode(record), _name(number, record.id)
        return seal_record(self._wrapping, content, name, self._rng(RANDOM_BYTES))


def find_read_only(path: Path, store_key: bytes, id: str) -> list[KeptRecord]:  # noqa: A002
    """What a store that another process may be writing holds of a decision. Raises StorageError."""
    with _opened_read_only(path) as connection:
        return _find(connection, AESGCM(store_key), id)


@contextlib.contextmanager
def _opened_read_only(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        # Not read-only to SQLite: a writer that was killed in a transaction left pages to be put back first.
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=5.0)
        connection.execute("PRAGMA query_only = ON")
    except (sqlite3.Error, ValueError) as error:
        raise StorageError(f"disclosure store: expected to open {path.name}, found {error}") from error
    with contextlib.closing(connection):
        yield connection


class FoundRecord(NamedTuple):
    """A record with a fact that was searched for; `kind` is `decision` or `outcome`, `id` the decision's."""

    id: str
    kind: str
    stored_us: int


def search_read_only(path: Path, store_key: bytes, name: str, value: str) -> list[FoundRecord]:
    """The records of a store with this fact, oldest first. Raises StorageError."""
    query = "SELECT id, kind, stored_us FROM fact JOIN record USING (number) WHERE digest = ? ORDER BY number"
    with _opened_read_only(path) as connection:
        try:
            rows = connection.execute(query, (PrivateIndex(store_key).digest(name, value),)).fetchall()
        except sqlite3.Error as error:
            if "no such table" in str(error):  # a store of an older version, which has no index
                return []
            raise StorageError(f"disclosure store: expected to read, found {error}") from error
    return [FoundRecord(*row) for row in rows]


def _find(connection: sqlite3.Connection, wrapping: AESGCM, id: str) -> list[KeptRecord]:  # noqa: A002
    query = (
        "SELECT record.number, sealed, wrapped FROM record JOIN record_key USING (number) "
        "WHERE id = ? ORDER BY record.number"
    )
    try:
        rows = connection.execute(query, (id,)).fetchall()
    except sqlite3.Error as error:
        raise StorageError(f"disclosure store: expected to read, found {error}") from error
    return [_unseal(wrapping, _name(number, id), sealed, wrapped) for number, sealed, wrapped in rows]


def _unseal(wrapping: AESGCM, name: bytes, sealed: bytes, wrapped: bytes) -> KeptRecord:
    try:
        return msgspec.msgpack.decode(open_record(wrapping, name, sealed, wrapped), type=KeptRecord)
    except msgspec.MsgspecError as error:
        raise StorageError(
            "disclosure store: expected a record under this store key, found another"
        ) from error


def _name(number: int, id: str) -> bytes:  # noqa: A002
    """Binds sealed bytes to their row: a row moved under another id does not open."""
    return _DOMAIN + number.to_bytes(8, "big") + id.encode("utf-8")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=5.0, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = TRUNCATE")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in {0, _VERSION}:
        connection.close()
        raise StorageError(f"disclosure store: expected version {_VERSION}, found {version}")
    with connection:
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA user_version = {_VERSION}")
    return connection
