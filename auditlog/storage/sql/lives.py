"""The lives of producers in SQL: keys they changed to, ends, losses declared for them.

Contract: `auditlog.storage.ports.CommitState`. Rows are only ever added, by the one commit transaction of the
engine (`add_lives`), so that key and end of a producer are as durable as the entries that changed them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, insert

from auditlog.storage.records import Commit, LossRecord, RetirementRecord, RotationRecord
from auditlog.storage.sql import schema
from auditlog.storage.sql.index import SqlIndex

_Record = RotationRecord | RetirementRecord | LossRecord


class SqlLives(SqlIndex):
    """Reads what `add_lives` wrote, of the log `origin` in a shared database."""

    def rotations(self) -> list[RotationRecord]:
        """Every change of a producer's key, in order of the log."""
        rows = self._in_order(schema.producer_rotation)
        return [RotationRecord(bytes(r["producer"]), r["entry_index"], r["vkey"]) for r in rows]

    def retirements(self) -> list[RetirementRecord]:
        """Every producer that has ended, in order of the log."""
        rows = self._in_order(schema.producer_retirement)
        return [RetirementRecord(bytes(r["producer"]), r["entry_index"]) for r in rows]

    def declared_losses(self) -> list[LossRecord]:
        """Every loss the log declared for a producer, in order of the log."""
        rows = self._in_order(schema.producer_loss)
        return [
            LossRecord(
                bytes(r["producer"]),
                r["entry_index"],
                r["instance"],
                r["after_seq"],
                r["from_us"],
                r["to_us"],
            )
            for r in rows
        ]

    def _in_order(self, table: Table) -> list[RowMapping]:
        with self._database.read() as connection:
            query = self._mine(table).order_by(table.c.entry_index)
            return list(connection.execute(query).mappings())


def add_lives(connection: Connection, log_id: int, change: Commit) -> None:
    """Add what a commit changes of producers' lives, inside its transaction."""
    for table, records in (
        (schema.producer_rotation, change.rotations),
        (schema.producer_retirement, change.retirements),
        (schema.producer_loss, change.losses),
    ):
        _add(connection, log_id, table, records)


def _add(connection: Connection, log_id: int, table: Table, records: Iterable[_Record]) -> None:
    rows: list[dict[str, Any]] = []
    for record in records:
        members = asdict(record)
        rows.append({"log_id": log_id, "entry_index": members.pop("index"), **members})
    if rows:
        connection.execute(insert(table), rows)
