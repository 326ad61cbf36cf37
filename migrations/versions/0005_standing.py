"""The standing of a log (open, quiesced, read-only, retired), and whether its state came from a backup."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from auditlog.storage.sql.migrate import expect_none

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The defaults stay: code that is still running writes rows without these columns.
    op.add_column("log", sa.Column("standing", sa.Text, nullable=False, server_default=sa.text("'open'")))
    op.add_column("log", sa.Column("restored", sa.Integer, nullable=False, server_default=sa.text("0")))


def downgrade() -> None:
    # An older release would go on signing where this one must not.
    expect_none(op.get_bind(), "log", "standing <> 'open' OR restored <> 0")
    op.drop_column("log", "standing")
    op.drop_column("log", "restored")
