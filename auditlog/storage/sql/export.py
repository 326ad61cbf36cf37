"""All rows of one log, out of a database and into another: what a backup holds of the state.

Spec: `auditlog/spec/log.md`, "Backups". One line of JSON a row, bytes in base64, the row of the log first;
read in one snapshot, written in one transaction. Derived tables are left out, since the log builds them
again, and so are tokens and leases, which belong to the service. Works from SQLite to PostgreSQL and back.
Must never: add to a log that is there.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby, islice
from typing import Any

import msgspec
from sqlalchemy import Connection, LargeBinary, Table, insert, select

from auditlog.errors import ConfigurationError, MalformedError, StorageError
from auditlog.storage.records import Committed
from auditlog.storage.sql import schema
from auditlog.storage.sql.database import Database
from auditlog.storage.sql.state import SqlState

KEPT = (
    "producer",
    "producer_head",
    "producer_rotation",
    "producer_retirement",
    "producer_loss",
    "chain_run",
    "batch_head",
    "anchor",
    "promise",
    "outcome",
    "fact_index",
)
"""Tables of a log beside `log` itself that nothing else could tell again."""

_CHUNK = 2000
_OWN_KEYS = {"log_id", "anchor_id", "promise_id"}
"""Numbers that a database gives: the next one gives its own."""


@contextmanager
def snapshot(database: Database, origin: str) -> Iterator[tuple[Committed, Iterator[bytes]]]:
    """The committed state, and all rows of the log as lines, of one moment. Read the lines inside the block.

    Raises:
        ConfigurationError: there is no such log. StorageError: the database failed.
    """
    with SqlState(database, origin).snapshot() as found:
        if found is None:
            raise ConfigurationError(f"expected a log of origin {origin} in the database, found none")
        if found.connection.dialect.name == "postgresql":
            # A large table is one statement, read as fast as the lines can be written.
            found.connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            found.connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        yield found.committed, _lines(found.connection, found.log_id)


def _lines(connection: Connection, log_id: int) -> Iterator[bytes]:
    for name in ("log", *KEPT):
        table = schema.metadata.tables[name]
        query = select(table).where(table.c.log_id == log_id).order_by(*table.primary_key.columns)
        for row in connection.execution_options(yield_per=_CHUNK).execute(query).mappings():
            values = {key: value for key, value in row.items() if key not in _OWN_KEYS}
            yield msgspec.json.encode([name, values]) + b"\n"


def load(database: Database, origin: str, lines: Iterable[bytes]) -> int:
    """Put the rows of a log that the database does not have, all or none; how many. The index begins anew.

    Raises:
        ConfigurationError: it has the log. MalformedError: not the rows of this log. StorageError.
    """
    every = iter(lines)
    values = log_row(next(every, b""), origin)
    rows = (_row(line) for line in every)
    count = 1
    with database.write(may_last=True) as connection:
        log = schema.log
        if connection.execute(select(log.c.log_id).where(log.c.origin == origin)).first() is not None:
            raise ConfigurationError(f"expected no log of origin {origin} in the database, found one")
        put = connection.execute(insert(log).values({**values, "index_size": 0, "restored": 1}))
        key = put.inserted_primary_key
        if key is None:
            raise StorageError("expected the number of a new row, found none")
        for name, group in groupby(rows, key=lambda row: row[0]):
            table = _table(name)
            while chunk := [{**found, "log_id": key[0]} for _, found in islice(group, _CHUNK)]:
                connection.execute(insert(table), chunk)
                count += len(chunk)
    return count


def log_row(line: bytes, origin: str) -> dict[str, Any]:
    """The row of the log, from the first line. Raises MalformedError: it is another."""
    name, values = _row(line)
    if name != "log" or values.get("origin") != origin:
        raise MalformedError(f"backup: expected the row of the log {origin} first, found another")
    return values


def _row(line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        name, values = msgspec.json.decode(line, type=tuple[str, dict[str, Any]])
        table = schema.log if name == "log" else _table(name)
        return name, {
            key: base64.b64decode(value, validate=True)
            if isinstance(table.c[key].type, LargeBinary) and value is not None
            else value
            for key, value in values.items()
        }
    except (msgspec.MsgspecError, KeyError, ValueError, TypeError) as error:
        raise MalformedError(f"backup: expected a row of a log, found: {type(error).__name__}") from error


def _table(name: str) -> Table:
    if name not in KEPT:
        raise MalformedError("backup: expected a table of a log, found another")
    return schema.metadata.tables[name]
