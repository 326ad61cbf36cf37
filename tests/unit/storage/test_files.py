"""Files keep the contract, and what a crash leaves behind is swept and never shown."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from auditlog.errors import StorageError
from auditlog.storage.files import FileStore, locked, write_durably
from tests.unit.storage.contract import StorageContract


class TestFileStore(StorageContract):
    """`FileStore`."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> FileStore:
        """An empty store."""
        return FileStore(tmp_path / "deep" / "log")


def test_the_root_holds_objects_and_nothing_else(tmp_path: Path) -> None:
    """After writes of every kind no temporary file is below the root, which may be served to the world."""
    store = FileStore(tmp_path / "log")
    store.put_new_all([(f"tile/0/{n:03d}", b"x") for n in range(9)])
    store.replace("checkpoint", b"one")
    files = {path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file()}
    assert files == {*(f"tile/0/{n:03d}" for n in range(9)), "checkpoint"}
    assert list((tmp_path / ".log.tmp").iterdir()) == []


def test_old_leftovers_are_swept_and_fresh_ones_kept(tmp_path: Path) -> None:
    """Opening removes temporary files of a dead process, and leaves those that may be in use."""
    FileStore(tmp_path / "log")
    old, fresh = tmp_path / ".log.tmp" / "old", tmp_path / ".log.tmp" / "fresh"
    for path in (old, fresh):
        path.write_bytes(b"half an object")
    os.utime(old, (1, 1))
    FileStore(tmp_path / "log")
    assert not old.exists()
    assert fresh.exists()


def test_every_write_is_synced_before_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is fsynced before it gets its name, and its directory after."""
    store = FileStore(tmp_path / "log")
    store.put_new("tile/0/000", b"first, so that the directories exist")
    calls: list[str] = []
    for name in ("fsync", "link"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *args, real=real, name=name: (calls.append(name), real(*args))[1]
        )
    store.put_new("tile/0/001", b"second")
    assert calls == ["fsync", "link", "fsync"]


def test_many_objects_are_all_synced_before_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects written together wait together; their directory is synced after the last has its name."""
    store = FileStore(tmp_path / "log")
    store.put_new("tile/0/000", b"first, so that the directories exist")
    calls: list[str] = []

    def fsync(fd: int, real: Callable[[int], None] = os.fsync) -> None:
        real(fd)
        calls.append("fsync")

    def link(old: str, new: str, real: Callable[[str, str], None] = os.link) -> None:
        calls.append("link")
        real(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    store.put_new_all([(f"tile/0/{n:03d}", b"x" * n) for n in range(1, 21)])
    assert calls == ["fsync"] * 20 + ["link"] * 20 + ["fsync"]
    assert store.get("tile/0/020") == b"x" * 20


def test_an_object_that_cannot_be_synced_is_named_in_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several written together: nothing is stored, and no temporary file stays."""
    store = FileStore(tmp_path / "log")
    store.put_new("tile/0/000", b"first, so that the directories exist")

    def fsync(fd: int, real: Callable[[int], None] = os.fsync) -> None:
        if os.fstat(fd).st_size == 7:
            raise OSError(5, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match=r"creating tile/0/007: .* Input/output error"):
        store.put_new_all([(f"tile/0/{n:03d}", b"x" * n) for n in range(1, 10)])
    assert store.list() == ["tile/0/000"]
    assert list((tmp_path / ".log.tmp").iterdir()) == []


def test_a_full_disk_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the system names the object and leaves no temporary file."""
    store = FileStore(tmp_path / "log")

    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageError, match=r"creating tile/0/000: .* No space left"):
        store.put_new("tile/0/000", b"x")
    assert store.get("tile/0/000") is None
    assert list((tmp_path / ".log.tmp").iterdir()) == []


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that takes a few bytes at a time still stores the whole object."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, view: real(fd, bytes(view[:3])))
    store = FileStore(tmp_path / "log")
    store.put_new("a", b"0123456789")
    write_durably(tmp_path / "b", b"0123456789")
    assert store.get("a") == (tmp_path / "b").read_bytes() == b"0123456789"


def test_one_file_is_replaced_durably(tmp_path: Path) -> None:
    """`write_durably` makes the directory, replaces the file and leaves nothing else."""
    path = tmp_path / "outside" / "high-water"
    write_durably(path, b"one")
    write_durably(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_an_empty_partial_folder_goes_with_its_last_object(tmp_path: Path) -> None:
    """Deleting the last partial tile removes its folder, so that the tree stays as small as the log."""
    store = FileStore(tmp_path / "log")
    store.put_new("tile/0/000.p/5", b"x")
    store.delete("tile/0/000.p/5")
    assert not (store.root / "tile/0/000.p").exists()
    store.put_new("tile/0/000.p/6", b"y")
    assert store.get("tile/0/000.p/6") == b"y"


def test_a_folder_that_a_dead_process_made_is_made_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have died between making it and syncing the one above: what is put in it must not vanish."""
    (tmp_path / "root" / "tile" / "0").mkdir(parents=True)
    synced: list[str] = []
    for module in ("files", "ahead"):
        monkeypatch.setattr(f"auditlog.storage.{module}.sync_dir", synced.append)
    FileStore(tmp_path / "root").put_new("tile/0/000", b"x")
    assert synced == [str(tmp_path / "root" / below) for below in ("", "tile", "tile/0")]


def test_a_lock_that_another_holds_is_waited_for_in_bounded_time(tmp_path: Path) -> None:
    """A process that froze with it is named as the cause, instead of a silence without end."""
    path = tmp_path / "lock"
    held = pytest.raises(StorageError, match="another process holds it")
    with locked(path), held, locked(path, wait_s=0.01):
        pass
    with locked(path, wait_s=0.01):
        pass
