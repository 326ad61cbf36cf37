"""The state contract on a real PostgreSQL, and a log that runs, fails and recovers on it."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, insert, select

from auditlog.core.note import Ed25519Signer
from auditlog.errors import ConfigurationError, Pushback, StorageError
from auditlog.log import HighWaterFile, Log, LogConfig, Stores, create_log, open_log
from auditlog.storage.files import FileStore
from auditlog.storage.ports import LogState
from auditlog.storage.sql import database as sql_database
from auditlog.storage.sql.database import Database, engine_for
from auditlog.storage.sql.export import load, snapshot
from auditlog.storage.sql.leases import SqlLeases
from auditlog.storage.sql.migrate import migrate_to, present_revision
from auditlog.storage.sql.schema import metadata
from auditlog.storage.sql.state import SqlState
from tests.support.clock import ManualClock
from tests.support.lease_contract import LeaseContract
from tests.support.postgres import PostgresServer
from tests.support.testlog import ORIGIN, SECRET, FakeProducer, ManualWorkers
from tests.unit.storage.commits import changed
from tests.unit.storage.contract import GENESIS, StateContract, own
from tests.unit.storage.leaf_contract import SqlLeafContract, explained_look_up, populate_leaves
from tests.unit.storage.migration_contract import ROWS, MigrationContract, write_rows
from tests.unit.storage.search_contract import explained, populate, spans

_names = itertools.count()


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    """A new database."""
    return postgres.database(f"test_{next(_names)}")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """A new database, migrated."""
    database = Database.open(url)
    yield database
    database.close()


class TestPostgresLeases(LeaseContract):
    """`SqlLeases` on PostgreSQL."""

    @pytest.fixture
    def leases(self, database: Database) -> SqlLeases:
        """Of a new database."""
        return SqlLeases(database)


class TestPostgresState(StateContract):
    """`SqlState` on PostgreSQL."""

    @pytest.fixture
    def make_state(self, database: Database) -> Callable[[str], LogState]:
        """States of one database."""
        return lambda origin: SqlState(database, origin)


def test_migrations_make_the_schema(database: Database) -> None:
    """On PostgreSQL too, migrations and code agree."""
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_no_search_goes_through_a_table(database: Database) -> None:
    """Each search of each shape reads a populated table by its primary key."""
    SqlState(database, "a.example/log").commit(GENESIS)
    populate(database, "a.example/log", blocks=10_000)
    with database.write() as connection:
        connection.exec_driver_sql("ANALYZE entry_facet")
    with database.read() as connection:
        for span, others in spans():
            plan = explained(connection, "EXPLAIN", span, others)
            assert "Seq Scan on entry_facet" not in plan, plan
            assert plan.count(" pk_entry_facet") == 1 + len(others), plan


class TestPostgresLeaves(SqlLeafContract):
    """Leaf hashes on PostgreSQL."""

    @pytest.fixture
    def database(self, database: Database) -> Database:
        """A new database, migrated."""
        return database


@pytest.mark.parametrize("is_analyzed", [False, True])
def test_a_look_up_by_leaf_hash_reads_no_table_through(database: Database, is_analyzed: bool) -> None:
    """It searches by key in each era, whether or not PostgreSQL knows the table; nothing of it is scanned."""
    state = SqlState(database, "a.example/log")
    state.commit(GENESIS)
    populate_leaves(state)
    with database.write() as connection:
        connection.exec_driver_sql("ANALYZE" if is_analyzed else "SELECT 1")
    with database.read() as connection:
        plan = explained_look_up(connection, "EXPLAIN")
    assert "Seq Scan on leaf_index" not in plan, plan
    assert plan.count(" pk_leaf_index") == 2, plan
    assert plan.count("leaf_key =") == 2, plan


def test_several_services_may_start_at_once(url: str) -> None:
    """Processes that open a new database together migrate it once."""
    program = f"from auditlog.storage.sql.database import Database; Database.open({url!r}).close()"
    starts = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(3)]
    assert [start.wait(timeout=60) for start in starts] == [0, 0, 0]


def test_connections_are_durable_and_bounded(database: Database) -> None:
    """Commits wait for the disk, and no lock or statement is waited for without end."""
    with database.write() as connection:
        found = {
            name: connection.exec_driver_sql(f"SHOW {name}").scalar_one()
            for name in (
                "synchronous_commit",
                "lock_timeout",
                "statement_timeout",
                "idle_in_transaction_session_timeout",
                "transaction_timeout",
            )
        }
    assert found == {
        "synchronous_commit": "on",
        "lock_timeout": "10s",
        "statement_timeout": "30s",
        "idle_in_transaction_session_timeout": "4s",
        "transaction_timeout": "6s",
    }


FROZEN = """
import sys
import time
from sqlalchemy import BigInteger, Column, MetaData, Table, insert
from auditlog.storage.sql.database import Database
with Database.open(sys.argv[1]).write(durable=False) as connection:
    connection.exec_driver_sql("CREATE TEMP TABLE many (a bigint)")
    connection.exec_driver_sql("LOCK TABLE lease IN EXCLUSIVE MODE")
    table = Table("many", MetaData(), Column("a", BigInteger))
    connection.execute(insert(table), [{"a": number} for number in range(200_000)])
