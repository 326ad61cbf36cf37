"""The recorder: from an observation to a sealed, durable entry, without holding up the inference.

Spec: entry.md, commitment.md; README.md of this package tells the life of a decision and what each crash
leaves. This is the composition of the layer: slot, writer thread, sender thread. The application's threads
only mint ids, feed commitments and append to a queue. A start that fails is tried again by a thread until it
succeeds; what passes meanwhile is counted and declared. Promises: never raises into the application, never
blocks on disk or network, never loses an observation uncounted. Safe to fork: a child gets its own slot,
threads and chain.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from auditlog import __version__
from auditlog.capture.answering import Answering
from auditlog.capture.awaiting import Deadlines
from auditlog.capture.exits import close_at_exit
from auditlog.capture.forking import ForkGate, SameProcess
from auditlog.capture.intake import Losses
from auditlog.capture.known_models import KnownModels, Modelling
from auditlog.capture.messages import (
    Message,
    ModelExpected,
    ModelKnown,
    Observed,
    OutcomeKnown,
    lightened,
)
from auditlog.capture.metrics import Counters
from auditlog.capture.minting import Clock, Random, RandomBlocks, mint_exchange, mint_id, wall_clock_us
from auditlog.capture.observation import Exchange, Observation, Recorded
from auditlog.capture.redaction import Redactor
from auditlog.capture.running import RunningCapture
from auditlog.capture.safety import Guard
from auditlog.capture.settings import CaptureSettings
from auditlog.capture.telling import Telling
from auditlog.capture.unguarded import Unguarded

if TYPE_CHECKING:
    from auditlog.capture.admin_routes import ModelChanges
    from auditlog.capture.observation import ObservedBody
    from auditlog.core.commitment import BodyCommitment
    from auditlog.fingerprint import BackgroundMeasurement

__all__ = ["Recorder", "mint_id", "wall_clock_us"]

SOFTWARE = f"auditlog/{__version__}"
RETRY_FIRST_S = 1.0
RETRY_LONGEST_S = 30.0
"""How soon, and how rarely at last, a start that failed is tried again."""
START_WAIT_S = 2.0
"""How long at most a thread waits for another's first start, which takes milliseconds on a healthy host."""
FORK_WAIT_S = 10.0
"""And a fork for such a start: it imports, and reads files, but asks nobody."""


