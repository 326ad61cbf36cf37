"""Many rows in one statement.

Row by row the SQLite driver would give the interpreter's lock away and take it back for each, and a thread
that commits beside busy ones waits its turn as often: 64 rows took 20 to 200 times as long as here. The
driver of PostgreSQL would send them as a pipeline, and the server waits for the rest of one whose client
froze in the middle, with what it holds (`database`): the less is on its way, the rarer. So all rows are
handed over as one JSON text, bytes in hex.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import Connection, Integer, LargeBinary, Table
from sqlalchemy.types import TypeEngine

from auditlog.storage.records import ChainHead, HeadUpdate

Row = tuple[Any, ...]


def insert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert many rows, each a tuple in the order of the table's columns."""
    if not rows:
        return
    connection.exec_driver_sql(_insert_each(table, connection.dialect.name), (as_json(rows),))


def as_json(rows: Sequence[Row]) -> str:
    """The rows as one JSON text, bytes in hex."""
    plain = [[value.hex() if type(value) is bytes else value for value in row] for row in rows]
    return msgspec.json.encode(plain).decode()


@cache
def _insert_each(table: Table, dialect: str) -> str:
    # Names come from the schema, never from a caller.
    names = ", ".join(column.name for column in table.columns)
    read = _of_sqlite if dialect == "sqlite" else _of_postgres
    values = ", ".join(read(place, column.type) for place, column in enumerate(table.columns))
    each = "json_each(?)" if dialect == "sqlite" else "json_array_elements(%s::json) AS new(value)"
    return f"INSERT INTO {table.name} ({names}) SELECT {values} FROM {each}"  # noqa: S608


def _of_sqlite(place: int, kind: TypeEngine[Any]) -> str:
    return f"unhex(value ->> {place})" if isinstance(kind, LargeBinary) else f"value ->> {place}"


def _of_postgres(place: int, kind: TypeEngine[Any]) -> str:
    if isinstance(kind, LargeBinary):
        return f"decode(value ->> {place}, 'hex')"
    return f"(value ->> {place})::bigint" if isinstance(kind, Integer) else f"value ->> {place}"


def swap_heads(connection: Connection, log_id: int, moves: Sequence[tuple[HeadUpdate, ChainHead]]) -> int:
    """Compare and swap heads of producers, each from its second to `HeadUpdate.new`. How many were as
    expected: each moves one row at most.
    """
    rows = [(item.producer, was.instance, was.seq, was.leaf_hash, *_values(item.new)) for item, was in moves]
    if not rows:
        return 0
    if connection.dialect.name == "sqlite":
        return connection.exec_driver_sql(_SWAP_EACH, (as_json(rows), log_id)).rowcount
    return connection.exec_driver_sql(_SWAP_ALL, (as_json(rows), log_id)).rowcount


def _values(head: ChainHead) -> Row:
    return head.instance, head.seq, head.leaf_hash, head.index


# An update from the rows would read every head of the log; CROSS has it search by key for each row.
_SWAP_EACH = """
INSERT INTO producer_head (log_id, producer, instance, seq, leaf_hash, entry_index)
SELECT held.log_id, held.producer, moved.value ->> 4, moved.value ->> 5, unhex(moved.value ->> 6),
    moved.value ->> 7
FROM json_each(?1) AS moved CROSS JOIN producer_head AS held
WHERE held.log_id = ?2 AND held.producer = unhex(moved.value ->> 0) AND held.instance = moved.value ->> 1
    AND held.seq = moved.value ->> 2 AND held.leaf_hash = unhex(moved.value ->> 3)
ON CONFLICT (log_id, producer) DO UPDATE SET instance = excluded.instance, seq = excluded.seq,
    leaf_hash = excluded.leaf_hash, entry_index = excluded.entry_index
"""

_SWAP_ALL = """
UPDATE producer_head AS held SET instance = moved.value ->> 4, seq = (moved.value ->> 5)::bigint,
    leaf_hash = decode(moved.value ->> 6, 'hex'), entry_index = (moved.value ->> 7)::bigint
FROM json_array_elements(%s::json) AS moved(value)
WHERE held.log_id = %s AND held.producer = decode(moved.value ->> 0, 'hex')
    AND held.instance = moved.value ->> 1 AND held.seq = (moved.value ->> 2)::bigint
    AND held.leaf_hash = decode(moved.value ->> 3, 'hex')
"""
"""The same on PostgreSQL."""
