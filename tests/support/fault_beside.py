"""The real server under large batches, and faults of the processes beside it; then a start, and `fsck`.

    beside/<whom>/<fault>/<system call, moment or again>/<number>

`service` is killed or stopped in order, `process` are those beside it, `both` one after the other. What must
hold, beyond what `fault_server` asks: the service goes on when it loses them, they end when it ends, and what
they leave in the temporary folders is gone after the next start.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from pathlib import Path

from auditlog.log import aside, process
from auditlog.log.processes import Processes
from auditlog.service.settings import Settings
from tests.support import fault_disk
from tests.support.fault_run import Loss
from tests.support.fault_server import LOG, SENDERS, Sender, Server, check
from tests.support.live_service import LiveService, create_logs, write_config

CALLS = (
    "openat",
    "write",
    "fsync",
    "link",
    "unlink",
    "read",
    "recvfrom",
    "sendto",
    "mkdir",
    "close",
    "chmod",
)
PATIENCE_S = 1
"""What the service waits for a silent process; ten seconds in earnest."""
_END_S = 20.0
_OLD_S = 7200
PROCESSES = 2
"""One checks batches, one commits."""


def missing() -> str:
    """Why the cases under strace cannot be run here; the others can."""
    return fault_disk.missing()


@lru_cache(maxsize=1)
def prepared() -> tuple[Path, str]:
    """A folder with a configuration and a created log, and the log's key."""
    folder = Path(tempfile.mkdtemp(prefix="faults-")) / "made"
    config = write_config(folder, visibilities=(LOG,), checking_processes=PROCESSES - 1, drain_s=5)
    return folder, create_logs(Settings.load(config, environ={}))[LOG]


class BesideServer(Server):
    """A server that soon loses patience with a process."""

    def _serve(self, listening: socket.socket) -> None:
        vars(aside)["Processes"] = partial(Processes, patience_s=PATIENCE_S)
        super()._serve(listening)

    def beside(self) -> list[int]:
        """The processes beside it."""
        return [pid for pid, parent in _programs() if parent == self.process]


class LargeSender(Sender):
    """Sends batches that are checked, and committed, by processes."""

    SIZES = (300, 500)


