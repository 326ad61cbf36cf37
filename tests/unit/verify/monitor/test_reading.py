"""The reader beside the judge: nothing but the time it takes depends on it."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from auditlog.core.checkpoint import Checkpoint
from auditlog.errors import SourceError
from auditlog.verify.monitor import lean, reading
from auditlog.verify.monitor.clocks import Limits
from auditlog.verify.monitor.lean import LeanSource
from auditlog.verify.monitor.reading import Readers, Reading
from auditlog.verify.sources import FolderSource, HttpSource, LogSource
from tests.support.memory_source import MemorySource
from tests.support.monitor_world import Bench, comparable, eventful
from tests.support.tlog_writer import ORIGIN

WORLD = eventful()
LIMITS = Limits(anchor_s=1e9, stale_s=1e9, slack_s=1e9)
TOKEN = "a-token"


def write(source: MemorySource, folder: Path) -> Path:
    """What is served, as files."""
    for path, content in source.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The eventful log on disk."""
    return write(WORLD.serve(), tmp_path_factory.mktemp("log"))


@pytest.fixture(autouse=True)
def _always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers are started for any log, on any machine."""
    monkeypatch.setattr(reading, "WORTHWHILE_TILES", 1)
    monkeypatch.setattr(reading, "usable_cores", lambda: 2)


def judged(state: Path, source: LogSource, readers: Readers | None) -> dict[str, Any]:
    """What one look gives."""
    bench = Bench(state, WORLD.trust(0), source, origin=ORIGIN, limits=LIMITS, readers=readers)
    status = bench.look()
    found = comparable(bench) | {"unread": status.unread, "current": status.is_current}
    bench.close()
    return found


class Counted(Readers):
    """Readers whose pieces are counted, and that can be killed after some."""

    def __init__(self, target: str, token: str | None = None, *, killed_after: int = -1) -> None:
        super().__init__(target, token)
        self.pieces, self.killed_after = 0, killed_after

    def start(self, checkpoint: Checkpoint, first: int) -> Reading | None:
        """One whose `take` counts."""
        found = super().start(checkpoint, first)
        assert found is not None
        take = found.take

        def counting(number: int) -> Any:
            if self.pieces == self.killed_after:
                os.kill(found._process.pid, signal.SIGKILL)
                found._process.wait()
                while take(number) is not None:
                    number += 1
                return None
            piece = take(number)
            self.pieces += piece is not None
            return piece

        found.take = counting  # type: ignore[method-assign]
        return found


def test_what_is_judged_is_the_same_with_a_reader(folder: Path, tmp_path: Path) -> None:
    """Every alarm, every producer's state, every count."""
    alone = judged(tmp_path / "alone", FolderSource(folder), None)
    readers = Counted(str(folder))
    assert judged(tmp_path / "two", FolderSource(folder), readers) == alone
    assert readers.pieces == len(WORLD.entries) // 256
    assert alone["alarms"]


@pytest.mark.parametrize("after", [0, 1])
def test_a_reader_that_dies_is_done_without(folder: Path, tmp_path: Path, after: int) -> None:
    """Killed before its first piece or after some: the judge reads the rest."""
    alone = judged(tmp_path / "alone", FolderSource(folder), None)
    readers = Counted(str(folder), killed_after=after)
    assert judged(tmp_path / "two", FolderSource(folder), readers) == alone
    assert readers.pieces == after


def test_without_a_second_process_there_is_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No Python to start, a log that the reader cannot find, or one core: the same."""
    alone = judged(tmp_path / "alone", FolderSource(folder), None)
    for number, readers in enumerate(
        [Readers(str(folder), python="/nonexistent/python"), Readers(str(tmp_path / "nothing"))]
    ):
        assert judged(tmp_path / str(number), FolderSource(folder), readers) == alone
    monkeypatch.setattr(reading, "usable_cores", lambda: 1)
    assert Readers(str(folder)).start(Checkpoint(ORIGIN, 10_000, bytes(32)), 0) is None


def test_a_reader_that_hangs_is_done_without(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that says nothing is not waited for beyond its time."""
    monkeypatch.setattr(reading, "PATIENCE_S", 0.05)
    monkeypatch.setattr(Readers, "start", _silent)
    alone = judged(tmp_path / "alone", FolderSource(folder), None)
    assert judged(tmp_path / "two", FolderSource(folder), Readers(str(folder))) == alone


def _silent(_self: Readers, _checkpoint: Checkpoint, _first: int) -> Reading:
    return Reading(subprocess.Popen(["/bin/sleep", "60"], stdout=subprocess.PIPE))


@pytest.mark.parametrize("path", ["tile/0/001", "tile/entries/001"])
def test_lies_are_found_with_a_reader_too(folder: Path, tmp_path: Path, path: str) -> None:
    """A changed tile or bundle: the same alarm with the same words, and the same standing."""
    bad = write(WORLD.serve(), tmp_path / "bad")
    content = (bad / path).read_bytes()
    (bad / path).write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    alone = judged(tmp_path / "alone", FolderSource(bad), None)
    assert judged(tmp_path / "two", FolderSource(bad), Readers(str(bad))) == alone
    assert any(word == "tiles_mismatch" for _, word, _ in alone["alarms"])


class Guarded(SimpleHTTPRequestHandler):
    """Files for whoever has the token."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Refuse, or serve."""
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.send_error(403)
        elif self.path.endswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/checkpoint")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silence."""


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    """The log behind HTTP, with a token."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Guarded, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_over_http_it_is_the_same_and_no_token_is_in_sight(
    folder: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader gets the token on its standard input, and nowhere that other users of the machine see."""
    started: list[Any] = []
    start = subprocess.Popen

    def watched(command: list[str], **options: Any) -> Any:
        started.append((command, options.get("env")))
        return start(command, **options)

    monkeypatch.setattr(subprocess, "Popen", watched)
    alone = judged(tmp_path / "alone", FolderSource(folder), None)
    readers = Counted(url, TOKEN)
    assert judged(tmp_path / "two", HttpSource(url, TOKEN), readers) == alone
    assert readers.pieces == len(WORLD.entries) // 256
    assert len(started) == 1
    assert TOKEN not in str(started)


def test_the_lean_client_gives_objects_or_source_errors(
    folder: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One object after another over one connection; no redirection, no other scheme, nothing too large."""
    source = LeanSource(url, TOKEN)
    for path in ("checkpoint", "tile/entries/000", "checkpoint"):
        assert source.fetch(path) == (folder / path).read_bytes()
    for bad in ("missing", "moved"):
        with pytest.raises(SourceError):
            source.fetch(bad)
    without = LeanSource(url)
    with pytest.raises(SourceError):
        without.fetch("checkpoint")
    without.close()
    monkeypatch.setattr(lean, "MAX_OBJECT_BYTES", 10)
    with pytest.raises(SourceError):
        source.fetch("checkpoint")
    source.close()
    for wrong in ("ftp://example.org", "http://", "http://user:word@example.org"):
        with pytest.raises(SourceError):
            LeanSource(wrong)
    with pytest.raises(SourceError):
        LeanSource("http://127.0.0.1:1").fetch("checkpoint")
