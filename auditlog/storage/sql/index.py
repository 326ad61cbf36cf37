"""`IndexState` in SQL: where decisions, leaf hashes and models lie. Derived from the log, rebuilt at will.

Contract: `auditlog.storage.ports.IndexState`. Off the commit path: it has its own transactions.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, Table, and_, bindparam, delete, or_, select, update

from auditlog.errors import CommitConflictError, StorageError
from auditlog.storage.records import (
    ID_REPEATED,
    FacetBlock,
    FacetSpan,
    GapReach,
    GapRow,
    IndexRows,
    ModelRow,
)
from auditlog.storage.sql import schema
from auditlog.storage.sql.database import Database
from auditlog.storage.sql.facets import facet_blocks
from auditlog.storage.sql.leaves import LOOK_UP, key_of_entry, leaf_number
from auditlog.storage.sql.rows import insert_rows

_DERIVED = (
    schema.decision_index,
    schema.leaf_index,
    schema.model_entry,
    schema.gap_entry,
    schema.gap_reach,
    schema.entry_flag,
    schema.entry_facet,
)
# Built once: building costs more than running.
_LOG_ID = select(schema.log.c.log_id).where(schema.log.c.origin == bindparam("of_origin"))
_MOVE = (
    update(schema.log)
    .where(schema.log.c.log_id == bindparam("of_log"), schema.log.c.index_size == bindparam("old"))
    .values(index_size=bindparam("new"))
)
_CLEARING = -1
_CLEARED_AT_ONCE = 20_000
"""About so many rows are deleted in one transaction: whoever commits gets in between."""


class SqlIndex:
    """The derived index of the log `origin` in a shared database."""

    def __init__(self, database: Database, origin: str) -> None:
        self._database = database
        self.origin = origin

    def log_id(self, connection: Connection) -> int:
        """This log's number in the database.

        Raises:
            StorageError: the log was never created here.
        """
        found = connection.execute(_LOG_ID, {"of_origin": self.origin}).scalar_one_or_none()
        if found is None:
            raise StorageError(f"expected a log of origin {self.origin} in the database, found none")
        return int(found)

    def _mine(self, table: Table) -> Select[Any]:
        """Rows of `table` that belong to this log."""
        mine = select(schema.log.c.log_id).where(schema.log.c.origin == self.origin).scalar_subquery()
        return select(table).where(table.c.log_id == mine)

    def index_size(self) -> int:
        """Entries 0..size-1 are in the index; negative while it is being cleared."""
        with self._database.read() as connection:
            size = connection.execute(
                select(schema.log.c.index_size).where(schema.log.c.origin == self.origin)
            ).scalar_one_or_none()
        return int(size or 0)

    def add_index_rows(self, rows: IndexRows) -> list[int]:
        """Add rows and move the index on, in one transaction; see the port."""
        columns = _Columns.of(rows)  # made ready before the transaction: commits wait for it
        again = _repeated_within(rows)
        with self._database.write(durable=False) as connection:
            log_id = self.log_id(connection)
            moved = connection.execute(_MOVE, {"of_log": log_id, "old": rows.start, "new": rows.end})
            if moved.rowcount != 1:
                raise CommitConflictError(f"expected the index to end at {rows.start}, found another size")
            repeated = sorted(again.union(_known_before(connection, log_id, columns)))
            _insert_each(connection, log_id, columns)
            _insert_index_rows(connection, log_id, rows)
            insert_rows(connection, schema.entry_flag, [(log_id, index, ID_REPEATED) for index in repeated])
        return repeated

    def clear_index(self) -> None:
        """Drop every row of this log's index and start again from 0; see the port.

        Dying on the way leaves a size of -1: nobody builds on what is half there, and clearing goes on.
        """
        with self._database.write() as connection:
            log_id = self.log_id(connection)
            of_log = schema.log.c.log_id == log_id
            connection.execute(update(schema.log).where(of_log).values(index_size=_CLEARING))
        for table in _DERIVED:
            while self._clear_some(table, log_id):
                continue
        with self._database.write() as connection:
            is_ours = schema.log.c.index_size == _CLEARING
            connection.execute(update(schema.log).where(of_log, is_ours).values(index_size=0))

    def _clear_some(self, table: Table, log_id: int) -> bool:
        """Delete the first rows of a table by its key; return whether there may be more."""
        first = list(table.primary_key)[1]
        mine = table.c.log_id == log_id
        with self._database.write(durable=False) as connection:
            size = connection.execute(
                select(schema.log.c.index_size)
                .where(schema.log.c.log_id == log_id)
                .with_for_update(read=True)
            ).scalar_one()
            if size != _CLEARING:
                return False  # another process has finished clearing, and builds again
            bound = connection.execute(
                select(first).where(mine).order_by(first).offset(_CLEARED_AT_ONCE).limit(1)
            ).scalar_one_or_none()
            connection.execute(delete(table).where(mine if bound is None else and_(mine, first <= bound)))
        return bound is not None

    def indices_by_decision(
        self, decision_id: str, *, above: int = -1, limit: int | None = None
    ) -> list[int]:
        """Indices above `above` of decisions with this id, ascending, at most `limit`."""
        table = schema.decision_index
        query = self._mine(table).where(table.c.decision_id == decision_id, table.c.entry_index > above)
        return self._indices(query.order_by(table.c.entry_index).limit(limit))

    def indices_by_leaf(self, leaf_hash: bytes) -> list[int]:
        """Indices of entries that may have this leaf hash, ascending."""
        values = {"origin": self.origin, "number": leaf_number(leaf_hash)}
        with self._database.read() as connection:
            return [row[0] for row in connection.exec_driver_sql(LOOK_UP[connection.dialect.name], values)]

    def facet_blocks(self, span: FacetSpan, others: Sequence[tuple[int, int]]) -> list[FacetBlock]:
        """Blocks with entries of a property; see the port."""
        return facet_blocks(self._database, self.origin, span, others)

    def _indices(self, query: Select[Any]) -> list[int]:
        with self._database.read() as connection:
            return sorted(row["entry_index"] for row in connection.execute(query).mappings())

    def next_model(self, producer: bytes, instance: str, after_seq: int) -> ModelRow | None:
        """The first `model` entry of this instance with a number above `after_seq`."""
        table = schema.model_entry
        query = (
            self._mine(table)
            .where(table.c.producer == producer, table.c.instance == instance, table.c.seq > after_seq)
            .order_by(table.c.seq)
            .limit(1)
        )
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            return None
        return ModelRow(producer, instance, row["seq"], row["entry_index"], bytes(row["leaf_hash"]))

    def gaps_ending(self, producer: bytes, from_us: int, limit: int) -> list[GapRow]:
        """Gaps of this producer that end at `from_us` or later, by their end, at most `limit`."""
        table = schema.gap_entry
        query = (
            self._mine(table)
            .where(table.c.producer == producer, table.c.to_us >= from_us)
            .order_by(table.c.to_us, table.c.entry_index)
            .limit(limit)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            GapRow(
                producer, r["entry_index"], r["from_us"], r["to_us"], r["lost"], bool(r["of_earlier_life"])
            )
            for r in rows
        ]

    def gaps_covering(self, producer: bytes, instance: str, seq: int, limit: int) -> list[GapReach]:
        """Gaps that cover a number of an instance, the latest `after_seq` first, at most `limit`."""
        table = schema.gap_reach
        query = (
            self._mine(table)
            .where(table.c.producer == producer, table.c.instance == instance, table.c.after_seq < seq)
            .where(or_(table.c.own_seq.is_(None), table.c.own_seq > seq))
            .order_by(table.c.after_seq.desc(), table.c.entry_index)
            .limit(limit)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [GapReach(producer, instance, r["entry_index"], r["after_seq"], r["own_seq"]) for r in rows]

    def flags(self, index: int) -> list[str]:
        """What the index found odd about an entry."""
        table = schema.entry_flag
        with self._database.read() as connection:
            rows = connection.execute(self._mine(table).where(table.c.entry_index == index)).mappings()
            return sorted(row["flag"] for row in rows)


@dataclass(frozen=True, slots=True)
class _Columns:
    """What the index keeps of each entry of a chunk from `start` on, as a JSON text for each column."""

    start: int
    leaf_numbers: str
    decision_ids: str

    @classmethod
    def of(cls, rows: IndexRows) -> _Columns:
        numbers = [number for (number,) in _LEAF_NUMBER.iter_unpack(rows.leaf_hashes)]
        expected = {0, rows.end - rows.start}
        assert {len(numbers), len(rows.decisions)} <= expected, "each entry of a chunk, or none"
        return cls(rows.start, *(msgspec.json.encode(each).decode() for each in (numbers, rows.decisions)))


_LEAF_NUMBER = struct.Struct(">q24x")
"""`leaf_number` of a whole leaf hash, in the machine's own speed."""


