"""What an index of leaf hashes does, as tests: every entry with a hash is found, in whatever era it is."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest
from sqlalchemy import Connection, insert, select, update

from auditlog.storage.ports import LogState
from auditlog.storage.records import ChainHead, IndexRows
from auditlog.storage.sql import schema
from auditlog.storage.sql.database import Database
from auditlog.storage.sql.leaves import ERA_BITS, LOOK_UP, leaf_number
from auditlog.storage.sql.state import SqlState
from tests.unit.storage.commits import changed

ORIGIN, OTHER = "a.example/log", "b.example/log"
ERA = 2**ERA_BITS
A, B = sha256(b"a").digest(), sha256(b"b").digest()
HIGH = b"\xff" * 8 + A[8:]
"""Its number is below zero."""


class LeafContract:
    """Look-ups by leaf hash, whatever keeps the index."""

    def test_a_hash_is_found_in_every_era(self, state: LogState) -> None:
        """Equal entries on both sides of the edge of an era are all told, in order, and no other is."""
        start = ERA - 3
        state.add_index_rows(IndexRows(0, start))
        state.add_index_rows(IndexRows(start, start + 6, B + HIGH + A + A + HIGH + A))
        assert state.indices_by_leaf(A) == [ERA - 1, ERA, ERA + 2]
        assert state.indices_by_leaf(HIGH) == [ERA - 2, ERA + 1]
        assert state.indices_by_leaf(B) == [ERA - 3]
        assert state.indices_by_leaf(sha256(b"c").digest()) == []
        state.clear_index()
        assert state.indices_by_leaf(A) == []


class SqlLeafContract:
    """The same in a database, where an index need not be filled to be large; and how it is searched."""

    @pytest.fixture
    def database(self) -> Database:
        """A new database, migrated."""
        raise NotImplementedError

    @pytest.fixture
    def logs(self, database: Database) -> tuple[SqlState, SqlState]:
        """Two logs in one database."""
        found = SqlState(database, ORIGIN), SqlState(database, OTHER)
        for state in found:
            own = ChainHead("log", 0, A, 0)
            state.commit(changed(previous_note=None, note="note 1\n", own_expected=None, own_head=own))
        return found

    @pytest.mark.parametrize("era", [1, 2**15 - 1, 2**15, 2**16 - 1, 2**16, 2**17 - 1])
    def test_eras_of_any_number_are_searched(
        self, database: Database, logs: tuple[SqlState, SqlState], era: int
    ) -> None:
        """Keys that are below zero, and eras that come again after 2**16 of them: all are found."""
        state, edge = logs[0], era * ERA
        state.add_index_rows(IndexRows(0, 2, A + HIGH))
        state.add_index_rows(IndexRows(2, edge - 1))
        state.add_index_rows(IndexRows(edge - 1, edge + 2, A + B + A))
        state.add_index_rows(IndexRows(edge + 2, edge + 3, HIGH))
        assert state.indices_by_leaf(A) == [0, edge - 1, edge + 1]
        assert state.indices_by_leaf(B) == [edge]
        assert state.indices_by_leaf(HIGH) == [1, edge + 2]
        with database.read() as connection:
            of_b = schema.leaf_index.c.entry_index == edge
            key = connection.execute(select(schema.leaf_index.c.leaf_key).where(of_b)).scalar_one()
        assert key == int.from_bytes((era % 2**16).to_bytes(2, "big") + B[:6], "big", signed=True)

    def test_what_is_found_is_what_was_put(self, logs: tuple[SqlState, SqlState]) -> None:
        """Few hashes, two of which begin alike, at many places of two logs: each log tells all of its own."""
        rng = random.Random(5)
        hashes = [rng.randbytes(32) for _ in range(20)] + [bytes(32), b"\xff" * 32, HIGH]
        for state in logs:
            put: dict[int, bytes] = {}
            at = 0
            for _ in range(30):
                end = at + rng.choice([1, 300, ERA - 7, 5 * ERA])
                state.add_index_rows(IndexRows(at, end))
                chunk = rng.choices(hashes, k=rng.randrange(1, 40))
                at = end + len(chunk)
                state.add_index_rows(IndexRows(end, at, b"".join(chunk)))
                put.update(enumerate(chunk, end))
            for each in hashes:
                same = [index for index, leaf_hash in put.items() if leaf_hash[:6] == each[:6]]
                assert state.indices_by_leaf(each) == same  # whoever asks compares the whole hash

    def test_keys_of_an_older_release_are_searched_as_well(
        self, database: Database, logs: tuple[SqlState, SqlState]
    ) -> None:
        """It may write beside this one: what it wrote is found among the rest, each once."""
        state, same = logs[0], bytes(32)  # both kinds of key are one: era 0, and zeros
        state.add_index_rows(IndexRows(0, 3, A + same + HIGH))
        state.add_index_rows(IndexRows(3, ERA))
        self.add_as_before(database, ERA, [B, A, same, HIGH])
        state.add_index_rows(IndexRows(ERA + 4, ERA + 6, A + same))
        assert state.indices_by_leaf(A) == [0, ERA + 1, ERA + 4]
        assert state.indices_by_leaf(B) == [ERA]
        assert state.indices_by_leaf(same) == [1, ERA + 2, ERA + 5]
        assert state.indices_by_leaf(HIGH) == [2, ERA + 3]
        assert logs[1].indices_by_leaf(A) == []

    @staticmethod
    def add_as_before(database: Database, start: int, hashes: list[bytes]) -> None:
        """Rows as a release before 0010 of the migrations adds them."""
        with database.write() as connection:
            mine = connection.execute(
                select(schema.log.c.log_id).where(schema.log.c.origin == ORIGIN)
            ).scalar_one()
            rows = [
                {"log_id": mine, "leaf_key": leaf_number(each), "entry_index": index}
                for index, each in enumerate(hashes, start)
            ]
            connection.execute(insert(schema.leaf_index), rows)
            size = {"index_size": start + len(hashes)}
            connection.execute(update(schema.log).where(schema.log.c.log_id == mine).values(**size))

    def test_an_index_that_is_being_cleared_tells_of_no_era(
        self, database: Database, logs: tuple[SqlState, SqlState]
    ) -> None:
        """A process died while it cleared: a look-up is answered, and clearing goes on."""
        logs[0].add_index_rows(IndexRows(0, 2, A + B))
        with database.write() as connection:
            connection.execute(update(schema.log).values(index_size=-1))
        assert logs[0].indices_by_leaf(A) == []
        logs[0].clear_index()
        logs[0].add_index_rows(IndexRows(0, 1, A))
        assert logs[0].indices_by_leaf(A) == [0]


def populate_leaves(state: SqlState, eras: int = 4, each: int = 4000) -> None:
    """Some entries at the edge of so many eras."""
    rng, at = random.Random(1), 0
    for era in range(1, eras):
        state.add_index_rows(IndexRows(at, era * ERA - each // 2))
        at = era * ERA + each // 2
        state.add_index_rows(IndexRows(era * ERA - each // 2, at, rng.randbytes(32 * each)))


def explained_look_up(connection: Connection, prefix: str) -> str:
    """What the database says it would do for one hash."""
    values = {"origin": ORIGIN, "number": leaf_number(A)}
    rows = connection.exec_driver_sql(f"{prefix} {LOOK_UP[connection.dialect.name]}", values).all()
    return "\n".join(" ".join(map(str, row)) for row in rows)
