"""What runs behind a recorder in one process: the slot, the queue, the writer's and the sender's threads.

Opening takes a slot and starts the daemon threads; recovery of the spool and everything else that touches
the disk happens in them, so a server's start is not held up. An opening that fails leaves nothing behind and
may be tried again. Must never: outlive a fork (the child opens its own).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from auditlog.capture.adoption import Opening
from auditlog.capture.backlog import write_note
from auditlog.capture.client import LogClient
from auditlog.capture.coverage import Coverage
from auditlog.capture.disclosures import DisclosureStore, load_store_key
from auditlog.capture.enrolling import enrol
from auditlog.capture.enrolment import Enrolment
from auditlog.capture.field_roots import FieldRootProcess, root_here
from auditlog.capture.intake import Intake, Losses
from auditlog.capture.journal import Journal
from auditlog.capture.leftovers import Leftovers
from auditlog.capture.messages import Adopt, Flush, LostError, Message, OwnEntry, Unrecorded
from auditlog.capture.metrics import Counters
from auditlog.capture.models import UNREGISTERED, ModelNames
from auditlog.capture.preparing import Preparation
from auditlog.capture.safety import Guard
from auditlog.capture.sender import Route, Sender
from auditlog.capture.settings import CaptureSettings
from auditlog.capture.signals import Signals
from auditlog.capture.slots import Slot, acquire_slot
from auditlog.capture.sqlite_store import SqliteDisclosureStore
from auditlog.capture.unguarded import claim_unguarded
from auditlog.capture.vitals import SpoolDepth
from auditlog.capture.writer import Writer
from auditlog.core.capability import receipt_capability
from auditlog.errors import Pushback

_T = TypeVar("_T")
_POLL_S = 0.02
_WRITER_WAIT_S = 1.0


class RunningCapture:
    """The running parts of one recorder in one process."""

    def __init__(
        self,
        settings: CaptureSettings,
        *,
        clock: Callable[[], int],
        rng: Callable[[int], bytes],
        metrics: Counters,
        guard: Guard,
        logger: logging.Logger,
        software: str,
        on_gone: Callable[[RunningCapture, Losses], None],
        coverage: Coverage,
        problems: Callable[[], tuple[str, ...]] = tuple,
        on_refresh: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_gone` is told, from the writer's thread, that the slot's files were deleted, and since when
        entries may be lost: nothing runs any more then. `coverage`, `problems`, `on_refresh`: see `Signals`.
        """
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._guard = guard
        self._logger = logger
        self._software = software
        self._on_gone = on_gone
        self._began_us = clock()
        self._enrolment: Enrolment | None = None
        self._adopting: Adopt | None = None
        self._receipt_prefix = ""
        self._threads: list[threading.Thread] = []
        self.intake: Intake[Message] = Intake(
            max_items=settings.max_queue_items, max_bytes=settings.max_queue_bytes
        )
        self.slot: Slot | None = None
        self.writer: Writer | None = None
        self.sender: Sender | None = None
        self.leftovers: Leftovers | None = None
        self._field_roots: FieldRootProcess | None = None
        self._is_open = False
        self.signals = Signals(
            self,
            settings,
            coverage=coverage,
            clock=clock,
            metrics=metrics,
            guard=guard,
            logger=logger,
            problems=problems,
            on_refresh=on_refresh,
        )

    @property
    def is_open(self) -> bool:
        """Whether observations are taken: opened, not closed, and the slot's files are in their place."""
        return self._is_open and self.writer is not None and not self.writer.is_gone

    def open(self) -> None:
        """Take a slot and start the threads.

        Raises OSError, MalformedError, ConfigurationError: nothing then runs, and it may be called again.
        """
        settings = self._settings
        for problem in settings.problems:
            self._logger.error("auditlog: not recording: %s", problem)
        if not settings.is_usable:
            return
        slot = acquire_slot(
            settings.state_dir, settings.producer, origin=settings.origin, passed_over=self._passed_over
        )
        try:
            self._open_in(slot)
        except BaseException:
            slot.release()
            raise

    def _open_in(self, slot: Slot) -> None:
        enrolment = slot.load_enrolment()
        opening = None if enrolment is None else self._opening(slot, enrolment)
        if enrolment is not None:
            self._remember(enrolment)
        self.slot = slot
        self.writer = writer = self._new_writer(slot, opening)
        self.sender = sender = self._new_sender(slot, self._open_route)
        self.leftovers = leftovers = self._new_leftovers(slot)
        for claim in claim_unguarded(self._settings.state_dir, self._clock()):
            self.declare(claim.losses, claim.settled)
        self._start("auditlog-writer", lambda: self._write(writer))
        self._start("auditlog-sender", sender.run)
        self._start("auditlog-leftovers", leftovers.run)
        self.signals.start()
        self._is_open = True

    def _write(self, writer: Writer) -> None:
        try:
            writer.run()
        finally:
            if self._field_roots is not None:
                self._field_roots.close()

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

    @property
    def decisions(self) -> int:
        """How many `decision` entries this instance has sealed; exact within a callable body of
        `write_own`.
        """
        return 0 if self.writer is None else self.writer.decisions

    @property
    def model(self) -> str:
        """What a decision that names no model says of its model."""
        return UNREGISTERED if self.writer is None else self.writer.model

    @property
    def sender_state(self) -> str:
        """How the sending fares: the sender's word."""
        return "starting" if self.sender is None else self.sender.state

    @property
    def head(self) -> str | None:
        """The newest head note that was signed in this life."""
        return None if self.sender is None else self.sender.head

    def depth(self) -> SpoolDepth:
        """What the log has not acknowledged, from memory."""
        return SpoolDepth() if self.writer is None else self.writer.depth()

    def abandon(self) -> None:
        """After the slot was deleted: wait for the threads and let go of what is left of it."""
        self.signals.abandon()
        if self.sender is not None and self.leftovers is not None:
            self.sender.stop()
            self.leftovers.stop()
        for thread in self._threads:
            thread.join()
        if self.slot is not None:
            self.slot.release()

    def close(self) -> None:
        """Stop taking, write what is queued, send for a while, stop the threads, release the slot."""
        writer = self.writer
        if writer is None or self.sender is None:
            return
        self._is_open = False
        deadline = time.monotonic() + self._settings.close_timeout_s
        writer_thread, sender_thread, leftovers_thread = self._threads
        if self.leftovers is not None:
            self.leftovers.stop()
        self.signals.stop()
        self.intake.close()
        flushed: Future[None] = Future()
        self.intake.push(Flush(flushed))
        # First what is queued becomes durable and, if the log answers, sent; then the writer ends in order.
        self._wait_until(lambda: (flushed.done() or writer.is_gone) and self._is_sent, deadline)
        writer.stop(within_s=max(_POLL_S, deadline - time.monotonic()))
        writer_thread.join(max(_POLL_S, deadline - time.monotonic()) + _POLL_S)
        self._wait_until(lambda: self._is_sent, deadline)
        self.sender.stop()
        sender_thread.join(max(_POLL_S, deadline - time.monotonic()))
        leftovers_thread.join(max(_POLL_S, deadline - time.monotonic()))
        # A thread stuck in a disk or socket keeps the slot until the process is gone: nobody else may have
        # it.
        if self.slot is not None and not writer_thread.is_alive() and not sender_thread.is_alive():
            self.slot.release()

    @property
    def _is_sent(self) -> bool:
        """Whether there is no point in waiting for the sender: all sent, or log or slot are not there."""
        assert self.sender is not None
        assert self.writer is not None
        return (
            self.writer.is_gone or self.sender.is_drained or self.sender.state in {"unreachable", "refused"}
        )

    def _wait_until(self, condition: Callable[[], bool], deadline: float) -> None:
        while not condition() and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def receipt_url(self, id: str) -> str | None:  # noqa: A002  the word of the format
        """Where the receipt of a decision will be found, None before enrolment (api.md)."""
        if self._enrolment is None:
            return None
        return f"{self._receipt_prefix}{id}/{receipt_capability(self._enrolment.receipt_key, id)}"

    def refusal(self) -> LostError:
        """What a caller who wanted durability is told when the queue was full."""
        return LostError("record: expected room in the queue, found it full")

    def _remember(self, enrolment: Enrolment) -> None:
        self._receipt_prefix = f"{self._settings.receipt_base}/receipts/{enrolment.producer[:16]}/"
        self._enrolment = enrolment

    def _opening(self, slot: Slot, enrolment: Enrolment) -> Opening:
        signer = slot.signer(enrolment.origin, self._rng)
        return Opening(enrolment, signer, self._software, self._clock)

    def _open_route(self, client: LogClient) -> Route:
        """Enrol if that has not happened yet, and wait until the writer has its place in the chain."""
        assert self.writer is not None
        assert self.slot is not None
        if self._enrolment is None:
            if self._adopting is None:
                self._adopting = Adopt(self._enrol(self.slot, client), Future())
                self.intake.push(self._adopting)
            self._await(self._adopting.done)
            self._remember(self._adopting.opening.enrolment)
        spool = self._await(self.writer.ready)
        assert self._enrolment is not None
        return Route(self._enrolment, self._opening(self.slot, self._enrolment).signer, spool)

    def _enrol(self, slot: Slot, client: LogClient) -> Opening:
        enrolment, signer = enrol(slot, client, origin=self._settings.origin, rng=self._rng)
        self._logger.info("auditlog: producer %s enrolled with %s", enrolment.name, enrolment.origin)
        return Opening(enrolment, signer, self._software, self._clock)

    def _open_leftover(self, slot: Slot, client: LogClient) -> tuple[Journal, Route]:
        """Open the chain of a slot that another life left, as the next life of that producer."""
        enrolment = slot.load_enrolment()
        opening = self._enrol(slot, client) if enrolment is None else self._opening(slot, enrolment)
        journal = self._new_journal(slot)
        instance = self._rng(16).hex()
        journal.open(opening, instance=instance, software=self._software, now_us=self._clock())
        assert journal.spool is not None
        return journal, Route(opening.enrolment, opening.signer, journal.spool)

    def _gone(self) -> None:
        """The writer found the slot deleted: from now on no receipt is promised, and all is declared."""
        self._is_open = False
        sender = self.sender
        since_us = self._began_us if sender is None else max(self._began_us, sender.acknowledged_us)
        self._on_gone(self, Losses(None, since_us, max(since_us, self._clock())))

    def _passed_over(self, name: str, flaw: str) -> None:
        self._metrics.add("slots_passed_over")
        self._logger.error("auditlog: slot %s is not used: %s", name, flaw)

    def _await(self, future: Future[_T]) -> _T:
        """Wait for the writer; a stop or a slow disk is told as "not now", so that the sender asks again."""
        try:
            return future.result(_WRITER_WAIT_S)
        except TimeoutError:
            raise Pushback(
                "writer: expected the slot to be open, found it opening", retry_after_s=0
            ) from None

    def _new_writer(self, slot: Slot, opening: Opening | None) -> Writer:
        return Writer(
            preparation=self._new_preparation(),
            journal=self._new_journal(slot),
            intake=self.intake,
            opening=opening,
            instance=self._rng(16).hex(),
            software=self._software,
            clock=self._clock,
            open_store=lambda: self._open_store(slot),
            on_durable=self._notify_sender,
            on_gone=self._gone,
            metrics=self._metrics,
            guard=self._guard,
        )

    def _new_preparation(self) -> Preparation:
        helper = self._field_roots = FieldRootProcess(self._logger) if self._settings.helper else None
        return Preparation(
            models=ModelNames(is_expected=self._settings.model_path is not None),
            rng=self._rng,
            max_body_bytes=self._settings.max_body_bytes,
            field_roots=helper or root_here,
            metrics=self._metrics,
            guard=self._guard,
        )

    def _new_journal(self, slot: Slot) -> Journal:
        settings = self._settings
        return Journal(
            slot,
            segment_bytes=settings.segment_bytes,
            max_bytes=settings.max_spool_bytes,
            commits=self._metrics.commits,
        )

    def _new_leftovers(self, own: Slot) -> Leftovers:
        return Leftovers(
            self._settings.state_dir,
            own=own.directory,
            origin=lambda: None if self._enrolment is None else self._enrolment.origin,
            open_journal=self._open_leftover,
            new_sender=lambda slot, route: self._new_sender(slot, route, until_drained=True),
            guard=self._guard,
            logger=self._logger,
        )

    def _new_sender(
        self, slot: Slot, open_route: Callable[[LogClient], Route], *, until_drained: bool = False
    ) -> Sender:
        return Sender(
            open_route=open_route,
            open_client=self._open_client,
            on_conflict=slot.mark_conflict,
            note=lambda state, detail, number: write_note(slot.directory, state, detail, number),
            until_drained=until_drained,
            rng=self._rng,
            metrics=self._metrics,
            guard=self._guard,
            logger=self._logger,
            max_batch_entries=self._settings.max_batch_entries,
            max_batch_bytes=self._settings.max_batch_bytes,
        )

    def _open_client(self) -> LogClient:
        settings = self._settings
        return LogClient(settings.log_url, settings.read_token, timeout_s=settings.request_timeout_s)

    def _open_store(self, slot: Slot) -> DisclosureStore:
        key = load_store_key(slot.store_key_path, self._rng)
        return SqliteDisclosureStore(
            slot.store_path,
            key,
            self._rng,
            keep_s=self._settings.keep_s,
            max_bytes=self._settings.max_store_bytes,
        )

    def _notify_sender(self) -> None:
        if self.sender is not None:
            self.sender.notify()

    def _start(self, name: str, body: Callable[[], None]) -> None:
        def run() -> None:
            self._guard.call(name, None, body)

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
