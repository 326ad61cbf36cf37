"""Backup and restore die before any of their writes: the backup before stays good, the restore goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from auditlog.errors import AuditLogError
from auditlog.service import backup, restore
from auditlog.service.settings import Settings
from auditlog.storage.files import FileStore
from auditlog.storage.sql.database import Database
from auditlog.storage.sql.state import SqlState
from tests.integration.test_backup import guard_of, open_once, settings_in, write_batches
from tests.support.live_service import create_logs, live_service


class Died(BaseException):
    """The process is gone. No code of ours may survive it."""


class Mortal:
    """Counts the writes of a run, and dies before one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *places: tuple[Any, str]) -> None:
        self.seen, self.dies_at = 0, -1
        stores = [(FileStore, name) for name in ("put_new_all", "put_new", "replace", "delete")]
        for owner, name in (*places, *stores):
            monkeypatch.setattr(owner, name, self._counting(getattr(owner, name)))

    def _counting(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def mortal(*arguments: Any, **named: Any) -> Any:
            if self.seen == self.dies_at:
                raise Died
            self.seen += 1
            return write(*arguments, **named)

        return mortal

    def run(self, work: Callable[[], Any], dies_at: int = -1) -> bool:
        """Whether it lived."""
        self.seen, self.dies_at = 0, dies_at
        try:
            work()
        except Died:
            return False
        finally:
            self.dies_at = -1
        return True


@pytest.fixture
def first(tmp_path: Path) -> Settings:
    """A log with full tiles, and a backup of it."""
    settings = settings_in(tmp_path / "first")
    create_logs(settings)
    with live_service(settings) as service:
        write_batches(service, "one", 7)
        backup.back_up(settings, settings.logs[0], tmp_path / "backup", with_keys=True)
    return settings


def _place(folder: Path, guard: bytes) -> Settings:
    """Where a restore may go, with a high-water mark of its own."""
    place = settings_in(folder)
    guard_of(place).parent.mkdir(parents=True, exist_ok=True)
    guard_of(place).write_bytes(guard)
    return place


@pytest.mark.parametrize("change", ["grown", "quiesced"])
def test_a_backup_that_dies_leaves_the_one_before_it(
    first: Settings, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it had written into the folder: what restores is the older backup, whole, or the new one."""
    log, before = first.logs[0], backup.read_manifest(tmp_path / "backup").size
    guards = {before: guard_of(first).read_bytes()}
    if change == "grown":
        with live_service(first) as service:
            write_batches(service, "two", 8)
    else:
        database = Database.open(first.database_url)
        SqlState(database, log.origin).set_standing("open", "quiesced")
        database.close()
    mortal = Mortal(monkeypatch, (backup, "_keep"), (backup, "write_durably"), (backup, "_drop_older"))
    step, lived = 0, False
    while not lived:
        folder = shutil.copytree(tmp_path / "backup", tmp_path / f"backup-{step}")
        lived = mortal.run(partial(backup.back_up, first, log, folder), step)
        found = backup.read_manifest(folder)
        place = _place(tmp_path / f"place-{step}", guards.get(found.size, guard_of(first).read_bytes()))
        assert restore.restore(place, place.logs[0], folder) == found
        assert [body["what"] for body in open_once(place)] == ["restored"]
        step += 1
    assert step > 5


def test_a_restore_that_dies_goes_on(
    first: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No log starts from half of it; the same command again finishes it, another backup's is refused."""
    mortal = Mortal(monkeypatch, (restore, "write_durably"), (restore, "load"))
    step, lived = 0, False
    while not lived:
        place = _place(tmp_path / f"place-{step}", guard_of(first).read_bytes())
        again = partial(restore.restore, place, place.logs[0], tmp_path / "backup")
        lived = mortal.run(again, step)
        if not lived:
            with pytest.raises(AuditLogError):
                open_once(place)
            again()
        assert open_once(place)
        step += 1
    assert step > 5
