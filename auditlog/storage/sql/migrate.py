"""Bring a database to the schema this code needs, through Alembic (`migrations/`, README there).

The code has no other way to make a table. `migrate` runs at every start: it does nothing when there is
nothing to do. `migrate_to` is for whoever goes back to an older release: it drops only what is derived.
"""

from __future__ import annotations

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from auditlog.errors import ConfigurationError

_ALEMBIC = threading.Lock()
"""Alembic keeps the migration it runs in globals of its own: one at a time in a process. Between processes
the database's own lock decides (`migrations/env.py`).
"""


def migrate(engine: Engine) -> None:
    """Apply every missing migration, each in its own transaction.

    Raises:
        ConfigurationError: a newer release made this schema.
        sqlalchemy.exc.SQLAlchemyError: the database refused, or another process held the migration lock
        for longer than the lock time-out.
    """
    config = migration_config()
    scripts = ScriptDirectory.from_config(config)
    present = present_revision(engine)
    if present == scripts.get_current_head():
        return
    if present is not None and present not in {each.revision for each in scripts.walk_revisions()}:
        head = scripts.get_current_head()
        raise ConfigurationError(
            f"expected a database schema up to {head}, found {present}, made by a newer release: run that "
            f"one, or its `auditlog migrate --to {head}` first"
        )
    config.attributes["engine"] = engine
    with _ALEMBIC:
        command.upgrade(config, "head")


def migrate_to(engine: Engine, revision: str) -> None:
    """Apply or take back migrations until the schema is that of `revision` (`base`: no table at all).

    Raises:
        ConfigurationError: no such revision, or what would be dropped holds what cannot be built again.
        sqlalchemy.exc.SQLAlchemyError: as `migrate`.
    """
    config = migration_config()
    order = [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()][::-1]
    present, known = present_revision(engine), ["base", *order]
    if revision not in known or (present or "base") not in known:
        raise ConfigurationError(f"expected a revision of {known}, found {revision} to go to from {present}")
    config.attributes["engine"] = engine
    go = command.downgrade if known.index(revision) < known.index(present or "base") else command.upgrade
    with _ALEMBIC:
        go(config, revision)


def present_revision(engine: Engine) -> str | None:
    """The revision of the database; None for one without tables of ours."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def expect_none(connection: Connection, table: str, where: str = "1 = 1") -> None:
    """For downgrades: refuse to go on if `table` has rows that no code can build again (of those `where` says
    so). The step is rolled back whole.

    Raises:
        ConfigurationError: there are such rows.
    """
    found = connection.execute(text(f"SELECT count(*) FROM {table} WHERE {where}")).scalar_one()  # noqa: S608
    if found:
        raise ConfigurationError(
            f"expected no rows in {table} that only a newer schema can hold, found {found}: an older release "
            "would forget them; nothing was changed by this step"
        )


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
