"""What is kept before it is moved into the store: torn writes, full disks, refusals, deaths between."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import auditlog.capture.keeping_files as files
from auditlog.capture.disclosures import KeptBody, KeptRecord, StoreFullError
from auditlog.capture.forking import ForkGate
from auditlog.capture.keeping import QuickKeeping, find_waiting
from auditlog.capture.sqlite_store import SqliteDisclosureStore
from auditlog.errors import StorageError

KEY = b"k" * 32


def record(number: int, size: int = 20) -> KeptRecord:
    """A record of one decision."""
    return KeptRecord(f"id-{number}", "decision", bytes(32), request=KeptBody(b"r" * size))


class Store(SqliteDisclosureStore):
    """The store behind; it may refuse, or fail right after it took something."""

    refuses = False
    dies_after_keep = False
    kept = 0

    def keep(self, records: Sequence[KeptRecord], now_us: int) -> None:
        if self.refuses:
            raise StorageError("refused")
        super().keep(records, now_us)
        self.kept += len(records)
        if self.dies_after_keep:
            self.dies_after_keep = False
            raise StorageError("who knows")


@pytest.fixture
def failures() -> list[Exception]:
    """What the mover could not do."""
    return []


@pytest.fixture
def make(tmp_path: Path, failures: list[Exception]) -> Iterator[Callable[[], QuickKeeping]]:
    """Opens the same slot's keeping, again and again; the last one is closed at the end."""
    made: list[QuickKeeping] = []

    def build() -> QuickKeeping:
        store = Store(tmp_path / "store", KEY, os.urandom, keep_s=1 << 30, max_bytes=1 << 40)
        keeping = QuickKeeping(
            tmp_path / "keeping", store, KEY, os.urandom, max_bytes=1 << 30, gate=ForkGate(),
            failed=failures.append,
        )  # fmt: skip
        made.append(keeping)
        return keeping

    yield build
    for keeping in made:
        behind(keeping).refuses = False
    made[-1].close()


def behind(keeping: QuickKeeping) -> Store:
    """The store behind it."""
    store = keeping._store
    assert isinstance(store, Store)
    return store


def until(condition: Callable[[], object]) -> None:
    """Wait for the mover."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "expected the mover to get there"
        time.sleep(0.005)


def test_what_is_kept_is_found_while_it_waits_and_moved_when_it_is_quiet(
    make: Callable[[], QuickKeeping], tmp_path: Path
) -> None:
    """Durable at once in a file, soon in the store, once; the file is gone then."""
    keeping = make()
    keeping.keep([record(1)], 1)
    assert find_waiting(tmp_path / "keeping", KEY, "id-1") in ([record(1)], [])
    until(lambda: keeping.is_settled)
    assert keeping.find("id-1") == [record(1)]
    assert find_waiting(tmp_path / "keeping", KEY, "id-1") == []
    assert keeping.size_bytes == behind(keeping).size_bytes


def test_a_store_that_refuses_loses_nothing(
    make: Callable[[], QuickKeeping], failures: list[Exception]
) -> None:
    """What it does not take stays, is told, counts against the limit, and is moved when it takes again."""
    keeping = make()
    behind(keeping).refuses = True
    keeping.keep([record(1)], 1)
    until(lambda: failures)
    assert not keeping.is_settled
    with pytest.raises(StorageError):
        keeping.find("id-1")
    keeping.keep([record(2)], 2)
    behind(keeping).refuses = False
    until(lambda: keeping.is_settled)
    assert [keeping.find(f"id-{n}") for n in (1, 2)] == [[record(1)], [record(2)]]


def test_a_transaction_of_unknown_outcome_doubles_nothing(
    make: Callable[[], QuickKeeping], failures: list[Exception]
) -> None:
    """A store that took the records and then failed gets only what it lacks."""
    keeping = make()
    behind(keeping).dies_after_keep = True
    keeping.keep([record(1), record(2)], 1)
    until(lambda: keeping.is_settled)
    assert len(failures) == 1
    assert behind(keeping).kept == 2
    assert keeping.find("id-2") == [record(2)]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_write_that_fails_keeps_the_groups_before_it(
    make: Callable[[], QuickKeeping], monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """A full disk: the group is refused, whatever part of it was written; those before and after stand."""
    keeping = make()
    keeping.keep([record(1)], 1)
    real = files.write_all

    def torn(handle: int, content: bytes) -> None:
        real(handle, content[: len(content) // 2])
        raise OSError(error, "torn")

    monkeypatch.setattr(files, "write_all", torn)
    with pytest.raises(StorageError):
        keeping.keep([record(2)], 2)
    monkeypatch.setattr(files, "write_all", real)
    keeping.keep([record(3)], 3)
    assert [keeping.find(f"id-{n}") for n in (1, 2, 3)] == [[record(1)], [], [record(3)]]


def test_a_failed_fsync_refuses_the_group(
    make: Callable[[], QuickKeeping], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may not be on disk is not said to be kept; the file is never appended to again."""
    keeping = make()
    keeping.keep([record(1)], 1)
    real, broken = os.fdatasync, [True]

    def sync(handle: int) -> None:
        if broken.pop() if broken else False:
            raise OSError(errno.EIO, "sync")
        real(handle)

    monkeypatch.setattr(os, "fdatasync", sync)
    with pytest.raises(StorageError):
        keeping.keep([record(2)], 2)
    keeping.keep([record(3)], 3)
    keeping.settle()
    assert [keeping.find(f"id-{n}") for n in (1, 3)] == [[record(1)], [record(3)]]


