"""Backups: taken of a busy log, put into an empty place, and refused a second life beside the first."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from auditlog.cli.main import run
from auditlog.core.entry import parse_entry
from auditlog.errors import AuditLogError, ConfigurationError, RollbackError
from auditlog.service.backup import back_up, read_manifest
from auditlog.service.opening import EngineOpener
from auditlog.service.restore import restore
from auditlog.service.settings import Settings
from auditlog.storage.sql import schema
from auditlog.storage.sql.export import KEPT
from auditlog.verify.fsck import fsck
from auditlog.verify.sources import FolderSource
from tests.support.live_service import LiveService, create_logs, live_service, write_config


def settings_in(folder: Path, **paths: Path) -> Settings:
    """A service with one log whose entries are not public."""
    settings = Settings.load(write_config(folder, visibilities=["hashes"]), {})
    log = settings.logs[0].model_copy(update=paths)
    return settings.model_copy(update={"logs": [log]})


def write_batches(service: LiveService, name: str, count: int) -> int:
    """Acknowledged entries of one producer, `count` batches of them."""
    producer, _ = service.enrol("hashes", name)
    acknowledged = 0
    for number in range(count):
        entries = [producer.start()] if not number else []
        entries += [producer.decide(number * 40 + n) for n in range(40)]
        assert service.post_batch("hashes", producer, entries).status == 200
        acknowledged += len(entries)
    return acknowledged


def _fsck(settings: Settings, size: int) -> None:
    """The stores hold a whole log of this size: hashes and bundles laid together."""
    paths = settings.paths(settings.logs[0])
    whole = paths.public_dir.parent / "whole"
    shutil.copytree(paths.private_dir, whole)
    shutil.copytree(paths.public_dir, whole, dirs_exist_ok=True)
    vkey = _vkey(settings)
    report = fsck(FolderSource(whole), vkey)
    assert (report.exit_code, report.tree_size) == (0, size), report.lines()


def _vkey(settings: Settings) -> str:
    from auditlog.service.secretfiles import read_log_key

    log = settings.logs[0]
    return read_log_key(settings.paths(log).key_file, log.origin).vkey


def guard_of(settings: Settings) -> Path:
    """Where the high-water mark of the log is."""
    guard = settings.paths(settings.logs[0]).high_water_file
    assert guard is not None
    return guard


def open_once(settings: Settings) -> list[dict[str, object]]:
    """Start the log once; the bodies of the notices in it."""
    opener = EngineOpener(settings)
    try:
        opener.start()
        log = opener.open(settings.logs[0])
        log.index.follow()
        entries = [parse_entry(data) for data in log.reader.entries(0, log.tree_size)]
        log.close()
    finally:
        opener.close()
    return [entry.body for entry in entries if entry.kind == "notice"]


def test_a_backup_of_a_busy_log_comes_back_whole(tmp_path: Path) -> None:
    """Taken under load, twice into one folder; restored it is whole, says so, and fsck finds nothing.

    Once the original has gone on, the guard refuses the restored one.
    """
    first = settings_in(tmp_path / "first")
    create_logs(first)
    log, folder = first.logs[0], tmp_path / "backup"
    with live_service(first) as service:
        writers = [threading.Thread(target=write_batches, args=(service, f"host-{n}", 12)) for n in range(2)]
        for writer in writers:
            writer.start()
        sizes = [back_up(first, log, folder, with_keys=True).size for _ in range(3)]
        for writer in writers:
            writer.join()
        assert sizes == sorted(sizes)
        last = back_up(first, log, folder)
    assert fsck(FolderSource(folder / "tree"), _vkey(first)).exit_code == 0
    assert len(list(folder.glob("state-*"))) == len(list((folder / "staging").iterdir())) == 1
    guard = guard_of(first)
    second = settings_in(tmp_path / "second", high_water_file=guard)
    assert restore(second, second.logs[0], folder) == last
    assert not (second.paths(second.logs[0]).public_dir / "checkpoint").exists()
    assert [body["what"] for body in open_once(second)] == ["restored"]
    _fsck(second, last.size + 1)
    assert [body["what"] for body in open_once(second)] == ["restored"]
    # The restored log has signed since: now the original is the one that is behind.
    with pytest.raises(RollbackError):
        open_once(first)
    third = settings_in(tmp_path / "third", high_water_file=guard)
    restore(third, third.logs[0], folder)
    with pytest.raises(RollbackError):
        open_once(third)
    assert not (third.paths(third.logs[0]).public_dir / "checkpoint").exists()


def test_a_restore_takes_an_empty_place_and_its_own_backup_only(tmp_path: Path) -> None:
    """Nothing is put over a log, nothing from another log's backup, and nothing without the key."""
    first = settings_in(tmp_path / "first")
    create_logs(first)
    folder = tmp_path / "backup"
    back_up(first, first.logs[0], folder)
    with pytest.raises(ConfigurationError, match="found one"):
        restore(first, first.logs[0], folder)
    second = settings_in(tmp_path / "second")
    with pytest.raises(ConfigurationError, match="secret of the log"):
        restore(second, second.logs[0], folder)
    other = second.logs[0].model_copy(update={"origin": "other.example.org/log"})
    with pytest.raises(ConfigurationError, match="expected a backup of"):
        restore(second, other, folder)
    with pytest.raises(ConfigurationError, match="expected a new folder"):
        back_up(first, first.logs[0], tmp_path)


