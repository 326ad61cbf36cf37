"""What entries can be searched by, a row for each property and block of 256 entries.

The derived index is marked to be built again from the log, so that it holds the older entries too: the
service clears it piece by piece and follows, beside its other work.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TO_BE_CLEARED = -1
DERIVED = ("decision_index", "leaf_index", "model_entry", "gap_entry", "gap_reach", "entry_flag")


def upgrade() -> None:
    op.create_table(
        "entry_facet",
        sa.Column("log_id", sa.Integer, nullable=False),
        sa.Column("facet", sa.Integer, nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.Column("block", sa.BigInteger, nullable=False),
        sa.Column("places", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("log_id", "facet", "value", "block", name="pk_entry_facet"),
        sa.ForeignKeyConstraint(["log_id"], ["log.log_id"], name="fk_entry_facet_log_id"),
        sqlite_with_rowid=False,
    )
    op.execute(sa.update(sa.table("log", sa.column("index_size"))).values(index_size=TO_BE_CLEARED))


def downgrade() -> None:
    # Derived, all of it; an older release does not know the mark and builds its index from nothing.
    op.drop_table("entry_facet")
    for table in DERIVED:
        op.execute(sa.delete(sa.table(table)))
    op.execute(sa.update(sa.table("log", sa.column("index_size"))).values(index_size=0))