class Recorder(Telling, Answering, Modelling):
    """Records observations of one process. One per process; any thread may call it.

    Nothing here blocks on disk or network or raises (unless `settings.strict`), except `close`, which waits.
    """

    def __init__(
        self, settings: CaptureSettings, clock: Clock = wall_clock_us, rng: Random = os.urandom
    ) -> None:
        """Keep the settings; nothing starts before `start` or the first exchange."""
        super().__init__()
        self.settings = settings
        self.metrics = Counters()
        self.deadlines = Deadlines()
        self.logger = logging.getLogger("auditlog.capture")
        self.guard = Guard(self.metrics, self.logger, strict=settings.strict)
        self.redactor = Redactor.for_recording(
            settings.redact, lambda failure: self.guard.failed("redaction", failure), self._redacted_nothing
        )
        self._clock = clock
        self._rng = rng
        self._random = RandomBlocks(rng)
        self._lock = threading.Lock()
        self._forked = threading.Lock()
        self._starter = 0
        self._is_slow = False
        self._running: RunningCapture | None = None
        self._opening: RunningCapture | None = None
        self._inherited: list[RunningCapture | None] = []
        self._process = SameProcess()
        # Both made here: a fork asks those gates only that were there when it began.
        self._gate, self._starting = ForkGate(), ForkGate(FORK_WAIT_S)
        self._is_closed = False
        self._ending = threading.Event()
        self._unguarded = Unguarded(settings.state_dir, rng)
        self._models = KnownModels()
        self.adapter_paths: Mapping[str, Path] = {}
        """Where the adapters lie that the application was started with (AUDITLOG_ADAPTERS)."""
        self.model_changes: ModelChanges | None = None
        """What admin routes changed since (`admin_routes`)."""
        self.first_measurement: BackgroundMeasurement | None = None
        """That of the model the application was started with."""
        _renew_in_children(self)

    @classmethod
    def from_environ(cls, env: Mapping[str, str] | None = None) -> Recorder:
        """A recorder with the settings of `env` (the process's own by default), not started."""
        env = os.environ if env is None else env
        recorder = cls(CaptureSettings.from_environ(env))
        recorder.environ = env
        return recorder

    @property
    def is_recording(self) -> bool:
        """Whether observations become entries: settings usable and a slot taken (enrolled or not)."""
        return self._running is not None and self._running.is_open and self._process.is_here()

    @property
    def running(self) -> RunningCapture | None:
        """What runs behind this recorder, for `doctor` and tests."""
        return self._running

    def start(self) -> None:
        """Take a slot and start the writer and the sender. Idempotent; never raises, never waits
        for the log. If it fails a thread tries again until it succeeds. Who comes while another thread does
        this waits for it, for `START_WAIT_S` at most, and not at all once a start was slower than that.
        """
        self._after_fork()
        if self._running is not None or self._is_closed:
            return
        if self._starter == threading.get_ident():
            return  # A handler of log lines, say, that is audited itself.
        if not self._lock.acquire(timeout=0 if self._is_slow else START_WAIT_S):
            self._is_slow = True
            return
        try:
            self._start()
        finally:
            self._lock.release()

    def _start(self) -> None:
        if self._running is not None or self._is_closed:
            return  # Another thread did it meanwhile.
        running = self._opening = self._new_running()
        close_at_exit(self, within_s=2 * self.settings.close_timeout_s)
        self._starter = threading.get_ident()
        try:
            self.guard.call("start", None, self._open, running)
            if self.settings.mode == "fail_closed":
                running.wait_until_ready(START_WAIT_S)  # else the first calls would be refused
        finally:
            # Only now: who finds it there and not open does not wait.
            self._running, self._starter, self._is_slow = running, 0, False
        if not running.is_open and self.settings.enabled:
            self._unguarded.begin(self._clock())
            self._retry()
        elif running.is_open and self._unguarded.losses is not None:
            self._declare(running)  # Of those who did not wait any longer.

    def _after_fork(self) -> None:
        """In a forked child: locks may have been held, threads are gone, and the queue is the parent's.

        Its files are kept open: closing them here could undo a transaction of the parent. The lock for this
        is never taken in the process that forks, so that no child finds it held.
        """
        if self._process.is_here():
            return
        with self._forked:
            if self._process.is_here():
                return
            self._inherited += [self._running, self._opening]
            self._running = self._opening = None
            self._lock, self._ending = threading.Lock(), threading.Event()
            self._starter, self._is_slow, self._is_closed = 0, False, False
            self.metrics.forget()
            self.coverage.after_fork()
            self._process.renew()

    def close(self) -> None:
        """Write what is queued, send for at most `close_timeout_s`, release the slot. Idempotent. What passed
        unrecorded and could not be declared yet is declared now, if a slot can be had.
        """
        self._ending.set()
        with self._lock:
            running, self._running = self._running, None
            self._is_closed = True
        self.hide_metrics()
        if running is not None and self._process.is_here():
            self.guard.call("close", None, running.close)
            if self._unguarded.losses is not None and self.settings.is_usable:
                self.guard.call("close", None, self._declare_at_last)
            self._unguarded.end(self._clock())

    def _new_running(self) -> RunningCapture:
        return RunningCapture(
            self.settings,
            clock=self._clock,
            rng=self._rng,
            metrics=self.metrics,
            guard=self.guard,
            redactor=self.redactor,
            logger=self.logger,
            software=SOFTWARE,
            on_gone=self._gone,
            telling=self,
            gate=self._gate,
        )

    def _open(self, running: RunningCapture) -> None:
        """Open a slot; then say what is known of the model, and declare what passed before.

        No fork happens meanwhile: a child would find the locks of imports, and OpenSSL's, taken for ever.
        """
        with self._starting:
            # Before the slot is open to decisions: the first of them would name no model.
            running.open(self._models.messages())
            if running.is_open:
                self._declare(running)

    def _declare(self, running: RunningCapture) -> None:
        losses = self._unguarded.take()
        if losses is None:
            self._unguarded.end(self._clock())
            return

        def settled(is_durable: bool) -> None:
            if not is_durable:
                self._unguarded.add(losses)
            elif self._unguarded.losses is None:
                self._unguarded.end(self._clock())

        running.declare(losses, settled)

    def _declare_at_last(self) -> None:
        """One more try to open a slot, only to declare what passed; then all is over."""
        running = self._new_running()
        self._open(running)
        running.close()

    def _gone(self, gone: RunningCapture, losses: Losses) -> None:
        """The slot's files were deleted under us: called from the writer's thread, at its end."""
        self.logger.critical(
            "auditlog: the state directory was deleted; what was not sent yet is lost",
            extra={"event": "state_deleted"},
        )
        self._unguarded.add(losses)
        self._retry(gone)

    def _retry(self, gone: RunningCapture | None = None) -> None:
        """Try to open from a thread until it works; settings do not change, so bad ones are not tried."""
        if not self.settings.is_usable:
            return
        name = "auditlog-start"
        threading.Thread(target=self._open_again, args=(gone, self._ending), name=name, daemon=True).start()

    def _open_again(self, gone: RunningCapture | None, ending: threading.Event) -> None:
        wait_s = RETRY_FIRST_S
        if gone is not None:
            gone.abandon()
        while not ending.wait(wait_s):
            with self._lock:
                if self._running is gone and gone is not None:
                    self._running, gone = self._new_running(), None
                if self._running is None or self._running.is_open:
                    return
                with self.guard.protect("start"):
                    self._open(self._running)
                if self.is_recording:
                    self.logger.warning("auditlog: recording again", extra={"event": "recording_again"})
                    return
                self._unguarded.begin(self._clock())
            wait_s = min(RETRY_LONGEST_S, 2 * wait_s)

    def new_exchange(self) -> Exchange | None:
        """Mint id, exchange key and both body commitments for a request that just arrived.

        Returns None when nothing can be recorded (disabled, bad settings): then pass the request through.
        """
        return self.guard.call("new_exchange", None, self._new_exchange)

    def record(self, observation: Observation, *, want_durable: bool = False) -> Recorded | None:
        """Hand an observation to the writer thread; returns at once.

        With `want_durable` the answer carries a future that resolves when the entry is on disk. Returns None
        when it was not taken (disabled); a full queue still returns an answer, and the loss is declared in a
        gap entry.
        """
        return self.guard.call("record", None, self._record, observation, want_durable=want_durable)

    def record_outcome(self, decision: str, facts: Mapping[str, object], *, item: str | None = None) -> bool:
        """Record what became known later about a decision (label, override ...) as an `outcome` entry.

        Whether it was taken; what is not is counted and declared like a decision.
        """
        message = OutcomeKnown(decision, dict(facts), item)
        return self.guard.call("record_outcome", False, self._offer, message)

    def _new_exchange(self) -> Exchange | None:
        running = self._begun()
        if running is None:
            return None
        now_us, random = self._clock(), self._random.take()
        self.metrics.add("started")
        url, life = running.receipt_url, self.metrics.life
        return mint_exchange(now_us, random, receipt_url=url, attempts=running.attempts, counted=life)

    def _record(self, observation: Observation, *, want_durable: bool) -> Recorded | None:
        durable: Future[None] | None = Future() if want_durable else None
        # Who answers over HTTP has a caller who may ask for the promise; in process there is none.
        wants_promise = observation.capture != "in_process" and observation.may_promise
        running = self._hand_over(Observed(observation, durable, wants_promise=wants_promise))
        if running is None:
            return None
        seen = observation.exchange
        return Recorded(seen.id, seen.exchange_key, seen.receipt_url, durable)

    def _hand_over(self, message: Observed) -> RunningCapture | None:
        """Queue it; None if nothing records. What a full queue refuses is settled here, and counted there."""
        seen = message.observation
        running = self._begun()  # First: in a forked child it begins the counters anew.
        self._count(seen.exchange, "finished" if seen.ended == "ok" else "failed")
        if running is None:
            return None
        if seen.mode == "fail_closed":
            message = replace(message, is_reserved=True)
        is_taken = running.intake.offer(
            message,
            _held(seen.request, seen.exchange.request) + _held(seen.response, seen.exchange.response),
            self._clock(),
            lighten=lightened,
            attempts=seen.exchange.attempt is not None and seen.exchange.attempt is running.attempts,
            is_reserved=message.is_reserved,
            is_awaited=message.waiter is not None or message.durable is not None,
        )
        if not is_taken:
            running.turn_away(message)
        return running

    def _offer(self, message: Message) -> bool:
        running = self._begun()
        return running is not None and running.intake.offer(message, 0, self._clock())

    def _push(self, message: ModelKnown | ModelExpected) -> bool:
        """Hand over what is known of the model, and remember it for a slot that is opened later."""
        self._begun(is_call=False)
        with self._lock:
            self._models.remember(message)
            if isinstance(message, ModelKnown) or message.adapter is None:
                self.coverage.changed()
            if self._running is None or not self._running.is_open:
                return False
            self._running.intake.push(message)
        return True

    def _begun(self, *, is_call: bool = True) -> RunningCapture | None:
        """What to record with; starts it in a process (or forked child) that has not begun yet. None counts a
        call that passes unrecorded.
        """
        running = self._running
        if running is None or not self._process.is_here():
            self.start()
            running = self._running
        if running is not None and running.is_open:
            return running
        self.metrics.add("unrecorded")
        if is_call and self.settings.enabled and not self._is_closed:
            self._pass(Losses(1, now_us := self._clock(), now_us))
        return None

    def _pass(self, losses: Losses) -> None:
        """Count a call that passes. If a slot was opened just now it is declared there."""
        self._unguarded.add(losses)
        running = self._running
        if running is not None and running.is_open:
            self._declare(running)


def _held(body: ObservedBody, commitment: BodyCommitment) -> int:
    """How many bytes wait with an observation; where the body is kept, its commitment holds the same ones."""
    data = body.data
    return commitment.held_bytes if data is None else len(data)


def _renew_in_children(recorder: Recorder) -> None:
    """At the fork itself, when the child has one thread: what it does first may need the locks."""
    reference = weakref.ref(recorder)

    def renew() -> None:
        held = reference()
        if held is not None:
            held._after_fork()

    os.register_at_fork(after_in_child=renew)
