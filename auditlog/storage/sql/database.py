"""One database, SQLite or PostgreSQL: connections that are durable, transactions that fail as `StorageError`.

SQLite: the `pysqlite3` build (the interpreter's own may lack the fix of the WAL-reset corruption), WAL,
`synchronous=FULL`, one writer at a time, by a lock here and `BEGIN IMMEDIATE` there. PostgreSQL: psycopg 3,
`synchronous_commit=on`, time-outs on locks and statements, so that a stuck peer is an error and not a hang.
Opening applies the migrations. Must never be imported outside `auditlog.storage.sql` and the composition
root.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from auditlog.errors import ConfigurationError, StorageError
from auditlog.storage.owned import make_private_file
from auditlog.storage.sql.migrate import migrate, migrate_to, present_revision

WAL_RESET_FIXED = (3, 51, 3)
"""Before this version a checkpoint that raced with the reset of the WAL could lose committed pages."""
_MODE = "auditlog_mode"
_READ, _DURABLE, _DERIVED = "read", "durable", "derived"
_SQLITE_BUSY_S = 30.0
_POSTGRES_OPTIONS = (
    "-c synchronous_commit=on -c lock_timeout=10s -c statement_timeout=30s "
    "-c idle_in_transaction_session_timeout=4s"
)
"""A process that froze in the middle of a transaction, or whose machine is gone, holds the row of its log:
who took the lease after it cannot commit before the server ends that session. None of ours takes a second.
"""

_WRITE_WITHIN = "SET LOCAL transaction_timeout = '6s'"
"""The same for one that froze while it was sending a statement: its session is not idle, it is waited for."""

_HAS_TRANSACTION_TIMEOUT = (17,)
"""PostgreSQL before this version waits for such a client until its connection breaks."""

_SNAPSHOT_IDLE = "SET LOCAL idle_in_transaction_session_timeout = '60s'"
"""A snapshot waits for other stores, which hold what it names. Nobody waits for it: it holds no row."""


class Database:
    """Connections to one database. Safe to share between threads and logs."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._writer = threading.Lock()

    @classmethod
    def open(cls, url: str) -> Database:
        """Connect to a SQLAlchemy URL (`sqlite:///path`, `postgresql://...`) and apply the migrations.

        Raises:
            ConfigurationError: another kind of database, SQLite without a file or too old, or a schema of a
            newer release.
            StorageError: it cannot be reached, or a migration failed. Never holds the URL, which may hold
            a password.
        """
        engine = engine_for(url)
        try:
            migrate(engine)
        except SQLAlchemyError as error:
            engine.dispose()
            raise _failed("opening the database", error) from error
        except ConfigurationError:
            engine.dispose()
            raise
        return cls(engine)

    @contextmanager
    def write(self, *, durable: bool = True, may_last: bool = False) -> Iterator[Connection]:
        """One write transaction: committed and durable when the block ends, rolled back if it raises.

        On PostgreSQL 17 and newer it fails after six seconds, unless it `may_last`: where nobody works.

        With `durable=False` a power loss may undo it, whole, and nothing older: for what is derived and can
        be built again, so that it does not make a commit wait for the disk.

        Raises:
            StorageError: a statement or the commit failed. If it was the commit, it may have happened.
        """
        turn = self._writer if self._is_sqlite else nullcontext()
        with turn, self._transaction(_DURABLE if durable else _DERIVED) as connection:
            if not self._is_sqlite:
                connection.exec_driver_sql("; ".join(self._terms(durable=durable, may_last=may_last)))
            yield connection

    def _terms(self, *, durable: bool, may_last: bool) -> list[str]:
        """What a write transaction on PostgreSQL begins with."""
        found = ["SET LOCAL synchronous_commit = " + ("on" if durable else "off")]
        version = getattr(self.engine.dialect, "server_version_info", None)
        if not may_last and version is not None and version >= _HAS_TRANSACTION_TIMEOUT:
            found.append(_WRITE_WITHIN)
        return found

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One read transaction: sees what is committed when it starts."""
        with self._transaction(_READ) as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """One read transaction in which every statement sees what was committed at the first."""
        with self.read() as connection:
            if not self._is_sqlite:
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                connection.exec_driver_sql(_SNAPSHOT_IDLE)
            yield connection

    @contextmanager
    def _transaction(self, mode: str) -> Iterator[Connection]:
        try:
            with self.engine.connect() as plain:
                connection = plain.execution_options(**{_MODE: mode})
                with connection.begin():
                    yield connection
        except SQLAlchemyError as error:
            raise _failed("a database transaction", error) from error

    def close(self) -> None:
        """Close every connection; SQLite then folds its WAL into the file."""
        self.engine.dispose()


def engine_for(url: str) -> Engine:
    """Connections to a database as `Database` uses them, its schema as it is.

    Raises:
        ConfigurationError, StorageError: as `Database.open`.
    """
    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError):
        # Without the cause: it may quote the URL.
        raise ConfigurationError("expected a database URL of SQLAlchemy, found something else") from None
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed)
    if parsed.get_backend_name() == "postgresql":
        return _postgres(parsed)
    raise ConfigurationError(f"expected a sqlite or postgresql database, found {parsed.get_backend_name()}")


def at_revision(url: str, revision: str) -> str | None:
    """Take the schema of a database to a revision; the one it had before.

    Raises:
        ConfigurationError: no such revision, or what would be dropped cannot be built again. StorageError.
    """
    engine = engine_for(url)
    try:
        was = present_revision(engine)
        migrate_to(engine, revision)
    except SQLAlchemyError as error:
        raise _failed("a migration", error) from error
    finally:
        engine.dispose()
    return was


def _sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise ConfigurationError("expected a SQLite database in a file, found one in memory")
    from pysqlite3 import dbapi2

    _check_version(dbapi2.sqlite_version_info)
    try:
        # SQLite gives its WAL the mode of the file it belongs to.
        make_private_file(Path(url.database))
    except OSError as error:
        raise StorageError(f"expected a database file at {url.database}, found {error.strerror}") from error
    engine = create_engine(
        url, module=dbapi2, connect_args={"check_same_thread": False, "timeout": _SQLITE_BUSY_S}
    )
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _check_version(found: tuple[int, ...]) -> None:
    if found < WAL_RESET_FIXED:
        expected, version = (".".join(map(str, each)) for each in (WAL_RESET_FIXED, found))
        raise ConfigurationError(
            f"expected SQLite {expected} or newer, found {version}, which can corrupt a database in WAL "
            "mode: pip install --upgrade pysqlite3, or use PostgreSQL"
        )


def _set_up_sqlite(connection: Any, _: ConnectionPoolEntry) -> None:
    # The driver would begin transactions late and only for some statements; we say BEGIN ourselves.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-32768"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    mode = connection.get_execution_options().get(_MODE, _DURABLE)
    if mode == _READ:
        connection.exec_driver_sql("BEGIN")
        return
    if connection.info.get(_MODE) != mode:
        # Kept by the connection until it is set again; what is noted beside it ends with the connection.
        connection.info.pop(_MODE, None)
        connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if mode == _DURABLE else 'NORMAL'}")
        connection.info[_MODE] = mode
    # IMMEDIATE takes the write lock at once: a read that turns into a write later could find itself stale.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _postgres(url: URL) -> Engine:
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args={"options": _POSTGRES_OPTIONS, "connect_timeout": 10},
        pool_pre_ping=True,
    )


def _failed(what: str, error: SQLAlchemyError) -> StorageError:
    # The driver's own words, without SQLAlchemy's statement and parameters: those hold payloads.
    cause = getattr(error, "orig", None)
    detail = (
        str(cause).strip().splitlines()[0]
        if cause is not None and str(cause).strip()
        else type(error).__name__
    )
    return StorageError(f"expected {what} to succeed, found {type(error).__name__}: {detail}")
