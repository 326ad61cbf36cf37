"""`OutcomeState` in SQL: outcomes that the service wrote, sealed, and keyed digests of their facts.

Contract: `auditlog.storage.ports.OutcomeState`. Nothing here is derived from the log: losing these tables
loses what opens the outcomes, and the private index with it. No column holds a fact in clear.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import RowMapping, Select, delete, insert, select

from auditlog.storage.records import OutcomeRow
from auditlog.storage.sql import schema
from auditlog.storage.sql.promises import SqlPromises
from auditlog.storage.sql.rows import insert_rows


class SqlOutcomes(SqlPromises):
    """The outcomes of the log `origin` in a shared database."""

    def add_outcome(self, row: OutcomeRow, digests: Sequence[bytes]) -> None:
        """Keep an outcome durably, in one transaction; see the port."""
        table, index = schema.outcome, schema.fact_index
        with self._database.write() as connection:
            log_id = self.log_id(connection)
            if row.request is not None:
                stale = select(table.c.leaf_hash).where(
                    table.c.log_id == log_id, table.c.request == row.request
                )
                for leaf_hash in connection.execute(stale).scalars().all():
                    for each in (index, table):
                        connection.execute(
                            delete(each).where(each.c.log_id == log_id, each.c.leaf_hash == leaf_hash)
                        )
            connection.execute(
                insert(table).values(
                    log_id=log_id,
                    leaf_hash=row.leaf_hash,
                    decision_id=row.decision,
                    stored_us=row.stored_us,
                    sealed=row.sealed,
                    wrapped=row.wrapped,
                    request=row.request,
                    request_body=row.request_body,
                )
            )
            insert_rows(connection, index, [(log_id, digest, row.leaf_hash) for digest in set(digests)])

    def outcome_of_request(self, request: bytes) -> OutcomeRow | None:
        """The outcome that was written for this request."""
        return next(iter(self._outcomes(schema.outcome.c.request == request)), None)

    def outcomes_of(self, decision: str) -> list[OutcomeRow]:
        """Outcomes of a decision, oldest first."""
        return self._outcomes(schema.outcome.c.decision_id == decision)

    def outcomes_found(self, digest: bytes, limit: int) -> list[OutcomeRow]:
        """Outcomes with this digest of a fact, oldest first, at most `limit`."""
        index, log = schema.fact_index, schema.log
        mine = select(log.c.log_id).where(log.c.origin == self.origin).scalar_subquery()
        leaves = select(index.c.leaf_hash).where(index.c.log_id == mine, index.c.digest == digest)
        return self._outcomes(schema.outcome.c.leaf_hash.in_(leaves), limit)

    def _outcomes(self, which: Any, limit: int | None = None) -> list[OutcomeRow]:
        table = schema.outcome
        query: Select[Any] = self._mine(table).where(which)
        query = query.order_by(table.c.stored_us, table.c.leaf_hash).limit(limit)
        with self._database.read() as connection:
            return [_row(each) for each in connection.execute(query).mappings()]


def _row(row: RowMapping) -> OutcomeRow:
    return OutcomeRow(
        bytes(row["leaf_hash"]),
        row["decision_id"],
        row["stored_us"],
        bytes(row["sealed"]),
        bytes(row["wrapped"]),
        None if row["request"] is None else bytes(row["request"]),
        None if row["request_body"] is None else bytes(row["request_body"]),
    )
