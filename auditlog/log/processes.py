"""Processes beside the service, which do what would keep its one interpreter lock too long (`aside`).

Promises: whatever becomes of a process (it cannot be started, it dies, it hangs, it answers no question that
was asked), whoever asked is told so within `PATIENCE_S` and does it himself. A process ends with the service,
however that ends. Must never: leave a process behind, make a refusal of its own, or fail where it was asked.
"""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from struct import pack

from auditlog.log.questions import LENGTH, Nothing, Question, put_question, take

logger = logging.getLogger("auditlog.log")

PATIENCE_S = 10
"""A process that takes so long for one answer is done without."""

AGAIN_S = 1.0
"""Least time from one start to the next; twice that after each that failed, up to `RARELY_S`."""

RARELY_S = 60.0

MOST_BYTES = 64 << 20
"""No answer is longer: one that says so is none."""

_DYING_S = 2.0
"""One that was killed is waited for so long: a disk that does not answer keeps it from dying."""

_TIDY_S = 2.0
"""A process that is not needed any more has so long to remove its temporary files."""

_MODULE = "auditlog.log.process"


class _Process:
    """One process, asked by one thread at a time."""

    def __init__(self, patience_s: int) -> None:
        """Start it. Raises OSError, or whatever a host without a program to start raises."""
        self._socket, theirs = socket.socketpair()
        try:
            # -P: what lies in the folder this was started in is not code.
            command = [sys.executable, "-P", "-m", _MODULE]
            self._process = subprocess.Popen(command, stdin=theirs.fileno())  # noqa: S603
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()
        # Of the socket itself: a time-out of the library's would ask `poll` before each call.
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, pack("ll", patience_s, 0))

    def ask(self, question: Question, payload: bytes) -> bytes | None:
        """What it answers; None if it refused. Raises OSError, EOFError: it is of no use any more."""
        for part in put_question(question, payload):
            self._socket.sendall(part)
        (size,) = LENGTH.unpack(take(self._socket, LENGTH.size))
        if size > MOST_BYTES:
            raise ConnectionError(f"expected an answer of {MOST_BYTES} bytes at most, found {size}")
        return take(self._socket, size) if size else None

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def kill(self) -> None:
        """End it; whoever waits for its answer is told. From any thread."""
        self._process.kill()

    def hang_up(self) -> None:
        """It ends by itself when it finds that nobody asks any more."""
        self._socket.close()

    @property
    def is_gone(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def close(self, *, tidy_s: float = 0) -> None:
        """See it end, after that many seconds by force: it holds nothing that could be lost."""
        self.hang_up()
        if tidy_s:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(tidy_s)
        self._process.kill()
        try:
            self._process.wait(_DYING_S)
        except subprocess.TimeoutExpired:
            # What it may still do in there is to write, or name, the bytes that the asker names as well.
            logger.warning("process %d is in a system call that does not end; not waited for", self.pid)


class Processes:
    """So many processes, started when something is asked for the first time."""

    def __init__(self, count: int, *, patience_s: int = PATIENCE_S) -> None:
        """With 0, nobody is there to be asked."""
        self._count, self._patience_s = count, patience_s
        self._changed = threading.Condition()
        self._free: list[_Process] = []
        self._running = 0
        self._starter: threading.Thread | None = None
        self._starting: _Process | None = None
        self._dying: list[_Process] = []
        """Killed, and not dead when that was last looked at."""
        self._next_start, self._pause_s = 0.0, AGAIN_S
        self._is_closed = False
        self.restarts = 0
        """How often a process was given up."""
        self.answered = 0
        """How many questions were."""

    def ask(self, question: Question, payload: bytes = b"") -> bytes | None:
        """What a process answered; None where it refused, or none is there: do it yourself. From any thread;
        waits for a process that is busy, and for the answer.
        """
        process = self._take()
        if process is None:
            return None
        try:
            told = process.ask(question, payload)
        except Exception as error:  # noqa: BLE001  whatever it is, its place must not be lost with it
            logger.warning("a process beside this one is replaced: %s", type(error).__name__)
            self._give_up(process)
            return None
        with self._changed:
            self.answered += told is not None
            if not self._is_closed:
                self._free.append(process)
                self._changed.notify()
                return told
        self._end([process])
        return told

    @property
    def running(self) -> int:
        """How many processes there are."""
        return self._running

    def pids(self) -> list[int]:
        """Of those that have nothing to do."""
        with self._changed:
            return [process.pid for process in self._free]

    def _take(self) -> _Process | None:
        """A process of one's own; None where there is none, and the start of one is seen to."""
        with self._changed:
            if self._running < self._count:
                self._start_more()
            while not self._free and self._running and not self._is_closed:
                self._changed.wait()
            return self._free.pop() if self._free and not self._is_closed else None

    def _start_more(self) -> None:
        """See to it that as many run as should, without waiting for it. Under the lock."""
        if self._is_closed or self._starter is not None or time.monotonic() < self._next_start:
            return
        self._next_start = time.monotonic() + self._pause_s
        starter = threading.Thread(target=self._start, name="auditlog-processes", daemon=True)
        with suppress(RuntimeError):  # no more threads for this user
            starter.start()
            self._starter = starter

    def _start(self) -> None:
        """In a thread of its own: start as many as should run, or as can."""
        # What it starts inherits this: a Ctrl-C, or a stop that reaches every process of the service, is for
        # the service, which still has work for them, and ends them after it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            while self._start_one():
                pass
        except Exception as error:  # noqa: BLE001  no process, no harm
            logger.warning("a process beside this one did not start: %s: %s", type(error).__name__, error)
            with self._changed:
                self._pause_s = min(RARELY_S, 2 * self._pause_s)
                self._next_start = time.monotonic() + self._pause_s
        finally:
            with self._changed:
                self._starter = None

    def _start_one(self) -> bool:
        """Start one and wait until it answers; whether there should be more. Raises OSError, EOFError."""
        process = _Process(self._patience_s)
        is_there = False
        try:
            with self._changed:
                if self._is_closed:
                    return False
                self._starting = process
            process.ask(Nothing(), b"")
            with self._changed:
                self._starting = None
                is_there = not self._is_closed
                if is_there:
                    self._free.append(process)
                    self._running += 1
                    self._pause_s = AGAIN_S
                    self._changed.notify()
                return is_there and self._running < self._count
        finally:
            if not is_there:
                with self._changed:
                    self._starting = None
                process.close()

    def _give_up(self, process: _Process) -> None:
        process.kill()
        with self._changed:
            self._running -= 1
            self.restarts += 1
            self._changed.notify_all()
        self._bury([process])

    def _end(self, processes: Sequence[_Process]) -> None:
        for process in processes:
            process.hang_up()
        self._bury(processes, tidy_s=_TIDY_S)
        with self._changed:
            self._running -= len(processes)

    def _bury(self, processes: Sequence[_Process], *, tidy_s: float = 0) -> None:
        for process in processes:
            process.close(tidy_s=tidy_s)
        with self._changed:
            self._dying = [each for each in [*self._dying, *processes] if not each.is_gone]

    def close(self) -> None:
        """End them all, those that are asked something after their answer. Whoever still asks does it
        himself; twice is once.
        """
        with self._changed:
            self._is_closed = True
            starter = self._starter
            if self._starting is not None:
                self._starting.kill()
            self._changed.notify_all()
        if starter is not None:
            starter.join()
        with self._changed:
            ended, self._free = self._free, []
        self._end(ended)
