"""Processes that check batches beside the service, so that checking uses cores of its own.

Promises: whatever becomes of a process (it cannot be started, it dies, it hangs), the batch it had is checked
here, by the same function, and nobody outside notices but by the time it takes. What a process finds is never
the last word: before a signature every stored entry is hashed again and compared with the hashes it gave
(`staging`). Must never: make a refusal of its own, or leave a process behind.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from struct import pack

import msgspec

from auditlog.core.head import ClaimedHead
from auditlog.core.note import Ed25519Verifier
from auditlog.log.admission import Batch, CheckedBatch, check_batch
from auditlog.log.process import HASH_BYTES, LENGTH, Finding, Terms, put_question, read_answer, take

logger = logging.getLogger("auditlog.log")

WORTH_BYTES = 32 << 10
"""A smaller batch is checked sooner than it is handed over."""

PATIENCE_S = 10
"""A process that takes so long for one batch is done without."""

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

    def ask(self, terms: Terms, framed: bytes) -> Finding | None:
        """What it found; None if it refused. Raises OSError, EOFError, msgspec.MsgspecError: it is of no use
        any more.
        """
        for part in put_question(terms, framed):
            self._socket.sendall(part)
        (size,) = LENGTH.unpack(take(self._socket, LENGTH.size))
        return read_answer(take(self._socket, size)) if size else None

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
    """So many processes, started when the first batch comes that is worth it."""

    def __init__(self, count: int, *, patience_s: int = PATIENCE_S) -> None:
        """With 0, every batch is checked in the caller's thread."""
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
        """How many batches were found to be true by a process."""

    def check(
        self, batch: Batch, claimed: ClaimedHead, origin: str, keys: Sequence[Ed25519Verifier]
    ) -> CheckedBatch:
        """As `check_batch`, with all its errors; from any thread."""
        finding = self._ask(batch, origin, keys)
        if finding is None:
            # Refused, or not asked: the error is made here, where its caller is.
            return check_batch(batch, claimed, origin, keys)
        hashes = finding.leaf_hashes
        return CheckedBatch(
            producer=bytes.fromhex(claimed.head.producer),
            head=claimed.head,
            head_note=batch.head_note,
            entries=batch.entries,
            leaf_hashes=[hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)],
            prev=finding.prev,
            decides=finding.decides,
            next_vkey=finding.next_vkey,
            retires=finding.retires,
        )

    def _ask(self, batch: Batch, origin: str, keys: Sequence[Ed25519Verifier]) -> Finding | None:
        framed = batch.framed
        if framed is None or len(framed) < WORTH_BYTES or (process := self._take()) is None:
            return None
        try:
            finding = process.ask(Terms(origin, tuple(key.vkey for key in keys)), framed)
        except (OSError, EOFError, msgspec.MsgspecError) as error:
            logger.warning("a process that checks batches is replaced: %s", type(error).__name__)
            self._give_up(process)
            return None
        with self._changed:
            self._free.append(process)
            self.answered += finding is not None
            self._changed.notify()
        return finding

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
        """End them all. Whoever still asks checks for himself; twice is once."""
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
        logger.info("no process to check batches: %s", error)
        return None
    try:
        process.ask(Terms("", ()), b"")
    except (OSError, EOFError, msgspec.MsgspecError) as error:
        logger.warning("a process that checks batches did not start: %s", type(error).__name__)
        process.close()
        return None
    return process
