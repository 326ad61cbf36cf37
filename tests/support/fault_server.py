"""The real server under load, killed at a random moment or at a system call; then a start, and `fsck`.

    server/<fault>/<system call or moment>/<number>

The server is what `auditlog serve` runs, on SQLite and files, in a process of its own (forked from one that
has its imports, so that a start takes no second). Senders post batches over HTTP and keep what was answered
with 200. After the fault the server is killed and started again; senders insist; then every entry that was
ever acknowledged must be in the log, its chains whole, and an independent fsck of the public folder clean.
"""

from __future__ import annotations

import faulthandler
import hashlib
import http.client
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from auditlog.demo.cheats import read_entries
from auditlog.service.run import run
from auditlog.service.settings import Settings
from auditlog.verify.fsck import fsck
from auditlog.verify.sources import FolderSource
from tests.support import fault_disk
from tests.support.fault_run import Loss
from tests.support.live_service import Answer, LiveService, create_logs, write_config
from tests.support.log_audit import check_chains
from tests.support.testlog import FakeProducer

CALLS = ("write", "pwrite64", "fsync", "openat", "link", "rename", "unlink", "sendto", "ftruncate")
SENDERS = 2
LOG = "public"
_PATIENCE_S = 60.0


def missing() -> str:
    """Why the cases under strace cannot be run here; the others can."""
    return fault_disk.missing()


@lru_cache(maxsize=1)
def prepared() -> tuple[Path, str]:
    """A folder with a configuration and a created log, and the log's key."""
    folder = Path(tempfile.mkdtemp(prefix="faults-")) / "made"
    config = write_config(folder, visibilities=(LOG,))
    return folder, create_logs(Settings.load(config, environ={}))[LOG]


