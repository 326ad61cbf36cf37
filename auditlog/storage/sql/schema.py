"""The tables, as the code reads them. `migrations/versions/` is what creates them; a test holds the two
equal.

Two kinds of table. Committed: `log`, `producer` and its `producer_*`, `chain_run`, `batch_head` change only
in the one commit transaction of the engine; losing them loses the log's memory. Derived: `decision_index`,
`leaf_index`, `model_entry`, `gap_entry`, `gap_reach`, `entry_flag`, `entry_facet` follow the log and can be
dropped and built again. `anchor`, `promise`, `outcome`, `fact_index`, `token` and `lease` are records of
their own.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

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
    Column("index_size", BigInteger, nullable=False),  # -1: the derived tables are being cleared
    Column("standing", Text, nullable=False, server_default=text("'open'")),
    Column("restored", Integer, nullable=False, server_default=text("0")),  # 1: from a backup, not said yet
    Column("minimum_index", BigInteger, nullable=False, server_default=text("0")),  # bundles below are pruned
    Column("retention", Text, nullable=True),  # the signed document that says so
    Column("staged", Text, nullable=True),  # name of the staged object that led to `note`
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

producer_rotation = Table(
    "producer_rotation",
    metadata,
    _log_id(),
    Column("producer", LargeBinary, primary_key=True),
    Column("entry_index", BigInteger, primary_key=True),  # the key is in force above it
    Column("vkey", Text, nullable=False),
)

producer_retirement = Table(
    "producer_retirement",
    metadata,
    _log_id(),
    Column("producer", LargeBinary, primary_key=True),
    Column("entry_index", BigInteger, nullable=False),
)

producer_loss = Table(
    "producer_loss",
    metadata,
    _log_id(),
    Column("producer", LargeBinary, primary_key=True),
    Column("entry_index", BigInteger, primary_key=True),
    Column("instance", Text, nullable=False),
    Column("after_seq", BigInteger, nullable=False),
    Column("from_us", BigInteger, nullable=False),
    Column("to_us", BigInteger, nullable=False),
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
    # Only where an instance begins, so that an ordinary commit does not pay for it.
    Index(
        "ix_chain_run_life",
        "log_id",
        "producer",
        "first_index",
        sqlite_where=text("first_seq = 0"),
        postgresql_where=text("first_seq = 0"),
    ),
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
    # Era of the entry (16 bits) and the first 48 of its leaf hash, signed (auditlog/storage/sql/leaves.py).
    # A release before 0010 of the migrations: the first 64 of the hash.
    Column("leaf_key", BigInteger, primary_key=True),
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

gap_reach = Table(
    "gap_reach",
    metadata,
    _log_id(),
    Column("producer", LargeBinary, primary_key=True),
    Column("instance", Text, primary_key=True),
    Column("entry_index", BigInteger, primary_key=True),
    Column("after_seq", BigInteger, nullable=False),
    Column("own_seq", BigInteger, nullable=True),  # null: the gap is of another instance
)

entry_flag = Table(
    "entry_flag",
    metadata,
    _log_id(),
    Column("entry_index", BigInteger, primary_key=True),
    Column("flag", Text, primary_key=True),
)

# A row for 256 entries; what the numbers mean is in `auditlog.log.facets`.
entry_facet = Table(
    "entry_facet",
    metadata,
    _log_id(),
    Column("facet", Integer, primary_key=True),
    Column("value", BigInteger, primary_key=True),
    Column("block", BigInteger, primary_key=True),
    Column("places", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

promise = Table(
    "promise",
    metadata,
    Column("promise_id", Integer, primary_key=True),
    Column("log_id", Integer, ForeignKey("log.log_id"), nullable=False),
    Column("decision_id", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),  # SHA-256 of the note
    Column("producer", LargeBinary, nullable=False),
    Column("instance", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("leaf_hash", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("kept_us", BigInteger, nullable=False),
    Column("until_us", BigInteger, nullable=False),
    Column("conflicts", Integer, nullable=False),
    Index("uq_promise_log_id_decision_id_digest", "log_id", "decision_id", "digest", unique=True),
    Index("ix_promise_log_id_producer_instance_seq", "log_id", "producer", "instance", "seq"),
    Index("ix_promise_log_id_until_us", "log_id", "until_us"),
)

# What the service itself wrote as outcomes: sealed under a key of the data directory, in no clear column.
outcome = Table(
    "outcome",
    metadata,
    _log_id(),
    Column("leaf_hash", LargeBinary, primary_key=True),
    Column("decision_id", Text, nullable=False),
    Column("stored_us", BigInteger, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("request", LargeBinary, nullable=True),  # keyed digest of the idempotency key
    Column("request_body", LargeBinary, nullable=True),  # keyed digest of what was asked with it
    Index("uq_outcome_log_id_request", "log_id", "request", unique=True),
    Index("ix_outcome_log_id_decision_id", "log_id", "decision_id"),
)

fact_index = Table(
    "fact_index",
    metadata,
    _log_id(),
    Column("digest", LargeBinary, primary_key=True),  # HMAC of name and value
    Column("leaf_hash", LargeBinary, primary_key=True),
)

token = Table(
    "token",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    Column("name", Text, nullable=False),
    Column("scopes", Text, nullable=False),  # words with a space between
    Column("logs", Text, nullable=True),  # the same; null: every log
    Column("expires_us", BigInteger, nullable=True),  # Unix microseconds; null: never
    Column("producers", Text, nullable=True),  # pattern of producer names; null: every name
)

# Which process does a job just now: liveness only (auditlog/storage/leases.py).
lease = Table(
    "lease",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),  # empty: given back
    Column("term", BigInteger, nullable=False),
    Column("beat", BigInteger, nullable=False),
    Column("renewed_us", BigInteger, nullable=False),
)
