"""What a replica asks again and again: the newest committed entries of some producers, and the tree's size.

Contract: `auditlog.ingest.replica.ReplicaState`. Reads only.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from auditlog.errors import DamagedStoreError
from auditlog.storage.records import ChainHead
from auditlog.storage.sql import schema
from auditlog.storage.sql.state import SqlState


class SqlHeads(SqlState):
    """`SqlState` with the look-ups of a replica."""

    def heads_of(self, producers: Sequence[bytes]) -> dict[bytes, ChainHead]:
        """The committed heads of these producers; those that wrote nothing are left out."""
        table = schema.producer_head
        with self._database.read() as connection:
            rows = (
                connection.execute(self._mine(table).where(table.c.producer.in_(list(producers))))
                .mappings()
                .all()
            )
        return {
            bytes(r["producer"]): ChainHead(r["instance"], r["seq"], bytes(r["leaf_hash"]), r["entry_index"])
            for r in rows
        }

    def committed_size(self) -> int:
        """Entries in the committed tree, as its note says; 0 before the log was created."""
        with self._database.read() as connection:
            query = select(schema.log.c.note).where(schema.log.c.origin == self.origin)
            note = connection.execute(query).scalar_one_or_none()
        if note is None:
            return 0
        line = note.split("\n", 2)[1]
        if not (line.isascii() and line.isdigit()):
            raise DamagedStoreError("expected a tree size in the committed checkpoint, found another line")
        return int(line)