@pytest.mark.parametrize("damaged", ["state-*.jsonl", "tree/tile/entries/000", "staging/*", "backup.json"])
def test_a_damaged_backup_is_not_restored(tmp_path: Path, damaged: str) -> None:
    """One changed byte, and no log comes of it: refused at once, or before anything is signed."""
    first = settings_in(tmp_path / "first")
    create_logs(first)
    folder = tmp_path / "backup"
    with live_service(first) as service:
        write_batches(service, "host", 8)
    back_up(first, first.logs[0], folder, with_keys=True)
    (path,) = folder.glob(damaged)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    second = settings_in(tmp_path / "second", high_water_file=guard_of(first))
    with pytest.raises(AuditLogError):  # noqa: PT012  whichever of the two finds it
        restore(second, second.logs[0], folder)
        open_once(second)
    assert not (second.paths(second.logs[0]).public_dir / "checkpoint").exists()


def test_the_commands_back_up_and_restore(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A log made by `init` goes into a folder, and from there into another place; keys only when told."""
    first = settings_in(tmp_path / "first")
    create_logs(first)
    config = ["--config", str(tmp_path / "first" / "auditlog.toml")]
    folder = str(tmp_path / "backup")
    assert run(["backup", folder, *config]) == 0
    assert not (tmp_path / "backup" / "keys").exists()
    capsys.readouterr()
    assert run(["backup", folder, "--with-keys", "--json", *config]) == 0
    assert json.loads(capsys.readouterr().out)["keys"] is True
    assert read_manifest(tmp_path / "backup").size == 1
    settings_in(tmp_path / "second")
    again = ["--config", str(tmp_path / "second" / "auditlog.toml")]
    assert run(["restore", folder, *again]) == 0
    assert run(["restore", folder, *again]) == 2


def test_every_table_is_kept_or_derived() -> None:
    """A new table has to be thought of: in backups, or built again, or of the service."""
    derived = {"decision_index", "leaf_index", "model_entry", "gap_entry", "gap_reach", "entry_flag"}
    of_the_service = {"log", "token", "lease"}
    assert set(schema.metadata.tables) == set(KEPT) | derived | {"entry_facet"} | of_the_service


def test_a_backup_without_one_of_its_files_says_which(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A state file that is missing or cannot be read is told with what to do, and exits 3, not as usage."""
    first = settings_in(tmp_path / "first")
    create_logs(first)
    folder = tmp_path / "backup"
    state = folder / back_up(first, first.logs[0], folder, with_keys=True).state
    settings_in(tmp_path / "second")
    command = ["restore", str(folder), "--config", str(tmp_path / "second" / "auditlog.toml")]
    state.rename(tmp_path / "elsewhere")
    for there in (None, "a folder"):
        if there:
            state.mkdir()
        capsys.readouterr()
        assert run(command) == 3
        said = capsys.readouterr().err
        assert f"expected {state.name}, which backup.json names" in " ".join(said.split())
        assert "No log was restored" in " ".join(said.split())
    state.rmdir()
    (tmp_path / "elsewhere").rename(state)
    assert run(command) == 0
