"""The judge's side of the reader: starts it where that pays, takes its pieces, does without it.

Spec: auditlog/spec/monitor.md, "Speed". Promises: what is judged is the same with a reader and without; a
reader that cannot be started, that dies or that stops early costs time and nothing else. What is on its way
is bounded by the pipe. Must never: pass a token as an argument or in the environment.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import subprocess
import sys
from typing import Final

import msgspec

from auditlog.core.checkpoint import Checkpoint
from auditlog.core.tiles import TILE_WIDTH
from auditlog.verify.monitor.reader import LENGTH_BYTES, Job, Piece
from auditlog.verify.sources import OBJECT_S

logger = logging.getLogger("auditlog.monitor")

WORTHWHILE_TILES: Final = 64
"""A process takes a fraction of a second to start: for fewer tiles it is not."""

PATIENCE_S: Final = 2 * OBJECT_S
"""A reader that brings nothing for so long is done without."""

PIPE_BYTES: Final = 1024 * 1024
"""What may be on its way between the two, where the system grants it: some ten pieces."""


class Reading:
    """One reader at work. For one thread."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """`process` has its job already."""
        assert process.stdout is not None
        self._process, self._out = process, process.stdout
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)
        self._decoder = msgspec.msgpack.Decoder(Piece)

    def take(self, number: int) -> Piece | None:
        """The piece of that number, which is the next; None if there is none, now or later."""
        try:
            head = self._read(LENGTH_BYTES)
            piece = self._decoder.decode(self._read(int.from_bytes(head, "big")))
        except (OSError, EOFError, msgspec.MsgspecError):
            return None
        return piece if piece.number == number else None

    def _read(self, count: int) -> bytearray:
        """So many bytes; raises EOFError where the reader has ended or nothing comes in time."""
        found = bytearray()
        while len(found) < count:
            if not self._poll.poll(PATIENCE_S * 1000):
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


class Readers:
    """Starts a reader for a log behind `target`, a folder or a URL, with its token."""

    def __init__(self, target: str, token: str | None = None, *, python: str = sys.executable) -> None:
        self._target, self._token, self._python = target, token, python

    def start(self, checkpoint: Checkpoint, first: int) -> Reading | None:
        """One that reads full tiles from `first` on; None where that does not pay, or cannot be."""
        end = checkpoint.tree_size // TILE_WIDTH
        if end - first < WORTHWHILE_TILES or not self._python or usable_cores() < 2:
            return None
        size, root = checkpoint.tree_size, checkpoint.root_hash
        job = Job(self._target, self._token, checkpoint.origin, size, root, first, end)
        # -P: what lies in the folder this was started in is not code.
        command = [self._python, "-P", "-m", "auditlog.verify.monitor.reader"]
        try:
            process = subprocess.Popen(  # noqa: S603  this Python and this module
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
            process.stdin.write(msgspec.msgpack.encode(job))
        return Reading(process)


def usable_cores() -> int:
    """Cores that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
