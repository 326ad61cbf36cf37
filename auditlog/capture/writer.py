"""The writer: the one thread that commits, seals and makes durable, in groups (README.md, "The life of a
decision").

Takes what is queued, keeps keys and bodies in the disclosure store (one transaction), seals the entries in
order, writes them to the spool with one fdatasync, and only then resolves the futures and wakes the sender.
The store comes first: a key without an entry is harmless, an entry without its key could never be opened. If
the store fails, the entry says so (`values: not_kept`). If the spool fails, the same sealed bytes are tried
again until the disk takes them: their numbers are used. Must never: let one bad observation stop the rest,
or lose one silently.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from auditlog.capture.adoption import Opening, adopt_drafts, begin_drafts, begin_sealed
from auditlog.capture.books import DRAFT_MODEL, Book, gap_body
from auditlog.capture.chain import Tip, empty_tip
from auditlog.capture.committing import Prepared, prepare_decision, prepare_outcome
from auditlog.capture.disclosures import DisclosureStore
from auditlog.capture.frames import DRAFTS, SEALED, Record
from auditlog.capture.intake import Intake, Losses
from auditlog.capture.metrics import Counters
from auditlog.capture.observation import Observation
from auditlog.capture.safety import Guard
from auditlog.capture.settings import CaptureSettings
from auditlog.capture.slots import Slot
from auditlog.capture.spool import Spool
from auditlog.errors import AuditLogError, StorageError

GROUP = 256
"""At most this many observations share one write to disk."""
TICK_S = 1.0
RETRY_FIRST_S = 0.1
RETRY_LONGEST_S = 5.0
EXPIRE_EVERY_S = 600.0
_PENDING = "pending"
_UNREGISTERED = "unregistered"


@dataclass(frozen=True, slots=True)
class Observed:
    """An inference to record."""

    observation: Observation = field(repr=False)
    durable: Future[None] | None = None


@dataclass(frozen=True, slots=True)
class OutcomeKnown:
    """What became known later about a decision."""

    decision: str
    facts: Mapping[str, object] = field(repr=False)
    item: str | None = None


@dataclass(frozen=True, slots=True)
class ModelKnown:
    """A model to register: the body of its entry; `reference` resolves to what decisions call it."""

    body: dict[str, Any]
    reference: Future[str]


@dataclass(frozen=True, slots=True)
class ModelExpected:
    """Whether a model is being fingerprinted: decisions read `pending` until it is known."""

    is_expected: bool


@dataclass(frozen=True, slots=True)
class Adopt:
    """The producer is enrolled: seal the drafts and go on as an enrolled producer."""

    opening: Opening
    done: Future[None]


Message = Observed | OutcomeKnown | ModelKnown | ModelExpected | Adopt


class LostError(AuditLogError):
    """An observation could not be recorded; its loss is counted and declared in a gap entry."""

    code = "lost"


class Writer:
    """Owns the chain, the spool and the store of one slot. `run` is the body of its thread."""

    def __init__(
        self,
        *,
        slot: Slot,
        settings: CaptureSettings,
        intake: Intake[Message],
        opening: Opening | None,
        instance: str,
        software: str,
        clock: Callable[[], int],
        rng: Callable[[int], bytes],
        open_store: Callable[[], DisclosureStore],
        on_durable: Callable[[], None],
        metrics: Counters,
        guard: Guard,
        logger: logging.Logger,
    ) -> None:
        self._slot = slot
        self._settings = settings
        self._intake = intake
        self._opening = opening
        self._instance = instance
        self._software = software
        self._clock = clock
        self._rng = rng
        self._open_store = open_store
        self._on_durable = on_durable
        self._metrics = metrics
        self._guard = guard
        self._logger = logger
        self._store: DisclosureStore | None = None
        self._spool: Spool | None = None
        self._drafts: Spool | None = None
        self._book: Book | None = None
        self._models: dict[str, str] = {}
        self._default_model: str | None = None
        self._is_expected = settings.model_path is not None
        self._owed: Losses | None = None
        self._deadline: float | None = None
        self._expire_at = 0.0
        self.ready: Future[Spool] = Future()
        """Resolves to the spool of entries once it is open and this process's `instance` entry is in it."""

    def stop(self, *, within_s: float) -> None:
        """Write what is queued, then end `run`; a disk that fails is given up on after `within_s`."""
        self._deadline = time.monotonic() + within_s
        self._intake.close()

    def run(self) -> None:
        """Open the slot, then write groups until stopped."""
        if self._retry("open", self._open):
            while True:
                group = self._intake.take(GROUP, TICK_S)
                if not group and self._intake.is_closed:
                    break
                with self._guard.protect("writer"):
                    self._handle(group)
            self._finish()
        self._close()

    def _open(self) -> None:
        """Recover the spools and take our place in the chain. Called again after an OSError."""
        slot, segment_bytes = self._slot, self._segment_bytes()
        if self._opening is None:
            if self._drafts is None:
                start = empty_tip(bytes(32))
                self._drafts = Spool(slot.drafts_dir, DRAFTS, segment_bytes=segment_bytes, start=start)
            self._book = begin_drafts(self._drafts, self._instance, self._software, self._clock())
            return
        start = empty_tip(self._opening.enrolment.leaf_hash)
        if self._spool is None:
            self._spool = Spool(slot.spool_dir, SEALED, segment_bytes=segment_bytes, start=start)
        unclean = _unclean(self._spool)
        if slot.drafts_dir.exists():
            drafts = Spool(slot.drafts_dir, DRAFTS, segment_bytes=segment_bytes, start=empty_tip(bytes(32)))
            if drafts.next > drafts.first:
                adopt_drafts(drafts, self._spool, self._opening)
                unclean = _unclean(drafts)
            drafts.close()
        self._book = begin_sealed(self._spool, self._opening, self._instance, unclean)
        self.ready.set_result(self._spool)
        self._on_durable()

    def _handle(self, group: list[Message]) -> None:
        """Write one group. A message of the layer itself ends a run of observations, since order matters."""
        run: list[tuple[Prepared, Future[None] | None]] = []
        for message in group:
            if isinstance(message, Observed | OutcomeKnown):
                prepared = self._prepare(message)
                if prepared is not None:
                    run.append((prepared, message.durable if isinstance(message, Observed) else None))
                continue
            self._write(run)
            run = []
            if isinstance(message, ModelKnown):
                self._register(message)
            elif isinstance(message, ModelExpected):
                self._is_expected = message.is_expected
            else:
                self._adopt(message)
        self._write(run)
        if not group:
            self._idle()

    def _prepare(self, message: Observed | OutcomeKnown) -> Prepared | None:
        try:
            if isinstance(message, OutcomeKnown):
                return prepare_outcome(message.decision, message.facts, item=message.item, rng=self._rng)
            seen = message.observation
            prepared = prepare_decision(
                seen,
                model=self._model_of(seen),
                rng=self._rng,
                max_body_bytes=self._settings.max_body_bytes,
            )
        except Exception as failure:  # noqa: BLE001  whatever one observation holds, the next must be recorded
            self._guard.failed("prepare", failure)
            self._lose(message.durable if isinstance(message, Observed) else None)
            return None
        for name in prepared.left_out:
            self._metrics.add(f"left_out.{name}")
        return prepared

    def _model_of(self, seen: Observation) -> str:
        if seen.model_override is not None:
            return seen.model_override
        known = self._models.get(seen.model) if seen.model is not None else None
        reference = known or self._default_model
        return reference or (_PENDING if self._is_expected else _UNREGISTERED)

    def _write(self, run: list[tuple[Prepared, Future[None] | None]]) -> None:
        """Keep, seal and spool one run; on return all of it is durable, or counted as lost."""
        if not run:
            return
        if not self._has_room():
            self._metrics.add("spool_full", len(run))
            for _, durable in run:
                self._lose(durable)
            return
        self._keep([prepared for prepared, _ in run])
        records = self._declare_losses()
        sealed: list[Future[None]] = []
        count = 0
        for prepared, durable in run:
            record = self._seal(prepared)
            if record is None:
                self._lose(durable)
                continue
            records.append(record)
            count += 1
            if durable is not None:
                sealed.append(durable)
        is_durable = self._append(records)
        self._metrics.add("recorded" if is_durable else "lost", count)
        for durable in sealed:
            if is_durable:
                durable.set_result(None)
            else:
                durable.set_exception(LostError("record: expected the disk to take it, found it failing"))

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
        assert self._book is not None
        for left_out in ((), ("sampling", "defaults", "adapters", "route")):
            body = {name: value for name, value in prepared.body.items() if name not in left_out}
            try:
                return self._book.add(prepared.kind, body, self._clock())[0]
            except AuditLogError as failure:
                # Too large or without canonical form: no number was used. Once more without the free texts.
                self._guard.failed("seal", failure)
        return None

    def _register(self, message: ModelKnown) -> None:
        assert self._book is not None
        try:
            record, reference = self._book.add("model", message.body, self._clock())
        except AuditLogError as failure:
            self._guard.failed("model", failure)
            message.reference.set_exception(failure)
            return
        if not self._append([*self._declare_losses(), record]):
            message.reference.set_exception(
                LostError("model: expected the disk to take it, found it failing")
            )
            return
        self._models[str(message.body["name"])] = self._default_model = reference
        message.reference.set_result(reference)

    def _adopt(self, message: Adopt) -> None:
        drafts = self._drafts
        assert drafts is not None
        self._opening = message.opening

        def seal_drafts() -> None:
            if self._spool is None:
                start = empty_tip(message.opening.enrolment.leaf_hash)
                segment_bytes = self._segment_bytes()
                self._spool = Spool(self._slot.spool_dir, SEALED, segment_bytes=segment_bytes, start=start)
            book, models = adopt_drafts(drafts, self._spool, message.opening)
            assert book is not None
            self._book = book
            self._models = {name: _resolved(known, models) for name, known in self._models.items()}
            if self._default_model is not None:
                self._default_model = _resolved(self._default_model, models)

        if not self._retry("adopt", seal_drafts):
            message.done.set_exception(LostError("enrolment: expected the disk to take it, found it failing"))
            return
        drafts.close()
        self._drafts = None
        assert self._spool is not None
        self.ready.set_result(self._spool)
        message.done.set_result(None)
        self._on_durable()

    def _declare_losses(self) -> list[Record]:
        """The gap entry that is owed, as the next of the chain; nothing if nothing was lost."""
        fresh = self._intake.take_losses()
        if fresh is not None:
            self._metrics.add("lost", fresh.count)
            self._owed = fresh.merged(self._owed)
        owed = self._owed
        if owed is None:
            return []
        assert self._book is not None
        after = Tip(self._book.instance, self._book.next_seq - 1, bytes(32), owed.first_us)
        body = gap_body(after, count=owed.count, from_us=owed.first_us, to_us=owed.last_us)
        record, _ = self._book.add("gap", body, self._clock())
        self._owed = None
        self._metrics.add("gaps")
        return [record]

    def _lose(self, durable: Future[None] | None) -> None:
        now_us = self._clock()
        self._metrics.add("lost")
        self._owed = Losses(1, now_us, now_us).merged(self._owed)
        if durable is not None:
            durable.set_exception(LostError("record: expected room on this host, found none"))

    def _append(self, records: list[Record]) -> bool:
        """Write a group until the disk takes it: its numbers are used, so these bytes and no
        others may follow.
        """
        if not records:
            return True
        spool = self._drafts if self._drafts is not None else self._spool
        assert spool is not None
        if not self._retry("spool", lambda: spool.append(records)):
            return False
        self._metrics.set("spool_bytes", spool.size_bytes)
        if spool is self._spool:
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
            else:
                return True
            if self._deadline is not None and time.monotonic() + wait_s > self._deadline:
                return False
            time.sleep(wait_s)
            wait_s = min(RETRY_LONGEST_S, 2 * wait_s)

    def _idle(self) -> None:
        if self._has_room():
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
            spool = self._drafts if self._drafts is not None else self._spool
            if spool is not None:
                self._retry("spool", spool.mark_clean)

    def _close(self) -> None:
        for closable in (self._spool, self._drafts, self._store):
            if closable is not None:
                with self._guard.protect("close"):
                    closable.close()

    def _has_room(self) -> bool:
        spool = self._drafts if self._drafts is not None else self._spool
        return spool is not None and spool.size_bytes < self._settings.max_spool_bytes

    def _segment_bytes(self) -> int:
        # Room is freed segment by segment, so a full spool must have several.
        return min(self._settings.segment_bytes, self._settings.max_spool_bytes // 4)


def _unclean(spool: Spool) -> Tip | None:
    """The last record of an earlier life that did not end in order, or None."""
    return None if spool.recovery.is_clean or spool.recovery.is_empty else spool.recovery.tip


def _resolved(reference: str, models: dict[int, str]) -> str:
    if not reference.startswith(DRAFT_MODEL):
        return reference
    return models.get(int(reference.removeprefix(DRAFT_MODEL)), _UNREGISTERED)