def _insert_each(connection: Connection, log_id: int, columns: _Columns) -> None:
    """A row for each leaf hash and each decision id."""
    sql = _SQL[connection.dialect.name]
    for insert_each, texts in ((sql.leaves, columns.leaf_numbers), (sql.decisions, columns.decision_ids)):
        connection.exec_driver_sql(insert_each, {"texts": texts, "start": columns.start, "log": log_id})


def _known_before(connection: Connection, log_id: int, columns: _Columns) -> list[int]:
    """Which of the decisions have an id that is in the index already; asked before they are added."""
    known = _SQL[connection.dialect.name].known
    values = {"texts": columns.decision_ids, "start": columns.start, "log": log_id}
    return [row[0] for row in connection.exec_driver_sql(known, values)]


def _repeated_within(rows: IndexRows) -> set[int]:
    """Which of the decisions have the id of an earlier one of the same chunk."""
    known = [id_ for id_ in rows.decisions if id_ is not None]
    if len(set(known)) == len(known):
        return set()
    first: dict[str, int] = {}
    ids = enumerate(rows.decisions, rows.start)
    return {index for index, id_ in ids if id_ is not None and first.setdefault(id_, index) < index}


@dataclass(frozen=True, slots=True)
class _Statements:
    """What is done with a whole column in one step each, during which the driver gives the interpreter's lock
    away: row by row it would be given and taken as often (see `rows`).
    """

    leaves: str
    decisions: str
    known: str

    @classmethod
    def of(cls, each: str, number: str, index: str, log: str) -> _Statements:
        """`each` gives the elements of the JSON text `texts` as `value`, `number` is one that is a number,
        `index` the entry of one.
        """

        def insert_each(table: str, key: str, value: str) -> str:
            # Sorted: neighbouring pages are filled instead of jumping about.
            return (
                f"INSERT INTO {table} (log_id, {key}, entry_index) "  # noqa: S608 - names of ours alone
                f"SELECT {log}, {value}, {index} FROM {each} WHERE value IS NOT NULL ORDER BY 2"
            )

        known = "SELECT 1 FROM decision_index AS known WHERE known.log_id = {} AND decision_id = new.value"
        return cls(
            insert_each("leaf_index", "leaf_key", key_of_entry(index, number)),
            insert_each("decision_index", "decision_id", "value"),
            f"SELECT {index} FROM {each} WHERE value IS NOT NULL AND EXISTS ({known.format(log)})",  # noqa: S608
        )


