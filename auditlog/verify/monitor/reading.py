"""The judge's side of the reader: starts it where that pays, takes its pieces, does without it.

Spec: auditlog/spec/monitor.md, "Speed". Promises: what is judged is the same with a reader and without; a
reader that cannot be started, that dies or that stops early costs time and nothing else. What is on its way
is bounded by the pipe (`auditlog.verify.second_process`).
"""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import msgspec

from auditlog.core.checkpoint import Checkpoint
from auditlog.core.tiles import TILE_WIDTH
from auditlog.verify import second_process
from auditlog.verify.monitor.reader import Job, Piece
from auditlog.verify.second_process import SecondProcess, usable_cores

WORTHWHILE_TILES: Final = 64
"""A process takes a fraction of a second to start: for fewer tiles it is not."""

PATIENCE_S: Final = second_process.PATIENCE_S
"""A reader that brings nothing for so long is done without."""


class Reading(SecondProcess):
    """One reader at work. For one thread."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """`process` has its job already."""
        super().__init__(process, patience_s=PATIENCE_S)
        self._decoder = msgspec.msgpack.Decoder(Piece)

    def take(self, number: int) -> Piece | None:
        """The piece of that number, which is the next; None if there is none, now or later."""
        frame = self.frame()
        try:
            piece = None if frame is None else self._decoder.decode(frame)
        except msgspec.MsgspecError:
            return None
        return piece if piece is not None and piece.number == number else None


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
        process = second_process.start(
            "auditlog.verify.monitor.reader", msgspec.msgpack.encode(job), python=self._python
        )
        return None if process is None else Reading(process)
