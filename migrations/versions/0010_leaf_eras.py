"""Keys of `leaf_index` begin with the era of their entry (auditlog/storage/sql/leaves.py).

Nothing is rewritten: a release of 0009 that still runs beside looks keys without an era up, and goes on to
write them. Both kinds are searched from here on; after `auditlog reindex` there is only the new one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TO_BE_CLEARED = -1


def upgrade() -> None:
    """No table changes."""


def downgrade() -> None:
    # An older release would not find the new keys, and what it looks for is not in them any more: it clears
    # the index and builds it again from the log, piece by piece.
    op.execute(sa.update(sa.table("log", sa.column("index_size"))).values(index_size=TO_BE_CLEARED))