_SQL = {
    "sqlite": _Statements.of("json_each(:texts) AS new", "value", ":start + key", ":log"),
    "postgresql": _Statements.of(
        "json_array_elements_text(CAST(%(texts)s AS JSON)) WITH ORDINALITY AS new(value, at)",
        "CAST(value AS BIGINT)",
        "CAST(%(start)s AS BIGINT) + at - 1",
        "CAST(%(log)s AS BIGINT)",
    ),
}


def _insert_index_rows(connection: Connection, log_id: int, rows: IndexRows) -> None:
    insert_rows(
        connection,
        schema.model_entry,
        [(log_id, row.producer, row.instance, row.seq, row.index, row.leaf_hash) for row in rows.models],
    )
    insert_rows(
        connection,
        schema.gap_entry,
        [
            (log_id, row.producer, row.to_us, row.index, row.from_us, row.lost, int(row.of_earlier_life))
            for row in rows.gaps
        ],
    )
    insert_rows(
        connection,
        schema.gap_reach,
        [(log_id, row.producer, row.instance, row.index, row.after_seq, row.own_seq) for row in rows.reaches],
    )
    insert_rows(connection, schema.entry_flag, [(log_id, index, flag) for index, flag in rows.flags])
    insert_rows(
        connection,
        schema.entry_facet,
        [(log_id, row.facet, row.value, row.block, row.places) for row in sorted(rows.facets)],
    )
