"""A real process on real files and SQLite, killed at random moments: everything it acknowledged is there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from auditlog.core.entry import parse_entry
from auditlog.verify.fsck import fsck
from auditlog.verify.sources import FolderSource
from tests.support.disk_log import DiskLog
from tests.support.log_audit import check_chains
from tests.support.testlog import ManualWorkers

ROOT = Path(__file__).parents[2]


def killed_after(folder: Path, seconds: float) -> list[str]:
    """Let the worker work for a while, then kill it; return the leaf hashes it said were acknowledged."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.support.disk_log", str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout is not None
    lines = [worker.stdout.readline()]
    time.sleep(seconds)
    worker.send_signal(signal.SIGKILL)
    rest, _ = worker.communicate()
    lines += rest.splitlines()
    # The last line may be cut off by death; a whole one is 64 characters.
    return [line.strip() for line in lines if len(line.strip()) == 64]


def survives(folder: Path, lives: int, chance: random.Random) -> None:
    """Kill the log in several lives and check the whole after each."""
    acknowledged: list[str] = []
    for _ in range(lives):
        acknowledged += killed_after(folder, chance.uniform(0.0, 0.4))
        assert acknowledged, "the worker got as far as one acknowledgement"
    disk = DiskLog(folder)
    workers = ManualWorkers()
    log = disk.open(workers)
    disk.clock.advance(1.0)
    workers.run()
    workers.run_planned()
    assert log.published_size == log.tree_size
    entries = log.reader.entries(0, log.tree_size)
    check_chains(entries)
    held = {leaf_hash.hex() for leaf_hash in log.reader.leaf_hashes(0, log.tree_size)}
    assert not set(acknowledged) - held, "nothing acknowledged is missing"
    assert sum(parse_entry(entry).kind == "instance" for entry in entries) == lives
    vkey = log.vkey
    disk.close()
    report = fsck(FolderSource(folder / "public"), vkey)
    assert report.exit_code == 0, report


def test_two_violent_deaths(tmp_path: Path) -> None:
    """Killed twice at random moments, started again, checked whole by the independent fsck."""
    survives(tmp_path, 2, random.Random(os.getpid()))


@pytest.mark.long
def test_many_violent_deaths(tmp_path: Path) -> None:
    """The same, forty times."""
    survives(tmp_path, 40, random.Random(os.getpid()))
