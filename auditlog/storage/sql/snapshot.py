"""The state of one log at one commit: reads of one transaction that all see the same moment.

Contract: `auditlog.storage.ports.Snapshot`. Also where a row of the log becomes a `Committed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Table, select

from auditlog.storage.records import (
    LOG_INSTANCE,
    ChainHead,
    Committed,
    LossRecord,
    ProducerRecord,
    RetirementRecord,
    RotationRecord,
)
from auditlog.storage.sql import schema


class SqlSnapshot:
    """Reads over the transaction of `Database.snapshot`, which ends with the block that it was given to."""

    def __init__(self, connection: Connection, row: Mapping[Any, Any]) -> None:
        """`row` is that of the log, the first that this transaction read."""
        self.connection = connection
        self.log_id = int(row["log_id"])
        self.committed = committed_of(row)

    def heads(self) -> dict[bytes, ChainHead]:
        """The newest entry of every producer that has one."""
        head = schema.producer_head.c
        query = select(head.producer, head.instance, head.seq, head.leaf_hash, head.entry_index)
        return {
            bytes(producer): ChainHead(instance, seq, bytes(leaf_hash), index)
            for producer, instance, seq, leaf_hash, index in self.connection.execute(
                query.where(head.log_id == self.log_id)
            )
        }

    def producers(self) -> list[ProducerRecord]:
        """Every enrolled producer, in order of enrolment."""
        rows = self._in_order(schema.producer, "producer", "name", "vkey", "note", "entry_index")
        return [
            ProducerRecord(bytes(producer), name, vkey, note, index)
            for producer, name, vkey, note, index in rows
        ]

    def rotations(self) -> list[RotationRecord]:
        """Every change of a producer's key, in order of the log."""
        rows = self._in_order(schema.producer_rotation, "producer", "entry_index", "vkey")
        return [RotationRecord(bytes(producer), index, vkey) for producer, index, vkey in rows]

    def retirements(self) -> list[RetirementRecord]:
        """Every producer that has ended, in order of the log."""
        rows = self._in_order(schema.producer_retirement, "producer", "entry_index")
        return [RetirementRecord(bytes(producer), index) for producer, index in rows]

    def declared_losses(self) -> list[LossRecord]:
        """Every loss the log declared for a producer, in order of the log."""
        names = ("producer", "entry_index", "instance", "after_seq", "from_us", "to_us")
        rows = self._in_order(schema.producer_loss, *names)
        return [LossRecord(bytes(producer), *rest) for producer, *rest in rows]

    def _in_order(self, table: Table, *names: str) -> Iterable[Any]:
        query = select(*(table.c[name] for name in names)).where(table.c.log_id == self.log_id)
        return self.connection.execute(query.order_by(table.c.entry_index))


def committed_of(row: Mapping[Any, Any]) -> Committed:
    """What the row of a log says."""
    own = ChainHead(LOG_INSTANCE, row["own_seq"], bytes(row["own_leaf_hash"]), row["own_index"])
    return Committed(
        row["note"],
        own,
        row["decisions_size"],
        row["anchored_size"],
        row["standing"],
        bool(row["restored"]),
        row["minimum_index"],
        row["retention"],
        row["staged"],
    )
