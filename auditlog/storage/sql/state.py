"""`LogState` in SQL: the committed row, the heads, and one transaction that moves them all.

Contract: `auditlog.storage.ports.CommitState` and `AnchorState`; the derived index is in `index.py`.
The compare is in the WHERE of each UPDATE: a row that is not as expected makes the row count wrong, and the
transaction is given up. Two writers meet on the row of the log and one of them finds it changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, bindparam, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from auditlog.errors import CommitConflictError, StorageError
from auditlog.storage.records import (
    COMMITTING,
    RETIRED,
    AnchorRecord,
    BatchHead,
    ChainRun,
    Commit,
    Committed,
)
from auditlog.storage.sql import schema
from auditlog.storage.sql.database import Database
from auditlog.storage.sql.lives import add_lives
from auditlog.storage.sql.outcomes import SqlOutcomes
from auditlog.storage.sql.rows import insert_rows, swap_heads
from auditlog.storage.sql.snapshot import SqlSnapshot, committed_of

_LOG = schema.log.c
_MOVE_LOG = (
    update(schema.log)
    .where(_LOG.origin == bindparam("of_origin"), _LOG.note == bindparam("was_note"))
    .where(_LOG.own_seq == bindparam("was_seq"), _LOG.own_leaf_hash == bindparam("was_leaf_hash"))
    .where(_LOG.standing.in_(COMMITTING))
    .returning(_LOG.log_id)
)
"""Compare and swap the committed checkpoint, with the log's own chain; the log's number, if it was there."""

_READ_LOG = select(schema.log).where(_LOG.origin == bindparam("of_origin"))


class SqlState(SqlOutcomes):
    """The state of the log `origin` in a shared database."""

    def __init__(self, database: Database, origin: str) -> None:
        super().__init__(database, origin)

    def read(self) -> Committed | None:
        """The newest committed state, read from the database each time."""
        with self._database.read() as connection:
            row = self._row(connection)
        return None if row is None else committed_of(row)

    @contextmanager
    def snapshot(self) -> Iterator[SqlSnapshot | None]:
        """The newest committed state with the chains that belong to it; see the port."""
        with self._database.snapshot() as connection:
            row = self._row(connection)
            yield None if row is None else SqlSnapshot(connection, row)

    def _row(self, connection: Connection) -> RowMapping | None:
        return connection.execute(_READ_LOG, {"of_origin": self.origin}).mappings().first()

    def set_standing(self, expected: str, standing: str) -> None:
        """Compare and swap the standing; see the port."""
        log = schema.log
        with self._database.write() as connection:
            moved = connection.execute(
                update(log)
                .where(log.c.origin == self.origin, log.c.standing == expected, log.c.standing != RETIRED)
                .values(standing=standing)
            )
            if moved.rowcount != 1 or standing == RETIRED:
                raise CommitConflictError(f"expected the standing {expected} of the log, found another")

    def set_retention(self, expected: str | None, note: str, minimum: int) -> None:
        """Compare and swap the retention document; see the port."""
        log = schema.log
        was = log.c.retention.is_(None) if expected is None else log.c.retention == expected
        with self._database.write() as connection:
            moved = connection.execute(
                update(log)
                .where(log.c.origin == self.origin, was, log.c.minimum_index <= minimum)
                .values(retention=note, minimum_index=minimum)
            )
            if moved.rowcount != 1:
                raise CommitConflictError("expected the retention document of before, found another")

    def commit(self, change: Commit) -> None:
        """Apply the whole change in one transaction, or nothing; see the port."""
        try:
            with self._database.write() as connection:
                log_id = self._move_log(connection, change)
                self._move_heads(connection, log_id, change)
                self._add_rows(connection, log_id, change)
        except StorageError as error:
            if isinstance(error.__cause__, IntegrityError):
                raise CommitConflictError(
                    "expected rows the change could add, found the same keys taken"
                ) from error
            raise

    def _move_log(self, connection: Connection, change: Commit) -> int:
        log, own, old = schema.log, change.own_head, change.own_expected
        values: dict[str, Any] = {
            "note": change.note,
            "staged": change.staged,
            "own_seq": own.seq,
            "own_leaf_hash": own.leaf_hash,
            "own_index": own.index,
        }
        if change.decisions_size is not None:
            values["decisions_size"] = change.decisions_size
        if change.retires:
            values["standing"] = RETIRED
        if change.previous_note is None or old is None:
            zero = {"decisions_size": 0, "anchored_size": 0, "index_size": 0}
            result = connection.execute(insert(log).values(origin=self.origin, **(zero | values)))
            key = result.inserted_primary_key
            assert key is not None
            return int(key[0])
        was: dict[str, Any] = {"of_origin": self.origin, "was_note": change.previous_note}
        was |= {"was_seq": old.seq, "was_leaf_hash": old.leaf_hash}
        moved = connection.execute(_MOVE_LOG, was | values | {"restored": 0}).scalar_one_or_none()
        if moved is None:
            raise CommitConflictError(
                "expected the previous checkpoint of a log that may grow in the database, found another"
            )
        return int(moved)

    def _move_heads(self, connection: Connection, log_id: int, change: Commit) -> None:
        first = [(item.producer, item.new) for item in change.heads if item.expected is None]
        later = [(item, item.expected) for item in change.heads if item.expected is not None]
        insert_rows(
            connection,
            schema.producer_head,
            [(log_id, producer, new.instance, new.seq, new.leaf_hash, new.index) for producer, new in first],
        )
        if later and swap_heads(connection, log_id, later) != len(later):
            raise CommitConflictError("expected the previous head of a producer, found another")

    def _add_rows(self, connection: Connection, log_id: int, change: Commit) -> None:
        insert_rows(
            connection,
            schema.producer,
            [
                (log_id, each.producer, each.name, each.vkey, each.note, each.index)
                for each in change.producers
            ],
        )
        add_lives(connection, log_id, change)
        insert_rows(
            connection,
            schema.chain_run,
            [
                (log_id, run.producer, run.instance, run.seq, run.first_seq, run.first_index)
                for run in change.runs
            ],
        )
        insert_rows(
            connection,
            schema.batch_head,
            [
                (log_id, head.producer, head.instance, head.seq, head.first_seq, head.note)
                for head in change.batch_heads
            ],
        )

    def run_of(self, producer: bytes, instance: str, seq: int) -> ChainRun | None:
        """The run that holds number `seq` of this instance."""
        row = self._covering(schema.chain_run, producer, instance, seq)
        if row is None:
            return None
        return ChainRun(producer, instance, row["first_seq"], row["seq"], row["first_index"])

    def last_run(self, producer: bytes, instance: str) -> ChainRun | None:
        """The run with the highest number of this instance."""
        run = schema.chain_run.c
        query = self._mine(schema.chain_run).where(run.producer == producer, run.instance == instance)
        return self._run(query.order_by(run.seq.desc()))

    def life_after(self, producer: bytes, index: int) -> ChainRun | None:
        """The first run of this producer above `index` that begins an instance."""
        run = schema.chain_run.c
        query = self._mine(schema.chain_run).where(run.producer == producer, run.first_index > index)
        return self._run(query.where(text("first_seq = 0")).order_by(run.first_index))

    def _run(self, query: Select[Any]) -> ChainRun | None:
        with self._database.read() as connection:
            row = connection.execute(query.limit(1)).mappings().first()
        if row is None:
            return None
        producer = bytes(row["producer"])
        return ChainRun(producer, row["instance"], row["first_seq"], row["seq"], row["first_index"])

    def batch_head_of(self, producer: bytes, instance: str, seq: int) -> BatchHead | None:
        """The head with the lowest last number that covers `seq`."""
        row = self._covering(schema.batch_head, producer, instance, seq)
        return BatchHead(producer, instance, row["first_seq"], row["seq"], row["note"]) if row else None

    def _covering(self, table: Any, producer: bytes, instance: str, seq: int) -> RowMapping | None:
        """The row with the lowest last number at or above `seq`, if it begins at or below."""
        query = (
            self._mine(table)
            .where(table.c.producer == producer, table.c.instance == instance, table.c.seq >= seq)
            .order_by(table.c.seq)
            .limit(1)
        )
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        return row if row is not None and row["first_seq"] <= seq else None

    def add_anchor(self, anchor: AnchorRecord) -> None:
        """Keep an anchor and mark the outbox done up to its size, in one transaction."""
        table, log = schema.anchor, schema.log
        row = {
            "type": anchor.type,
            "tree_size": anchor.tree_size,
            "root_hash": anchor.root_hash,
            "checkpoint": anchor.checkpoint,
            "evidence": anchor.evidence,
        }
        with self._database.write() as connection:
            log_id = self.log_id(connection)
            known = connection.execute(
                select(table.c.anchor_id).where(
                    table.c.log_id == log_id, *(table.c[name] == value for name, value in row.items())
                )
            ).first()
            if known is None:
                connection.execute(insert(table).values(log_id=log_id, **row))
            connection.execute(
                update(log)
                .where(log.c.log_id == log_id, log.c.anchored_size < anchor.tree_size)
                .values(anchored_size=anchor.tree_size)
            )

    def anchors(self) -> list[AnchorRecord]:
        """Every anchor, oldest first."""
        with self._database.read() as connection:
            rows = (
                connection.execute(self._mine(schema.anchor).order_by(schema.anchor.c.anchor_id))
                .mappings()
                .all()
            )
        return [_anchor(row) for row in rows]

    def newest_anchor(self, above_index: int) -> AnchorRecord | None:
        """The anchor recorded last whose tree holds that index."""
        table = schema.anchor
        query = (
            self._mine(table)
            .where(table.c.tree_size > above_index)
            .order_by(table.c.anchor_id.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        return _anchor(row) if row else None


def _anchor(row: RowMapping) -> AnchorRecord:
    return AnchorRecord(
        row["type"], row["tree_size"], bytes(row["root_hash"]), row["checkpoint"], row["evidence"]
    )
