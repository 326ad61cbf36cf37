"""A mirror copies what was signed and nothing else, goes on where it stopped, follows no second history."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from auditlog.cli.main import run
from auditlog.errors import (
    ImmutableObjectError,
    InconsistentLogError,
    MalformedError,
    SourceError,
    StorageError,
    VerificationError,
)
from auditlog.storage.memory import Fault, MemoryStore
from auditlog.verify.fsck import fsck
from auditlog.verify.mirror import mirror
from tests.support.memory_source import MemorySource
from tests.support.tlog_writer import log_files, log_signer, numbered_entries, write_log

VKEY = log_signer().vkey


def _log(size: int) -> MemorySource:
    return MemorySource(log_files(numbered_entries(size)))


@pytest.mark.parametrize("sizes", [(1,), (255, 256, 257), (700, 700, 66_000)])
def test_a_copy_is_the_log_byte_for_byte(sizes: tuple[int, ...]) -> None:
    """At each size the copy has the files of the log and no others, and what it has is not fetched again."""
    target = MemoryStore()
    for before, size in itertools.pairwise((0, *sizes)):
        source = _log(size)
        done = mirror(source, target, VKEY)
        assert target.objects == source.files
        assert (done.old_size, done.size, done.has_entries) == (before, size, True)
        below = {f"tile/entries/{n:03d}" for n in range(before // 256)}
        assert not below & set(source.asked)
    assert mirror(_log(sizes[-1]), target, VKEY).copied <= 8


def test_a_copy_that_stopped_goes_on() -> None:
    """Whichever write fails, the old checkpoint stays, and the next run fetches only what is left."""
    source, small = _log(6000), _log(300)
    for stop in range(1, 60, 7):
        target, written = MemoryStore(), itertools.count()
        mirror(small, target, VKEY)

        target.fault = lambda operation, _, written=written, stop=stop: (
            Fault.REFUSED if operation != "delete" and next(written) == stop else None
        )
        try:
            mirror(source, target, VKEY)
        except StorageError:
            assert target.objects["checkpoint"] == small.files["checkpoint"]
            assert all(small.files[path] == target.objects[path] for path in small.files)
        target.fault = None
        again = MemorySource(source.files)
        mirror(again, target, VKEY)
        assert fsck(MemorySource(target.objects), VKEY).exit_code == 0
        assert set(source.files) == set(target.objects)
        assert len(again.asked) <= max(8, len(source.files) + 4 - stop)


@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/001.p/44", "tile/entries/000", "tile/1/000.p/1"])
def test_a_changed_byte_is_not_copied(path: str) -> None:
    """What does not hang on the signed root ends the run before the checkpoint of the copy moves."""
    source, target = _log(300), MemoryStore()
    source.files[path] = source.files[path][:-1] + bytes([source.files[path][-1] ^ 1])
    with pytest.raises(VerificationError):
        mirror(source, target, VKEY)
    assert "checkpoint" not in target.objects
    assert path not in target.objects


def test_other_bytes_in_the_copy_are_left_alone() -> None:
    """A copy that holds something else is not repaired and not believed."""
    target = MemoryStore()
    target.objects["tile/0/000"] = b"something else"
    with pytest.raises(ImmutableObjectError):
        mirror(_log(300), target, VKEY)
    assert target.objects["tile/0/000"] == b"something else"


def test_a_second_history_is_refused_with_both_checkpoints() -> None:
    """A fork at any size and a rewind stop the copy; the error carries what the log signed."""
    honest, target = _log(600), MemoryStore()
    mirror(honest, target, VKEY)
    kept = dict(target.objects)
    other = [b"another", *numbered_entries(900)[1:]]
    for files in (log_files(other), log_files(other[:600]), log_files(numbered_entries(599))):
        with pytest.raises(InconsistentLogError) as caught:
            mirror(MemorySource(files), target, VKEY)
        notes = {caught.value.smaller, caught.value.larger}
        assert notes == {honest.files["checkpoint"].decode(), files["checkpoint"].decode()}
        assert target.objects == kept


def test_a_folder_of_another_log_is_not_taken_over() -> None:
    """The copy of one log never becomes that of another, and garbage is not replaced."""
    target = MemoryStore()
    mirror(_log(10), target, VKEY)
    other = log_signer("other.example/test")
    with pytest.raises((MalformedError, VerificationError)):
        mirror(MemorySource(log_files(numbered_entries(20), other)), target, other.vkey)


def test_hashes_are_copied_where_entries_are_withheld() -> None:
    """Without bundles the copy is the tree alone; with a token later, the entries below are fetched too."""
    files = log_files(numbered_entries(700))
    source, target = MemorySource(files), MemoryStore()
    source.refused = {path for path in files if "entries" in path}
    assert not mirror(source, target, VKEY).has_entries
    assert set(target.objects) == set(files) - source.refused
    assert mirror(MemorySource(files), target, VKEY).has_entries
    assert target.objects == files
    gone = MemorySource(files)
    gone.down = True
    with pytest.raises(SourceError):
        mirror(gone, target, VKEY)


def test_the_command_copies_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Folder to folder, twice; then a fork, which exits 1 and shows both checkpoints."""
    write_log(tmp_path / "log", numbered_entries(300))
    command = ["mirror", str(tmp_path / "log"), str(tmp_path / "copy"), "--vkey", VKEY]
    assert run(command) == 0
    assert run([*command, "--json"]) == 0
    write_log(tmp_path / "log", [b"x", *numbered_entries(400)])
    capsys.readouterr()
    assert run(command) == 1
    assert capsys.readouterr().out.count("\n— log.example/test ") == 2
    assert run(["fsck", str(tmp_path / "copy"), "--vkey", VKEY]) == 0
