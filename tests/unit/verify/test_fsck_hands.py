"""More hands for fsck: whatever is wrong with a log, the report is that of one process."""

from __future__ import annotations

import functools
import io
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditlog.verify import fsck_hands, fsck_sections, fsck_walk, fsck_worker
from auditlog.verify.fsck import FsckReport, fsck
from auditlog.verify.fsck_hands import Hands, Job
from auditlog.verify.fsck_sections import Section
from auditlog.verify.monitor.prefetch import Ahead
from auditlog.verify.sources import FolderSource, HttpSource
from tests.support.chain_log import sample_log
from tests.support.log_over_http import ServedLog, served
from tests.support.long_log import write_long_log
from tests.support.memory_source import MemorySource
from tests.support.tlog_writer import log_files, log_signer, numbered_entries

VKEY = log_signer().vkey
SIZE = 17_000
"""Three sections, the last with a partial tile."""


@functools.cache
def _files() -> dict[str, bytes]:
    return log_files(sample_log(1500)[0].entries)


class Inline(Hands):
    """Hands whose work is done in this process, over the files of a test."""

    def __init__(self, files: dict[str, bytes], jobs: int) -> None:
        super().__init__()
        self._files, self._workers, self._frames = files, jobs, {}

    def start(self, origin: str, size: int, sections: int, *, with_bundles: bool, minimum: int) -> None:
        """Everything is read at once."""
        for first in range(self._workers):
            out = io.BytesIO()
            job = Job("", None, origin, size, with_bundles, first, self._workers, minimum)
            fsck_worker.work(job, out, MemorySource(self._files))
            data, number = out.getvalue(), first
            while data:
                length = int.from_bytes(data[:4], "big")
                self._frames[number], data = data[4 : 4 + length], data[4 + length :]
                number += self._workers

    def take(self, number: int) -> Section | None:
        """As it came through the pipe."""
        frame = self._frames.get(number)
        return msgspec.msgpack.decode(frame, type=Section) if frame else None


def told(report: FsckReport) -> dict[str, Any]:
    """The whole report."""
    return report.to_json()


_objects = st.one_of(
    st.binary(max_size=80),
    st.just(None),
    st.integers(0, 300),
    st.tuples(st.integers(0, 8000), st.integers(1, 255)),
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(set(_files()) - {"checkpoint"})), _objects, max_size=5))
def test_any_damage_gives_the_same_report(changes: dict[str, Any]) -> None:
    """Replaced, cut, flipped and missing objects, sections of one tile each, three processes."""
    files = dict(_files())
    for path, change in changes.items():
        if change is None:
            del files[path]
        elif isinstance(change, bytes):
            files[path] = change
        elif isinstance(change, int):
            files[path] = files[path][:change]
        else:
            at = change[0] % len(files[path])
            files[path] = files[path][:at] + bytes([files[path][at] ^ change[1]]) + files[path][at + 1 :]
    with pytest.MonkeyPatch.context() as patch:
        for module in (fsck_sections, fsck_walk, fsck_worker):
            patch.setattr(module, "SECTION_TILES", 1)
        alone = told(fsck(MemorySource(files), VKEY))
        assert told(fsck(MemorySource(files), VKEY, hands=Inline(files, 3))) == alone
    assert (alone["exit_code"] == 0) == (files == _files())
    # Whatever the size of a section: the same too.
    assert told(fsck(MemorySource(files), VKEY)) == alone


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A long log on disk."""
    folder = tmp_path_factory.mktemp("log")
    write_long_log(folder, SIZE)
    return folder


@pytest.fixture(autouse=True)
def _always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are started for any log."""
    monkeypatch.setattr(fsck_hands, "WORTHWHILE_SECTIONS", 1)


def test_two_processes_give_the_report_of_one(folder: Path) -> None:
    """Clean, with everything counted; heads in heartbeats are compared."""
    alone = fsck(FolderSource(folder), VKEY)
    assert alone.exit_code == 0
    assert "heads in heartbeats are covered" in alone.step("heads").detail
    assert told(fsck(FolderSource(folder), VKEY, hands=Hands(str(folder), jobs=2))) == told(alone)


@pytest.mark.parametrize("path", ["tile/0/040", "tile/entries/033", "tile/1/000.p/66"])
def test_damage_on_disk_is_named_alike(folder: Path, tmp_path: Path, path: str) -> None:
    """A flipped bit, and the file gone."""
    bad = tmp_path / "bad"
    shutil.copytree(folder, bad)
    content = (bad / path).read_bytes()
    (bad / path).write_bytes(content[:99] + bytes([content[99] ^ 1]) + content[100:])
    for _ in range(2):
        alone = fsck(FolderSource(bad), VKEY)
        assert alone.exit_code == 1
        assert told(fsck(FolderSource(bad), VKEY, hands=Hands(str(bad), jobs=2))) == told(alone)
        (bad / path).unlink(missing_ok=True)


def test_a_log_over_http_is_read_by_two_processes(folder: Path) -> None:
    """Through connections of their own; the partial end, and what is refused, by the judge."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    source = MemorySource(files)
    with served(ServedLog(source)) as log:
        for refused in (set(), {"tile/entries/035"}):
            source.refused = refused
            with HttpSource(log.url) as far:
                report = fsck(Ahead(far), VKEY, hands=Hands(log.url, jobs=2))
                assert told(report) == told(fsck(far, VKEY))
            assert report.exit_code == (3 if refused else 0)


def test_processes_that_die_or_never_were_are_done_without(folder: Path, tmp_path: Path) -> None:
    """Killed at the start, no Python, or a log they cannot find: the same report."""

    class Killed(Hands):
        """Dead before their first section."""

        def start(self, *args: Any, **named: Any) -> None:
            """Start and kill."""
            super().start(*args, **named)
            for worker in self._at_work:
                assert worker is not None
                os.kill(worker._process.pid, signal.SIGKILL)

    alone = told(fsck(FolderSource(folder), VKEY))
    for hands in (
        Killed(str(folder), jobs=2),
        Hands(str(folder), jobs=2, python="/nonexistent/python"),
        Hands(str(tmp_path / "nothing"), jobs=2),
    ):
        assert told(fsck(FolderSource(folder), VKEY, hands=hands)) == alone


def test_a_foreign_log_needs_no_chains(tmp_path: Path) -> None:
    """Entries of another kind, by two processes: counted, and the tree is right."""
    for path, content in log_files(numbered_entries(SIZE)).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    report = fsck(FolderSource(tmp_path), VKEY, hands=Hands(str(tmp_path), jobs=2))
    assert (report.exit_code, report.other_entries, report.ours) == (0, SIZE, False)
