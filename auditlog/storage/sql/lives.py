"""The lives of producers in SQL: keys they changed to, ends, losses declared for them.

Contract: `auditlog.storage.ports.CommitState`. Rows are only ever added, by the one commit transaction of the
engine (`add_lives`), so that key and end of a producer are as durable as the entries that changed them.
"""

from __future__ import annotations

from sqlalchemy import Connection

from auditlog.storage.records import Commit
from auditlog.storage.sql import schema
from auditlog.storage.sql.rows import insert_rows


def add_lives(connection: Connection, log_id: int, change: Commit) -> None:
    """Add what a commit changes of producers' lives, inside its transaction."""
    insert_rows(
        connection,
        schema.producer_rotation,
        [(log_id, each.producer, each.index, each.vkey) for each in change.rotations],
    )
    insert_rows(
        connection,
        schema.producer_retirement,
        [(log_id, each.producer, each.index) for each in change.retirements],
    )
    insert_rows(
        connection,
        schema.producer_loss,
        [
            (log_id, each.producer, each.index, each.instance, each.after_seq, each.from_us, each.to_us)
            for each in change.losses
        ],
    )
