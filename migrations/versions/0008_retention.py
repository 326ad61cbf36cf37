"""Retention of a log: the smallest index whose bundle is still kept, and the document that says so."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from auditlog.storage.sql.migrate import expect_none

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The default stays: code that is still running writes rows without these columns.
    op.add_column(
        "log", sa.Column("minimum_index", sa.BigInteger, nullable=False, server_default=sa.text("0"))
    )
    op.add_column("log", sa.Column("retention", sa.Text, nullable=True))


def downgrade() -> None:
    # An older release would call what was pruned damage.
    expect_none(op.get_bind(), "log", "minimum_index <> 0")
    op.drop_column("log", "retention")
    op.drop_column("log", "minimum_index")
