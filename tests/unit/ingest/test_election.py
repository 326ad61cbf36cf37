"""The lease: one candidate holds it, on both databases; time is the candidate's own, an outage no death."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from auditlog.errors import StorageError
from auditlog.ingest.election import TTL_S, Candidate
from auditlog.storage.leases import Lease, Leases
from auditlog.storage.sql.database import Database
from auditlog.storage.sql.leases import SqlLeases
from tests.support.lease_contract import LeaseContract


@pytest.fixture
def leases(tmp_path: Path) -> Iterator[SqlLeases]:
    """The leases of a SQLite database."""
    database = Database.open(f"sqlite:///{tmp_path / 'lease.sqlite'}")
    yield SqlLeases(database)
    database.close()


class TestSqliteLeases(LeaseContract):
    """`SqlLeases` on SQLite."""


class Away:
    """A database that comes and goes."""

    def __init__(self, leases: Leases) -> None:
        self.leases = leases
        self.is_away = False

    def __getattr__(self, name: str) -> object:
        if self.is_away:
            raise StorageError("expected a database, found it away")
        return getattr(self.leases, name)


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def candidate(leases: object, name: str, clock: Clock) -> Candidate:
    """A candidate for the one job there is."""
    return Candidate(leases, "job", name, monotonic=clock, unix_us=lambda: 7)  # type: ignore[arg-type]


def test_the_first_takes_it_and_the_second_waits(leases: SqlLeases) -> None:
    """Whoever renews keeps it, however long; the other knows who that is."""
    clock = Clock()
    one, two = candidate(leases, "one", clock), candidate(leases, "two", clock)
    assert one.step()
    for _ in range(20):
        clock.now += 1.0
        assert one.step()
        assert not two.step()
    assert two.other is not None
    assert two.other.holder == "one"


def test_a_dead_holder_is_succeeded_after_its_time(leases: SqlLeases) -> None:
    """A row that does not change for the whole time is taken; the one that comes back finds it lost."""
    clock = Clock()
    one, two = candidate(leases, "one", clock), candidate(leases, "two", clock)
    assert one.step()
    waited = 0.0
    while not two.step():
        clock.now += 0.5
        waited += 0.5
    assert waited == TTL_S
    assert not one.step()
    assert not one.is_holder
    assert two.step()


def test_what_is_given_back_is_free_at_once(leases: SqlLeases) -> None:
    """A graceful end needs no time to pass, and giving back twice takes nothing from the next one."""
    clock = Clock()
    one, two = candidate(leases, "one", clock), candidate(leases, "two", clock)
    assert one.step()
    assert not two.step()
    one.give_back()
    assert two.step()
    one.give_back()
    assert two.step()


def test_an_outage_is_nobodys_death(leases: SqlLeases) -> None:
    """While nobody could renew, nobody's silence counts: the wait begins anew when the database is back."""
    clock, away = Clock(), Away(leases)
    one, two = candidate(away, "one", clock), candidate(away, "two", clock)
    assert one.step()
    assert not two.step()
    away.is_away = True
    for each in (one, two):
        with pytest.raises(StorageError):
            each.step()
    clock.now += 100 * TTL_S
    away.is_away = False
    assert not two.step()
    assert one.step()
    assert one.is_holder


def test_one_late_look_does_not_take_it(leases: SqlLeases) -> None:
    """A candidate that was asleep looks several times before it believes that the holder is dead."""
    clock = Clock()
    one, two = candidate(leases, "one", clock), candidate(leases, "two", clock)
    assert one.step()
    assert not two.step()
    clock.now += 100 * TTL_S
    assert not two.step()
    assert one.step()
    assert not two.step()


def test_of_two_that_see_it_free_one_takes_it(leases: SqlLeases) -> None:
    """The row is compared when it is taken."""
    seen = Lease("job", "", 3, 1, 0)
    assert leases.take("job", None, "zero", 0) is not None
    zero = leases.look("job")
    assert zero is not None
    assert leases.take("job", zero, "one", 0) is not None
    assert leases.take("job", zero, "two", 0) is None
    assert leases.take("job", seen, "two", 0) is None
