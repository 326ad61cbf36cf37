"""The writer: the one thread that commits, seals and makes durable, in groups (README.md, "The life of a
decision").

Takes what is queued, keeps keys and bodies in the disclosure store (one transaction), seals the entries in
order, writes them to the spool with one fdatasync, and only then resolves the futures and wakes the sender.
The store comes first: a key without an entry is harmless, an entry without its key could never be opened. If
the store fails, the entry says so (`values: not_kept`). If the spool fails, the same sealed bytes are tried
again until the disk takes them: their numbers are used. If someone deletes the slot's files the writer says
so and ends: a deleted file takes writes without a word. Must never: let one bad observation stop the rest,
or lose one silently.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future

from auditlog.capture.adoption import Opening
from auditlog.capture.committing import Prepared
from auditlog.capture.disclosures import DisclosureStore
from auditlog.capture.frames import Record
from auditlog.capture.intake import Intake, Losses
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
from auditlog.capture.preparing import Preparation
from auditlog.capture.safety import Guard
from auditlog.capture.spool import Spool
from auditlog.capture.vitals import SpoolDepth
from auditlog.errors import StorageError

GROUP = 256
"""At most this many observations share one write to disk."""
GROUP_BYTES = 8 << 20
"""And at most about so many bytes of bodies: what is taken here no longer counts in the queue's bound."""
LINGER_S = 0.02
"""While nobody waits for durability, the writer gathers this long, so that one write to disk
serves several.
"""
TICK_S = 1.0
BREATH = 4
"""After so many records the writer sleeps for an instant: it shares the interpreter with the application,
which
would otherwise get it back only after the switch interval (5 ms)."""
RETRY_FIRST_S = 0.1
RETRY_LONGEST_S = 5.0
EXPIRE_EVERY_S = 600.0


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
        clock: Callable[[], int],
        preparation: Preparation,
        open_store: Callable[[], DisclosureStore],
        on_durable: Callable[[], None],
        on_gone: Callable[[], None],
        metrics: Counters,
        guard: Guard,
    ) -> None:
        """`on_gone` is called, last, if someone deleted the slot's files; the writer has then ended."""
        self._journal = journal
        self._intake = intake
        self._opening = opening
        self._instance = instance
        self._software = software
        self._clock = clock
        self._preparation = preparation
        self._open_store = open_store
        self._on_durable = on_durable
        self._on_gone = on_gone
        self._metrics = metrics
        self._guard = guard
        self._store: DisclosureStore | None = None
        self._owed: Losses | None = None
        self._deadline: float | None = None
        self._expire_at = 0.0
        self._settled = 0
        self._is_stopping = False
        self.decisions = 0
        """How many `decision` entries this instance has sealed: exact inside a body made at sealing."""
        self.is_gone = False
        """Whether someone deleted the slot's files: nothing that is handed over from now on is kept."""
        self.ready: Future[Spool] = Future()
        """Resolves to the spool of entries once it is open and this process's `instance` entry is in it."""

    @property
    def model(self) -> str:
        """What a decision that names no model says of its model."""
        return self._preparation.models.default

    def depth(self) -> SpoolDepth:
        """What the log has not acknowledged, from memory. Any thread may ask."""
        return self._journal.depth()

    def stop(self, *, within_s: float) -> None:
        """Write what is queued, then end `run`; a disk that fails is given up on after `within_s`."""
        self._deadline = time.monotonic() + within_s
        self._is_stopping = True
        self._intake.close()

    def run(self) -> None:
        """Open the slot, then write groups until stopped."""
        if self._retry("open", self._open):
            while True:
                group = self._next_group()
                if not group and self._is_stopping:
                    break
                with self._guard.protect("writer"):
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
        is_awaited = any(not isinstance(one, Observed) or one.durable is not None for one in group)
        if group and len(group) < GROUP and not is_awaited and not self._intake.is_closed:
            time.sleep(LINGER_S)
            group += self._intake.take(GROUP - len(group), 0.0, max_bytes=GROUP_BYTES)
        return group

    def _open(self) -> None:
        """Recover the spools and take our place in the chain. Called again after an OSError."""
        instance, software = self._instance, self._software
        self._journal.open(self._opening, instance=instance, software=software, now_us=self._clock())
        if self._journal.spool is not None:
            self.ready.set_result(self._journal.spool)
            self._on_durable()

    def _handle_all(self, group: list[Message]) -> None:
        """Write one group; whatever goes wrong in our own code, what was not written counts as lost."""
        given = sum(isinstance(message, Observed | OutcomeKnown) for message in group)
        self._settled = 0
        try:
            self._handle(group)
        finally:
            for _ in range(given - self._settled):
                self._lose(None)

    def _handle(self, group: list[Message]) -> None:
        """Write one group. A message of the layer itself ends a run of observations, since order matters."""
        run: list[tuple[Prepared, Future[None] | None]] = []
        for message in group:
            if isinstance(message, Observed | OutcomeKnown):
                prepared = self._prepare(message)
                _breathe(len(run), every=BREATH)
                if prepared is not None:
                    run.append((prepared, message.durable if isinstance(message, Observed) else None))
                continue
            self._write(run)
            run = []
            if isinstance(message, ModelKnown):
                self._register(message)
            elif isinstance(message, ModelExpected):
                self._preparation.models.is_expected = message.is_expected
            elif isinstance(message, Unrecorded):
                self._declare(message)
            elif isinstance(message, OwnEntry):
                self._write_own(message)
            elif isinstance(message, Flush):
                message.done.set_result(None)
            else:
                self._adopt(message)
        self._write(run)
        if not group:
            self._idle()

    def _prepare(self, message: Observed | OutcomeKnown) -> Prepared | None:
        try:
            prepared = self._preparation.prepare(message)
        except Exception as failure:  # noqa: BLE001  whatever one observation holds, the next must be recorded
            self._guard.failed("prepare", failure)
            self._lose(message.durable if isinstance(message, Observed) else None)
            return None
        for name in prepared.left_out:
            self._metrics.add(f"left_out.{name}")
        return prepared

    def _write(self, run: list[tuple[Prepared, Future[None] | None]]) -> None:
        """Keep, seal and spool one run; on return all of it is durable, or counted as lost."""
        if not run:
            return
        if not self._journal.has_room:
            self._metrics.add("spool_full", len(run))
            for _, durable in run:
                self._lose(durable)
            return
        self._keep([prepared for prepared, _ in run])
        records = self._declare_losses()
        sealed: list[Future[None]] = []
        count = 0
        for prepared, durable in run:
            _breathe(count, every=4 * BREATH)
            record = self._seal(prepared)
            if record is None:
                self._lose(durable)
                continue
            records.append(record)
            count += 1
            self.decisions += prepared.kind == "decision"
            if durable is not None:
                sealed.append(durable)
        is_durable = self._append(records)
        self._metrics.add("recorded" if is_durable else "lost", count)
        self._settled += count
        failure = None if is_durable else LostError("record: expected the disk to take it, found it failing")
        for durable in sealed:
            _settle(durable, failure)

    def _keep(self, prepared: list[Prepared]) -> None:
        kept = [one.kept for one in prepared if one.kept is not None]
        try:
            if self._store is None:
                self._store = self._open_store()
            self._store.keep(kept, self._clock())
        except (StorageError, OSError) as failure:
            self._guard.failed("disclosure_store", failure)
            for one in prepared:
                if one.kind == "decision":
                    one.body["values"] = "not_kept"

    def _seal(self, prepared: Prepared) -> Record | None:
        for left_out in ((), ("sampling", "defaults", "adapters", "route")):
            body = {name: value for name, value in prepared.body.items() if name not in left_out}
            try:
                return self._journal.add(prepared.kind, body, self._clock())[0]
            except Exception as failure:  # noqa: BLE001  an escape here would leave sealed entries unwritten
                # Too large or without canonical form: no number was used. Once more without the free texts.
                self._guard.failed("seal", failure)
        return None

    def _register(self, message: ModelKnown) -> None:
        reference = self._write_own(OwnEntry("model", message.body, message.reference))
        if reference is not None:
            self._preparation.models.learn(message.body, reference)

    def _write_own(self, message: OwnEntry) -> str | None:
        """Seal and spool an entry of the layer itself; returns its reference, None if it failed."""
        is_awaited = message.reference.set_running_or_notify_cancel()
        records, failure = self._declare_losses(), None
        try:
            body = message.body() if callable(message.body) else message.body
            record, reference = self._journal.add(message.kind, body, self._clock())
        except Exception as error:  # noqa: BLE001  a body that cannot be made must not stop the decisions
            self._guard.failed(message.kind, error)
            self._append(records)
            failure = error
        else:
            if not self._append([*records, record]):
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

        if not self._retry("adopt", seal_drafts):
            message.done.set_exception(LostError("enrolment: expected the disk to take it, found it failing"))
            return
        self._preparation.models.seal(models)
        assert self._journal.spool is not None
        self.ready.set_result(self._journal.spool)
        message.done.set_result(None)
        self._on_durable()

    def _declare_losses(self) -> list[Record]:
        """The gap entry that is owed, as the next of the chain; nothing if nothing was lost."""
        fresh = self._intake.take_losses()
        if fresh is not None:
            self._metrics.add("lost", fresh.count or 0)
            self._owed = fresh.merged(self._owed)
        if self._owed is None:
            return []
        record = self._journal.add_gap(self._owed, self._clock())
        self._owed = None
        self._metrics.add("gaps")
        return [record]

    def _declare(self, message: Unrecorded) -> None:
        """A gap entry for what passed while nothing worked."""
        record = self._journal.add_gap(message.losses, self._clock())
        if self._append([record]):
            self._metrics.add("gaps")
            message.done.set_result(None)
        else:
            message.done.cancel()

    def _turn_away(self) -> None:
        """The slot is gone: whoever waits for what is still queued hears of it."""
        failure = LostError("record: expected the slot's files in their place, found them gone")
        while group := self._intake.take(GROUP, 0.0):
            for message in group:
                if isinstance(message, Observed) and message.durable is not None:
                    _settle(message.durable, failure)
                elif isinstance(message, ModelKnown | OwnEntry):
                    message.reference.cancel()
                elif isinstance(message, Adopt | Flush | Unrecorded):
                    message.done.cancel()

    def _lose(self, durable: Future[None] | None) -> None:
        now_us = self._clock()
        self._metrics.add("lost")
        self._settled += 1
        self._owed = Losses(1, now_us, now_us).merged(self._owed)
        if durable is not None:
            _settle(durable, LostError("record: expected room on this host, found none"))

    def _append(self, records: list[Record]) -> bool:
        """Write a group until the disk takes it: its numbers are used, so these bytes and no
        others may follow.
        """
        if not records:
            return True
        if self.is_gone or not self._retry("spool", lambda: self._journal.append(records)):
            return False
        if not self._is_still_there():
            return False
        self._metrics.set("spool_bytes", self._journal.size_bytes)
        self._on_durable()
        return True

    def _retry(self, place: str, action: Callable[[], None]) -> bool:
        """Do `action` until it no longer raises OSError, or the stop's deadline has passed."""
        wait_s = RETRY_FIRST_S
        while True:
            try:
                action()
            except OSError as failure:
                self._guard.failed(place, failure)
                if not self._is_still_there():
                    return False
            else:
                return True
            if self._deadline is not None and time.monotonic() + wait_s > self._deadline:
                return False
            time.sleep(wait_s)
            wait_s = min(RETRY_LONGEST_S, 2 * wait_s)

    def _is_still_there(self) -> bool:
        """Whether the slot is in its place; asked after each write and once a second, it costs two calls."""
        if not self.is_gone and not self._journal.is_in_place():
            self.is_gone = True
            self._metrics.add("state_gone")
        return not self.is_gone

    def _idle(self) -> None:
        if not self._is_still_there():
            return
        if self._journal.has_room:
            self._append(self._declare_losses())
        now = time.monotonic()
        if self._store is not None and now >= self._expire_at:
            self._expire_at = now + EXPIRE_EVERY_S
            expired = self._store.expire(self._clock())
            self._metrics.add("expired", expired)

    def _finish(self) -> None:
        """Declare what is owed and mark the clean end: without the mark the next start declares a gap."""
        with self._guard.protect("finish"):
            if not self._append(self._declare_losses()):
                return
            self._retry("spool", self._journal.mark_clean)

    def _close(self) -> None:
        with self._guard.protect("close"):
            self._journal.close()
            if self._store is not None:
                self._store.close()


def _settle(future: Future[None], failure: Exception | None) -> None:
    """Tell who waits; who has stopped waiting (a cancelled future) is not told."""
    if not future.set_running_or_notify_cancel():
        return
    if failure is None:
        future.set_result(None)
    else:
        future.set_exception(failure)


def _breathe(count: int, *, every: int) -> None:
    if count % every == every - 1:
        time.sleep(0.000_02)
