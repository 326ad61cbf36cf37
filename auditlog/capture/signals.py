"""What one running capture tells of itself: its pulse, its vitals, and the notices that a start owes.

The composition of `pulse`, `coverage`, `outside`, `disabled` and `vitals` with the running parts; `running`
starts and stops it. Every entry goes through the writer's queue, every look at the disk through the pulse's
thread. Must never: raise into a start or a close, or make either wait.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from auditlog.capture.coverage import count_workers
from auditlog.capture.disabled import DisabledClaim, claim_disabled, mark_disabled
from auditlog.capture.models import UNREGISTERED
from auditlog.capture.outside import Outside, Sighting
from auditlog.capture.pulse import Pulse, PulseNote, write_pulse
from auditlog.capture.slots import Slot
from auditlog.capture.startup import merge_by_doubt
from auditlog.capture.vitals import SpoolDepth, Vitals, heartbeat_counts, key_expiry_s
from auditlog.core.scalars import format_time
from auditlog.errors import AuditLogError

if TYPE_CHECKING:
    from auditlog.capture.forking import ForkGate
    from auditlog.capture.sender import Sender
    from auditlog.capture.telling import Telling
    from auditlog.capture.writer import Writer


class Running(Protocol):
    """What this needs of the running capture; every call answers from memory, from any thread."""

    slot: Slot | None
    writer: Writer | None
    sender: Sender | None
    gate: ForkGate

    def write_own(self, kind: str, body: dict[str, Any] | Callable[[], dict[str, Any]]) -> Future[str]:
        """Have an entry of the layer itself written; a callable body is called at sealing."""

    def say_last(self, body: Callable[[], dict[str, Any]]) -> None:
        """Have this heartbeat sealed with the end of this life."""

    @property
    def decisions(self) -> int:
        """How many decisions this instance has sealed."""

    @property
    def deferred(self) -> int:
        """How many answers to calls of this instance left without their promise."""

    @property
    def max_merge_delay_s(self) -> int | None:
        """The log's own longest delay, where it has said so."""