class Server:
    """One server on one folder and one port, through its lives."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings.load(folder / "auditlog.toml", environ={})
        self.public = folder / "data" / "logs" / LOG / "public"
        self.said = folder / "server.txt"
        self.port = 0
        self.process = 0

    def start(self) -> LiveService:
        """Fork it, and wait until it answers."""
        listening = socket.create_server(("127.0.0.1", self.port))
        self.port = listening.getsockname()[1]
        self.process = os.fork()
        if self.process == 0:
            self._serve(listening)
        listening.close()
        service = LiveService(f"http://127.0.0.1:{self.port}", self.settings)
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            with suppress(OSError):
                if service.get(f"/logs/{LOG}").status == 200:
                    return service
            ended, status = os.waitpid(self.process, os.WNOHANG)
            if ended:
                self.process = 0
                code, said = os.waitstatus_to_exitcode(status), self.said.read_text()[-600:]
                raise Loss(f"expected the server to start, found it ended with {code} and said: {said}")
            if time.monotonic() > deadline:
                raise Loss(f"expected the server to start, found it here: {self._where()}")
            time.sleep(0.01)

    def _where(self) -> str:
        """What a server that does not answer has said, and where its threads are."""
        os.kill(self.process, signal.SIGUSR1)
        time.sleep(1.0)
        return self.said.read_text()[-6000:]

    def _serve(self, listening: socket.socket) -> None:
        try:
            said = os.open(self.said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for fd in (1, 2):
                os.dup2(said, fd)
            faulthandler.register(signal.SIGUSR1, file=said)
            logging.disable(logging.NOTSET)
            run(self.settings, sockets=[listening])
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(0)

    def kill(self) -> None:
        """SIGKILL, if it still lives."""
        if self.process:
            with suppress(ProcessLookupError):
                os.kill(self.process, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(self.process, 0)
            self.process = 0


class Sender:
    """One producer that posts batch after batch, and keeps what was acknowledged."""

    SIZES = (1, 60)
    """Least size of a batch, and the first that is too large."""

    def __init__(self, service: LiveService, name: str, chance: random.Random) -> None:
        self.producer: FakeProducer
        self.acknowledged: list[bytes] = []
        self._chance = chance
        self._waiting: list[bytes] = []
        self.producer, _ = service.enrol(LOG, name)
        self._waiting = [self.producer.start()]
        self.finish(service)

    def work(self, service: LiveService, until: threading.Event) -> None:
        """Post until told to stop, or until the server does not answer any more."""
        while not until.is_set():
            if not self._waiting:
                count = self._chance.randrange(*self.SIZES)
                first = len(self.acknowledged)
                self._waiting = [self.producer.decide(first + n) for n in range(count)]
            if not self._post(service):
                time.sleep(0.02)

    def finish(self, service: LiveService) -> None:
        """Insist on what was not acknowledged."""
        deadline = time.monotonic() + _PATIENCE_S
        while self._waiting and not self._post(service):
            if time.monotonic() > deadline:
                raise Loss("expected the server to take what it had not acknowledged, found that it did not")
            time.sleep(0.02)

    def _post(self, service: LiveService) -> bool:
        try:
            answer: Answer = service.post_batch(LOG, self.producer, self._waiting)
        except (OSError, http.client.HTTPException, ValueError):
            return False
        if answer.status == 200:
            self.acknowledged += self._waiting
            self._waiting = []
            return True
        if answer.status < 500 and answer.status not in {429}:
            raise Loss(
                f"expected 200 or a request to come again, found {answer.status}: {answer.body[:200]!r}"
            )
        return False


def cases(seed: int, count: int) -> list[str]:
    """Names of so many cases: a third killed at a random moment, the rest at a system call."""
    prepared()
    chance = random.Random(seed)
    names = []
    for number in range(count):
        if number % 3 == 0 or missing():
            names.append(f"server/SIGKILL/moment/{number}-{chance.randrange(400)}")
        else:
            fault = chance.choice(fault_disk.FAULTS)
            names.append(f"server/{fault}/{chance.choice(CALLS)}/{number}-{chance.randrange(1, 60)}")
    return names


def clean() -> None:
    """Remove what the cases shared."""
    shutil.rmtree(prepared()[0].parent, ignore_errors=True)
    prepared.cache_clear()


def run_case(name: str) -> int:
    """One life under load, its end, and the check of the next. Returns 1: every one of them is killed.

    Raises:
        Loss: something acknowledged is missing, or fsck is not clean.
    """
    _, fault, call, which = name.split("/")
    number, when = (int(word) for word in which.split("-"))
    made, vkey = prepared()
    folder = Path(tempfile.mkdtemp(prefix="case-", dir=made.parent)) / "log"
    server = Server(Path(shutil.copytree(made, folder)))
    try:
        service = server.start()
        senders = [Sender(service, f"s{n}", random.Random(number * SENDERS + n)) for n in range(SENDERS)]
        _load(server, service, senders, fault, call, when)
        server.kill()
        service = server.start()
        for sender in senders:
            sender.finish(service)
        service.await_published(LOG, sum(len(each.acknowledged) for each in senders) + 1 + SENDERS)
        server.kill()
        check(server, vkey, senders)
        return 1
    finally:
        server.kill()
        shutil.rmtree(folder.parent, ignore_errors=True)


def _load(
    server: Server, service: LiveService, senders: list[Sender], fault: str, call: str, when: int
) -> None:
    """Post from several threads until the fault has struck, or could not for a while."""
    stop, problems = threading.Event(), []

    def work(sender: Sender) -> None:
        try:
            sender.work(service, stop)
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(each,), daemon=True) for each in senders]
    for thread in threads:
        thread.start()
    tracer = None
    if call == "moment":
        time.sleep(when / 1000)
    else:
        what = f"signal={fault}" if fault.startswith("SIG") else f"error={fault}"
        tracer = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", os.devnull, "-p", str(server.process), "-e",
             f"inject={call}:{what}:when={when}"],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _await_death(server, 0.5)
    server.kill()
    stop.set()
    for thread in threads:
        thread.join(_PATIENCE_S)
    if tracer is not None:
        tracer.wait(_PATIENCE_S)
    if problems:
        raise problems[0]


def _await_death(server: Server, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if os.waitpid(server.process, os.WNOHANG)[0]:
            server.process = 0
            return
        time.sleep(0.01)


def check(server: Server, vkey: str, senders: Sequence[Sender]) -> None:
    """Everything acknowledged, whole chains, a clean fsck. Raises: Loss."""
    entries = read_entries(server.public)
    check_chains(entries)
    held = {hashlib.sha256(entry).digest() for entry in entries}
    missing_now = [
        entry for each in senders for entry in each.acknowledged if hashlib.sha256(entry).digest() not in held
    ]
    if missing_now:
        raise Loss(f"expected every acknowledged entry, found {len(missing_now)} missing")
    report = fsck(FolderSource(server.public), vkey)
    if report.exit_code != 0:
        raise Loss(f"expected a clean fsck, found {report}")
