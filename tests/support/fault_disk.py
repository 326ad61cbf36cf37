"""One batch on real files and SQLite, with a fault at one of its system calls; then a start, and `fsck`.

    disk/<fault>/<visibility>/<system call>/<number>

A child of this process makes ready, is taken by strace, and sends one batch. strace makes the n-th call of
one kind fail with EIO or ENOSPC, or kills the process at it. Whatever comes of it, the next start must be
whole: every entry that was acknowledged, by the child or before, is in the log, and an independent fsck is
clean.

Each case has a folder of its own, copied from one that was made once. If the process dies here, temporary
folders stay.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from auditlog.errors import AuditLogError
from auditlog.verify.fsck import fsck
from auditlog.verify.sources import FolderSource
from tests.support.disk_log import DiskLog
from tests.support.fault_run import Loss
from tests.support.log_audit import check_chains
from tests.support.testlog import FakeProducer, ManualWorkers

FAULTS = ("SIGKILL", "EIO", "ENOSPC")
CALLS = (
    "openat",
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "link",
    "rename",
    "unlink",
    "mkdir",
    "ftruncate",
)
VISIBILITIES = ("public", "hashes")
_PATIENCE_S = 60.0
_BEFORE = 245


@lru_cache(maxsize=1)
def missing() -> str:
    """Why this machine cannot run these cases; empty if it can."""
    if shutil.which("strace") is None:
        return "no strace on this machine"
    tried = subprocess.run(
        ["strace", "-qq", "-e", "inject=getpid:retval=1", "true"], capture_output=True, text=True, check=False
    )
    return "" if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.strip()[:100]}"


@lru_cache(maxsize=1)
def _home() -> Path:
    return Path(tempfile.mkdtemp(prefix="faults-"))


@lru_cache(maxsize=4)
def prepared(visibility: str) -> Path:
    """A folder with a published log of 250 entries, made once and copied for every case."""
    folder = _home() / f"made-{visibility}"
    disk = DiskLog(folder, visibility=visibility)
    workers = ManualWorkers()
    log = disk.create(workers)
    workers.run()
    producer = FakeProducer("a")
    done = log.enrol("a", producer.signer.vkey, producer.note)
    workers.run()
    producer.enrolled(done.result(timeout=0).producer)
    _send(disk, workers, producer, [producer.start(), *(producer.decide(n) for n in range(_BEFORE))])
    disk.clock.advance(1.0)
    workers.run_planned()
    disk.close()
    return folder


def _send(disk: DiskLog, workers: ManualWorkers, producer: FakeProducer, entries: list[bytes]) -> None:
    assert disk.log is not None
    done = disk.log.submit(producer.batch(entries))
    workers.run()
    done.result(timeout=0)


def _resumed(disk: DiskLog) -> tuple[ManualWorkers, FakeProducer]:
    """Open the log, with the producer as it would go on."""
    workers = ManualWorkers()
    log = disk.open(workers)
    workers.run()
    producer = FakeProducer("a")
    (record,) = log.producers()
    producer.enrolled(record.producer)
    head = log.head(record.producer)
    assert head is not None
    producer.instance, producer.seq, producer.prev = head.instance, head.seq, head.leaf_hash
    return workers, producer


def _child(folder: Path, visibility: str, ready: int, go: int, told: int) -> None:
    """The process under strace: one batch over the edge of a tile, its publication, its index."""
    disk = DiskLog(folder, visibility=visibility)
    workers, producer = _resumed(disk)
    batch = [producer.decide(9000 + n) for n in range(20)]
    os.write(ready, b"r")
    os.read(go, 1)
    try:
        _send(disk, workers, producer, batch)
        os.write(told, b"".join(batch[-1:]))
    except AuditLogError:
        pass  # refused: nothing was promised
    disk.clock.advance(1.0)
    workers.run_planned()
    workers.run()
    os._exit(0)


def traced(folder: Path, visibility: str, options: list[str], log: Path) -> bytes:
    """Run the child under strace with these options; returns the last entry it was told is in, if any."""
    ready, go, told = os.pipe(), os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            # What it says of the fault is expected, and for nobody.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            _child(folder, visibility, ready[1], go[0], told[1])
        finally:
            os._exit(3)
    for end in (ready[1], go[0], told[1]):
        os.close(end)
    try:
        os.read(ready[0], 1)
        command = ["strace", "-f", "-qq", "-o", str(log), "-p", str(child), *options]
        strace = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        _await_traced(child, strace)
        os.write(go[1], b"g")
        os.waitpid(child, 0)
        strace.wait(_PATIENCE_S)
        return os.read(told[0], 65536)
    finally:
        for end in (ready[0], go[1], told[0]):
            os.close(end)


def _await_traced(child: int, strace: subprocess.Popen[bytes]) -> None:
    status = Path(f"/proc/{child}/status")
    while re.search(r"TracerPid:\s+0", status.read_text()):
        if strace.poll() is not None:
            os.kill(child, signal.SIGKILL)
            raise Loss("expected strace to take the process, found it gone")
        os.sched_yield()


@lru_cache(maxsize=4)
def calls_of(visibility: str) -> dict[str, int]:
    """How often each system call is made by one batch in which nothing fails."""
    folder = Path(shutil.copytree(prepared(visibility), _home() / f"counted-{visibility}"))
    log = folder.with_suffix(".strace")
    traced(folder, visibility, ["-e", "trace=" + ",".join(CALLS)], log)
    counts = dict.fromkeys(CALLS, 0)
    for line in log.read_text().splitlines():
        name = line.split(maxsplit=1)[1].partition("(")[0]
        if name in counts:
            counts[name] += 1
    return counts


def cases(seed: int, count: int) -> list[str]:
    """Names of so many cases, in an order that the seed decides: every call of a batch by every fault."""
    if missing():
        return []
    names = [
        f"disk/{fault}/{visibility}/{call}/{number}"
        for visibility in VISIBILITIES
        for call, calls in calls_of(visibility).items()
        for number in range(1, calls + 1)
        for fault in FAULTS
    ]
    random.Random(seed).shuffle(names)
    return names[:count]


def clean() -> None:
    """Remove what the cases shared."""
    shutil.rmtree(_home(), ignore_errors=True)
    for each in (_home, prepared, calls_of):
        each.cache_clear()


def run_case(name: str) -> int:
    """One fault at one system call, then a start and the whole check. Returns whether it struck.

    Raises:
        Loss: something acknowledged is missing, or fsck is not clean.
    """
    _, fault, visibility, call, number = name.split("/")
    folder = Path(tempfile.mkdtemp(prefix="case-", dir=_home())) / "log"
    try:
        shutil.copytree(prepared(visibility), folder)
        what = f"signal={fault}" if fault.startswith("SIG") else f"error={fault}"
        log = folder.with_suffix(".strace")
        told = traced(folder, visibility, ["-e", f"inject={call}:{what}:when={number}"], log)
        check(folder, visibility, told)
        seen = log.read_text()
        return int("INJECTED" in seen or "killed by SIGKILL" in seen)
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)


def check(folder: Path, visibility: str, told: bytes) -> None:
    """Start again, send once more, publish; then fsck, the chains, and what was acknowledged."""
    disk = DiskLog(folder, visibility=visibility)
    try:
        workers, producer = _resumed(disk)
        assert disk.log is not None
        _send(disk, workers, producer, [producer.decide(9500)])
        disk.clock.advance(1.0)
        workers.run_planned()
        workers.run()
        log = disk.log
        entries = log.reader.entries(0, log.tree_size)
        check_chains(entries)
        if told and told not in entries:
            raise Loss("expected the acknowledged batch in the log, found none of it")
        if len(entries) not in {_BEFORE + 4, _BEFORE + 4 + 20} or log.published_size != log.tree_size:
            raise Loss(f"expected the batch whole or not at all, and published, found {len(entries)} entries")
        vkey = log.vkey
    finally:
        disk.close()
    _fsck(folder, vkey, visibility)


def _fsck(folder: Path, vkey: str, visibility: str) -> None:
    report = fsck(FolderSource(folder / "public"), vkey)
    # 3: the bundles of such a log are not in the public folder; its tree was checked.
    if report.exit_code not in ({0} if visibility == "public" else {0, 3}):
        raise Loss(f"expected a clean fsck, found {report}")