"""


def test_a_process_that_froze_while_it_sent_holds_nobody_up(database: Database, url: str) -> None:
    """Its session is not idle, the server waits for the rest: what it holds is free within ten seconds."""
    sending = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'INSERT INTO many%%'"
    with subprocess.Popen([sys.executable, "-c", FROZEN, url]) as child:
        try:
            while True:
                with database.read() as connection:
                    if connection.exec_driver_sql(sending).scalar_one():
                        break
                assert child.poll() is None
                time.sleep(0.01)
            child.send_signal(signal.SIGSTOP)
            with database.write() as connection:
                connection.exec_driver_sql("SET LOCAL transaction_timeout = 0")
                connection.exec_driver_sql("LOCK TABLE lease IN EXCLUSIVE MODE")  # waits ten seconds at most
        finally:
            child.kill()


class TestPostgresMigrations(MigrationContract):
    """Up and down on PostgreSQL."""

    @pytest.fixture
    def engine(self, url: str) -> Iterator[Engine]:
        """A database without tables."""
        engine = engine_for(url)
        yield engine
        engine.dispose()


def test_a_migration_waits_for_another_and_not_for_ever(url: str) -> None:
    """While one service holds the migration lock another start fails in seconds; then it goes."""
    engine = engine_for(url)
    with engine.connect() as holder:
        holder.exec_driver_sql("SET idle_in_transaction_session_timeout = 0")  # it works on, all the while
        holder.exec_driver_sql("SELECT pg_advisory_lock(%s)", (0x61756469746C6F67,))
        with pytest.raises(StorageError, match="lock timeout"):
            Database.open(url)
        assert present_revision(engine) is None
    engine.dispose()
    Database.open(url).close()


def test_services_start_at_once_on_an_older_schema(url: str) -> None:
    """Of three that find a populated database of an older release, one migrates it; all go on."""
    engine = engine_for(url)
    migrate_to(engine, "0002")
    write_rows(engine, ROWS)
    engine.dispose()
    with ThreadPoolExecutor(3) as threads:
        opened = list(threads.map(Database.open, [url] * 3))
    for each in opened:
        committed = SqlState(each, "a.example/log").read()
        assert committed is not None
        assert committed.note == "note 9\n"
        each.close()


def test_a_row_that_another_holds_is_waited_for_in_bounded_time(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stuck peer makes the commit a storage error that changed nothing; afterwards it goes through."""
    monkeypatch.setattr(sql_database, "_POSTGRES_OPTIONS", "-c lock_timeout=200ms -c statement_timeout=10s")
    database = Database.open(url)
    state = SqlState(database, "a.example/log")
    state.commit(GENESIS)
    change = changed(previous_note="note 1\n", note="note 2\n", own_expected=own(0), own_head=own(1))
    with database.write() as stuck:
        stuck.exec_driver_sql("SELECT * FROM log FOR UPDATE")
        with pytest.raises(StorageError, match="lock timeout"):
            state.commit(change)
        committed = state.read()
        assert committed is not None
        assert committed.note == "note 1\n"
    state.commit(change)
    database.close()


