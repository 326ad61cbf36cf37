"""SQLite keeps the contract of the state, durably, with a build that has no known corruption."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pysqlite3 import dbapi2

from auditlog.errors import ConfigurationError, StorageError
from auditlog.storage.ports import LogState
from auditlog.storage.sql import database as sql_database
from auditlog.storage.sql.database import Database
from auditlog.storage.sql.state import SqlState
from tests.unit.storage.contract import GENESIS, StateContract
from tests.unit.storage.leaf_contract import SqlLeafContract, explained_look_up, populate_leaves
from tests.unit.storage.search_contract import explained, populate, spans


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A new SQLite database."""
    database = Database.open(f"sqlite:///{tmp_path / 'state' / 'log.sqlite'}")
    yield database
    database.close()


class TestSqliteState(StateContract):
    """`SqlState` on SQLite."""

    @pytest.fixture
    def make_state(self, database: Database) -> Callable[[str], LogState]:
        """States of one database."""
        return lambda origin: SqlState(database, origin)


def test_no_search_goes_through_a_table(database: Database) -> None:
    """Each search of each shape is a range of the primary key, in its order, and steps into it."""
    SqlState(database, "a.example/log").commit(GENESIS)
    populate(database, "a.example/log")
    with database.read() as connection:
        for span, others in spans():
            plan = explained(connection, "EXPLAIN QUERY PLAN", span, others)
            assert "SCAN" not in plan, plan
            assert "TEMP B-TREE" not in plan, plan
            assert plan.count("USING PRIMARY KEY (log_id=? AND facet=? AND value=? AND block=?)") == len(
                others
            )


class TestSqliteLeaves(SqlLeafContract):
    """Leaf hashes on SQLite."""

    @pytest.fixture
    def database(self, database: Database) -> Database:
        """A new SQLite database."""
        return database


@pytest.mark.parametrize("is_analyzed", [False, True])
def test_a_look_up_by_leaf_hash_reads_no_table_through(database: Database, is_analyzed: bool) -> None:
    """It searches by key in each era, whatever SQLite believes of the table; nothing of it is scanned."""
    state = SqlState(database, "a.example/log")
    state.commit(GENESIS)
    populate_leaves(state)
    with database.write() as connection:
        connection.exec_driver_sql("ANALYZE" if is_analyzed else "SELECT 1")
    with database.read() as connection:
        plan = explained_look_up(connection, "EXPLAIN QUERY PLAN")
    assert plan.count("SEARCH leaf USING PRIMARY KEY (log_id=? AND leaf_key=?)") == 2, plan
    assert "SCAN leaf" not in plan, plan
    assert "SCAN log" not in plan, plan


def test_settings_are_the_durable_ones(database: Database) -> None:
    """Every connection writes ahead and syncs each commit, with a library that has the WAL-reset fix."""
    with database.read() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
        version = connection.exec_driver_sql("SELECT sqlite_version()").scalar_one()
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    assert tuple(map(int, version.split("."))) >= (3, 51, 3)


@pytest.mark.parametrize("version", [(3, 40, 1), (3, 51, 2)])
def test_a_library_without_the_fix_of_the_wal_reset_is_refused(
    version: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old SQLite is named with what to do, before any file is made."""
    monkeypatch.setattr(dbapi2, "sqlite_version_info", version)
    with pytest.raises(ConfigurationError, match=r"SQLite 3\.51\.3 or newer, found 3\.\d+\.\d, .* --upgrade"):
        Database.open(f"sqlite:///{tmp_path / 'log.sqlite'}")
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_never_ends_is_an_error_in_bounded_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process holds the write lock: the commit fails, says so, and goes through once it is free."""
    monkeypatch.setattr(sql_database, "_SQLITE_BUSY_S", 0.2)
    other = Database.open(str(database.engine.url))
    with database.write(), pytest.raises(StorageError, match="locked"):
        SqlState(other, "a.example/log").commit(GENESIS)
    SqlState(other, "a.example/log").commit(GENESIS)
    other.close()


def test_a_second_process_sees_what_was_committed(database: Database) -> None:
    """State survives closing and opening again."""
    SqlState(database, "a.example/log").commit(GENESIS)
    url = str(database.engine.url)
    database.close()
    again = Database.open(url)
    committed = SqlState(again, "a.example/log").read()
    again.close()
    assert committed is not None
    assert committed.note == GENESIS.note


def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    """What a block wrote before it failed is rolled back."""

    def write_and_fail() -> None:
        with database.write() as connection:
            connection.exec_driver_sql("INSERT INTO token (sha256, name, scopes) VALUES (x'00', 'n', 's')")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM token").scalar_one() == 0


def test_errors_name_no_parameters(database: Database) -> None:
    """A failing statement is a storage error that repeats neither the statement nor its values."""
    with pytest.raises(StorageError) as caught, database.write() as connection:
        connection.exec_driver_sql("INSERT INTO nowhere VALUES ('a secret')")
    assert "a secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://root@localhost/x"])
def test_other_databases_are_refused(url: str) -> None:
    """Only SQLite in a file and PostgreSQL are supported."""
    with pytest.raises(ConfigurationError):
        Database.open(url)
