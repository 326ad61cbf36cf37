"""`PromiseState` in SQL: what producers promised, kept for their callers until it has been due for long.

Contract: `auditlog.storage.ports.PromiseState`. Off the commit path: it has its own transactions.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from sqlalchemy import Connection, and_, delete, insert, or_, select

from auditlog.storage.records import KeptPromise, PromiseRow
from auditlog.storage.sql import schema
from auditlog.storage.sql.index import SqlIndex

_FORGOTTEN_AT_ONCE = 5000


class SqlPromises(SqlIndex):
    """The promises of the log `origin` in a shared database."""

    def add_promises(self, rows: Sequence[PromiseRow]) -> list[bool]:
        """Keep promises durably, in one transaction; see the port."""
        with self._database.write() as connection:
            log_id = self.log_id(connection)
            return [_add(connection, log_id, row) for row in rows]

    def promises_of(self, id: str) -> list[KeptPromise]:  # noqa: A002  the word of the format
        """Every promise under this id, in the order in which they were kept."""
        table = schema.promise
        query = self._mine(table).where(table.c.decision_id == id).order_by(table.c.promise_id)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [KeptPromise(bytes(r["producer"]), r["note"], bool(r["conflicts"])) for r in rows]

    def forget_promises(self, before_us: int) -> int:
        """Forget those that were to be kept until earlier, some thousand at most."""
        table = schema.promise
        with self._database.write(durable=False) as connection:
            old = (
                select(table.c.promise_id)
                .where(table.c.log_id == self.log_id(connection), table.c.until_us < before_us)
                .limit(_FORGOTTEN_AT_ONCE)
            )
            return connection.execute(delete(table).where(table.c.promise_id.in_(old))).rowcount


def _add(connection: Connection, log_id: int, row: PromiseRow) -> bool:
    """Add one; whether it is new and conflicts with an earlier one."""
    table, digest = schema.promise, sha256(row.note.encode("utf-8")).digest()
    mine = select(table.c.promise_id).where(table.c.log_id == log_id)
    same = mine.where(table.c.decision_id == row.id, table.c.digest == digest)
    if connection.execute(same).first() is not None:
        return False
    same_call = and_(table.c.decision_id == row.id, table.c.producer == row.producer)
    same_place = and_(
        table.c.producer == row.producer, table.c.instance == row.instance, table.c.seq == row.seq
    )
    other = mine.where(or_(same_call, same_place), table.c.leaf_hash != row.leaf_hash).limit(1)
    conflicts = connection.execute(other).first() is not None
    connection.execute(
        insert(table).values(
            log_id=log_id,
            decision_id=row.id,
            digest=digest,
            producer=row.producer,
            instance=row.instance,
            seq=row.seq,
            leaf_hash=row.leaf_hash,
            note=row.note,
            kept_us=row.kept_us,
            until_us=row.until_us,
            conflicts=int(conflicts),
        )
    )
    return conflicts