def test_a_process_that_froze_in_a_transaction_keeps_nobody_waiting(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its session is ended by the server, so that its successor commits; its own transaction has failed."""
    options = "-c lock_timeout=10s -c statement_timeout=30s -c idle_in_transaction_session_timeout=200ms"
    monkeypatch.setattr(sql_database, "_POSTGRES_OPTIONS", options)
    frozen, successor = Database.open(url), Database.open(url)
    SqlState(frozen, "a.example/log").commit(GENESIS)
    change = changed(previous_note="note 1\n", note="note 2\n", own_expected=own(0), own_head=own(1))
    transaction = ExitStack()
    transaction.enter_context(frozen.write()).exec_driver_sql("UPDATE log SET index_size = 1")
    SqlState(successor, "a.example/log").commit(change)
    with pytest.raises(StorageError):
        transaction.close()
    committed = SqlState(frozen, "a.example/log").read()
    assert committed is not None
    assert committed.note == "note 2\n"
    for each in (frozen, successor):
        each.close()


def test_a_statement_without_end_is_ended(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time-out of statements is an error of that transaction alone."""
    monkeypatch.setattr(sql_database, "_POSTGRES_OPTIONS", "-c lock_timeout=10s -c statement_timeout=200ms")
    database = Database.open(url)
    with pytest.raises(StorageError, match="statement timeout"), database.write() as connection:
        connection.exec_driver_sql("SELECT pg_sleep(60)")
    SqlState(database, "a.example/log").commit(GENESIS)
    database.close()


class PostgresLog:
    """A log with its tiles in files and its state in PostgreSQL, stepped by hand."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.signer = Ed25519Signer.from_seed(ORIGIN, bytes(32))
        self.config = LogConfig(origin=ORIGIN, receipt_secret=SECRET)
        self.stores = Stores(
            FileStore(folder / "public"),
            FileStore(folder / "private"),
            FileStore(folder / "staging"),
            SqlState(database, ORIGIN),
        )
        self.guard = HighWaterFile(folder / "outside" / "high-water", self.signer.verifier)
        self.clock = ManualClock()
        self.workers = ManualWorkers()

    def open(self, *, new: bool = False) -> Log:
        """Create or open."""
        self.workers = ManualWorkers()
        start = create_log if new else open_log
        return start(
            self.config, self.stores, self.signer, self.clock, outside=[self.guard], engine=self.workers
        )

    def started(self, log: Log) -> FakeProducer:
        """An enrolled producer with its first entry in the log."""
        producer = FakeProducer("host-0")
        enrolled = log.enrol("host-0", producer.signer.vkey, producer.note)
        log.run_pending()
        producer.enrolled(enrolled.result(timeout=0).producer)
        first = log.submit(producer.batch([producer.start()]))
        log.run_pending()
        first.result(timeout=0)
        return producer


def test_a_log_runs_and_comes_back(database: Database, tmp_path: Path) -> None:
    """Entries, index and receipts work on PostgreSQL, and a new start finds them."""
    here = PostgresLog(database, tmp_path)
    log = here.open(new=True)
    producer = here.started(log)
    accepted = log.submit(producer.batch([producer.decide(n) for n in range(300)]))
    log.run_pending()
    assert accepted.result(timeout=0).count == 300
    log.close()
    again = here.open()
    assert again.tree_size == again.published_size == again.index.size == 303
    assert again.receipts.issue(200)
    assert len(again.index.by_chain(producer.producer, producer.instance, 5)) == 1
    again.close()


def test_a_connection_cut_in_the_transaction_commits_nothing(database: Database, tmp_path: Path) -> None:
    """The server ends the session inside the commit: pushback, and the same batch goes in afterwards."""
    here = PostgresLog(database, tmp_path)
    log = here.open(new=True)
    producer = here.started(log)
    state = here.stores.state
    assert isinstance(state, SqlState)
    real = state._add_rows

    def cut(connection: object, log_id: int, change: object) -> None:
        state._add_rows = real  # type: ignore[method-assign]
        with database.write() as other:
            other.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        real(connection, log_id, change)  # type: ignore[arg-type]

    state._add_rows = cut  # type: ignore[method-assign, assignment]
    batch = producer.batch([producer.decide(n) for n in range(10)])
    refused = log.submit(batch)
    log.run_pending()
    with pytest.raises(Pushback):
        refused.result(timeout=0)
    accepted = log.submit(batch)
    log.run_pending()
    assert (accepted.result(timeout=0).count, log.tree_size) == (10, 13)
    log.close()


def test_two_engines_on_one_log_never_fork(database: Database, tmp_path: Path) -> None:
    """Two processes on the same stores: whoever is behind finds out at its commit and goes on from there."""
    here = PostgresLog(database, tmp_path)
    first = here.open(new=True)
    producer = here.started(first)
    second = here.open()
    for number in range(6):
        ahead, behind = (first, second) if number % 2 == 0 else (second, first)
        done = ahead.submit(producer.batch([producer.decide(number)]))
        ahead.run_pending()
        assert done.result(timeout=0).count == 1
        refused = behind.append_own("notice", {"what": "restored"})
        behind.run_pending()
        with pytest.raises(Pushback):
            refused.result(timeout=0)
        assert behind.tree_size == ahead.tree_size
        assert behind.reader.root_at(behind.tree_size) == ahead.reader.root_at(ahead.tree_size)
    last = here.open()
    assert last.tree_size == 9
    last.close()


def test_a_backup_crosses_from_postgresql_to_sqlite_and_back(database: Database, tmp_path: Path) -> None:
    """The rows of a log are the same in either database, but for the numbers that each gives."""
    state = SqlState(database, "a.example/log")
    state.commit(GENESIS)
    state.set_standing("open", "quiesced")
    with database.write() as connection:
        mine = connection.execute(select(metadata.tables["log"].c.log_id)).scalar_one()
        row = {"type": "t", "tree_size": 1, "root_hash": b"\x00\xff", "checkpoint": "c", "evidence": ""}
        connection.execute(insert(metadata.tables["anchor"]), [{"log_id": mine, **row}] * 2)
    lines = []
    with snapshot(database, "a.example/log") as (_, found):
        lines = list(found)
    second = Database.open(f"sqlite:///{tmp_path / 'second.sqlite'}")
    try:
        assert load(second, "a.example/log", lines) == 3
        with snapshot(second, "a.example/log") as (committed, again):
            assert committed.restored
            assert committed.standing == "quiesced"
            assert list(again)[1:] == lines[1:]
        with pytest.raises(ConfigurationError):
            load(second, "a.example/log", lines)
    finally:
        second.close()
