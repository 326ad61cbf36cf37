"""The writer: the one thread that commits, seals and makes durable, in groups (README.md, "The life of a
decision").

Takes what is queued: observations go to `runs`, which keeps, seals and spools them with one fdatasync and
only then settles whoever waits; messages of the layer itself (a model, an enrolment, a heartbeat) take their
place between. At the end it says so: `notice {what: stopped}` and the mark of a clean end. Must never: change
the order of what was handed over, or end without declaring what is owed.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from auditlog.capture.adoption import Opening
from auditlog.capture.attempts import Attempts
from auditlog.capture.clocks import HostClock
from auditlog.capture.declaring import Declarations
from auditlog.capture.disclosures import DisclosureStore
from auditlog.capture.forking import ForkGate
from auditlog.capture.frames import Record
from auditlog.capture.intake import Intake
from auditlog.capture.journal import Journal
from auditlog.capture.messages import (
    Adopt,
    Flush,
    LostError,
    Message,
    ModelExpected,
    ModelKnown,
    Observed,
    OutcomeKnown,
    OwnEntry,
    Unrecorded,
)
from auditlog.capture.metrics import Counters
from auditlog.capture.models import UNREGISTERED
from auditlog.capture.pace import Pace
from auditlog.capture.persisting import Persistence
from auditlog.capture.preparing import Preparation
from auditlog.capture.promises import PromiseMaker
from auditlog.capture.runs import Runs
from auditlog.capture.safety import Guard
from auditlog.capture.settling import Settling
from auditlog.capture.spool import Spool
from auditlog.capture.vitals import SpoolDepth
from auditlog.core.keys import Ed25519Signer

GROUP = 64
"""At most this many observations share one write to disk while somebody waits: the first waits for the last.
"""
GATHERED = 256
"""The same while nobody waits."""
GROUP_BYTES = 8 << 20
"""And at most about so many bytes of bodies: what is taken here no longer counts in the queue's bound."""
LINGER_S = 0.02
"""While nobody waits for durability, the writer gathers this long, so that one write to disk serves several.
"""
TICK_S = 1.0
_OF_RUNS = (Observed, OutcomeKnown)


