"""Processes beside the service that cannot start, lie, leave things behind, or meet what nobody foresaw."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auditlog.core.batch import encode_batch
from auditlog.errors import StorageError
from auditlog.log import process, processes
from auditlog.log.admission import check_batch, claimed_head
from auditlog.log.aside import BatchesAside, StagerAside
from auditlog.log.config import Layout, Stores, Visibility
from auditlog.log.process import Worker
from auditlog.log.processes import Processes
from auditlog.log.questions import ApplyStaged, CheckStaged, Nothing, done, folders_of
from auditlog.log.stager import Stager
from auditlog.log.staging import write_staged
from auditlog.log.tree import EMPTY_TREE, Tree, grow
from auditlog.storage.files import FileStore
from auditlog.storage.memory import MemoryState, MemoryStore
from auditlog.storage.together import sync_together
from tests.support import lying_process
from tests.support.testlog import ORIGIN, FakeProducer
from tests.unit.log.test_processes import ENTRIES, HASHES, folders, held, two_commits, wait_until

ROOT = Path(__file__).parents[3]


def asked() -> tuple[Any, ...]:
    """A batch that is worth a process, as `check_batch` takes it."""
    producer = FakeProducer("host")
    producer.enrolled(b"\x07" * 32)
    producer.start()
    batch = producer.batch([producer.decide(n, pad=600) for n in range(60)])
    batch = replace(batch, framed=encode_batch(batch.head_note, batch.entries))
    return batch, claimed_head(batch), ORIGIN, [producer.signer.verifier]


def started(count: int = 1, *, patience_s: int = 10) -> Processes:
    """Processes, when all have started."""
    found = Processes(count, patience_s=patience_s)
    found.ask(Nothing())
    wait_until(lambda: found.running == count)
    return found


@pytest.fixture
def one() -> Iterator[Processes]:
    """One process that has started."""
    found = started()
    yield found
    found.close()


def temporary(tmp_path: Path) -> list[Path]:
    """Temporary files of every store."""
    return [each for each in tmp_path.glob(".*.tmp/*") if each.name != "lock"]


@pytest.mark.parametrize("lie", lying_process.LIES)
def test_no_wrong_answer_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: str) -> None:
    """Whatever a process answers but the truth: the batch is checked and the tree written all the same."""
    monkeypatch.setattr(processes, "_MODULE", lying_process.MODULE)
    monkeypatch.setattr(processes, "AGAIN_S", 0.0)
    monkeypatch.setenv("LIE", lie)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    found = started(patience_s=1 if lie in {"hangs", "longest"} else 10)
    question = asked()
    assert BatchesAside(found)(*question) == check_batch(*question)
    wait_until(lambda: found.ask(Nothing()) is not None or found.running == 1)
    two_commits(StagerAside(folders(tmp_path / "aside"), found))
    found.close()
    two_commits(Stager(folders(tmp_path / "here")))
    at_last = {name: value for name, value in held(tmp_path / "aside").items() if ".tmp/" not in name}
    assert at_last == held(tmp_path / "here")
    assert found.running == 0


def staged(tmp_path: Path, old: Tree = EMPTY_TREE) -> tuple[CheckStaged, ApplyStaged, int]:
    """A commit of a thousand entries in staging; the questions, and how many objects it finishes."""
    layout = folders(tmp_path)
    tree, full = grow(old, ENTRIES, HASHES)
    name = write_staged(layout.stores.staging, old, tree, full)
    where = folders_of(layout)
    assert where is not None
    about = (where, name, tree.size, tree.root_hash)
    return CheckStaged(*about), ApplyStaged(*about), len(full)


@pytest.mark.parametrize(
    "error", [RuntimeError("can't start new thread"), MemoryError(), StorageError("full")]
)
def test_what_was_not_written_ahead_is_not_said_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Whatever the thread that writes tiles ahead dies of, "done" means that they are in the tree."""
    check, apply, objects = staged(tmp_path)
    real, calls = FileStore.write_ahead, []

    def fails(store: FileStore, objects: Any) -> Any:
        calls.append(objects)
        if len(calls) == 1:
            raise error
        return real(store, objects)

    monkeypatch.setattr(FileStore, "write_ahead", fails)
    worker = Worker()
    assert len(worker.answer(check, b"")) == 32
    assert worker.answer(apply, b"") == done(objects)
    assert len([path for path in (tmp_path / "public").rglob("*") if path.is_file()]) > 0
    two_commits(Stager(folders(tmp_path / "here")))
    assert len(tree_files(tmp_path)) == objects
    worker.close()
    assert temporary(tmp_path) == []


