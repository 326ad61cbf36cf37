"""Bring a database to the schema this code needs, through Alembic (`migrations/`, README there).

The code has no other way to make a table. Run at every start: it does nothing when there is nothing to do.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine


def migrate(engine: Engine) -> None:
    """Apply every missing migration, each in its own transaction.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database refused, or another process held the migration lock
        for longer than the lock time-out.
    """
    config = migration_config()
    with engine.connect() as connection:
        present = set(MigrationContext.configure(connection).get_current_heads())
    if present == set(ScriptDirectory.from_config(config).get_heads()):
        return
    config.attributes["engine"] = engine
    command.upgrade(config, "head")


def migration_config() -> Config:
    """Alembic's configuration, without a file: only where the scripts are."""
    config = Config()
    config.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> Path:
    """`migrations/` travels inside the wheel; in a checkout it lies at the top."""
    packaged = Path(__file__).with_name("migrations")
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "migrations"
