"""What runs behind a recorder in one process: the slot, the queue, the writer's and the sender's threads.

Opening takes a slot and starts the daemon threads; recovery of the spool and everything else that touches
the disk happens in them, so a server's start is not held up. An opening that fails leaves nothing behind and
may be tried again. Must never: outlive a fork (the child opens its own).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from auditlog.capture.adoption import Opening
from auditlog.capture.attempts import Attempts
from auditlog.capture.client import LogClient
from auditlog.capture.clocks import HostClock
from auditlog.capture.enrolment import Enrolment
from auditlog.capture.forking import ForkGate
from auditlog.capture.frames import Record
from auditlog.capture.handing import Handing
from auditlog.capture.intake import Intake, Losses
from auditlog.capture.leftovers import Leftovers
from auditlog.capture.messages import Adopt, Flush, Message
from auditlog.capture.metrics import Counters
from auditlog.capture.outbox import PromiseOutbox
from auditlog.capture.pace import Pace
from auditlog.capture.preloading import preload
from auditlog.capture.promises import PromiseMaker
from auditlog.capture.redaction import Redactor
from auditlog.capture.rotation import SlotKeys
from auditlog.capture.safety import Guard
from auditlog.capture.sender import Route, Sender
from auditlog.capture.settings import CaptureSettings
from auditlog.capture.settling import Settling
from auditlog.capture.signals import Signals
from auditlog.capture.slots import Slot, acquire_slot
from auditlog.capture.startup import state_doubt
from auditlog.capture.tending import KeyWatch
from auditlog.capture.unguarded import claim_unguarded
from auditlog.capture.wiring import Wiring
from auditlog.capture.writer import Writer
from auditlog.core.capability import ReceiptCapabilities
from auditlog.errors import Pushback

if TYPE_CHECKING:
    from auditlog.capture.telling import Telling

_T = TypeVar("_T")
_POLL_S = 0.02
_WRITER_WAIT_S = 1.0


class RunningCapture(Handing):
    """The running parts of one recorder in one process."""

    def __init__(
        self,
        settings: CaptureSettings,
        *,
        clock: Callable[[], int],
        rng: Callable[[int], bytes],
        metrics: Counters,
        guard: Guard,
        redactor: Redactor | None = None,
        logger: logging.Logger,
        software: str,
        on_gone: Callable[[RunningCapture, Losses], None],
        telling: Telling,
        gate: ForkGate,
    ) -> None:
        """`on_gone` is told, from the writer's thread, that the slot's files were deleted, and since when
        entries may be lost: nothing runs any more then. `telling` is the recorder, which outlives this, as
        `gate` does.
        """
        self._settings = settings
        self._clock = HostClock(clock, on_jump=self._went_back)
        self._wiring = Wiring(
            settings, software, clock=self._clock, rng=rng, metrics=metrics, guard=guard, redactor=redactor,
            logger=logger, gate=gate,
        )  # fmt: skip
        self._rng = rng
        self._metrics = metrics
        self._guard = guard
        self._logger = logger
        self._software = software
        self._on_gone = on_gone
        self._began_us = clock()
        self._enrolment: Enrolment | None = None
        self._keys: SlotKeys | None = None
        self._watch: KeyWatch | None = None
        self._adopting: Adopt | None = None
        self._receipt_prefix = ""
        self._capability: ReceiptCapabilities | None = None
        self._threads: list[threading.Thread] = []
        self.intake: Intake[Message] = Intake(
            max_items=settings.max_queue_items, max_bytes=settings.max_queue_bytes
        )
        self.slot: Slot | None = None
        self.writer: Writer | None = None
        self.sender: Sender | None = None
        self.leftovers: Leftovers | None = None
        self.outbox = PromiseOutbox(
            open_client=self._wiring.open_client, metrics=metrics, guard=guard, gate=self._wiring.gate,
            waits=lambda: not self._is_in_step() or (self._keys is not None and self._keys.is_turning),
        )  # fmt: skip
        """Promises that did not travel with their answer."""
        self.pace = Pace(settings.wait_ms / 1000, judges_disk=settings.durability == "local")
        self._settling = Settling(
            waits_for_log=settings.durability == "log", pace=self.pace, post=self.outbox.push
        )
        self._attempts: Attempts | None = None
        self._is_open = False
        self._telling = telling
        self.gate = self._wiring.gate
        self.signals = Signals(self, telling, clock=clock)

    @property
    def is_open(self) -> bool:
        """Whether observations are taken: opened, not closed, and the slot's files are in their place."""
        return self._is_open and self.writer is not None and not self.writer.is_gone

    def open(self, first: Sequence[Message] = ()) -> None:
        """Take a slot and start the threads; `first` is written before anything that is observed.

        Raises OSError, MalformedError, ConfigurationError: nothing then runs, and it may be called again.
        """
        settings = self._settings
        self._telling.report_settings()
        if not settings.is_usable:
            self.signals.mark_disabled(self._rng)
            return
        preload()
        self._wiring.open()
        try:
            slot = acquire_slot(
                settings.state_dir, settings.producer, origin=settings.origin, passed_over=self._passed_over
            )
        except OSError as error:
            self._telling.report(state_doubt(settings, error.strerror or type(error).__name__))
            raise
        try:
            self._open_in(slot, first)
        except BaseException:
            slot.release()
            raise

    def _open_in(self, slot: Slot, first: Sequence[Message]) -> None:
        enrolment = slot.load_enrolment()
        opening = None if enrolment is None else self._wiring.opening(slot, enrolment)
        if enrolment is not None and opening is not None:
            self._keys = opening.keys
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
        self._watch = watch = self._new_watch(slot)
        self._start("auditlog-keys", watch.run)
        self.signals.start()
        for message in first:
            self.intake.push(message)
        self._is_open = True

    def _write(self, writer: Writer) -> None:
        try:
            writer.run()
        finally:
            self._settling.end()
            self._wiring.close()

    @property
    def max_merge_delay_s(self) -> int | None:
        """The log's own longest delay, where it has said so."""
        return None if self._enrolment is None else self._enrolment.max_merge_delay_s

    def abandon(self) -> None:
        """After the slot was deleted: wait for the threads and let go of what is left of it."""
        self.signals.abandon()
        if self.sender is not None and self.leftovers is not None:
            self.sender.stop()
            self.leftovers.stop()
        if self._watch is not None:
            self._watch.stop()
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
        writer_thread, sender_thread, leftovers_thread, keys_thread = self._threads
        if self.leftovers is not None:
            self.leftovers.stop()
        if self._watch is not None:
            self._watch.stop()
        self.signals.stop()
        self.intake.close()
        flushed: Future[None] = Future()
        self.intake.push(Flush(flushed))
        # First what is queued becomes durable and, if the log answers, sent; then the writer ends in order.
        self.sender.hurry()
        self._wait_until(lambda: (flushed.done() or writer.is_gone) and self._is_sent, deadline)
        writer.stop(within_s=max(_POLL_S, deadline - time.monotonic()))
        writer_thread.join(max(_POLL_S, deadline - time.monotonic()) + _POLL_S)
        self._wait_until(lambda: self._is_sent, deadline)
        self.sender.stop()
        self.outbox.stop(within_s=max(_POLL_S, deadline - time.monotonic()))
        sender_thread.join(max(_POLL_S, deadline - time.monotonic()))
        leftovers_thread.join(max(_POLL_S, deadline - time.monotonic()))
        keys_thread.join(_POLL_S)
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
        capability = self._capability
        return None if capability is None else f"{self._receipt_prefix}{id}/{capability(id)}"

    def _remember(self, enrolment: Enrolment) -> None:
        self._receipt_prefix = f"{self._settings.receipt_base}/receipts/{enrolment.producer[:16]}/"
        self._capability = ReceiptCapabilities(enrolment.receipt_key)
        self._enrolment = enrolment

    def _open_route(self, client: LogClient) -> Route:
        """Enrol if that has not happened yet, and wait until the writer has its place in the chain."""
        assert self.writer is not None
        assert self.slot is not None
        if self._enrolment is None:
            if self._adopting is None:
                self._adopting = Adopt(self._wiring.enrol(self.slot, client), Future())
                self.intake.push(self._adopting)
            self._await(self._adopting.done)
            self._keys = self._adopting.opening.keys
            self._remember(self._adopting.opening.enrolment)
        spool = self._await(self.writer.ready)
        assert self._enrolment is not None
        if self._enrolment.max_merge_delay_s is None:
            # Enrolled by version 0.1. A log that does not say it now either promises nothing of the kind.
            delay_s = client.max_merge_delay_s()
            self.writer.learn_delay(delay_s or 0)
            if delay_s is not None:
                self._remember(replace(self._enrolment, max_merge_delay_s=delay_s))
                self.slot.save_enrolment(self._enrolment)
        assert self._keys is not None
        return Route(self._enrolment, self._keys.heads, spool, self._keys)

    def _gone(self) -> None:
        """The writer found the slot deleted: from now on no receipt is promised, and all is declared."""
        self._is_open = False
        sender = self.sender
        since_us = self._began_us if sender is None else max(self._began_us, sender.acknowledged_us)
        self._on_gone(self, Losses(None, since_us, max(since_us, self._clock())))

    def _passed_over(self, name: str, flaw: str) -> None:
        self._metrics.add("slots_passed_over")
        self._logger.error(
            "auditlog: slot %s is not used: %s", name, flaw, extra={"event": "slot_passed_over", "slot": name}
        )

    def _await(self, future: Future[_T]) -> _T:
        """Wait for the writer; a stop or a slow disk is told as "not now", so that the sender asks again."""
        try:
            return future.result(_WRITER_WAIT_S)
        except TimeoutError:
            raise Pushback(
                "writer: expected the slot to be open, found it opening", retry_after_s=0
            ) from None

    def _new_writer(self, slot: Slot, opening: Opening | None) -> Writer:
        instance = self._rng(16).hex()
        self._attempts = Attempts(slot.directory, instance)
        return Writer(
            preparation=self._wiring.new_preparation(),
            gate=self.gate,
            journal=self._wiring.new_journal(slot),
            intake=self.intake,
            opening=opening,
            instance=instance,
            software=self._software,
            clock=self._clock,
            attempts=self._attempts,
            merge_by_s=self._settings.merge_by_s,
            is_in_step=self._is_in_step,
            pace=self.pace,
            settling=self._settling,
            open_store=lambda: self._wiring.open_store(slot),
            on_durable=self._notify_sender,
            on_gone=self._gone,
            metrics=self._metrics,
            guard=self._guard,
        )

    def _new_sender(
        self, slot: Slot, open_route: Callable[[LogClient], Route], *, until_drained: bool = False
    ) -> Sender:
        return self._wiring.new_sender(
            slot,
            open_route,
            until_drained=until_drained,
            on_retired=self._stop_promising if slot is self.slot else lambda: None,
            on_acknowledged=self._promise_again if until_drained else self._acknowledged,
        )

    def _is_in_step(self) -> bool:
        return self.sender is not None and self.sender.is_in_step

    def _went_back(self) -> None:
        self._metrics.add("clock_jumps")
        self._telling.report(
            "expected this host's clock at or after the newest entry, found it behind: entries say what it "
            "says, and nothing is promised until it has caught up",
            logging.WARNING,
        )

    def _stop_promising(self) -> None:
        if self.writer is not None:
            self.writer.stop_promising()

    def _acknowledged(self, route: Route, number: int, batch: list[Record]) -> None:
        """The log has the records before `number`, these last: settle; promise an earlier life's again."""
        self._settling.acknowledged(number)
        if self.writer is not None and batch and batch[0].instance != self.writer.instance:
            self._promise_again(route, number, batch)

    def _promise_again(self, route: Route, _: int, batch: list[Record]) -> None:
        maker = PromiseMaker(route.enrolment, route.head_signer, merge_by_s=self._settings.merge_by_s)
        self.outbox.push_again(maker, batch)

    def _new_watch(self, slot: Slot) -> KeyWatch:
        return KeyWatch(
            slot,
            keys=lambda: self._keys,
            push=self.intake.push,
            writer=lambda: self.writer,
            rng=self._rng,
            guard=self._guard,
            logger=self._logger,
        )

    def _new_leftovers(self, own: Slot) -> Leftovers:
        return Leftovers(
            self._settings.state_dir,
            own=own.directory,
            origin=lambda: None if self._enrolment is None else self._enrolment.origin,
            open_journal=self._wiring.open_leftover,
            clock=self._clock,
            new_sender=lambda slot, route: self._new_sender(slot, route, until_drained=True),
            guard=self._guard,
            logger=self._logger,
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
