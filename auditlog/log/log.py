"""`Log`: one append-only log, running. Made by `create_log` and `open_log`, never by hand.

Spec: design sections 5 and 6; `auditlog/log/README.md` tells the life of a leaf. Synchronous and safe to use
from any thread. A future resolves after the commit was read back and applied: that, and nothing else, is an
acknowledgement. Must never: show a checkpoint that is not published.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, cast

from auditlog.errors import LogHalted
from auditlog.log.absence import Absence
from auditlog.log.admission import Accepted, Batch, Enrolled, Sequenced
from auditlog.log.anchors import Anchors, Outbox
from auditlog.log.aside import HERE, Hands
from auditlog.log.config import Visibility
from auditlog.log.cosigning import QuorumStanding
from auditlog.log.endings import Endings, Lost, ProducerState, Retired
from auditlog.log.engine import Workers
from auditlog.log.index import Index
from auditlog.log.intake import Intake
from auditlog.log.live import Live
from auditlog.log.promises import Promises
from auditlog.log.publisher import Publisher
from auditlog.log.reader import Reader
from auditlog.log.receipts import Receipts
from auditlog.log.retention import Retentions
from auditlog.log.rollback import Guard
from auditlog.log.search import Search
from auditlog.log.sequencer import Sequencer
from auditlog.log.staging import Staged
from auditlog.log.standing import Standing, Standings, Successor, successor_of
from auditlog.log.witnesses import Witnesses
from auditlog.storage.records import COMMITTING, RETIRED, ChainHead, ProducerRecord


@dataclass(frozen=True, slots=True)
class LogStatus:
    """Where a log stands. Sizes in entries."""

    origin: str
    tree_size: int
    published_size: int
    pool_entries: int
    index_size: int
    halted: str | None
    standing: str

    @property
    def index_lag(self) -> int:
        """Committed entries that look-ups do not find yet."""
        return max(0, self.tree_size - self.index_size)


class Log:
    """One running log."""

    def __init__(
        self,
        live: Live,
        outside: Sequence[Guard],
        workers: Workers,
        on_close: Callable[[], None],
        *,
        witnesses: Witnesses | None = None,
        hands: Hands = HERE,
    ) -> None:
        """Put the parts together; the tree in `live` must be recovered and guarded already."""
        self._live = live
        self._workers = workers
        self._on_close = on_close
        self._closed = False
        self._awake = False
        self.reader = Reader(live)
        self.witnesses = witnesses
        self._publisher = Publisher(live, self._publish_later, self.reader.consistency, witnesses)
        self.index = Index(live, self.reader, lambda delay: workers.later(delay, self.index.step))
        self.search = Search(live, self.reader, self.index)
        self.anchors = Anchors(live, self.reader)
        self.outbox = Outbox(live)
        self.receipts = Receipts(live, self.reader, self._publisher, self.index, self.anchors)
        self.absence = Absence(live, self.reader, self._publisher, self.index)
        self.promises = Promises(live, self.reader, self._publisher, self.index)
        self.retention = Retentions(live, self.reader, self.index, lambda: self._publisher.size)
        self._sequencer = Sequencer(
            live,
            outside,
            self._committed,
            lambda delay: workers.later(delay, self._sequencer.retry),
            hands.stager(live.layout),
        )
        self._intake = Intake(live, self.reader, self._wake, lambda: self.index.backlog, hands.check)
        self._endings = Endings(live, self._intake, self.reader, self._wake)
        self._standings = Standings(live, self._intake, self.reader, self.run_pending, self._publisher.step)

    @property
    def origin(self) -> str:
        """First line of every checkpoint; the identity of the log."""
        return self._live.config.origin

    @property
    def name(self) -> str:
        """Short name in addresses."""
        return self._live.config.name

    @property
    def vkey(self) -> str:
        """The log's verification key."""
        return self._live.signer.vkey

    @property
    def visibility(self) -> Visibility:
        """Who may read what."""
        return self._live.layout.visibility

    @property
    def tree_size(self) -> int:
        """Size of the committed tree."""
        return self._live.tree.size

    @property
    def published_size(self) -> int:
        """Size of the published tree; 0 before the first publication."""
        return self._publisher.size

    @property
    def publication_lag_s(self) -> float:
        """How long the oldest commit that is not published has waited, in seconds; 0 if all are."""
        return self._publisher.lag_s

    @property
    def cosignatures(self) -> int:
        """How many witnesses cosigned the newest published checkpoint."""
        return self._publisher.cosignatures

    @property
    def quorum(self) -> QuorumStanding | None:
        """How the log stands with its witnesses; None if it has none."""
        return self._publisher.quorum

    @property
    def fault(self) -> str | None:
        """Why the engine stopped itself; None while it runs."""
        halted = self._live.halted
        return None if halted is None else str(halted)

    def submit(self, batch: Batch) -> Future[Accepted]:
        """Admit a producer's batch against the pending tip of its chain.

        An equal prefix that is already there is skipped. The future fails with `Pushback` when nothing was
        committed (send again) or `LogHalted` when the outcome is not known (send again after a restart).

        Raises:
            MalformedError, TooLargeError, AuthenticationError, ChainConflictError, NotFoundError: the batch
            cannot be true; nothing was accepted.
            ProducerRetired: its producer has ended, and some of it is new.
            Pushback: too much is waiting. LogHalted: the engine stopped itself.
        """
        return self._intake.submit(batch)

    def enrol(self, name: str, vkey: str, note: str) -> Future[Enrolled]:
        """Write a `producer` entry; the same name, key and note again give the existing one.

        Raises:
            MalformedError, AuthenticationError: see `admission.check_enrolment`.
            SubmissionRefused: the name is taken by another key. LogHalted: the engine stopped itself.
            ProducerRetired: it has ended, and does not come back.
        """
        return self._intake.enrol(name=name, vkey=vkey, note=note)

    def retire(self, producer: bytes) -> Future[Retired]:
        """End a producer: from here on nothing of it is admitted. One that has ended gives the same answer.

        Raises:
            NotFoundError: nobody enrolled with this id. LogHalted: the engine stopped itself.
        """
        return self._endings.retire(producer)

    def declare_lost(self, producer: bytes, instance: str | None = None) -> Future[Lost]:
        """Declare that a producer's host is gone with what it had not sent, then end the producer.

        `instance` names the life whose unsent numbers are lost, if it is not the newest the log knows: a
        start that the host could tell nobody of.

        Raises:
            MalformedError: not an instance. NotFoundError, LogHalted: as `retire`. StorageError.
        """
        return self._endings.declare_lost(producer, instance)

    def producer_state(self, producer: bytes) -> ProducerState:
        """Where a producer stands: key in force, head, end, losses. Raises: NotFoundError."""
        return self._endings.state_of(producer)

    def newest_time(self, producer: bytes) -> int:
        """When the producer last wrote, as its newest entry says (Unix microseconds); its enrolment's time if
        it never did. Raises: NotFoundError, StorageError.
        """
        return self._endings.newest_time(producer)

    def append_own(self, kind: str, body: dict[str, Any]) -> Future[Sequenced]:
        """Append an entry of the log's own: anchor, notice.

        Raises:
            MalformedError: a kind the log may not write, or a body of another shape.
            LogHalted: the engine stopped itself.
        """
        return self._intake.append_own(kind, body)

    @property
    def standing(self) -> Standing:
        """Whether it takes entries and signs: `open`, `quiesced`, `read-only` or `retired`."""
        return cast("Standing", self._live.standing)

    @property
    def successor(self) -> Successor | None:
        """The log that goes on, if this one has ended. Raises: StorageError."""
        return successor_of(self._live, self.reader) if self.standing == RETIRED else None

    def set_standing(self, standing: str) -> None:
        """Open, quiesce or freeze (`read-only`) the log, durably. Returns when what was admitted is committed
        and offered for publication; `published_size` says whether it is shown.

        Raises:
            MalformedError: another word. LogRetired: it has ended. LogHalted: the engine stopped itself.
            StorageError: a store failed; the change may have happened all the same.
        """
        self._standings.set(standing)

    def end(self, vkey: str) -> Successor:
        """End the log for ever: commit a `successor` entry that names the log of this key as the last one,
        and publish the last checkpoint. Asked for again with the same key, the answer is the same.

        Raises:
            MalformedError: not a key. ConfigurationError: this log's own origin.
            LogRetired: it has ended already, for another. Pushback, LogHalted, StorageError: not ended, or
            not known: ask again.
        """
        return self._standings.retire(vkey)

    def note(self, body: dict[str, Any]) -> None:
        """Write a `notice` about a start, in the caller's thread, whether or not others may write; nothing if
        the log signs nothing. Raises: as `append_own`.
        """
        with self._live.lock:
            self._live.check_running()
            if self.standing not in COMMITTING:
                return
            done = self._intake.add_own("notice", body).future
        self.run_pending()
        done.result(timeout=0)

    def head(self, producer: bytes) -> ChainHead | None:
        """The committed head of a producer's chain; None if it has written nothing. Raises: NotFoundError."""
        with self._live.lock:
            self._live.chains.producer(producer)
            return self._live.chains.committed.get(producer)

    def producer(self, producer: bytes) -> ProducerRecord:
        """The enrolment of a producer. Raises: NotFoundError."""
        with self._live.lock:
            return self._live.chains.producer(producer)

    def producers(self) -> list[ProducerRecord]:
        """Every enrolled producer, in order of enrolment."""
        with self._live.lock:
            return self._live.chains.producers()

    def receipt_key(self, producer: bytes) -> bytes:
        """The 32-byte key of a producer's receipt capabilities, the same in every life of the log."""
        return hmac.digest(self._live.config.receipt_secret, producer, sha256)

    def published(self) -> str:
        """The newest published checkpoint. Raises: NotFoundError before the first."""
        return self._publisher.published()

    def await_published(self, index: int, timeout_s: float) -> str:
        """Wait until a published checkpoint covers `index`. Raises: TimeoutError, LogHalted."""
        return self._publisher.await_published(index, timeout_s)

    def status(self) -> LogStatus:
        """Where the log stands, for health and metrics."""
        return LogStatus(
            self.origin,
            self.tree_size,
            self.published_size,
            self._live.pool.entries,
            self.index.size,
            self.fault,
            self.standing,
        )

    def start(self) -> None:
        """Pick up what the last life left: a publication that is due, an index that is behind."""
        self._publisher.load(self.reader)
        self._committed()

    def _publish_later(self, delay_s: float, step: Callable[[], None]) -> None:
        """Publish on a thread that may wait for witnesses; the engine's serve other logs as well."""
        witnesses = self.witnesses
        self._workers.later(delay_s, step if witnesses is None else lambda: witnesses.run(step))

    def run_pending(self) -> None:
        """Commit what is in the pool in the caller's thread. For a start, and for tests without threads."""
        while self._sequencer.step():
            continue

    def close(self) -> None:
        """Commit and publish what was admitted, bring the index up to date, then stop. Twice is once."""
        if self._closed:
            return
        self._closed = True
        self.run_pending()
        self._publisher.step()
        self.index.step()
        self._live.halt(LogHalted("expected a running log, found a closed one"))
        self.run_pending()
        self._publisher.wake()
        if self.witnesses is not None:
            self.witnesses.close()
        self._on_close()

    def _wake(self) -> None:
        """Something is in the pool: make sure a thread comes for it."""
        with self._live.lock:
            if self._awake:
                return
            self._awake = True
        self._workers.soon(self._sequence)

    def _sequence(self) -> None:
        # Asleep before looking: whoever adds from here on sends another thread.
        with self._live.lock:
            self._awake = False
        if self._sequencer.advance():
            # Behind other logs in line, not ahead of them.
            self._wake()

    def _committed(self, staged: Staged | None = None) -> None:
        """After a commit: what follows the log is asked to, and finds in memory what it finished."""
        if staged is not None:
            self.reader.keep(staged)
        if self._live.halted is not None:
            self._publisher.wake()
        self._publisher.request()
        self.index.request()