def _programs() -> Iterator[tuple[int, int]]:
    """Every process that runs the program, with its parent; no zombies."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        with suppress(OSError):
            if process.__name__.encode() in (folder / "cmdline").read_bytes():
                yield int(folder.name), int((folder / "stat").read_text().rpartition(")")[2].split()[1])


def cases(seed: int, count: int) -> list[str]:
    """Names of so many cases, in an order that the seed decides."""
    chance = random.Random(seed)
    plain = [
        "process/SIGKILL/again", "process/SIGSTOP/again", "service/SIGKILL/moment", "service/SIGTERM/moment",
        "both/SIGKILL/moment", "both/SIGSTOP/moment", "group/SIGTERM/moment",
    ]  # fmt: skip
    traced = [] if missing() else [f"process/{fault}/{call}" for fault in fault_disk.FAULTS for call in CALLS]
    chance.shuffle(traced)
    names = []
    for number in range(count):
        from_where = plain if number % 3 == 0 or not traced else traced
        kind = from_where[number // 3 % len(plain)] if from_where is plain else traced[number % len(traced)]
        most = 40 if from_where is plain else 6  # of a thread: each commit has its own
        names.append(f"beside/{kind}/{number}-{chance.randrange(1, most)}")
    return names


def clean() -> None:
    """Remove what the cases shared."""
    shutil.rmtree(prepared()[0].parent, ignore_errors=True)
    prepared.cache_clear()


def run_case(name: str) -> int:
    """One life under load with its fault, its end, and the check of the next. Returns whether it struck.

    Raises:
        Loss: something acknowledged is missing, fsck is not clean, the service does not go on without its
            processes, or one of them, or a file of theirs, stays.
    """
    _, whom, fault, call, which = name.split("/")
    number, when = (int(word) for word in which.split("-"))
    made, vkey = prepared()
    folder = Path(tempfile.mkdtemp(prefix="case-", dir=made.parent)) / "log"
    server, chance = BesideServer(Path(shutil.copytree(made, folder))), random.Random(number)
    known: set[int] = set()
    try:
        service = server.start()
        senders = [LargeSender(service, f"s{n}", random.Random(number * 9 + n)) for n in range(SENDERS)]
        with loaded(service, senders):
            await_processes(server)
            known.update(server.beside())
            struck = _strike(server, whom, fault, call, when, chance, known)
        if whom == "process":
            _goes_on(server, service, senders)
            known.update(server.beside())
            server.kill()
        _all_end(known)
        if fault == "SIGTERM" and (left := leftovers(folder)):
            raise Loss(f"expected no temporary file after a stop, found {len(left)}: {left[0]}")
        for each in leftovers(folder):
            os.utime(each, (time.time() - _OLD_S,) * 2)
        service = server.start()
        for sender in senders:
            sender.finish(service)
        service.await_published(LOG, sum(len(each.acknowledged) for each in senders) + 1 + SENDERS)
        if old := [each for each in leftovers(folder) if time.time() - each.stat().st_mtime > _OLD_S / 2]:
            raise Loss(f"expected a start to sweep what a death left, found {len(old)}")
        last = set(server.beside())
        server.kill()
        _all_end(last)
        check(server, vkey, senders)
        return int(struck)
    finally:
        server.kill()
        shutil.rmtree(folder.parent, ignore_errors=True)


@contextmanager
def loaded(service: LiveService, senders: Sequence[LargeSender]) -> Iterator[None]:
    """Have the senders post while the block runs."""
    stop, problems = threading.Event(), []

    def work(sender: Sender) -> None:
        try:
            sender.work(service, stop)
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(each,), daemon=True) for each in senders]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    if problems:
        raise problems[0]


def await_processes(server: BesideServer) -> None:
    """Wait until all processes beside it run."""
    deadline = time.monotonic() + _END_S
    while len(server.beside()) < PROCESSES:
        if time.monotonic() > deadline:
            raise Loss(f"expected {PROCESSES} processes beside the service, found {server.beside()}")
        time.sleep(0.02)


def _strike(
    server: BesideServer,
    whom: str,
    fault: str,
    call: str,
    when: int,
    chance: random.Random,
    known: set[int],
) -> bool:
    """Do the harm; whether it met somebody."""
    if call not in {"moment", "again"}:
        return _inject(server, fault, call, when, known)
    number = signal.Signals[fault]
    time.sleep(when / 100)
    for _ in range(3 if call == "again" else 1):
        pids = server.beside()
        known.update(pids)
        chosen = pids if whom in {"both", "group"} else chance.sample(pids, min(1, len(pids)))
        for pid in chosen if whom != "service" else ():
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        time.sleep(chance.random() * (1.5 if call == "again" else 0.1))
    if whom in {"service", "group"} and number == signal.SIGTERM:
        _stop(server)
    elif whom != "process":
        server.kill()
    return True


def _stop(server: BesideServer) -> None:
    """SIGTERM, and wait for a clean end."""
    os.kill(server.process, signal.SIGTERM)
    deadline = time.monotonic() + _END_S
    while not os.waitpid(server.process, os.WNOHANG)[0]:
        if time.monotonic() > deadline:
            raise Loss("expected the service to stop, found it running")
        time.sleep(0.01)
    server.process = 0


def _inject(server: BesideServer, fault: str, call: str, when: int, known: set[int]) -> bool:
    """Have a system call of the processes fail, or kill them at it."""
    pids = server.beside()
    what = f"signal={fault}" if fault.startswith("SIG") else f"error={fault}"
    with tempfile.NamedTemporaryFile("r") as told:
        tracer = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", told.name, *(f"-p{pid}" for pid in pids),
             "-e", f"trace={call}", "-e", f"inject={call}:{what}:when={when}"],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(1.0)
        known.update(server.beside())
        tracer.terminate()
        tracer.wait(_END_S)
        said = told.read()
    return "INJECTED" in said or "killed by" in said


def _goes_on(server: BesideServer, service: LiveService, senders: Sequence[LargeSender]) -> None:
    """It lives, is ready, and takes what it did not acknowledge, and more."""
    if os.waitpid(server.process, os.WNOHANG)[0]:
        server.process = 0
        raise Loss("expected the service to go on without its processes, found it ended")
    for sender in senders:
        sender.finish(service)
    before = [len(each.acknowledged) for each in senders]
    with loaded(service, senders):
        deadline = time.monotonic() + _END_S
        while any(len(each.acknowledged) <= old for each, old in zip(senders, before, strict=True)):
            if time.monotonic() > deadline:
                raise Loss("expected the service to go on without its processes, found that it does not")
            time.sleep(0.01)
    if (answer := service.get("/ready")).status != 200:
        raise Loss(f"expected a service that is ready, found {answer.body!r}")


def _all_end(pids: set[int]) -> None:
    """Each ends by itself; one that was stopped does when it goes on."""
    for pid in pids & {pid for pid, _ in _programs()}:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    deadline = time.monotonic() + _END_S
    while left := pids & {pid for pid, _ in _programs()}:
        if time.monotonic() > deadline:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            raise Loss(f"expected processes to end with their service, found {sorted(left)}")
        time.sleep(0.02)


def leftovers(folder: Path) -> list[Path]:
    """Temporary files of every store of the log."""
    logs = folder / "data" / "logs" / LOG
    return [each for each in logs.glob(".*.tmp/*") if each.name != "lock"]
