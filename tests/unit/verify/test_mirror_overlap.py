"""Mirrors that overlap: the checkpoint of the copy never goes back, and what it needs is never removed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from auditlog.cli.main import run
from auditlog.errors import InconsistentLogError
from auditlog.storage.alone import ALONE, alone
from auditlog.storage.buckets import BucketStore
from auditlog.storage.files import FileStore
from auditlog.storage.memory import MemoryStore
from auditlog.verify.fsck import fsck
from auditlog.verify.mirror import Mirrored, MirrorTarget, mirror
from auditlog.verify.sources import FolderSource
from tests.support.memory_source import MemorySource
from tests.support.pruned_log import MINIMUM, pruned_log
from tests.support.seaweed import BUCKET, SeaweedServer
from tests.support.tlog_writer import log_files, log_signer, numbered_entries, write_log

VKEY = log_signer().vkey
SIZES = [0, 1, 255, 256, 300, 303, 603, 700, 66_000]


def _log(size: int) -> MemorySource:
    return MemorySource(log_files(numbered_entries(size)))


class Meanwhile:
    """A target on which other things happen just before a write of this path, once."""

    def __init__(self, inner: MirrorTarget, path: str, happens: Callable[[], object]) -> None:
        self._inner, self._path, self._happens = inner, path, happens
        self.get, self.put_new_all, self.delete = inner.get, inner.put_new_all, inner.delete

    def replace_unless(self, path: str, data: bytes, keeps: Callable[[bytes], bool]) -> bool:
        """Through."""
        if path == self._path:
            self._path = ""
            self._happens()
        return self._inner.replace_unless(path, data, keeps)


def _overlap(target: MirrorTarget, first: int, own: int, other: int) -> Mirrored:
    """A copy at `first`; a run to `own` stands before its last step while a run to `other` is whole."""
    if first:
        mirror(_log(first), target, VKEY)
    meanwhile = Meanwhile(target, "checkpoint", lambda: mirror(_log(other), target, VKEY))
    return mirror(_log(own), meanwhile, VKEY)


@pytest.mark.parametrize(("first", "own", "other"), [
    (300, 300, 603), (300, 303, 603), (0, 300, 303), (255, 256, 300), (300, 700, 603), (1, 66_000, 700),
    (300, 700, 700), (700, 700, 66_000),
])  # fmt: skip
def test_the_largest_checkpoint_stands_whoever_ends_last(first: int, own: int, other: int) -> None:
    """The copy is whole at the larger size, and the run that was overtaken says what it found."""
    target, newest = MemoryStore(), max(own, other)
    done = _overlap(target, first, own, other)
    assert (done.size, done.copy_size) == (own, newest)
    files = log_files(numbered_entries(newest))
    assert target.objects["checkpoint"] == files["checkpoint"]
    assert {path: target.objects[path] for path in files} == files
    assert fsck(MemorySource(target.objects), VKEY).tree_size == newest
    if own >= other:
        assert target.objects == files


def test_in_a_folder_and_in_a_bucket(tmp_path: Path, seaweed: SeaweedServer) -> None:
    """The stores that copies are made to, without a lock."""
    bucket = BucketStore(f"s3://{BUCKET}/mirror-overlap", seaweed.access)
    for target in (FileStore(tmp_path / "copy"), bucket):
        assert _overlap(target, 300, 300, 603).copy_size == 603
        copy = MemorySource({path: target.get(path) or b"" for path in target.list()})
        report = fsck(copy, VKEY)
        assert (report.exit_code, report.tree_size) == (0, 603)


def test_another_history_that_came_meanwhile_is_told() -> None:
    """Whether it is as large or smaller: both checkpoints are shown, and what is there is left."""
    for size in (300, 200):
        other = log_files([b"another", *numbered_entries(size)[1:]])["checkpoint"]
        target = MemoryStore()
        forked = Meanwhile(target, "checkpoint", partial(target.replace, "checkpoint", other))
        with pytest.raises(InconsistentLogError) as caught:
            mirror(_log(300), forked, VKEY)
        assert other.decode() in {caught.value.smaller, caught.value.larger}
        assert target.objects["checkpoint"] == other


def test_a_copy_that_grows_while_the_source_is_read_is_no_rollback() -> None:
    """What another run has put after this one read its checkpoint is not held against the log."""
    target = MemoryStore()

    class Slow(MemorySource):
        def fetch(self, path: str) -> bytes:
            found = super().fetch(path)
            if path == "checkpoint":
                mirror(_log(603), target, VKEY)
            return found

    assert mirror(Slow(_log(300).files), target, VKEY).copy_size == 603


def test_a_newer_retention_document_stays() -> None:
    """One that another run has put is not replaced by an older one; an older one is."""
    log = pruned_log()
    newer = log.files()["retention"]
    older = log.retold(minimum=MINIMUM - 256)
    for first, then in ((newer, older), (older, newer)):
        target = MemoryStore()
        late = Meanwhile(target, "retention", partial(target.replace, "retention", first))
        source = MemorySource({**log.before, "retention": then})
        source.files["checkpoint"] = log.files()["checkpoint"]
        mirror(source, late, log.vkey)
        assert target.objects["retention"] == newer


def test_sizes_that_share_a_partial_object_share_it_with_those_between() -> None:
    """Why the run whose checkpoint stands removes nothing that a larger one needs."""
    for low, middle, high in ((a, b, c) for a in SIZES for b in SIZES for c in SIZES if a <= b <= c):
        partials = [{path for path in log_paths(size) if ".p/" in path} for size in (low, middle, high)]
        assert partials[0] & partials[2] <= partials[1]


def log_paths(size: int) -> set[str]:
    """The paths of a log of this size."""
    if size not in _PATHS:
        _PATHS[size] = set(log_files(numbered_entries(size)))
    return _PATHS[size]


_PATHS: dict[int, set[str]] = {}

_HOLDER = """
import sys
from pathlib import Path
from auditlog.storage.alone import alone
with alone(Path(sys.argv[1]), "mirror"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_folder_is_one_run_s_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By whatever name it is called. The lock is beside the copy; that of a process that died is nobody's."""
    write_log(tmp_path / "log", numbered_entries(300))
    (tmp_path / "link").symlink_to(tmp_path / "copy")
    command = ["mirror", str(tmp_path / "log"), str(tmp_path / "link"), "--vkey", VKEY]
    assert run(command) == 0
    write_log(tmp_path / "log", numbered_entries(400))
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path / "copy")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        capsys.readouterr()
        assert run(command) == 3
        assert f"auditlog mirror, process {holder.pid} on" in capsys.readouterr().err
        assert fsck(FolderSource(tmp_path / "copy"), VKEY).tree_size == 300
    finally:
        holder.kill()
        holder.communicate()
    assert run(command) == 0
    assert fsck(FolderSource(tmp_path / "copy"), VKEY).tree_size == 400
    assert not list((tmp_path / "copy").rglob(ALONE))


def test_the_lock_outlives_the_sweep_of_old_files(tmp_path: Path) -> None:
    """A store that is opened an hour later leaves the file that a long run holds."""
    FileStore(tmp_path / "copy")
    lock = tmp_path / ".copy.tmp" / ALONE
    with alone(tmp_path / "copy", "mirror"):
        os.utime(lock, (0, 0))
        FileStore(tmp_path / "copy")
        assert lock.exists()
