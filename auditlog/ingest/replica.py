"""Intake of one log on a replica: check a batch as the log does, publish it, wait for the committed head.

Spec: auditlog/spec/api.md, "Several processes". A replica holds no key, no pool and no tree. What it knows
comes from the database: who enrolled, which keys are in force, where each chain ends. The checks are those
of the log itself (`log.admission`, `log.chains`), against the committed head where the log has the pending
one: a contradiction is refused at once, what is committed already is acknowledged, and the rest is
published, since what it follows may be on its way. The sequencer checks all of it again. Promises: an
acknowledgement (`Accepted`) is read from the committed head and nothing else. Must never: take the broker's
word for one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from auditlog.core.batch import encode_batch
from auditlog.core.head import ClaimedHead, parse_head_text
from auditlog.core.note import split_note
from auditlog.errors import (
    AuthenticationError,
    ChainConflictError,
    LogQuiesced,
    LogReadOnly,
    LogRetired,
    NotFoundError,
    NotYetCommitted,
)
from auditlog.ingest.headwatch import HeadWatch
from auditlog.ingest.ports import Broker
from auditlog.ingest.published import Published
from auditlog.log.admission import Accepted, Batch, CheckedBatch, check_batch, claimed_head
from auditlog.log.chains import Chains, Placement
from auditlog.log.endings import ProducerState
from auditlog.log.lives import lives_of
from auditlog.storage.ports import CommitState
from auditlog.storage.records import OPEN, QUIESCED, READ_ONLY, RETIRED, ChainHead, ProducerRecord

KNOWN_S = 2.0
"""How old what a replica knows of enrolments, rotations and ends may be."""
_AGAIN_S = 0.1
"""And when something does not fit it is looked up again, no more often than this."""


class ReplicaState(CommitState, Protocol):
    """The committed state with the look-ups of a replica."""

    def heads_of(self, producers: Sequence[bytes]) -> dict[bytes, ChainHead]:
        """The committed heads of these producers; those that wrote nothing are left out."""

    def committed_size(self) -> int:
        """Entries in the committed tree; 0 before the log was created."""


@dataclass(frozen=True, slots=True)
class Examined:
    """A batch that is true in itself, and where it stands: `placement` None means that what it follows is
    not committed yet.
    """

    batch: CheckedBatch
    head: ChainHead | None
    placement: Placement | None

    @property
    def is_committed(self) -> bool:
        """Whether the log has all of it."""
        return self.placement is not None and self.placement.skipped == self.batch.head.size


class Replica:
    """Takes batches of one log. `examine` and `producer` block and are for any thread; `deliver` is for the
    event loop.
    """

    def __init__(
        self,
        log: str,
        origin: str,
        state: ReplicaState,
        published: Published,
        broker: Broker,
        *,
        wait_s: float,
        monotonic: Callable[[], float],
    ) -> None:
        """`wait_s`: how long `deliver` waits for the commit."""
        self._log = log
        self._origin = origin
        self._state = state
        self._published = published
        self._broker = broker
        self._wait_s = wait_s
        self._monotonic = monotonic
        self._lock = threading.RLock()
        self._chains = Chains()
        self._known_at = float("-inf")
        self._standing = OPEN
        self.watch = HeadWatch(state.heads_of)

    def producer(self, producer: bytes) -> ProducerRecord:
        """The enrolment of a producer. Raises: NotFoundError, StorageError."""
        self._know(KNOWN_S)
        try:
            return self._chains.producer(producer)
        except NotFoundError:
            self._know(_AGAIN_S)
            return self._chains.producer(producer)

    def producer_state(self, producer: bytes) -> ProducerState:
        """Where a producer stands: its committed head (None: it wrote nothing), key in force, end, losses.

        Raises: NotFoundError, StorageError.
        """
        record = self.producer(producer)
        head = self._state.heads_of([producer]).get(producer)
        self._know(_AGAIN_S)
        with self._lock:
            lives = self._chains.lives
            rotations, end = lives.rotations(producer), lives.retirement(producer)
            return ProducerState(
                record=record,
                vkey=rotations[-1].vkey if rotations else record.vkey,
                rotations=len(rotations),
                head=head,
                retired_at=None if end is None else end.index,
                losses=tuple(lives.losses(producer)),
            )

    def examine(self, batch: Batch) -> Examined:
        """Check an attacker-controlled batch, and compare it with the committed head.

        Raises:
            MalformedError, TooLargeError, AuthenticationError, NotFoundError, ProducerRetired: as
            `Log.submit`. ChainConflictError: it contradicts what is committed. LogQuiesced, LogReadOnly,
            LogRetired: the log takes nothing new. StorageError.
        """
        claimed = claimed_head(batch)
        self.producer(bytes.fromhex(claimed.head.producer))
        try:
            checked = self._check(batch, claimed)
        except AuthenticationError:
            # A key may have come into force since we looked.
            self._know(_AGAIN_S)
            checked = self._check(batch, claimed)
        examined = self._place(checked, self._chains.pending.get(checked.producer))
        if not examined.is_committed:
            self._check_takes_more()
        return examined

    async def deliver(self, examined: Examined) -> Accepted:
        """Publish what the log does not have, and wait for its commit.

        Raises:
            NotYetCommitted: accepted, nothing promised. ChainConflictError, ProducerRetired: something else
            was committed in its place. Pushback, BrokerError: it was not accepted, or nobody knows.
            StorageError.
        """
        if examined.is_committed:
            return await asyncio.to_thread(self._accepted, examined, examined)
        batch, seen = examined.batch, examined.head
        await self._broker.publish(self._log, encode_batch(batch.head_note, batch.entries))
        until = self._monotonic() + self._wait_s
        while (left := until - self._monotonic()) > 0:
            head = await self.watch.changed(batch.producer, seen, left)
            if head == seen:
                break
            seen = head
            now = await asyncio.to_thread(self._place, batch, head)
            if now.is_committed:
                return await asyncio.to_thread(self._accepted, examined, now)
        raise NotYetCommitted("expected a commit in time, found the batch on its way; ask for the head")

    def _check_takes_more(self) -> None:
        """Raises LogQuiesced, LogReadOnly, LogRetired."""
        if self._standing == QUIESCED:
            raise LogQuiesced("expected a log that takes entries, found it quiesced")
        if self._standing == READ_ONLY:
            raise LogReadOnly("expected a log that takes entries, found it read-only")
        if self._standing == RETIRED:
            raise LogRetired(
                "expected a log that takes entries, found one that has ended",
                successor=self._published.successor(),
            )

    def _check(self, batch: Batch, claimed: ClaimedHead) -> CheckedBatch:
        with self._lock:
            producer = bytes.fromhex(claimed.head.producer)
            self._set_tip(producer, self._state.heads_of([producer]).get(producer))
            keys = self._chains.keys(claimed.head, self._place_of)
        return check_batch(batch, claimed, self._origin, keys)

    def _place(self, batch: CheckedBatch, head: ChainHead | None) -> Examined:
        """Where the batch stands, its chain ending at `head`."""
        with self._lock:
            self._set_tip(batch.producer, head)
            try:
                placement = self._chains.place(batch, self._leaf_at)
            except ChainConflictError as conflict:
                if not conflict.may_follow:
                    raise
                return Examined(batch, head, None)
            except NotFoundError:
                # Committed, but in no published tile yet: whoever sends it again gets its answer later.
                return Examined(batch, head, None)
        return Examined(batch, head, placement)

    def _set_tip(self, producer: bytes, head: ChainHead | None) -> None:
        """Put the committed head where `Chains` looks for the tip. Under the lock."""
        if head is None:
            self._chains.pending.pop(producer, None)
        else:
            self._chains.pending[producer] = head

    def _accepted(self, first: Examined, last: Examined) -> Accepted:
        """What was new when the batch came, and where it is now."""
        assert last.placement is not None
        head, skipped = last.batch.head, first.placement.skipped if first.placement is not None else 0
        size = self._state.committed_size()
        if skipped < head.size:
            run = self._state.run_of(last.batch.producer, head.instance, head.first_seq + skipped)
            # In pieces only if others sent parts of it too: then it is told as what was there already.
            if run is not None and run.seq >= head.seq:
                index = run.first_index + head.first_seq + skipped - run.first_seq
                return Accepted(index, head.size - skipped, skipped, size)
        run = self._state.run_of(last.batch.producer, head.instance, head.seq)
        index = last.placement.known_index if run is None else run.first_index + head.seq - run.first_seq
        return Accepted(index, 0, head.size, size)

    def _place_of(self, producer: bytes, instance: str, seq: int) -> tuple[bytes, int] | None:
        """As `_leaf_at` for who wants the index alone. Raises: StorageError."""
        run = self._state.run_of(producer, instance, seq)
        return None if run is None else (b"", run.first_index + seq - run.first_seq)

    def _leaf_at(self, producer: bytes, instance: str, seq: int) -> tuple[bytes, int] | None:
        """Where a number of a chain is in the log. Raises: NotFoundError, StorageError."""
        run = self._state.run_of(producer, instance, seq)
        if run is None:
            return None
        index = run.first_index + seq - run.first_seq
        sent = self._state.batch_head_of(producer, instance, seq)
        if sent is not None and sent.seq == seq:
            # The head of the batch that was committed names this very entry.
            return parse_head_text(split_note(sent.note)[0]).leaf_hash, index
        return self._published.leaf_hash(index), index

    def _know(self, age_s: float) -> None:
        """Look up enrolments and lives again if what is known is older than this. Raises: StorageError."""
        with self._lock:
            if self._monotonic() - self._known_at < age_s:
                return
            with self._state.snapshot() as snapshot:
                if snapshot is not None:
                    lives, producers = lives_of(snapshot), snapshot.producers()
                    self._standing, self._chains.lives = snapshot.committed.standing, lives
                    for record in producers:
                        self._chains.add_producer(record)
            self._known_at = self._monotonic()