class Signals:
    """The signals of one running capture, from `start` to `stop`."""

    def __init__(self, running: Running, telling: Telling, *, clock: Callable[[], int]) -> None:
        """`telling` is the recorder, with its settings, counters and logger."""
        self._running = running
        self._telling = telling
        self._settings = settings = telling.settings
        self._metrics = telling.metrics
        self._guard = telling.guard
        self._clock = clock
        self._before = _before_this(telling.metrics.snapshot())
        self._workers = 1
        self._disk_free_bytes: int | None = None
        self._key_expires_s: int | None = None
        self._threads: list[threading.Thread] = []
        self._outside = Outside(
            settings.log_url, settings.engine_metrics, metrics=self._metrics, gate=running.gate
        )
        self.pulse = Pulse(
            interval_s=settings.heartbeat_s,
            write_own=running.write_own,
            say_last=running.say_last,
            make_heartbeat=self._heartbeat,
            make_coverage=self._cover,
            coverage=telling.coverage,
            outside=self._outside,
            refresh=self._refresh,
            note=self._note,
            guard=self._guard,
        )

    def start(self) -> None:
        """Begin to beat, and declare the starts that were switched off."""
        if self._running.writer is not None:
            self._running.writer.make_coverage = self._cover
        for claim in claim_disabled(self._settings.state_dir, self._clock()):
            self._declare(claim)
        for name, body in (("auditlog-outside", self._outside.run), ("auditlog-pulse", self.pulse.run)):
            thread = threading.Thread(
                target=self._guard.call, args=(name, None, body), name=name, daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def mark_disabled(self, rng: Callable[[int], bytes]) -> None:
        """Count a start with AUDITLOG_ENABLED=0, for the next start that records to declare."""
        if self._settings.enabled:
            return
        is_marked = mark_disabled(self._settings.state_dir, self._clock(), rng)
        self._telling.logger.warning(
            "auditlog: AUDITLOG_ENABLED=0: decisions pass unrecorded; %s",
            "the next start says so in the log" if is_marked else "not even that could be noted",
            extra={"event": "disabled", "is_marked": is_marked},
        )

    def stop(self) -> None:
        """Write the last heartbeat and let the threads end by themselves; waits for nothing. Idempotent."""
        self.pulse.stop()

    def abandon(self) -> None:
        """The slot is gone: nothing more is written; the threads end by themselves."""
        self.pulse.abandon()

    def vitals(self) -> Vitals:
        """How the recording stands now. From memory: any thread may ask."""
        depth, now_us = self._depth(), self._clock()
        sender = self._running.sender
        merge_by_s = max(self._settings.merge_by_s, self._running.max_merge_delay_s or 0)
        is_late = depth.oldest_ms(now_us) > merge_by_s * 1000
        return Vitals(
            depth=depth,
            promises_outstanding=min(depth.entries, self._metrics.get("promises")),
            # Entries of an earlier life were promised by that life: whatever is late may be promised.
            promises_past_due=depth.entries if is_late else 0,
            sender_state="starting" if sender is None else sender.state,
            head=None if sender is None else sender.head,
            disk_free_bytes=self._disk_free_bytes,
            key_expires_s=self._key_expires_s,
        )

    def _heartbeat(self, seen: Sighting) -> dict[str, Any]:
        """The body of a heartbeat but for its interval; called by the writer at sealing."""
        after = self._metrics.snapshot()
        # Counters are the process's; an instance that began later in it counts from its own beginning.
        counters = {name: value - self._before.get(name, 0) for name, value in after.items()}
        # Who waits may give up when its call's instance is gone: that is no deferral of this one.
        counters["deferred"] = self._running.deferred
        body: dict[str, Any] = dict(heartbeat_counts(counters, self._running.decisions))
        body["spool"] = self._depth().to_body(self._clock())
        sender = self._running.sender
        more = {"head": None if sender is None else sender.head, "block": seen.block, "engine": seen.engine}
        return {**body, **{name: value for name, value in more.items() if value}}

    def _depth(self) -> SpoolDepth:
        writer = self._running.writer
        return SpoolDepth() if writer is None else writer.depth()

    def _cover(self) -> dict[str, Any]:
        writer = self._running.writer
        model = UNREGISTERED if writer is None else writer.model
        return self._telling.coverage.body(self._settings, workers=self._workers, model=model)

    def _refresh(self) -> None:
        """Look at what needs the disk. On the pulse's thread."""
        self._workers = count_workers(self._settings.state_dir)
        try:
            self._disk_free_bytes = shutil.disk_usage(self._settings.state_dir).free
            slot = self._running.slot
            enrolment = None if slot is None else slot.load_enrolment()
            self._key_expires_s = key_expiry_s(self._settings.read_token(), enrolment)
        except (OSError, ValueError, AuditLogError):
            self._key_expires_s = None
        doubt = merge_by_doubt(self._settings, self._running.max_merge_delay_s)
        if doubt is not None:
            self._telling.report(doubt, logging.WARNING)
        self._telling.show_metrics()

    def _note(self) -> None:
        slot = self._running.slot
        if slot is not None:
            note = PulseNote(self._clock(), self._settings.heartbeat_s, self._telling.problems)
            write_pulse(slot.directory, note)

    def _declare(self, claim: DisabledClaim) -> None:
        """Say in the log and in the application's log that starts were switched off."""
        mark = claim.mark
        self._telling.logger.warning(
            "auditlog: AUDITLOG_ENABLED=0 was used at %d start(s), from %s to %s: nothing was recorded then",
            mark.starts,
            format_time(mark.first_us),
            format_time(mark.last_us),
            extra={"event": "was_disabled", "starts": mark.starts},
        )
        written = self._running.write_own("notice", mark.to_body())
        written.add_done_callback(
            lambda future: claim.settled(not future.cancelled() and future.exception() is None)
        )


def _before_this(counters: dict[str, int]) -> dict[str, int]:
    """What had been counted before this instance. Calls in flight then end in this one, so they count as
    started in it.
    """
    settled = sum(counters.get(name, 0) for name in ("finished", "failed", "dropped"))
    return {**counters, "started": min(counters.get("started", 0), settled)}