def tree_files(tmp_path: Path) -> list[Path]:
    """Objects in the tree."""
    return [path for name in ("public", "private") for path in (tmp_path / name).rglob("*") if path.is_file()]


def test_without_threads_the_work_is_done_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who may start no more threads: no process, no failure of who asked for one, and every fsync."""
    check, apply, objects = staged(tmp_path)

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    found = Processes(1)
    question = asked()
    assert BatchesAside(found)(*question) == check_batch(*question)
    two_commits(StagerAside(folders(tmp_path / "aside"), found))
    found.close()
    worker = Worker()
    assert len(worker.answer(check, b"")) == 32
    assert worker.answer(apply, b"") == done(objects)
    assert len(tree_files(tmp_path)) == objects
    assert sync_together([1 << 20] * 9)[8] is not None


@pytest.mark.parametrize("broken", ["executable", "module", "nothing"])
def test_a_program_that_cannot_start_is_tried_ever_more_rarely(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Who asks is not told of it, and the next try comes later each time."""
    if broken == "module":
        monkeypatch.setattr(processes, "_MODULE", "auditlog.no_such_module")
    else:
        monkeypatch.setattr(sys, "executable", "/no/such/python" if broken == "executable" else None)
    now = [0.0]
    monkeypatch.setattr(processes.time, "monotonic", lambda: now[0])
    starts: list[float] = []
    real = processes._Process.__init__

    def counted(self: Any, patience_s: int) -> None:
        starts.append(now[0])
        real(self, patience_s)

    monkeypatch.setattr(processes._Process, "__init__", counted)
    found = Processes(1)
    for second in range(40):
        now[0] = float(second)
        assert found.ask(Nothing()) is None
        starter = found._starter
        if starter is not None:
            starter.join()
    found.close()
    assert found.running == 0
    assert 3 <= len(starts) <= 8


