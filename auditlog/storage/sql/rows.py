"""Many rows in one statement.

Row by row the SQLite driver would give the interpreter's lock away and take it back for each, and a thread
that commits beside busy ones waits its turn as often: 64 rows took 20 to 200 times as long as here. So all
rows are handed over as one JSON text, bytes in hex. PostgreSQL's driver sends them together by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import Connection, LargeBinary, Table, bindparam, insert, update

from auditlog.storage.records import ChainHead, HeadUpdate
from auditlog.storage.sql import schema

Row = tuple[Any, ...]


def insert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert many rows, each a tuple in the order of the table's columns."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_insert_each(table), (as_json(rows),))
    else:
        names = [column.name for column in table.columns]
        connection.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows])


def as_json(rows: Sequence[Row]) -> str:
    """The rows as one JSON text, bytes in hex."""
    plain = [[value.hex() if type(value) is bytes else value for value in row] for row in rows]
    return msgspec.json.encode(plain).decode()


@cache
def _insert_each(table: Table) -> str:
    # Names come from the schema, never from a caller.
    names = ", ".join(column.name for column in table.columns)
    values = ", ".join(
        f"unhex(value ->> {place})" if isinstance(column.type, LargeBinary) else f"value ->> {place}"
        for place, column in enumerate(table.columns)
    )
    return f"INSERT INTO {table.name} ({names}) SELECT {values} FROM json_each(?)"  # noqa: S608


def swap_heads(connection: Connection, log_id: int, moves: Sequence[tuple[HeadUpdate, ChainHead]]) -> int:
    """Compare and swap heads of producers, each from its second to `HeadUpdate.new`. How many were as
    expected: each moves one row at most.
    """
    if connection.dialect.name == "sqlite":
        rows = [
            (item.producer, was.instance, was.seq, was.leaf_hash, *_values(item.new)) for item, was in moves
        ]
        return connection.exec_driver_sql(_SWAP_EACH, (as_json(rows), log_id)).rowcount
    return connection.execute(_SWAP, [_swap(log_id, item, was) for item, was in moves]).rowcount


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

_HEAD = schema.producer_head.c
_SWAP = (
    update(schema.producer_head)
    .where(_HEAD.log_id == bindparam("of_log"), _HEAD.producer == bindparam("of_producer"))
    .where(_HEAD.instance == bindparam("was_instance"), _HEAD.seq == bindparam("was_seq"))
    .where(_HEAD.leaf_hash == bindparam("was_leaf_hash"))
)
"""The same, for one row. Built once: building costs more than running."""


def _swap(log_id: int, item: HeadUpdate, was: ChainHead) -> dict[str, Any]:
    new = dict(zip(("instance", "seq", "leaf_hash", "entry_index"), _values(item.new), strict=True))
    return {
        "of_log": log_id,
        "of_producer": item.producer,
        "was_instance": was.instance,
        "was_seq": was.seq,
        "was_leaf_hash": was.leaf_hash,
        **new,
    }
