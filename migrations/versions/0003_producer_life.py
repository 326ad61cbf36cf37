"""The life of producers: keys they changed to, retirements, losses declared for them; tokens that expire."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from auditlog.storage.sql.migrate import expect_none

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    of_producer(
        "producer_rotation",
        ("log_id", "producer", "entry_index"),
        sa.Column("vkey", sa.Text, nullable=False),
    )
    of_producer("producer_retirement", ("log_id", "producer"))
    of_producer(
        "producer_loss",
        ("log_id", "producer", "entry_index"),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("after_seq", sa.BigInteger, nullable=False),
        sa.Column("from_us", sa.BigInteger, nullable=False),
        sa.Column("to_us", sa.BigInteger, nullable=False),
    )
    # Null in both: a token as it was before, for ever and for every name.
    op.add_column("token", sa.Column("expires_us", sa.BigInteger, nullable=True))
    op.add_column("token", sa.Column("producers", sa.Text, nullable=True))


def downgrade() -> None:
    for table in ("producer_rotation", "producer_retirement", "producer_loss"):
        expect_none(op.get_bind(), table)
        op.drop_table(table)
    # Without its limits such a token would be good for ever, and for every name.
    expect_none(op.get_bind(), "token", "expires_us IS NOT NULL OR producers IS NOT NULL")
    op.drop_column("token", "expires_us")
    op.drop_column("token", "producers")


def of_producer(table: str, key: tuple[str, ...], *columns: sa.Column) -> None:
    op.create_table(
        table,
        sa.Column("log_id", sa.Integer, nullable=False),
        sa.Column("producer", sa.LargeBinary, nullable=False),
        sa.Column("entry_index", sa.BigInteger, nullable=False),
        *columns,
        sa.PrimaryKeyConstraint(*key, name=f"pk_{table}"),
        sa.ForeignKeyConstraint(["log_id"], ["log.log_id"], name=f"fk_{table}_log_id"),
    )
