"""Processes beside the service, which do what would keep its one interpreter lock too long (`aside`).

Promises: whatever becomes of a process (it cannot be started, it dies, it hangs), whoever asked is told so
within `PATIENCE_S` and does it himself. A process ends with the service, however that ends. Must never: leave
a process behind, or make a refusal of its own.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from struct import pack

from auditlog.log.questions import LENGTH, Nothing, Question, put_question, take

logger = logging.getLogger("auditlog.log")

PATIENCE_S = 10
"""A process that takes so long for one answer is done without."""

AGAIN_S = 1.0
"""Least time from one start to the next."""

_MODULE = "auditlog.log.process"


class _Process:
    """One process, asked by one thread at a time."""

    def __init__(self, patience_s: int) -> None:
        """Start it. Raises OSError."""
        self._socket, theirs = socket.socketpair()
        try:
            # -P: what lies in the folder this was started in is not code.
            command = [sys.executable, "-P", "-m", _MODULE]
            self._process = subprocess.Popen(command, stdin=theirs.fileno())  # noqa: S603
        except OSError:
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
        return take(self._socket, size) if size else None

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def close(self) -> None:
        """End it: it holds nothing that could be lost."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


class Processes:
    """So many processes, started when something is asked for the first time."""

    def __init__(self, count: int, *, patience_s: int = PATIENCE_S) -> None:
        """With 0, nobody is there to be asked."""
        self._count, self._patience_s = count, patience_s
        self._changed = threading.Condition()
        self._free: list[_Process] = []
        self._running = 0
        self._starter: threading.Thread | None = None
        self._next_start = 0.0
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
        except (OSError, EOFError) as error:
            logger.warning("a process beside this one is replaced: %s", type(error).__name__)
            self._give_up(process)
            return None
        with self._changed:
            self._free.append(process)
            self.answered += told is not None
            self._changed.notify()
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
        self._next_start = time.monotonic() + AGAIN_S
        self._starter = threading.Thread(target=self._start, name="auditlog-processes", daemon=True)
        self._starter.start()

    def _start(self) -> None:
        while (process := _started(self._patience_s)) is not None:
            with self._changed:
                if not self._is_closed:
                    self._free.append(process)
                    self._running += 1
                    self._changed.notify()
                    process = None
                if process is not None or self._running >= self._count:
                    break
        if process is not None:
            process.close()  # made while the service closed
        with self._changed:
            self._starter = None

    def _give_up(self, process: _Process) -> None:
        process.close()
        with self._changed:
            self._running -= 1
            self.restarts += 1
            self._changed.notify_all()

    def close(self) -> None:
        """End them all. Whoever still asks does it himself; twice is once."""
        with self._changed:
            self._is_closed = True
            starter = self._starter
            self._changed.notify_all()
        if starter is not None:
            starter.join()
        with self._changed:
            ended, self._free = self._free, []
        for process in ended:
            process.close()


def _started(patience_s: int) -> _Process | None:
    """One that has answered; None where that cannot be."""
    try:
        process = _Process(patience_s)
    except OSError as error:
        logger.info("no process beside this one: %s", error)
        return None
    try:
        process.ask(Nothing(), b"")
    except (OSError, EOFError) as error:
        logger.warning("a process beside this one did not start: %s", type(error).__name__)
        process.close()
        return None
    return process