@pytest.mark.parametrize("cut", [1, 40, 90, 200])
def test_a_torn_tail_costs_its_group_only(make: Callable[[], QuickKeeping], tmp_path: Path, cut: int) -> None:
    """Killed within a write: the groups before it are moved by the next life."""
    file = files.begin_file(tmp_path / "torn", KEY, os.urandom)
    sizes = []
    for number in (1, 2):
        file.append(files.msgspec.msgpack.encode((number, [record(number)])))
        sizes.append(file.size)
    file.close()
    (tmp_path / "keeping").mkdir(mode=0o700)
    content = (tmp_path / "torn").read_bytes()
    (tmp_path / "keeping" / "000000000007.log").write_bytes(content[: max(0, sizes[1] - cut)])
    keeping = make()
    until(lambda: keeping.is_settled)
    assert keeping.find("id-2") == []
    assert keeping.find("id-1") == ([record(1)] if sizes[1] - cut >= sizes[0] else [])


def test_a_death_between_store_and_file_doubles_nothing(
    make: Callable[[], QuickKeeping], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store has them, the file is still there: the next life moves only what is missing."""
    keeping = make()
    monkeypatch.setattr("auditlog.capture.keeping.destroy", lambda _path: None)
    keeping.keep([record(1), record(2)], 1)
    until(lambda: keeping.is_settled)
    keeping.close()
    monkeypatch.undo()
    assert list((tmp_path / "keeping").glob("*.log"))
    again = make()
    until(lambda: again.is_settled)
    assert behind(again).kept == 0
    assert again.find("id-1") == [record(1)]
    until(lambda: not any(files.read_groups(path, KEY) for path in (tmp_path / "keeping").glob("*.log")))


def test_a_full_store_takes_nothing_and_keeps_what_it_has(tmp_path: Path) -> None:
    """The limit counts what is kept here and behind."""
    store = Store(tmp_path / "store", KEY, os.urandom, keep_s=1 << 30, max_bytes=1 << 40)
    keeping = QuickKeeping(tmp_path / "keeping", store, KEY, os.urandom, max_bytes=1000, gate=ForkGate())
    keeping.keep([record(1)], 1)
    with pytest.raises(StoreFullError):
        keeping.keep([record(2, size=2000)], 2)
    assert keeping.find("id-1") == [record(1)]
    keeping.close()


def test_closing_moves_everything_and_leaves_no_file(
    make: Callable[[], QuickKeeping], tmp_path: Path
) -> None:
    """After a clean end the store has all of it; closing twice is fine."""
    keeping = make()
    keeping.keep([record(1)], 1)
    keeping.close()
    assert list((tmp_path / "keeping").glob("*.log")) == []
    assert make().find("id-1") == [record(1)]


def test_many_groups_under_load_are_all_there_once(make: Callable[[], QuickKeeping]) -> None:
    """Files fill up, are moved behind the writer, and nothing is lost or doubled between two of them."""
    keeping = make()
    for number in range(0, 1500, 30):
        keeping.keep([record(n) for n in range(number, number + 30)], number)
    keeping.settle()
    assert behind(keeping).kept == 1500
    assert all(keeping.find(f"id-{n}") == [record(n)] for n in range(0, 1500, 97))
