"""A second process of this Python that works ahead of the one that judges, and hands over frames.

Spec: auditlog/spec/monitor.md and log.md, "Speed". A module is started with its job on standard input and
writes frames, each with its length in four bytes before it, to standard output. Promises: a process that
cannot be started, dies, hangs or ends early costs its user time and nothing else; what is on its way is
bounded by the pipe. Must never: pass a job, which may hold a token, as an argument or in the environment.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import signal
import subprocess
import sys
from typing import BinaryIO, Final

from auditlog.verify.sources import OBJECT_S

logger = logging.getLogger("auditlog.verify")

LENGTH_BYTES: Final = 4

PATIENCE_S: Final = 2 * OBJECT_S
"""A process that brings nothing for so long is done without."""

PIPE_BYTES: Final = 1024 * 1024
"""What may be on its way between the two, where the system grants it."""


class SecondProcess:
    """One at work. For one thread."""

    def __init__(self, process: subprocess.Popen[bytes], *, patience_s: float = PATIENCE_S) -> None:
        """`process` has its job already."""
        assert process.stdout is not None
        self._process, self._out, self._patience_s = process, process.stdout, patience_s
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)

    def frame(self) -> bytearray | None:
        """The next frame; None if there is none, now or later."""
        try:
            head = self._read(LENGTH_BYTES)
            return self._read(int.from_bytes(head, "big"))
        except (OSError, EOFError):
            return None

    def _read(self, count: int) -> bytearray:
        """So many bytes; raises EOFError where the process has ended or nothing comes in time."""
        found = bytearray()
        while len(found) < count:
            if not self._poll.poll(self._patience_s * 1000):
                raise EOFError
            part = os.read(self._out.fileno(), count - len(found))
            if not part:
                raise EOFError
            found += part
        return found

    def close(self) -> None:
        """End it; waits for nothing."""
        with contextlib.suppress(OSError):
            self._out.close()
        self._process.kill()
        self._process.wait()


def start(module: str, job: bytes, *, python: str = sys.executable) -> subprocess.Popen[bytes] | None:
    """`module` at work on `job`; None where that cannot be."""
    # -P: what lies in the folder this was started in is not code.
    command = [python, "-P", "-m", module]
    try:
        process = subprocess.Popen(  # noqa: S603  this Python and a module of this package
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except (OSError, ValueError) as error:
        logger.info("no second process for reading: %s", error)
        return None
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    with contextlib.suppress(OSError), process.stdin:
        process.stdin.write(job)
    return process


def read_job() -> bytes:
    """In the second process: its job."""
    # A Ctrl-C is for the first, which closes the pipe when it has stopped.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return sys.stdin.buffer.read()


def write_frame(data: bytes, out: BinaryIO) -> None:
    """In the second process: hand over one frame; raises OSError where nobody listens."""
    out.write(len(data).to_bytes(LENGTH_BYTES, "big") + data)
    out.flush()


def usable_cores() -> int:
    """Cores that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
