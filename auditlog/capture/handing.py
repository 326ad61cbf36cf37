"""What a running capture takes from others: observations, entries of the layer itself, losses, reservations.

The part of `RunningCapture` that any thread may call; nothing here touches disk or network, or waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from auditlog.capture.attempts import Attempts
from auditlog.capture.enrolment import Enrolment
from auditlog.capture.intake import Intake, Losses
from auditlog.capture.messages import LostError, Message, Observed, OwnEntry, Unrecorded
from auditlog.capture.outbox import PromiseOutbox
from auditlog.capture.pace import Pace
from auditlog.capture.sender import Sender
from auditlog.capture.settings import CaptureSettings
from auditlog.capture.settling import Settling
from auditlog.capture.writer import Writer

_POLL_S = 0.001


class Handing:
    """Base of `RunningCapture`."""

    intake: Intake[Message]
    writer: Writer | None
    sender: Sender | None
    outbox: PromiseOutbox
    pace: Pace
    _settings: CaptureSettings
    _settling: Settling
    _attempts: Attempts | None
    _enrolment: Enrolment | None

    @property
    def is_open(self) -> bool:
        """Whether observations are taken."""
        raise NotImplementedError

    def declare(self, losses: Losses, settled: Callable[[bool], None]) -> None:
        """Have a gap entry written for what passed unrecorded; `settled` is told whether it is durable."""
        done: Future[None] = Future()
        done.add_done_callback(lambda future: settled(not future.cancelled() and future.exception() is None))
        self.intake.push(Unrecorded(losses, done))

    def write_own(self, kind: str, body: dict[str, Any] | Callable[[], dict[str, Any]]) -> Future[str]:
        """Have an entry of the layer itself written after everything handed over so far; never blocks.

        A callable body is called by the writer's thread at sealing (it may read `decisions`, and must not
        wait). Resolves to the entry's leaf hash in hex, or `draft:<number>`; cancelled if the slot is gone.
        """
        reference: Future[str] = Future()
        self.intake.push(OwnEntry(kind, body, reference))
        return reference

    def say_last(self, body: Callable[[], dict[str, Any]]) -> None:
        """Have a heartbeat sealed with the words that end this life; its body is called at sealing."""
        if self.writer is not None:
            self.writer.last_heartbeat = body

    @property
    def decisions(self) -> int:
        """How many `decision` entries this instance has sealed; exact within a callable body of
        `write_own`.
        """
        return 0 if self.writer is None else self.writer.decisions

    @property
    def deferred(self) -> int:
        """How many answers to calls that this life began left without their promise."""
        return 0 if self._attempts is None else self._attempts.deferred

    @property
    def attempts(self) -> Attempts | None:
        """The marks of the calls that this life began."""
        return self._attempts

    @property
    def expects_quick(self) -> bool:
        """Whether a decision handed over now is likely to be durable within the settings' wait."""
        return self.is_open and self.pace.is_quick

    def wait_until_ready(self, within_s: float) -> None:
        """Wait until the writer has its slot open, which takes milliseconds; no longer where it cannot."""
        until = time.monotonic() + within_s
        while self.is_open and self.writer is not None and not self.writer.is_working:
            if time.monotonic() > until or self.writer.has_failed:
                return
            time.sleep(_POLL_S)

    def reserve(self) -> bool:
        """Keep room for one record: a place in the queue, bytes in the spool and on the disk, and a writer
        (with AUDITLOG_DURABILITY=log: and a log) that works. False if any of it is missing.
        """
        writer = self.writer
        if writer is None or not self.is_open or not writer.is_working:
            return False
        if self._settings.durability == "log" and (self._enrolment is None or not self._is_answering):
            return False
        return writer.has_room(self.intake.reserved + 1) and self.intake.reserve()

    @property
    def _is_answering(self) -> bool:
        return self.sender is not None and self.sender.state in {"idle", "sending"}

    def promised(self, id: str, promise: str) -> None:  # noqa: A002  the word of the format
        """Have a promise that did not travel in the headers of its answer shown at the log."""
        self.outbox.push(id, promise)

    def turn_away(self, message: Observed) -> None:
        """Tell whoever waits for it that the queue had no room."""
        self._settling.lost([message], LostError("record: expected room in the queue, found it full"))
