"""Runs migrations for `auditlog.storage.sql.migrate`; `alembic` on the command line is for writing new ones.

One transaction a migration. On PostgreSQL: short lock and statement time-outs, so that a migration waits for
the running service and never the other way round, and an advisory lock, so that two services starting at
once do not migrate together. SQLite has one writer at a time by itself.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, Engine, create_engine, text

from auditlog.storage.sql.schema import metadata

LOCK_TIMEOUT_MS = 4_000
STATEMENT_TIMEOUT_MS = 60_000
ADVISORY_LOCK = 0x61756469746C6F67  # "auditlog"


def guard_postgres(connection: Connection) -> None:
    """Take the advisory lock for the session and bound every wait."""
    connection.execute(text(f"SET lock_timeout = {LOCK_TIMEOUT_MS}"))
    connection.execute(text(f"SET statement_timeout = {STATEMENT_TIMEOUT_MS}"))
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
    connection.commit()


def run(engine: Engine) -> None:
    with engine.connect() as connection:
        on_postgres = connection.dialect.name == "postgresql"
        if on_postgres:
            guard_postgres(connection)
        try:
            context.configure(
                connection=connection,
                target_metadata=metadata,
                transaction_per_migration=True,
                render_as_batch=not on_postgres,
            )
            with context.begin_transaction():
                context.run_migrations()
        finally:
            # The connection leaves the pool, and with it the session's lock and time-outs.
            connection.invalidate()


engine = context.config.attributes.get("engine")
run(engine if engine is not None else create_engine(context.config.get_main_option("sqlalchemy.url")))
