"""Which staged object led to the committed checkpoint: recovery reads that one, and need not choose."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Empty until the next commit: the rows do not tell which one it was.
    op.add_column("log", sa.Column("staged", sa.Text, nullable=True))


def downgrade() -> None:
    op.drop_column("log", "staged")
