"""One large commit in a process beside, and a fault at one of its system calls: the tree is whole.

    commit/<fault>/<system call>/<number>

The process is taken by strace, which makes the n-th call of one kind fail with EIO or ENOSPC in each of its
threads, or kills it there. The service, for which nothing fails, does what it did not do: the tree must be,
to the byte, that of a log without processes. Nothing but temporary files may be more, and those alone where
the process was killed or could not remove them.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from auditlog.core.merkle import hash_leaves
from auditlog.log.aside import StagerAside
from auditlog.log.config import Layout, Stores, Visibility
from auditlog.log.processes import Processes
from auditlog.log.questions import Nothing
from auditlog.log.stager import Stager
from auditlog.log.tree import EMPTY_TREE, Tree, grow
from auditlog.storage.files import FileStore
from auditlog.storage.memory import MemoryState
from tests.support import fault_disk
from tests.support.fault_run import Loss

CALLS = (
    "openat", "read", "write", "fsync", "link", "unlink", "close", "mkdir", "fchmod", "chmod", "newfstatat",
    "fstat", "recvfrom", "sendto", "mmap", "clone3", "clone", "getdents64", "fadvise64",
)  # fmt: skip
PATIENCE_S = 2
_ENTRIES = [f"entry {number}".encode() for number in range(1600)]
_HASHES = hash_leaves(_ENTRIES)
_EDGES = (300, 1000, 1600)


def missing() -> str:
    """Why these cases cannot be run here."""
    return fault_disk.missing()


@lru_cache(maxsize=1)
def _home() -> Path:
    return Path(tempfile.mkdtemp(prefix="faults-"))


def _layout(folder: Path) -> Layout:
    public, private, staging = (FileStore(folder / name) for name in ("public", "private", "staging"))
    return Layout(Stores(public, private, staging, MemoryState()), Visibility.HASHES)


def _commit(stager: Stager, old: Tree, end: int) -> Tree:
    entries, hashes = _ENTRIES[old.size : end], _HASHES[old.size : end]
    tree, full = grow(old, entries, hashes)
    name, staged = stager.stage(old, tree, full, entries, hashes)
    stager.apply(name, staged)
    return tree


def _tree_of(folder: Path) -> dict[str, bytes]:
    return {
        str(each.relative_to(folder)): each.read_bytes()
        for each in folder.rglob("*")
        if each.is_file() and ".tmp" not in each.parent.name
    }


@lru_cache(maxsize=1)
def _expected() -> dict[str, bytes]:
    folder, tree = _home() / "here", EMPTY_TREE
    for end in _EDGES:
        tree = _commit(Stager(_layout(folder)), tree, end)
    return _tree_of(folder)


def _traced(folder: Path, options: Sequence[str]) -> tuple[str, Processes]:
    """A commit, one under strace, and one after it; what strace said, and the processes, closed."""
    processes = Processes(1, patience_s=PATIENCE_S)
    told = folder.with_suffix(".strace")
    try:
        processes.ask(Nothing())
        while not processes.pids():
            time.sleep(0.005)
        stager = StagerAside(_layout(folder), processes)
        tree = _commit(stager, EMPTY_TREE, _EDGES[0])
        (pid,) = processes.pids()
        tracer = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", str(told), "-p", str(pid), *options], stderr=subprocess.DEVNULL
        )
        status = Path(f"/proc/{pid}/status")
        while re.search(r"TracerPid:\s+0", status.read_text()) and tracer.poll() is None:
            time.sleep(0.002)
        tree = _commit(stager, tree, _EDGES[1])
        tracer.terminate()
        tracer.wait(30)
        _commit(stager, tree, _EDGES[2])
    finally:
        processes.close()
    return told.read_text(), processes


@lru_cache(maxsize=1)
def calls() -> dict[str, int]:
    """How often one thread makes each system call in a commit in which nothing fails, at most."""
    found: Counter[tuple[str, str]] = Counter()
    for line in _traced(_home() / "counted", ["-e", "trace=" + ",".join(CALLS)])[0].splitlines():
        thread, _, call = line.partition(" ")
        found[thread, call.strip().partition("(")[0]] += 1
    most = dict.fromkeys(CALLS, 0)
    for (_, call), count in found.items():
        if call in most:
            most[call] = max(most[call], count)
    return most


def cases(seed: int, count: int) -> list[str]:
    """Names of so many cases, in an order that the seed decides: every call of a commit by every fault."""
    if missing():
        return []
    names = [
        f"commit/{fault}/{call}/{number}"
        for call, most in calls().items()
        for number in range(1, min(most, 40) + 1)
        for fault in fault_disk.FAULTS
    ]
    random.Random(seed).shuffle(names)
    return names[:count]


def clean() -> None:
    """Remove what the cases shared."""
    shutil.rmtree(_home(), ignore_errors=True)
    for each in (_home, _expected, calls):
        each.cache_clear()


def run_case(name: str) -> int:
    """One fault at one system call. Returns whether it struck.

    Raises:
        Loss: the tree is not what it must be, or a process or a temporary file stays.
    """
    _, fault, call, number = name.split("/")
    expected = _expected()
    folder = Path(tempfile.mkdtemp(prefix="case-", dir=_home())) / "log"
    what = f"signal={fault}" if fault.startswith("SIG") else f"error={fault}"
    try:
        said, processes = _traced(
            folder, ["-e", f"trace={call}", "-e", f"inject={call}:{what}:when={number}"]
        )
        if _tree_of(folder) != expected:
            raise Loss("expected the tree of a log without processes, found another")
        left = [each.name for each in folder.glob(".*.tmp/*")]
        if left and not processes.restarts and call != "unlink":
            raise Loss(f"expected no temporary file, found {len(left)}")
        if processes.running:
            raise Loss("expected no process after the end, found one")
        return int("INJECTED" in said or "killed by" in said)
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)