class Writer:
    """Owns the chain, the spool and the store of one slot. `run` is the body of its thread."""

    def __init__(
        self,
        *,
        journal: Journal,
        intake: Intake[Message],
        opening: Opening | None,
        instance: str,
        software: str,
        clock: HostClock,
        attempts: Attempts,
        merge_by_s: int,
        is_in_step: Callable[[], bool],
        pace: Pace,
        settling: Settling,
        preparation: Preparation,
        open_store: Callable[[], DisclosureStore],
        gate: ForkGate,
        on_durable: Callable[[], None],
        on_gone: Callable[[], None],
        metrics: Counters,
        guard: Guard,
    ) -> None:
        """`on_gone` is called, last, if someone deleted the slot's files; the writer has then ended."""
        self._journal = journal
        self._intake = intake
        self._opening = opening
        self.instance = instance
        """This process life, in hex."""
        self._software = software
        self._clock = clock
        self._attempts = attempts
        self._merge_by_s = merge_by_s
        self._is_in_step = is_in_step
        self._settling = settling
        self._preparation = preparation
        self._on_durable = on_durable
        self._on_gone = on_gone
        self._metrics = metrics
        self._guard = guard
        self._gate = gate
        self._is_stopping = self._owes_ending = False
        self.make_coverage: Callable[[], dict[str, Any]] = dict
        """The body of a `coverage` entry as things are now."""
        self._disk = Persistence(journal, on_durable=on_durable, metrics=metrics, guard=guard)
        self._losses = Declarations(
            journal, take_losses=intake.take_losses, attempts=attempts, clock=clock, metrics=metrics
        )
        self.runs = Runs(
            journal=journal, disk=self._disk, losses=self._losses, settling=settling, attempts=attempts,
            clock=clock, pace=pace, preparation=preparation, open_store=open_store, metrics=metrics,
            guard=guard,
        )  # fmt: skip
        self.last_heartbeat: Callable[[], dict[str, Any]] | None = None
        """The body of a heartbeat to seal when this life ends in order."""
        self.ready: Future[Spool] = Future()
        """Resolves to the spool of entries once it is open and this process's `instance` entry is in it."""

    @property
    def decisions(self) -> int:
        """How many `decision` entries this instance has sealed: exact inside a body made at sealing."""
        return self.runs.decisions

    @property
    def is_tidy(self) -> bool:
        """Whether nothing is left to do behind the answers: the store has all that was kept."""
        return self.runs.is_tidy

    @property
    def is_gone(self) -> bool:
        """Whether someone deleted the slot's files: nothing that is handed over from now on is kept."""
        return self._disk.is_gone

    @property
    def is_working(self) -> bool:
        """Whether the slot is open and the disk took the last thing it was given."""
        return self._disk.is_working and not self._is_stopping

    @property
    def has_failed(self) -> bool:
        """Whether the disk ever refused anything."""
        return self._disk.has_failed

    @property
    def model(self) -> str:
        """What a decision that names no model says of its model."""
        return self._preparation.models.default

    def depth(self) -> SpoolDepth:
        """What the log has not acknowledged, from memory. Any thread may ask."""
        return self._journal.depth()

    def has_room(self, records: int) -> bool:
        """Whether the spool's bound and the disk leave room for so many more records. Any thread may ask."""
        return self._disk.is_working and self._journal.has_room_for(records)

    def stop(self, *, within_s: float) -> None:
        """Write what is queued, then end `run`; a disk that fails is given up on after `within_s`."""
        self._disk.give_up_after(within_s)
        self._is_stopping = True
        self._intake.close()

    def run(self) -> None:
        """Open the slot, then write groups until stopped."""
        with self._gate:
            is_open = self._disk.retry("open", self._open)
            if is_open:
                self.runs.open_store()
        if is_open:
            while True:
                group = self._next_group()
                if not group and self._is_stopping:
                    break
                with self._guard.protect("writer"), self._gate:
                    self._handle_all(group)
                if self.is_gone:
                    break
            if not self.is_gone:
                self._finish()
        self._close()
        if self.is_gone:
            self._turn_away()
            self._on_gone()

    def _next_group(self) -> list[Message]:
        """What is queued. Nobody waiting, it gathers for a moment: one write to disk then serves several."""
        group = self._intake.take(GROUP, TICK_S, max_bytes=GROUP_BYTES)
        if group and not self._intake.is_closed and not any(map(_is_awaited, group)):
            self._intake.linger(LINGER_S)
            group += self._intake.take(GATHERED - len(group), 0.0, max_bytes=GROUP_BYTES)
        return group

    def _open(self) -> None:
        """Recover the spools and take our place in the chain. Called again after an OSError."""
        instance, software = self.instance, self._software
        seen, now_us = self._clock.resume, self._clock()
        self._journal.open(self._opening, instance=instance, software=software, now_us=now_us, seen=seen)
        if self._opening is not None and self._journal.spool is not None:
            self._enrolled(self._opening, self._journal.spool)

    def sign_with(self, signer: Ed25519Signer) -> None:
        """What is sealed from now on is promised under this key: a rotation is durable. In `run`'s thread."""
        if self.runs.promises is not None:
            self.runs.promises.signer = signer

    def learn_delay(self, delay_s: int) -> None:
        """The log's longest delay, which the enrolment does not say. Any thread may say so."""
        if self.runs.promises is not None:
            self.runs.promises.learn_delay(delay_s)

    def stop_promising(self) -> None:
        """The log takes nothing more of this producer. Any thread may say so."""
        self.runs.promises = None

    def _enrolled(self, opening: Opening, spool: Spool) -> None:
        self.runs.promises = PromiseMaker(
            opening.enrolment, opening.signer, merge_by_s=self._merge_by_s, is_in_step=self._is_in_step
        )
        self.ready.set_result(spool)
        self._on_durable()

    def _handle_all(self, group: list[Message]) -> None:
        """Write one group; whatever goes wrong in our own code, what was not written counts as lost."""
        self.runs.begin([message for message in group if isinstance(message, _OF_RUNS)])
        try:
            self._handle(group)
        finally:
            self.runs.end()

    def _handle(self, group: list[Message]) -> None:
        """Write one group. A message of the layer itself ends a run of observations, since order matters."""
        for message in group:
            if isinstance(message, _OF_RUNS):
                self.runs.add(message)
            else:
                self.runs.write()
                self._obey(message)
        self.runs.write()
        if not group:
            self._idle()

    def _obey(self, message: Message) -> None:
        if isinstance(message, ModelKnown):
            self._learn(message)
        elif isinstance(message, ModelExpected):
            self._expect(message)
        elif isinstance(message, Unrecorded):
            self._declare(message)
        elif isinstance(message, OwnEntry):
            self._write_own(message)
        elif isinstance(message, Flush):
            message.done.set_result(None)
        elif isinstance(message, Adopt):
            self._adopt(message)

    def _learn(self, message: ModelKnown) -> None:
        models = self._preparation.models
        if self._owes_ending and not self._end_wait():
            # This entry would be taken for the model of decisions that waited for another.
            message.reference.cancel()
            return
        reference = self._write_own(OwnEntry("model", message.body, message.reference))
        if reference is not None:
            models.is_awaited = False
            if message.serves:
                models.learn(message.body, reference)

    def _expect(self, message: ModelExpected) -> None:
        """What decisions say from now on. Those that wait for a model that no longer comes are told so in the
        log (entry.md, "model"), before any other `model` entry.
        """
        models = self._preparation.models
        models.expect(is_expected=message.is_expected, is_changed=message.is_changed, adapter=message.adapter)
        is_over = message.adapter is None and (message.is_changed or not message.is_expected)
        if is_over and models.is_awaited:
            self._end_wait()

    def _end_wait(self) -> bool:
        """Write the coverage entry that ends the wait; if that fails it is owed. Whether it is written."""
        ending = OwnEntry("coverage", lambda: {**self.make_coverage(), "model": UNREGISTERED}, Future())
        self._owes_ending = self._write_own(ending) is None
        self._preparation.models.is_awaited = self._owes_ending
        return not self._owes_ending

    def _write_own(self, message: OwnEntry) -> str | None:
        """Seal and spool an entry of the layer itself; returns its reference, None if it failed."""
        is_awaited = message.reference.set_running_or_notify_cancel()
        records, failure = self._losses.records(), None
        try:
            body = message.body() if callable(message.body) else message.body
            record, reference = self._journal.add(message.kind, body, self._clock())
        except Exception as error:  # noqa: BLE001  a body that cannot be made must not stop the decisions
            self._guard.failed(message.kind, error)
            self.runs.append(records)
            failure = error
        else:
            if not self.runs.append([*records, record]):
                failure = LostError(f"{message.kind}: expected the disk to take it, found it failing")
        if failure is None and is_awaited:
            message.reference.set_result(reference)
        elif is_awaited:
            message.reference.set_exception(failure)
        return reference if failure is None else None

    def _adopt(self, message: Adopt) -> None:
        models: dict[int, str] = {}

        def seal_drafts() -> None:
            models.update(self._journal.adopt(message.opening))

        if not self._disk.retry("adopt", seal_drafts):
            message.done.set_exception(LostError("enrolment: expected the disk to take it, found it failing"))
            return
        self._preparation.models.seal(models)
        assert self._journal.spool is not None
        self._enrolled(message.opening, self._journal.spool)
        message.done.set_result(None)

    def _declare(self, message: Unrecorded) -> None:
        """A gap entry for what passed while nothing worked."""
        record = self._journal.add_gap(message.losses, self._clock())
        if self.runs.append([record]):
            self._metrics.add("gaps")
            message.done.set_result(None)
        else:
            message.done.cancel()

    def _turn_away(self) -> None:
        """The slot is gone: whoever waits for what is still queued hears of it."""
        failure = LostError("record: expected the slot's files in their place, found them gone")
        while group := self._intake.take(GATHERED, 0.0):
            for message in group:
                if isinstance(message, Observed):
                    self._settling.lost([message], failure)
                elif isinstance(message, ModelKnown | OwnEntry):
                    message.reference.cancel()
                elif isinstance(message, Adopt | Flush | Unrecorded):
                    message.done.cancel()
        self._settling.end()

    def _idle(self) -> None:
        if not self._disk.is_still_there():
            return
        if self._journal.has_room:
            self.runs.append(self._losses.records())
        self.runs.idle()

    def _finish(self) -> None:
        """Declare what is owed, say that we stop, and mark the clean end.

        Dying anywhere here leaves no mark: the next start declares a gap, bounded by the attempt marks.
        """
        with self._guard.protect("finish"):
            # First the gap: what ends or is turned away behind it is then in no heartbeat's "in flight".
            records = [*self._losses.records(), *self._losses.at_the_end(), *self._last_beat()]
            is_said = self.runs.append([*records, *self._journal.add_endings(self._clock())])
            if is_said and self._disk.retry("spool", self._journal.mark_clean):
                self._attempts.end()

    def _last_beat(self) -> list[Record]:
        if self.last_heartbeat is None:
            return []
        try:
            return [self._journal.add("heartbeat", self.last_heartbeat(), self._clock())[0]]
        except Exception as error:  # noqa: BLE001  a body that cannot be made must not hide the clean end
            self._guard.failed("heartbeat", error)
            return []

    def _close(self) -> None:
        with self._guard.protect("close"):
            self._attempts.close()
            self._journal.close()
            self.runs.close()


def _is_awaited(message: Message) -> bool:
    return not isinstance(message, Observed) or message.durable is not None or message.waiter is not None
