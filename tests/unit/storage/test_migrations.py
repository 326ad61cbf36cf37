"""Migrations make exactly the schema that the code reads, once, and travel with the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect

from auditlog.storage.sql.database import Database, engine_for
from auditlog.storage.sql.migrate import migration_config
from auditlog.storage.sql.schema import metadata
from tests.unit.storage.migration_contract import MigrationContract


def test_migrations_make_the_schema(tmp_path: Path) -> None:
    """What the migrations create and what the code declares do not differ."""
    database = Database.open(f"sqlite:///{tmp_path / 'a.sqlite'}")
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)
        tables = set(inspect(connection).get_table_names())
    database.close()
    assert differences == []
    assert tables == {*metadata.tables, "alembic_version"}


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    """A database that is up to date is left alone."""
    url = f"sqlite:///{tmp_path / 'a.sqlite'}"
    Database.open(url).close()
    database = Database.open(url)
    with database.read() as connection:
        versions = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().all()
    database.close()
    assert versions == ScriptDirectory.from_config(migration_config()).get_heads()


def test_there_is_one_line_of_migrations() -> None:
    """No branches; each step can be taken, and taken back."""
    scripts = list(ScriptDirectory.from_config(migration_config()).walk_revisions())
    assert len({script.down_revision for script in scripts}) == len(scripts)
    assert all(hasattr(script.module, name) for script in scripts for name in ("upgrade", "downgrade"))


class TestSqliteMigrations(MigrationContract):
    """On SQLite."""

    @pytest.fixture
    def engine(self, tmp_path: Path) -> Iterator[Engine]:
        """A database file without tables."""
        engine = engine_for(f"sqlite:///{tmp_path / 'a.sqlite'}")
        yield engine
        engine.dispose()
