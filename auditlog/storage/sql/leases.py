"""`Leases` in SQL: the compare is in the WHERE of each UPDATE. Contract: `auditlog.storage.leases`."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy.exc import IntegrityError

from auditlog.errors import StorageError
from auditlog.storage.leases import Lease
from auditlog.storage.sql import schema
from auditlog.storage.sql.database import Database


class SqlLeases:
    """The leases of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def look(self, name: str) -> Lease | None:
        """The row as it is committed now."""
        with self._database.read() as connection:
            row = (
                connection.execute(select(schema.lease).where(schema.lease.c.name == name)).mappings().first()
            )
        if row is None:
            return None
        return Lease(row["name"], row["holder"], row["term"], row["beat"], row["renewed_us"])

    def take(self, name: str, seen: Lease | None, holder: str, now_us: int) -> Lease | None:
        """Take it if the row is still exactly `seen`; see the port."""
        if seen is not None:
            return self._change(
                Lease(name, holder, seen.term + 1, 0, now_us), seen, schema.lease.c.beat == seen.beat
            )
        taken = Lease(name, holder, 1, 0, now_us)
        try:
            with self._database.write() as connection:
                connection.execute(insert(schema.lease).values(_row(taken)))
        except StorageError as error:
            if isinstance(error.__cause__, IntegrityError):
                return None
            raise
        return taken

    def renew(self, held: Lease, now_us: int) -> Lease | None:
        """Count one beat; see the port."""
        # Not the beat: a renewal that was reported as failed, or that the database forgot when it died, is
        # no other holder.
        return self._change(replace(held, beat=held.beat + 1, renewed_us=now_us), held)

    def give_back(self, held: Lease) -> None:
        """Leave it free for the next; see the port."""
        self._change(replace(held, holder="", beat=held.beat + 1), held)

    def _change(self, new: Lease, old: Lease, *also: ColumnElement[bool]) -> Lease | None:
        row = schema.lease.c
        # A new term is remembered, a beat need not be.
        with self._database.write(durable=new.term != old.term) as connection:
            changed = connection.execute(
                update(schema.lease)
                .where(row.name == old.name, row.holder == old.holder, row.term == old.term, *also)
                .values(_row(new))
            )
            return new if changed.rowcount == 1 else None


def _row(lease: Lease) -> dict[str, str | int]:
    return {
        "name": lease.name,
        "holder": lease.holder,
        "term": lease.term,
        "beat": lease.beat,
        "renewed_us": lease.renewed_us,
    }
