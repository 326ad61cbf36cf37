"""The lives of producers in SQL: keys they changed to, ends, losses declared for them.

Contract: `auditlog.storage.ports.CommitState`. Rows are only ever added, by the one commit transaction of the
engine (`add_lives`), so that key and end of a producer are as durable as the entries that changed them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Table, insert

from auditlog.storage.records import Commit, LossRecord, RetirementRecord, RotationRecord
from auditlog.storage.sql import schema

_Record = RotationRecord | RetirementRecord | LossRecord


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
