"""The monitor as a process: one command with a URL and a key, killed and started again, told once."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from auditlog.core.cosignature import CosignatureSigner
from auditlog.verify.monitor.beside import checkpoint_path
from tests.support.memory_source import MemorySource
from tests.support.monitor_world import HostWorld, honest
from tests.support.tlog_writer import ORIGIN, log_signer


def write(source: MemorySource, folder: Path) -> None:
    """What is served, as files; the checkpoint last."""
    for path, content in sorted(source.files.items(), key=lambda item: item[0] == "checkpoint"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"{path}.new"
        temporary.write_bytes(content)
        temporary.replace(folder / path)


class Quiet(SimpleHTTPRequestHandler):
    """Files, without a line for each."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silence."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the URL that serves it."""
    folder = tmp_path / "log"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def monitor(url: str, state: Path, *more: str) -> subprocess.Popen[str]:
    """`auditlog monitor URL --vkey KEY`."""
    command = [sys.executable, "-m", "auditlog.cli.main", "monitor", url, "--vkey", log_signer().vkey]
    command += ["--state", str(state), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def once(url: str, state: Path, *more: str) -> tuple[int, dict[str, object]]:
    """One look: exit code and report."""
    process = monitor(url, state, "--once", "--json", *more)
    out, error = process.communicate(timeout=120)
    assert "Traceback" not in error
    return process.returncode, json.loads(out)


def grown(world: HostWorld, folder: Path) -> None:
    """The log goes on."""
    world.answer(20)
    world.beat()
    write(world.serve(), folder)


def test_a_url_and_a_key_are_enough(served: tuple[Path, str], tmp_path: Path) -> None:
    """Exit 0, and what nobody looked at is said; without entries exit 3; a lie is exit 1."""
    folder, url = served
    world = honest()
    write(world.serve(), folder)
    code, report = once(url, tmp_path / "s")
    (log,) = report["logs"]  # type: ignore[misc]
    assert (code, log["entries_size"]) == (0, len(world.entries))
    said = " ".join(log["reservations"])
    assert all(word in said for word in ("no witness", "no other monitor", "no promises", "no anchors"))
    hidden = folder / "tile" / "entries"
    hidden.rename(folder / "hidden")
    code, report = once(url, tmp_path / "t")
    assert code == 3
    assert "the entries were not checked" in report["logs"][0]["unread"][0]  # type: ignore[index]
    (folder / "hidden").rename(hidden)
    world.entries.append(b"no entry")
    grown(world, folder)
    code, report = once(url, tmp_path / "s")
    assert (code, report["new_alarms"]) == (1, [{"origin": ORIGIN, "alarm": "entry_malformed"}])
    assert once(url, tmp_path / "s")[0] == 1


def test_killed_again_and_again_it_tells_everything_once(served: tuple[Path, str], tmp_path: Path) -> None:
    """A following monitor killed in the middle of its work, over a log that grows and lies."""
    folder, url = served
    world, state = honest(), tmp_path / "s"
    write(world.serve(), folder)
    for number in range(6):
        process = monitor(url, state, "--interval", "0.1", "--port", "0")
        time.sleep(0.9 + 0.13 * number)
        if number == 3:
            world.entries.append(b"no entry")
        grown(world, folder)
        time.sleep(0.1 * number)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
    assert once(url, state)[0] == 1
    lines = [json.loads(line) for line in (state / "alarms.jsonl").read_text().splitlines()]
    assert [line["alarm"] for line in lines] == ["entry_malformed"]
    assert (state / lines[0]["file"]).exists()


def test_two_monitors_compare(served: tuple[Path, str], tmp_path: Path) -> None:
    """One follows and shows its newest checkpoint; the other, shown another history, finds the fork by it."""
    folder, url = served
    world, other = honest(), honest()
    other.entries[4], other.entries[5] = other.entries[5], other.entries[4]
    other.cosigners = list[CosignatureSigner]()  # type: ignore[assignment]
    write(world.serve(), folder)
    first = monitor(url, tmp_path / "first", "--interval", "0.2", "--port", "0")
    assert first.stderr is not None
    peer = first.stderr.readline().split()[-1]
    for _ in range(100):
        if httpx.get(f"{peer}{checkpoint_path(ORIGIN)}").is_success:
            break
        time.sleep(0.1)
    shown = tmp_path / "shown"
    shown.mkdir()
    write(other.serve(), shown)
    code, report = once(str(shown), tmp_path / "second", "--peer", peer)
    assert code == 1
    assert {"origin": ORIGIN, "alarm": "fork"} in report["new_alarms"]  # type: ignore[operator]
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=30)
    assert first.returncode == 0


def test_a_bucket_is_refused_in_words(tmp_path: Path) -> None:
    """Object storage is not read by this version, and says so."""
    process = monitor("s3://bucket/log", tmp_path / "s", "--once")
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "cannot read buckets" in error
