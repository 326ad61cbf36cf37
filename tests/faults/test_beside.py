"""Processes beside the service with many logs, logs that close, and a disk that is really full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from auditlog.core.merkle import hash_leaves
from auditlog.errors import AuditLogError
from auditlog.log.aside import Aside, StagerAside
from auditlog.log.engine import Engine
from auditlog.log.processes import Processes
from auditlog.log.questions import Nothing
from auditlog.log.stager import Stager
from auditlog.log.tree import EMPTY_TREE, grow
from auditlog.service.settings import Settings
from auditlog.verify.fsck import fsck
from auditlog.verify.sources import FolderSource
from tests.support import full_disk
from tests.support.disk_log import DiskLog
from tests.support.live_service import LiveService, create_logs, live_service, write_config
from tests.support.testlog import FakeProducer
from tests.unit.log.test_processes import folders, held, wait_until

ROOT = Path(__file__).parents[2]
LOGS = 20
ENTRIES = [f"entry {number}".encode() for number in range(600)]
HASHES = hash_leaves(ENTRIES)


@pytest.fixture
def one() -> Iterator[Processes]:
    """One process that has started."""
    found = Processes(1)
    found.ask(Nothing())
    wait_until(lambda: found.running == 1)
    yield found
    found.close()


def temporary(folder: Path) -> list[Path]:
    """Temporary files of every store below."""
    return [each for each in folder.rglob(".*.tmp/*") if each.name != "lock"]


def test_many_logs_stage_before_any_applies(one: Processes, tmp_path: Path) -> None:
    """One process serves more commits at once than it keeps: each tree is whole, no file or handle stays."""
    (pid,) = one.pids()
    handles = len(os.listdir(f"/proc/{pid}/fd"))
    tree, full = grow(EMPTY_TREE, ENTRIES, HASHES)
    stagers = [StagerAside(folders(tmp_path / str(number)), one) for number in range(LOGS)]
    staged = [stager.stage(EMPTY_TREE, tree, full, ENTRIES, HASHES) for stager in stagers]
    for stager, each in zip(stagers, staged, strict=True):
        stager.apply(*each)
    stager = Stager(folders(tmp_path / "here"))
    stager.apply(*stager.stage(EMPTY_TREE, tree, full, ENTRIES, HASHES))
    for number in range(LOGS):
        assert held(tmp_path / str(number)) == held(tmp_path / "here")
    assert (one.answered, one.restarts, one.pids()) == (2 * LOGS, 0, [pid])
    assert len(os.listdir(f"/proc/{pid}/fd")) == handles


def post(service: LiveService, log: str, name: str, problems: list[str]) -> None:
    """Four large batches of one producer."""
    producer, _ = service.enrol(log, name)
    batches = [[producer.start()], *([producer.decide(n * 400 + m) for m in range(400)] for n in range(4))]
    for batch in batches:
        answer = service.post_batch(log, producer, batch)
        if answer.status != 200:
            problems.append(f"{log} {name}: {answer.status} {answer.body[:200]!r}")


def test_two_logs_of_one_service_commit_at_once(tmp_path: Path) -> None:
    """Large batches of two producers to each of two logs: all acknowledged, both whole, nothing left."""
    names = ("public", "hashes")
    settings = Settings.load(write_config(tmp_path, visibilities=names, checking_processes=1), environ={})
    vkeys, problems = create_logs(settings), list[str]()
    with live_service(settings) as service:
        threads = [
            threading.Thread(target=post, args=(service, log, f"p{number}", problems))
            for log in names
            for number in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        for log in names:
            service.await_published(log, 2 * 1601 + 1 + 2)
        wait_until(lambda: "auditlog_beside_processes 2.0" in service.get("/metrics").body.decode())
        assert "auditlog_beside_restarts_total 0.0" in service.get("/metrics").body.decode()
    assert temporary(tmp_path) == []
    for log, clean in zip(names, ({0}, {0, 3}), strict=True):
        # 3: the bundles of a log that shows hashes alone are not in the public folder.
        folder = tmp_path / "data" / "logs" / log / "public"
        assert fsck(FolderSource(folder), vkeys[log]).exit_code in clean


def test_a_log_closes_while_large_commits_are_coming(tmp_path: Path) -> None:
    """What was acknowledged is in the log, the rest is given back, and no file stays with the process."""
    aside, engine = Aside(1), Engine()
    disk = DiskLog(tmp_path, publish_interval_s=0.01, hands=aside.hands)
    log = disk.create(engine)
    producers = [FakeProducer(f"p{number}") for number in range(3)]
    sent: list[tuple[list[bytes], Future[object]]] = []
    for producer in producers:
        done = log.enrol(producer.name, producer.signer.vkey, producer.note)
        producer.enrolled(done.result(timeout=30).producer)
        log.submit(producer.batch([producer.start()])).result(timeout=30)
    for number in range(12):
        producer = producers[number % 3]
        entries = [producer.decide(number * 300 + n) for n in range(300)]
        sent.append((entries, log.submit(producer.batch(entries))))
    sent[2][1].result(timeout=30)
    disk.close()
    engine.close()
    aside.close()
    assert aside.beside().running == 0
    assert temporary(tmp_path) == []
    acknowledged = {entry for entries, done in sent if is_taken(done) for entry in entries}
    again, engine = DiskLog(tmp_path), Engine()
    opened = again.open(engine)
    entries = opened.reader.entries(0, opened.tree_size)
    again.close()
    engine.close()
    assert acknowledged <= set(entries)
    assert len(set(entries)) == len(entries)


def is_taken(done: Future[object]) -> bool:
    """Whether a batch was acknowledged; it was that or refused."""
    try:
        done.result(timeout=30)
    except AuditLogError:
        return False
    return True


def test_a_full_disk_is_told_and_outlived(tmp_path: Path) -> None:
    """Large commits on a small file system, until nothing fits: told, nothing lost; it goes on with room."""
    command = ["unshare", "--map-root-user", "--mount"]
    may = subprocess.run(
        [*command, "mount", "-t", "tmpfs", "none", str(tmp_path)], capture_output=True, check=False
    )
    if may.returncode:
        pytest.skip(f"no file system of one's own here: {may.stderr.decode()[:100]}")
    done = subprocess.run(
        [*command, sys.executable, "-m", full_disk.__name__, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["refused"] >= 3
    assert found["acknowledged"] > found["full_at"] > 0
    assert (found["missing"], found["twice"], found["fsck"], found["temporary"]) == (0, 0, 0, [])
    assert found["processes"] == 1
