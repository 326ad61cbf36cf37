"""Files that are synced together: each by itself, and durable only if the system said so."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from auditlog.storage.together import sync_together


@pytest.fixture
def fds(tmp_path: Path) -> Iterator[list[int]]:
    """Twenty open files."""
    opened = [os.open(tmp_path / str(number), os.O_CREAT | os.O_WRONLY) for number in range(20)]
    yield opened
    for fd in opened:
        os.close(fd)


def failing_at(which: int, error: BaseException) -> Callable[[int], None]:
    """An fsync that fails for one file."""
    fsync = os.fsync

    def sync(fd: int) -> None:
        if fd == which:
            raise error
        fsync(fd)

    return sync


def test_all_are_durable(fds: list[int]) -> None:
    """One answer for each file, and no thread is left."""
    before = threading.active_count()
    assert sync_together(fds) == [None] * 20
    assert sync_together(fds[:1]) == [None]
    assert sync_together([]) == []
    assert threading.active_count() == before


def test_an_error_is_told_of_its_own_file(fds: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are durable all the same."""
    error = OSError(errno.ENOSPC, "full")
    monkeypatch.setattr(os, "fsync", failing_at(fds[7], error))
    assert sync_together(fds) == [None] * 7 + [error] + [None] * 12


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_nobody_synced_is_not_durable(fds: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that dies of something else leaves its files as not synced: none of them counts as durable."""
    monkeypatch.setattr(os, "fsync", failing_at(fds[3], MemoryError()))
    told = sync_together(fds)
    assert told[3] is not None
    assert told[11] is not None
    assert told[0] is None