def test_one_that_is_asked_while_the_service_stops_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question that was under way when the processes were closed leaves none behind."""
    found = started()
    (pid,) = found.pids()
    question = asked()
    os.kill(pid, signal.SIGSTOP)
    answers: list[Any] = []
    asker = threading.Thread(target=lambda: answers.append(BatchesAside(found)(*question)))
    asker.start()
    wait_until(lambda: not found.pids())
    found.close()
    os.kill(pid, signal.SIGCONT)
    asker.join()
    assert answers == [check_batch(*question)]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert found.running == 0


def test_a_start_that_hangs_does_not_keep_the_service_from_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`close` ends a process that is being started and does not answer."""
    (tmp_path / "sleeper.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(processes, "_MODULE", "sleeper")
    found = Processes(1, patience_s=60)
    assert found.ask(Nothing()) is None
    wait_until(lambda: found._starting is not None)
    began = time.monotonic()
    found.close()
    assert time.monotonic() - began < 30
    assert found._starter is None


def test_one_that_cannot_die_is_not_waited_for(one: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in a system call of a disk that does not answer: whoever asked goes on, as all others do."""
    (pid,) = one.pids()
    monkeypatch.setattr(processes, "_DYING_S", 0.01)
    with monkeypatch.context() as patched:
        patched.setattr(subprocess.Popen, "kill", lambda _: None)
        os.kill(pid, signal.SIGSTOP)
        one._free[0]._socket.shutdown(socket.SHUT_RDWR)
        question = asked()
        assert BatchesAside(one)(*question) == check_batch(*question)
        assert (one.running, one.restarts) == (0, 1)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid))
    one.close()
    assert one._dying == []


def test_a_commit_that_was_given_back_leaves_no_file(one: Processes, tmp_path: Path) -> None:
    """What was written ahead under no name is gone when the process was told to end."""
    check, _, _ = staged(tmp_path)
    assert one.ask(check) is not None
    wait_until(lambda: len(temporary(tmp_path)) > 0)
    one.close()
    assert temporary(tmp_path) == []


def test_what_nobody_foresaw_is_refused_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that is not of this project while a commit is checked: nothing of it stays."""
    check, apply, objects = staged(tmp_path)

    def fails(*_: Any) -> Any:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr("auditlog.log.staging._check", fails)
        worker = Worker()
        with pytest.raises(ZeroDivisionError):
            worker.answer(check, b"")
    assert temporary(tmp_path) == []
    assert worker.answer(apply, b"") == done(objects)


def test_signals_of_a_terminal_and_of_a_supervisor_are_for_the_service(one: Processes) -> None:
    """SIGINT and SIGTERM to every process of the service, as Ctrl-C and some supervisors send them, end none
    that it still needs.
    """
    (pid,) = one.pids()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)
    question = asked()
    assert BatchesAside(one)(*question) == check_batch(*question)
    assert one.pids() == [pid]
    assert one.restarts == 0


def test_a_process_holds_nothing_of_the_service(tmp_path: Path) -> None:
    """No file, lock or socket of the one that started it, inheritable ones included."""
    with (tmp_path / "lock").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        found = started()
        (pid,) = found.pids()
        held_open = {int(fd): os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        found.close()
    assert set(held_open) == {0, 1, 2}
    assert held_open[0].startswith("socket:")


def test_it_ends_with_whoever_started_it() -> None:
    """Killed without a word, the starter leaves no process: each reads the end of its socket."""
    program = (
        "import os, time\nfrom auditlog.log.processes import Processes\n"
        "from auditlog.log.questions import Nothing\n"
        "found = Processes(2)\nfound.ask(Nothing())\n"
        "while found.running < 2: time.sleep(0.01)\n"
        "print(*found.pids(), flush=True)\ntime.sleep(60)\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    pids = [int(word) for word in starter.stdout.readline().split()]
    starter.kill()
    starter.wait()
    starter.stdout.close()
    wait_until(lambda: not any(is_running(pid) for pid in pids))
    assert len(pids) == 2


def is_running(pid: int) -> bool:
    """Whether it is there and no zombie: whoever adopts an orphan may take its time."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_a_small_commit_over_the_edge_of_a_tile_is_applied_here(tmp_path: Path) -> None:
    """Ten entries that finish a tile start no process."""
    found = Processes(1)
    stager = StagerAside(folders(tmp_path), found)
    first, _ = grow(EMPTY_TREE, ENTRIES[:250], HASHES[:250])
    tree, full = grow(first, ENTRIES[250:260], HASHES[250:260])
    stager.apply(*stager.stage(first, tree, full, ENTRIES[250:260], HASHES[250:260]))
    assert len(tree_files(tmp_path)) == len(full) == 2
    assert (found.running, found.answered) == (0, 0)
    found.close()


def test_stores_that_are_no_folders_start_nothing() -> None:
    """Buckets, and whatever else a process could not open: staged and applied here."""
    found = Processes(1)
    public, private, staging = (MemoryStore() for _ in range(3))
    stores = Stores(public, private, staging, MemoryState())
    stager = StagerAside(Layout(stores, Visibility.PUBLIC), found)
    tree, full = grow(EMPTY_TREE, ENTRIES, HASHES)
    name, staged = stager.stage(EMPTY_TREE, tree, full, ENTRIES, HASHES)
    assert staged.tree.root_hash == tree.root_hash
    stager.apply(name, staged)
    assert len(public.objects) == len(full)
    assert (found.running, found.answered) == (0, 0)
    found.close()


def test_the_program_is_the_one_it_says() -> None:
    """What is started is the module that this package has."""
    assert process.__name__ == processes._MODULE
