"""More hands for fsck: processes that read and hash sections of the log for the one that judges them.

Spec: `auditlog/spec/log.md`, "fsck". Of N processes the k-th reads the sections k, k + N, k + 2N. Promises:
the report is the same with them and without; one that cannot be started, dies or hangs costs time alone, and
what one cannot read is read again by the judge, who says why. What is on its way is bounded by the pipes.
"""

from __future__ import annotations

import sys
from typing import Final

import msgspec

from auditlog.verify import second_process
from auditlog.verify.fsck_sections import Section
from auditlog.verify.second_process import SecondProcess

WORTHWHILE_SECTIONS: Final = 8
"""A process takes a fraction of a second to start: for fewer sections it is not."""


class Job(msgspec.Struct):
    """Which sections of which log one process reads."""

    target: str
    token: str | None
    origin: str
    size: int
    with_bundles: bool
    first: int
    step: int
    minimum: int


class Hands:
    """The processes of one fsck. For one thread."""

    def __init__(
        self, target: str = "", token: str | None = None, *, jobs: int = 1, python: str = sys.executable
    ) -> None:
        """`jobs` processes that read `target`, a folder or URL, with its token; with one, none is started."""
        self._target, self._token, self._jobs, self._python = target, token, jobs, python
        self._at_work: list[SecondProcess | None] = []
        self._decoder = msgspec.msgpack.Decoder(Section)

    def start(self, origin: str, size: int, sections: int, *, with_bundles: bool, minimum: int) -> None:
        """Start them where that pays."""
        if self._jobs < 2 or sections < WORTHWHILE_SECTIONS:
            return
        for first in range(self._jobs):
            job = Job(self._target, self._token, origin, size, with_bundles, first, self._jobs, minimum)
            data = msgspec.msgpack.encode(job)
            process = second_process.start("auditlog.verify.fsck_worker", data, python=self._python)
            self._at_work.append(None if process is None else SecondProcess(process))

    def take(self, number: int) -> Section | None:
        """The section of that number; None if the judge must read it. Numbers come in order."""
        if not self._at_work:
            return None
        place = number % len(self._at_work)
        worker = self._at_work[place]
        frame = None if worker is None else worker.frame()
        if worker is None:
            return None
        if frame is not None and not frame:
            return None
        try:
            return self._decoder.decode(frame or b"")
        except msgspec.MsgspecError:
            worker.close()
            self._at_work[place] = None
            return None

    def close(self) -> None:
        """End them all; waits for nothing."""
        for worker in self._at_work:
            if worker is not None:
                worker.close()
        self._at_work = []
