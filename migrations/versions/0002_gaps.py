"""Declared losses in the derived index, which is built again from the log so that it holds the older ones."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

DERIVED = ("decision_index", "leaf_index", "model_entry", "entry_flag")


def upgrade() -> None:
    op.create_table(
        "gap_entry",
        sa.Column("log_id", sa.Integer, nullable=False),
        sa.Column("producer", sa.LargeBinary, nullable=False),
        sa.Column("to_us", sa.BigInteger, nullable=False),
        sa.Column("entry_index", sa.BigInteger, nullable=False),
        sa.Column("from_us", sa.BigInteger, nullable=False),
        sa.Column("lost", sa.BigInteger, nullable=True),
        sa.Column("of_earlier_life", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("log_id", "producer", "to_us", "entry_index", name="pk_gap_entry"),
        sa.ForeignKeyConstraint(["log_id"], ["log.log_id"], name="fk_gap_entry_log_id"),
    )
    for table in DERIVED:
        op.execute(sa.delete(sa.table(table)))
    op.execute(sa.update(sa.table("log", sa.column("index_size"))).values(index_size=0))


def downgrade() -> None:
    # Derived: the next upgrade builds it again.
    op.drop_table("gap_entry")
