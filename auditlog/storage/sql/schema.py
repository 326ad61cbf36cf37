"""The tables, as the code reads them. `migrations/versions/` is what creates them; a test holds the two
equal.

Two kinds of table. Committed: `log`, `producer`, `producer_head`, `chain_run`, `batch_head` change only in
the one commit transaction of the engine; losing them loses the log's memory. Derived: `decision_index`,
`leaf_index`, `model_entry`, `gap_entry`, `entry_flag` follow the log and can be dropped and built again.
`anchor` and `token` are records of their own.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _log_id() -> Column[int]:
    return Column("log_id", Integer, ForeignKey("log.log_id"), primary_key=True)


log = Table(
    "log",
    metadata,
    Column("log_id", Integer, primary_key=True),
    Column("origin", Text, nullable=False, unique=True),
    Column("note", Text, nullable=False),  # the whole committed checkpoint: what the commit compares
    Column("own_seq", BigInteger, nullable=False),
    Column("own_leaf_hash", LargeBinary, nullable=False),
    Column("own_index", BigInteger, nullable=False),
    Column("decisions_size", BigInteger, nullable=False),  # the outbox: anchor while above anchored_size
    Column("anchored_size", BigInteger, nullable=False),
    Column("index_size", BigInteger, nullable=False),
)

producer = Table(
    "producer",
    metadata,
    _log_id(),
    Column("producer", LargeBinary, primary_key=True),
    Column("name", Text, nullable=False),
    Column("vkey", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("entry_index", BigInteger, nullable=False),
    Index("uq_producer_log_id_name", "log_id", "name", unique=True),
)

producer_head = Table(
    "producer_head",
    metadata,
    _log_id(),
    Column("producer", LargeBinary, primary_key=True),
    Column("instance", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("leaf_hash", LargeBinary, nullable=False),
    Column("entry_index", BigInteger, nullable=False),
)

chain_run = Table(
    "chain_run",
    metadata,
    _log_id(),
    Column("producer", LargeBinary, primary_key=True),
    Column("instance", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),  # the last number: the run of s is the lowest seq >= s
    Column("first_seq", BigInteger, nullable=False),
    Column("first_index", BigInteger, nullable=False),
)

batch_head = Table(
    "batch_head",
    metadata,
    _log_id(),
    Column("producer", LargeBinary, primary_key=True),
    Column("instance", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("first_seq", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
)

anchor = Table(
    "anchor",
    metadata,
    Column("anchor_id", Integer, primary_key=True),
    Column("log_id", Integer, ForeignKey("log.log_id"), nullable=False),
    Column("type", Text, nullable=False),
    Column("tree_size", BigInteger, nullable=False),
    Column("root_hash", LargeBinary, nullable=False),
    Column("checkpoint", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Index("ix_anchor_log_id_tree_size", "log_id", "tree_size"),
)

# The index tables have no row beside their key, so SQLite keeps them as one tree each.
decision_index = Table(
    "decision_index",
    metadata,
    _log_id(),
    Column("decision_id", Text, primary_key=True),
    Column("entry_index", BigInteger, primary_key=True),
    sqlite_with_rowid=False,
)

leaf_index = Table(
    "leaf_index",
    metadata,
    _log_id(),
    Column(
        "leaf_key", BigInteger, primary_key=True
    ),  # first eight bytes of the leaf hash, as a signed number
    Column("entry_index", BigInteger, primary_key=True),
    sqlite_with_rowid=False,
)

model_entry = Table(
    "model_entry",
    metadata,
    _log_id(),
    Column("producer", LargeBinary, primary_key=True),
    Column("instance", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("entry_index", BigInteger, nullable=False),
    Column("leaf_hash", LargeBinary, nullable=False),
)

gap_entry = Table(
    "gap_entry",
    metadata,
    _log_id(),
    Column("producer", LargeBinary, primary_key=True),
    Column("to_us", BigInteger, primary_key=True),
    Column("entry_index", BigInteger, primary_key=True),
    Column("from_us", BigInteger, nullable=False),
    Column("lost", BigInteger, nullable=True),  # null: nobody knows how many
    Column("of_earlier_life", Integer, nullable=False),
)

entry_flag = Table(
    "entry_flag",
    metadata,
    _log_id(),
    Column("entry_index", BigInteger, primary_key=True),
    Column("flag", Text, primary_key=True),
)

token = Table(
    "token",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    Column("name", Text, nullable=False),
    Column("scopes", Text, nullable=False),  # words with a space between
    Column("logs", Text, nullable=True),  # the same; null: every log
)
