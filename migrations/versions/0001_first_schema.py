"""First schema: the committed state of logs, anchors, tokens and the derived index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from auditlog.storage.sql.migrate import expect_none

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    committed_tables()
    anchors_and_tokens()
    index_tables()


def downgrade() -> None:
    for table in ("log", "token"):
        expect_none(op.get_bind(), table)
    for table in ("entry_flag", "model_entry", "leaf_index", "decision_index", "token", "anchor"):
        op.drop_table(table)
    for table in ("batch_head", "chain_run", "producer_head", "producer", "log"):
        op.drop_table(table)


def log_id() -> sa.Column:
    return sa.Column("log_id", sa.Integer, nullable=False)


def of_log(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["log_id"], ["log.log_id"], name=f"fk_{table}_log_id")


def key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=f"pk_{table}")


def committed_tables() -> None:
    op.create_table(
        "log",
        sa.Column("log_id", sa.Integer, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("own_seq", sa.BigInteger, nullable=False),
        sa.Column("own_leaf_hash", sa.LargeBinary, nullable=False),
        sa.Column("own_index", sa.BigInteger, nullable=False),
        sa.Column("decisions_size", sa.BigInteger, nullable=False),
        sa.Column("anchored_size", sa.BigInteger, nullable=False),
        sa.Column("index_size", sa.BigInteger, nullable=False),
        key("log", "log_id"),
        sa.UniqueConstraint("origin", name="uq_log_origin"),
    )
    op.create_table(
        "producer",
        log_id(),
        sa.Column("producer", sa.LargeBinary, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("vkey", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("entry_index", sa.BigInteger, nullable=False),
        key("producer", "log_id", "producer"),
        of_log("producer"),
    )
    op.create_index("uq_producer_log_id_name", "producer", ["log_id", "name"], unique=True)
    op.create_table(
        "producer_head",
        log_id(),
        sa.Column("producer", sa.LargeBinary, nullable=False),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary, nullable=False),
        sa.Column("entry_index", sa.BigInteger, nullable=False),
        key("producer_head", "log_id", "producer"),
        of_log("producer_head"),
    )
    op.create_table(
        "chain_run",
        log_id(),
        sa.Column("producer", sa.LargeBinary, nullable=False),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("first_seq", sa.BigInteger, nullable=False),
        sa.Column("first_index", sa.BigInteger, nullable=False),
        key("chain_run", "log_id", "producer", "instance", "seq"),
        of_log("chain_run"),
    )
    op.create_table(
        "batch_head",
        log_id(),
        sa.Column("producer", sa.LargeBinary, nullable=False),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("first_seq", sa.BigInteger, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        key("batch_head", "log_id", "producer", "instance", "seq"),
        of_log("batch_head"),
    )


def anchors_and_tokens() -> None:
    op.create_table(
        "anchor",
        sa.Column("anchor_id", sa.Integer, nullable=False),
        sa.Column("log_id", sa.Integer, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("tree_size", sa.BigInteger, nullable=False),
        sa.Column("root_hash", sa.LargeBinary, nullable=False),
        sa.Column("checkpoint", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        key("anchor", "anchor_id"),
        of_log("anchor"),
    )
    op.create_index("ix_anchor_log_id_tree_size", "anchor", ["log_id", "tree_size"])
    op.create_table(
        "token",
        sa.Column("sha256", sa.LargeBinary, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("logs", sa.Text, nullable=True),
        key("token", "sha256"),
    )


def index_tables() -> None:
    op.create_table(
        "decision_index",
        log_id(),
        sa.Column("decision_id", sa.Text, nullable=False),
        sa.Column("entry_index", sa.BigInteger, nullable=False),
        key("decision_index", "log_id", "decision_id", "entry_index"),
        of_log("decision_index"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "leaf_index",
        log_id(),
        sa.Column("leaf_key", sa.BigInteger, nullable=False),
        sa.Column("entry_index", sa.BigInteger, nullable=False),
        key("leaf_index", "log_id", "leaf_key", "entry_index"),
        of_log("leaf_index"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "model_entry",
        log_id(),
        sa.Column("producer", sa.LargeBinary, nullable=False),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("entry_index", sa.BigInteger, nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary, nullable=False),
        key("model_entry", "log_id", "producer", "instance", "seq"),
        of_log("model_entry"),
    )
    op.create_table(
        "entry_flag",
        log_id(),
        sa.Column("entry_index", sa.BigInteger, nullable=False),
        sa.Column("flag", sa.Text, nullable=False),
        key("entry_flag", "log_id", "entry_index", "flag"),
        of_log("entry_flag"),
    )
