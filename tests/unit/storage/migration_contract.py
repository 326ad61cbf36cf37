"""Migrations up and down over an empty and a populated database, as tests. Each kind of database subclasses
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, MetaData, inspect, text

from auditlog.errors import ConfigurationError
from auditlog.storage.records import BatchHead, ChainHead, ChainRun, IndexRows, ProducerRecord
from auditlog.storage.sql.database import Database
from auditlog.storage.sql.migrate import migrate_to, migration_config, present_revision
from auditlog.storage.sql.schema import metadata
from auditlog.storage.sql.state import SqlState
from auditlog.storage.sql.tokens import SqlTokens
from tests.support.held import held as held_by

ORIGIN, INSTANCE = "a.example/log", "1" * 32
WHO, LEAF, DIGEST = b"p" * 32, b"l" * 32, b"d" * 32
ROWS: dict[str, dict[str, Any]] = {
    "log": {
        "log_id": 1, "origin": ORIGIN, "note": "note 9\n", "own_seq": 3, "own_leaf_hash": LEAF,
        "own_index": 8, "decisions_size": 7, "anchored_size": 5, "index_size": 9,
    },
    "producer": {"log_id": 1, "producer": WHO, "name": "h", "vkey": "v", "note": "n", "entry_index": 1},
    "producer_head": {
        "log_id": 1, "producer": WHO, "instance": INSTANCE, "seq": 5, "leaf_hash": LEAF, "entry_index": 7,
    },
    "chain_run": {
        "log_id": 1, "producer": WHO, "instance": INSTANCE, "seq": 5, "first_seq": 0, "first_index": 2,
    },
    "batch_head": {
        "log_id": 1, "producer": WHO, "instance": INSTANCE, "seq": 5, "first_seq": 0, "note": "head",
    },
    "anchor": {
        "anchor_id": 1, "log_id": 1, "type": "devnet@v0", "tree_size": 5, "root_hash": LEAF,
        "checkpoint": "c", "evidence": "{}",
    },
    "token": {"sha256": DIGEST, "name": "t", "scopes": "read", "logs": None},
    "decision_index": {"log_id": 1, "decision_id": "d", "entry_index": 7},
}  # fmt: skip
LATER: dict[str, dict[str, Any]] = {
    "producer_rotation": {"log_id": 1, "producer": WHO, "entry_index": 4, "vkey": "v2"},
    "producer_loss": {
        "log_id": 1, "producer": WHO, "entry_index": 6, "instance": INSTANCE, "after_seq": 2, "from_us": 1,
        "to_us": 2,
    },
}  # fmt: skip
REVISIONS = [each.revision for each in ScriptDirectory.from_config(migration_config()).walk_revisions()][::-1]
HEAD = REVISIONS[-1]


def write_rows(engine: Engine, rows: dict[str, dict[str, Any]]) -> None:
    """Write rows as code of the present revision did."""
    tables = MetaData()
    tables.reflect(engine)
    with engine.begin() as connection:
        for table, row in rows.items():  # the log first, which the others refer to
            connection.execute(tables.tables[table].insert().values(**row))


def held(engine: Engine, tables: dict[str, dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """What the tables hold, of the columns that were written."""
    with engine.connect() as connection:
        return {
            table: [
                dict(row)
                for row in connection.execute(text(f"SELECT {', '.join(columns)} FROM {table}")).mappings()
            ]
            for table, columns in tables.items()
        }


class MigrationContract:
    """What migrations do on every kind of database."""

    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        """An engine, set up as the service's, on a database without tables."""
        raise NotImplementedError

    @pytest.fixture
    def again(self, engine: Engine) -> Database:
        """The service's database over the same engine, for reading."""
        return Database(engine)

    def test_every_step_goes_up_and_down_again(self, engine: Engine) -> None:
        """From nothing to the newest schema and back, one step at a time; nothing is left, and up again."""
        for way in (REVISIONS, [*REVISIONS[:-1][::-1], "base"], REVISIONS):
            for revision in way:
                migrate_to(engine, revision)
                assert present_revision(engine) == (None if revision == "base" else revision)
            if way[-1] == "base":
                assert set(inspect(engine).get_table_names()) == {"alembic_version"}
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, metadata) == []

    @pytest.mark.parametrize("since", REVISIONS[:3])
    def test_a_populated_database_is_brought_up_and_everything_still_reads(
        self, engine: Engine, again: Database, since: str
    ) -> None:
        """What an older release committed is read by this one; only the derived index starts anew."""
        migrate_to(engine, since)
        rows = ROWS | (LATER if since >= "0003" else {})
        write_rows(engine, rows)
        migrate_to(engine, HEAD)
        state = SqlState(again, ORIGIN)
        committed = state.read()
        assert committed is not None
        assert (committed.note, committed.decisions_size) == ("note 9\n", 7)
        assert committed.own_head == ChainHead("log", 3, LEAF, 8)
        assert held_by(state).producers == [ProducerRecord(WHO, "h", "v", "n", 1)]
        assert held_by(state).heads == {WHO: ChainHead(INSTANCE, 5, LEAF, 7)}
        assert state.run_of(WHO, INSTANCE, 4) == ChainRun(WHO, INSTANCE, 0, 5, 2)
        assert state.batch_head_of(WHO, INSTANCE, 1) == BatchHead(WHO, INSTANCE, 0, 5, "head")
        assert [each.tree_size for each in state.anchors()] == [5]
        lives = held_by(state).rotations, held_by(state).declared_losses
        assert [len(each) for each in lives] == [1 if since >= "0003" else 0] * 2
        assert [each.name for each in SqlTokens(again).all()] == ["t"]
        assert state.index_size() <= 0

    def test_an_index_made_before_leaf_keys_had_eras_is_used_as_it_is(
        self, engine: Engine, again: Database
    ) -> None:
        """Nothing is rewritten, all is found, and it is built on; going back has it made anew."""
        migrate_to(engine, "0009")
        number = int.from_bytes(LEAF[:8], "big", signed=True)
        write_rows(engine, ROWS | {"leaf_index": {"log_id": 1, "leaf_key": number, "entry_index": 7}})
        migrate_to(engine, HEAD)
        state = SqlState(again, ORIGIN)
        assert (state.index_size(), state.indices_by_leaf(LEAF)) == (9, [7])
        state.add_index_rows(IndexRows(9, 10, LEAF))
        assert state.indices_by_leaf(LEAF) == [7, 9]
        migrate_to(engine, "0009")
        assert held(engine, {"log": ROWS["log"]}) == {"log": [ROWS["log"] | {"index_size": -1}]}
        migrate_to(engine, HEAD)
        state.clear_index()
        assert (state.index_size(), state.indices_by_leaf(LEAF)) == (0, [])

    def test_going_back_keeps_everything_that_is_not_derived(self, engine: Engine) -> None:
        """A schema that went up and came down holds the rows it held; the index is to be built again."""
        migrate_to(engine, "0001")
        write_rows(engine, ROWS)
        migrate_to(engine, HEAD)
        migrate_to(engine, "0001")
        kept = {table: dict(row) for table, row in ROWS.items() if table != "decision_index"}
        kept["log"]["index_size"] = 0
        assert held(engine, kept) == {table: [row] for table, row in kept.items()}

    @pytest.mark.parametrize(
        ("statement", "stays"),
        [
            ("INSERT INTO producer_retirement VALUES (1, :who, 9)", "0003"),
            ("UPDATE token SET expires_us = 1", "0003"),
            ("INSERT INTO fact_index VALUES (1, :who, :who)", "0004"),
            ("UPDATE log SET standing = 'retired'", "0005"),
        ],
    )
    def test_what_an_older_release_would_forget_is_not_dropped(
        self, engine: Engine, statement: str, stays: str
    ) -> None:
        """The step that would lose it is refused whole; what was written is still there."""
        migrate_to(engine, HEAD)
        write_rows(engine, ROWS)
        with engine.begin() as connection:
            connection.execute(text(statement), {"who": WHO} if ":who" in statement else {})
        with pytest.raises(ConfigurationError, match="would forget"):
            migrate_to(engine, "0001")
        assert present_revision(engine) == stays
        migrate_to(engine, HEAD)
        with engine.connect() as connection:
            table = statement.replace("INSERT INTO ", "").replace("UPDATE ", "").split()[0]
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 1

    def test_a_log_is_never_dropped(self, engine: Engine) -> None:
        """No downgrade removes the tables of a log that exists."""
        migrate_to(engine, HEAD)
        write_rows(engine, ROWS)
        with pytest.raises(ConfigurationError, match="rows in log"):
            migrate_to(engine, "base")
        assert present_revision(engine) == "0001"

    def test_a_step_that_fails_half_way_leaves_nothing_of_itself(self, engine: Engine) -> None:
        """A migration is one transaction: it failed, so it never was; then it goes through."""
        migrate_to(engine, "0003")
        write_rows(engine, ROWS)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE outcome (a INTEGER)"))
        with pytest.raises(Exception, match="outcome"):
            migrate_to(engine, HEAD)
        assert present_revision(engine) == "0003"
        assert not inspect(engine).has_table("promise")
        assert held(engine, {"log": ROWS["log"]}) == {"log": [ROWS["log"]]}
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE outcome"))
        migrate_to(engine, HEAD)

    def test_a_schema_of_a_newer_release_is_refused(self, engine: Engine) -> None:
        """An older release started on a newer database says so and changes nothing."""
        migrate_to(engine, HEAD)
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(ConfigurationError, match="found 9999, made by a newer release"):
            Database.open(engine.url.render_as_string(hide_password=False))
        with pytest.raises(ConfigurationError):
            migrate_to(engine, "0001")

    def test_an_unknown_revision_is_refused(self, engine: Engine) -> None:
        """A word that is no revision changes nothing."""
        with pytest.raises(ConfigurationError, match="a revision of"):
            migrate_to(engine, "9999")
        assert present_revision(engine) is None
