"""Runs of observations: kept, sealed, made durable, promised, settled (README.md, "Life of a decision").

The writer's thread gives each run what the queue held between two messages of the layer itself. The store
comes before the spool: a key without an entry is harmless, an entry without its key could never be opened. If
the store fails, the entry says so (`values: not_kept`). Must never: let one bad observation stop the rest,
lose one silently, or promise what is not durable.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from auditlog.capture.attempts import Attempts
from auditlog.capture.clocks import HostClock
from auditlog.capture.committing import Prepared
from auditlog.capture.declaring import Declarations
from auditlog.capture.disclosures import DisclosureStore
from auditlog.capture.frames import Record
from auditlog.capture.journal import Journal
from auditlog.capture.messages import LostError, Observed, OutcomeKnown
from auditlog.capture.metrics import Counters
from auditlog.capture.pace import Pace
from auditlog.capture.persisting import Persistence
from auditlog.capture.preparing import Preparation
from auditlog.capture.promises import PromiseMaker, may_promise
from auditlog.capture.safety import Guard
from auditlog.capture.settling import Settling, Written
from auditlog.errors import StorageError

BREATH_S = 0.002
"""After so long the writer sleeps for an instant: it shares the interpreter with the application, which would
otherwise get it back only after the switch interval (5 ms)."""
EXPIRE_EVERY_S = 600.0

Message = Observed | OutcomeKnown
_Sealed = tuple[Prepared, Message, str]


class Runs:
    """Makes observations durable, run by run. Used by the writer's thread alone."""

    def __init__(
        self,
        *,
        journal: Journal,
        disk: Persistence,
        losses: Declarations,
        settling: Settling,
        attempts: Attempts,
        clock: HostClock,
        pace: Pace,
        preparation: Preparation,
        open_store: Callable[[], DisclosureStore],
        metrics: Counters,
        guard: Guard,
    ) -> None:
        self._journal = journal
        self._disk = disk
        self._losses = losses
        self._settling = settling
        self._attempts = attempts
        self._clock = clock
        self._pace = pace
        self._preparation = preparation
        self._open_store = open_store
        self._metrics = metrics
        self._guard = guard
        self._store: DisclosureStore | None = None
        self._expire_at = self._breathed_s = 0.0
        self._open: dict[int, Message] = {}
        self._run: list[tuple[Prepared, Message]] = []
        self.promises: PromiseMaker | None = None
        """Signs promises with the key in force; None before enrolment."""
        self.decisions = 0
        """How many `decision` entries this instance has sealed."""

    def begin(self, given: list[Message]) -> None:
        """These are about to come; what is not written by `end` is lost."""
        self._open = {id(message): message for message in given}
        self._run = []
        self._breathed_s = time.monotonic()

    def end(self) -> None:
        """Whatever went wrong in our own code, what was not written counts as lost."""
        for message in list(self._open.values()):
            self.lose(message)

    def add(self, message: Message) -> None:
        """The next of the run."""
        prepared = self._prepare(message)
        self._breathe()
        if prepared is not None:
            self._run.append((prepared, message))

    def write(self) -> None:
        """Keep, seal and spool the run; on return all of it is durable, or counted as lost."""
        run, self._run = self._run, []
        if not self._journal.has_room:
            # What has room reserved is written whatever the bound says: its caller was let in for that.
            refused = [message for _, message in run if not _is_reserved(message)]
            self._metrics.add("spool_full", len(refused))
            for message in refused:
                self.lose(message)
            run = [(prepared, message) for prepared, message in run if _is_reserved(message)]
        if not run:
            return
        self._pace.begin()
        self._keep([prepared for prepared, _ in run])
        self._pace.pause()
        self._breathed_s = time.monotonic()  # the disk took its time, and the application had the interpreter
        records = self._losses.records()
        first = len(records)
        sealed: list[_Sealed] = []
        for prepared, message in run:
            self._breathe()
            found = self._seal(prepared)
            if found is None:
                self.lose(message)
                continue
            records.append(found[0])
            sealed.append((prepared, message, found[1]))
            self.decisions += prepared.kind == "decision"
        before = self._journal.next
        self._pace.begin()
        is_durable = self.append(records)
        self._pace.end()
        for _, message, _ in sealed:
            self._open.pop(id(message), None)
        self._metrics.add("recorded" if is_durable else "lost", len(sealed))
        if is_durable:
            self._settle(sealed, records[first:], None if before is None else before + first)
        else:
            failure = LostError("record: expected the disk to take it, found it failing")
            self._settling.lost([one for _, one, _ in sealed if isinstance(one, Observed)], failure)

    def _settle(
        self,
        sealed: list[_Sealed],
        records: list[Record],
        number: int | None,
    ) -> None:
        """Sign what is promised, tell whoever waits, and mark the calls as settled: all of it is durable."""
        maker = self.promises
        if maker is not None and records and not self._may_promise(maker, records[0]):
            maker = None
        group: list[Written] = []
        ours = promised = 0
        self._breathed_s = time.monotonic()
        for at, ((prepared, message, leaf_hash), record) in enumerate(zip(sealed, records, strict=True)):
            if not isinstance(message, Observed):
                continue
            ours += message.observation.exchange.attempt is self._attempts
            promise = None
            if maker is not None and message.wants_promise:
                self._breathe()
                promise = maker.sign(record, bytes.fromhex(leaf_hash), prepared.body)
                promised += 1
            group.append(Written(message, None if number is None else number + at, promise))
        self._metrics.add("promises", promised)
        self._attempts.settle(ours)
        self._settling.written(group)

    def _may_promise(self, maker: PromiseMaker, record: Record) -> bool:
        """Whether the group that begins with this record may be promised: it is the oldest of it."""
        oldest_us = self._journal.oldest_unacknowledged_us
        return may_promise(maker, self._clock, time_us=record.time_us, oldest_us=oldest_us)

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

    def _seal(self, prepared: Prepared) -> tuple[Record, str] | None:
        for left_out in ((), ("sampling", "defaults", "adapters", "route")):
            body = prepared.body
            if left_out:
                body = {name: value for name, value in body.items() if name not in left_out}
            try:
                return self._journal.add(prepared.kind, body, self._clock())
            except Exception as failure:  # noqa: BLE001  an escape here would leave sealed entries unwritten
                # Too large or without canonical form: no number was used. Once more without the free texts.
                self._guard.failed("seal", failure)
        return None

    def append(self, records: list[Record]) -> bool:
        """Make records durable, and note that the losses declared among them are."""
        is_durable = self._disk.append(records)
        if is_durable:
            self._losses.durable()
        return is_durable

    def lose(self, message: Message) -> None:
        """Count it as lost, and tell whoever waits."""
        self._open.pop(id(message), None)
        if isinstance(message, OutcomeKnown):
            self._losses.lose(0)
            return
        self._losses.lose(message.observation.exchange.attempt is self._attempts)
        failure = LostError("record: expected room on this host, found none")
        self._settling.lost([message], failure)

    def idle(self) -> None:
        """Nothing is queued: what the store keeps too long goes."""
        now = time.monotonic()
        if self._store is not None and now >= self._expire_at:
            self._expire_at = now + EXPIRE_EVERY_S
            self._metrics.add("expired", self._store.expire(self._clock()))

    @property
    def is_tidy(self) -> bool:
        """Whether nothing is left to do behind the answers. Any thread may ask."""
        return self._store is None or self._store.is_settled

    def open_store(self) -> None:
        """Open the store before anybody waits for it; a failure shows again when something is to be kept."""
        try:
            if self._store is None:
                self._store = self._open_store()
        except (StorageError, OSError) as failure:
            self._guard.failed("disclosure_store", failure)

    def close(self) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()

    def _prepare(self, message: Message) -> Prepared | None:
        try:
            prepared = self._preparation.prepare(message)
        except Exception as failure:  # noqa: BLE001  whatever one observation holds, the next must be recorded
            self._guard.failed("prepare", failure)
            self.lose(message)
            return None
        for name in prepared.left_out:
            self._metrics.add(f"left_out.{name}")
        return prepared

    def _breathe(self) -> None:
        if time.monotonic() - self._breathed_s >= BREATH_S:
            time.sleep(0.000_02)
            self._breathed_s = time.monotonic()


def _is_reserved(message: Message) -> bool:
    return isinstance(message, Observed) and message.is_reserved
