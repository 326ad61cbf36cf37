"""Promises that producers hand over, outcomes that the service writes with its private index, and what a
gap reaches; the derived index is built again from the log so that it holds the older ones.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from auditlog.storage.sql.migrate import expect_none

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

DERIVED = ("decision_index", "leaf_index", "model_entry", "gap_entry", "entry_flag")


def upgrade() -> None:
    lives_and_gaps()
    promises()
    outcomes()
    for table in DERIVED:
        op.execute(sa.delete(sa.table(table)))
    op.execute(sa.update(sa.table("log", sa.column("index_size"))).values(index_size=0))


def downgrade() -> None:
    for table in ("promise", "outcome", "fact_index"):
        expect_none(op.get_bind(), table)
        op.drop_table(table)
    # Derived: the next upgrade builds them again.
    op.drop_table("gap_reach")
    op.drop_index("ix_chain_run_life", "chain_run")


def of_log(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["log_id"], ["log.log_id"], name=f"fk_{table}_log_id")


def lives_and_gaps() -> None:
    op.create_index(
        "ix_chain_run_life",
        "chain_run",
        ["log_id", "producer", "first_index"],
        sqlite_where=sa.text("first_seq = 0"),
        postgresql_where=sa.text("first_seq = 0"),
    )
    op.create_table(
        "gap_reach",
        sa.Column("log_id", sa.Integer, nullable=False),
        sa.Column("producer", sa.LargeBinary, nullable=False),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("entry_index", sa.BigInteger, nullable=False),
        sa.Column("after_seq", sa.BigInteger, nullable=False),
        sa.Column("own_seq", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("log_id", "producer", "instance", "entry_index", name="pk_gap_reach"),
        of_log("gap_reach"),
    )


def promises() -> None:
    op.create_table(
        "promise",
        sa.Column("promise_id", sa.Integer, nullable=False),
        sa.Column("log_id", sa.Integer, nullable=False),
        sa.Column("decision_id", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("producer", sa.LargeBinary, nullable=False),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("kept_us", sa.BigInteger, nullable=False),
        sa.Column("until_us", sa.BigInteger, nullable=False),
        sa.Column("conflicts", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("promise_id", name="pk_promise"),
        of_log("promise"),
    )
    op.create_index(
        "uq_promise_log_id_decision_id_digest", "promise", ["log_id", "decision_id", "digest"], unique=True
    )
    op.create_index(
        "ix_promise_log_id_producer_instance_seq", "promise", ["log_id", "producer", "instance", "seq"]
    )
    op.create_index("ix_promise_log_id_until_us", "promise", ["log_id", "until_us"])


def outcomes() -> None:
    op.create_table(
        "outcome",
        sa.Column("log_id", sa.Integer, nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary, nullable=False),
        sa.Column("decision_id", sa.Text, nullable=False),
        sa.Column("stored_us", sa.BigInteger, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=True),
        sa.Column("request_body", sa.LargeBinary, nullable=True),
        sa.PrimaryKeyConstraint("log_id", "leaf_hash", name="pk_outcome"),
        of_log("outcome"),
    )
    op.create_index("uq_outcome_log_id_request", "outcome", ["log_id", "request"], unique=True)
    op.create_index("ix_outcome_log_id_decision_id", "outcome", ["log_id", "decision_id"])
    op.create_table(
        "fact_index",
        sa.Column("log_id", sa.Integer, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("log_id", "digest", "leaf_hash", name="pk_fact_index"),
        of_log("fact_index"),
    )
