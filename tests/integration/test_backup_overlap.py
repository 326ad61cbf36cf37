"""Backups of one folder that overlap: one has it to itself, the others change nothing, and none is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from auditlog.cli.main import run
from auditlog.errors import InconsistentLogError, StorageError
from auditlog.service import backup
from auditlog.service.backup import MANIFEST, Manifest, back_up, read_manifest
from auditlog.service.restore import restore
from auditlog.service.settings import Settings
from auditlog.storage.alone import ALONE
from tests.integration.test_backup import settings_in, write_batches
from tests.support.live_service import create_logs, live_service

_SLOW_RUN = """
import sys
from pathlib import Path
from auditlog.service.backup import back_up
from auditlog.service.settings import Settings
def stand(*_):
    print("copying", flush=True)
    sys.stdin.readline()
settings = Settings.load(Path(sys.argv[1]), {})
back_up(settings, settings.logs[0], Path(sys.argv[2]), progress=stand)
"""


def _files(folder: Path) -> dict[str, bytes]:
    """What a folder holds, without its locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ALONE
    }


@pytest.fixture
def first(tmp_path: Path) -> Settings:
    """A log, and a backup of it that is older than the log."""
    settings = settings_in(tmp_path / "first")
    create_logs(settings)
    with live_service(settings) as service:
        write_batches(service, "one", 7)
        back_up(settings, settings.logs[0], tmp_path / "backup", with_keys=True)
        write_batches(service, "two", 7)
    return settings


@contextmanager
def _standing(settings: Settings, folder: Path) -> Iterator[list[Manifest | Exception]]:
    """A run on another thread that has taken its state and copies; it ends with the block, in the list."""
    copying, go, ended = threading.Event(), threading.Event(), list[Manifest | Exception]()

    def stand(*_: int) -> None:
        copying.set()
        assert go.wait(60)

    def work() -> None:
        try:
            ended.append(back_up(settings, settings.logs[0], folder, progress=stand))
        except (StorageError, InconsistentLogError) as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert copying.wait(60)
        yield ended
    finally:
        go.set()
        thread.join()


def _restores(settings: Settings, folder: Path, place: Path) -> Manifest:
    there = settings_in(place)
    return restore(there, there.logs[0], folder)


def test_a_second_run_is_refused_and_nothing_is_lost(first: Settings, tmp_path: Path) -> None:
    """While one copies, another backup and a restore are refused and change nothing; then both go."""
    folder = tmp_path / "backup"
    with _standing(first, folder) as ended:
        with live_service(first) as service:
            write_batches(service, "three", 2)
        before = _files(folder)
        with pytest.raises(StorageError, match=rf"auditlog backup, process {os.getpid()} on .*Nothing was"):
            back_up(first, first.logs[0], folder)
        with pytest.raises(StorageError, match=r"alone .* for auditlog restore"):
            _restores(first, folder, tmp_path / "early")
        assert _files(folder) == before
        assert not (tmp_path / "early" / "data").exists()
    assert ended == [read_manifest(folder)]
    assert _restores(first, folder, tmp_path / "second") == ended[0]
    last = back_up(first, first.logs[0], folder)
    assert isinstance(ended[0], Manifest)
    assert last.size > ended[0].size + 80
    assert _restores(first, folder, tmp_path / "third") == last


def test_where_no_lock_is_kept_the_later_run_stands(
    first: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that began earlier ends with an error, and what the other wrote is left and restores."""
    folder = tmp_path / "backup"
    monkeypatch.setattr(backup, "alone", lambda *_, **__: nullcontext())
    with _standing(first, folder) as ended:
        with live_service(first) as service:
            write_batches(service, "three", 8)
        last = back_up(first, first.logs[0], folder)
    assert isinstance(ended[0], StorageError)
    assert "as it was when this run began" in str(ended[0])
    assert read_manifest(folder) == last
    assert _restores(first, folder, tmp_path / "second") == last


def test_a_larger_backup_whose_tree_is_gone_is_left(first: Settings, tmp_path: Path) -> None:
    """A log that is smaller than what `backup.json` says was rolled back, whatever else is there."""
    folder = tmp_path / "backup"
    last = back_up(first, first.logs[0], folder)
    (folder / MANIFEST).write_bytes(
        (folder / MANIFEST).read_bytes().replace(f'"size": {last.size}'.encode(), b'"size": 100000')
    )
    (folder / "tree" / "checkpoint").unlink()
    with pytest.raises(InconsistentLogError, match="expected at least the 100000 entries"):
        back_up(first, first.logs[0], folder)
    assert read_manifest(folder).size == 100000


def test_processes_that_overlap(first: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second command exits 3 and names the first; the lock of one that was killed is nobody's."""
    folder, config = tmp_path / "backup", str(tmp_path / "first" / "auditlog.toml")
    before = read_manifest(folder)
    slow = subprocess.Popen(
        [sys.executable, "-c", _SLOW_RUN, config, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert slow.stdout is not None
        assert slow.stdout.readline() == "copying\n"
        held = _files(folder)
        for command in ("backup", "restore"):
            assert run([command, str(folder), "--config", config]) == 3
            assert f"auditlog backup, process {slow.pid} on" in capsys.readouterr().err
        assert _files(folder) == held
    finally:
        slow.send_signal(signal.SIGKILL)
        slow.communicate()
    assert read_manifest(folder) == before
    assert _restores(first, folder, tmp_path / "second") == before
    assert run(["backup", str(folder), "--config", config]) == 0
    assert read_manifest(folder).size > before.size


def test_a_backup_is_read_where_nothing_can_be_written(
    first: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a copy without the hidden directory, on a disk that refuses every write to it."""
    folder = tmp_path / "backup"
    (folder / ".tree.tmp" / ALONE).unlink()
    opened = os.open

    def refusing(path: str | Path, flags: int, *rest: int) -> int:
        if flags & os.O_CREAT and str(path).startswith(str(folder)):
            raise OSError(30, "Read-only file system", str(path))
        return opened(path, flags, *rest)

    monkeypatch.setattr(os, "open", refusing)
    assert _restores(first, folder, tmp_path / "second") == read_manifest(folder)
    with pytest.raises(StorageError, match="Read-only"):
        back_up(first, first.logs[0], folder)
