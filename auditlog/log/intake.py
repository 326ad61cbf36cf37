"""Intake: the three ways an entry enters the pool. A batch, an enrolment, an entry of the log's own.

Spec: design sections 5 and 6. Each checks first without the lock, then takes its place in the order under it,
against the pending tip; the future resolves after the commit ("acknowledged" means that and nothing else).
Must never: wait for a store or the sequencer, except to look up a batch that was sent before.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from hashlib import sha256
from typing import Any

from auditlog.core.bodies import check_body
from auditlog.core.entry import LOG_WRITER, ZERO_HASH_HEX, Entry, encode_entry, format_time
from auditlog.errors import MalformedError, Pushback, SubmissionRefused
from auditlog.log.admission import (
    Accepted,
    Batch,
    Check,
    CheckedBatch,
    Enrolled,
    Sequenced,
    check_enrolment,
    claimed_head,
)
from auditlog.log.chains import Placement
from auditlog.log.live import Live
from auditlog.log.pool import Pending
from auditlog.log.reader import Reader
from auditlog.log.standing import check_admits
from auditlog.storage.records import (
    LOG_CHAIN,
    LOG_INSTANCE,
    BatchHead,
    ChainHead,
    ChainRun,
    LossRecord,
    ProducerRecord,
    RetirementRecord,
    RotationRecord,
)


class Intake:
    """Admits to the pool of one log; `wake` starts the sequencer."""

    def __init__(
        self,
        live: Live,
        reader: Reader,
        wake: Callable[[], None],
        index_lag: Callable[[], int],
        check: Check,
    ) -> None:
        self._live = live
        self._check = check
        self._reader = reader
        self._wake = wake
        self._index_lag = index_lag
        self._enrolling: dict[str, tuple[str, str, Future[Enrolled]]] = {}

    def submit(self, batch: Batch) -> Future[Accepted]:
        """Admit a batch; see `Log.submit`."""
        live = self._live
        live.check_running()
        claimed = claimed_head(batch)
        while True:
            with live.lock:
                keys = live.chains.keys(claimed.head, self._leaf_at)
            checked = self._check(batch, claimed, live.config.origin, keys)
            with live.lock:
                live.check_running()
                if live.chains.keys(claimed.head, self._leaf_at) != keys:
                    continue  # a rotation was admitted meanwhile: judge by the key that is in force now
                placement = live.chains.place(checked, self._leaf_at)
                new = len(checked.entries) - placement.skipped
                if new:
                    check_admits(live, self._reader)
                self._check_room(new, checked)
                future = self._add_batch(checked, placement)
            self._wake()
            return future

    def _check_room(self, new: int, batch: CheckedBatch) -> None:
        config, pool = self._live.config, self._live.pool
        too_many = pool.entries + new > config.max_pool_entries and pool.entries > 0
        too_big = pool.bytes + sum(map(len, batch.entries)) > config.max_pool_bytes and pool.bytes > 0
        if too_many or too_big:
            raise Pushback(
                f"expected room in the pool, found {pool.entries} entries waiting; nothing was accepted"
            )
        if (lag := self._index_lag()) > config.max_index_lag:
            raise Pushback(
                f"expected an index at most {config.max_index_lag} entries behind, found {lag}",
                retry_after_s=5,
            )

    def _add_batch(self, batch: CheckedBatch, placement: Placement) -> Future[Accepted]:
        live, head, skipped = self._live, batch.head, placement.skipped
        entries = batch.entries[skipped:]
        first_index, count = live.next_index, len(entries)
        new_head = run = batch_head = None
        if count:
            new_head = ChainHead(head.instance, head.seq, head.leaf_hash, first_index + count - 1)
            run = ChainRun(batch.producer, head.instance, head.first_seq + skipped, head.seq, first_index)
            batch_head = BatchHead(batch.producer, head.instance, head.first_seq, head.seq, batch.head_note)
        shown = first_index if count else placement.known_index
        last_index = first_index + count - 1
        life: RotationRecord | RetirementRecord | None = None
        if count and batch.next_vkey is not None:
            life = RotationRecord(batch.producer, last_index, batch.next_vkey)
        elif count and batch.retires:
            life = RetirementRecord(batch.producer, last_index)
        item = Pending(
            entries=entries,
            leaf_hashes=batch.leaf_hashes[skipped:],
            chain=batch.producer,
            new_head=new_head,
            run=run,
            batch_head=batch_head,
            life=life,
            decides=batch.decides and count > 0,
            future=new_future(),
            result=lambda size: Accepted(shown, count, skipped, size),
        )
        # An empty item still waits its turn: what it repeats may be pending, and must be committed before
        # anyone is told that it is in the log.
        live.admit(item)
        return item.future

    def _leaf_at(self, producer: bytes, instance: str, seq: int) -> tuple[bytes, int] | None:
        """Where a number of a chain is, in the pool or in the log. Under the lock."""
        live = self._live
        for item in (*live.inflight, *live.pool):
            run = item.run
            if run is not None and (run.producer, run.instance) == (producer, instance):
                at = seq - run.first_seq
                if 0 <= at < len(item.leaf_hashes):
                    return item.leaf_hashes[at], run.first_index + at
        found = live.stores.state.run_of(producer, instance, seq)
        if found is None:
            return None
        index = found.first_index + seq - found.first_seq
        if index >= live.tree.size:
            # Another process has committed it since (or a commit of ours came late). Judged by what we know;
            # our own commit will find the log moved, and the sender is told to send again.
            return None
        return self._reader.leaf_hash(index), index

    def append_own(self, kind: str, body: dict[str, Any]) -> Future[Sequenced]:
        """Append an entry of the log's own; see `Log.append_own`."""
        check_body(kind, body)
        if kind == "retirement":
            raise MalformedError("retirement: expected it by way of Log.retire, found an entry of its own")
        if kind == "successor":
            raise MalformedError("successor: expected it by way of Log.end, found an entry of its own")
        with self._live.lock:
            self._live.check_running()
            check_admits(self._live, self._reader)
            item = self.add_own(kind, body)
        self._wake()
        return item.future

    def enrol(self, *, name: str, vkey: str, note: str) -> Future[Enrolled]:
        """Enrol a producer; see `Log.enrol`."""
        live = self._live
        check_enrolment(origin=live.config.origin, name=name, vkey=vkey, note=note)
        with live.lock:
            live.check_running()
            known = live.chains.producer_named(name)
            if known is not None:
                _check_same(name, (known.vkey, known.note), (vkey, note))
                if live.chains.lives.retirement(known.producer) is not None:
                    raise live.chains.retired(known.producer)
                return _resolved(Enrolled(known.producer, known.index, self._reader.entry(known.index)))
            waiting = self._enrolling.get(name)
            if waiting is not None and not waiting[2].done():
                _check_same(name, waiting[:2], (vkey, note))
                return waiting[2]
            check_admits(live, self._reader)
            record = ProducerRecord(b"", name, vkey, note, live.next_index)
            item = self.add_own("producer", {"name": name, "vkey": vkey, "note": note}, producer=record)
            self._enrolling[name] = (vkey, note, item.future)
        self._wake()
        return item.future

    def add_own(
        self,
        kind: str,
        body: dict[str, Any],
        *,
        producer: ProducerRecord | None = None,
        life: RetirementRecord | LossRecord | None = None,
        ends: bool = False,
    ) -> Pending:
        """Give an entry of the log's own its place, with what it changes. Under the lock; then wake."""
        live, index = self._live, self._live.next_index
        tip = live.chains.pending.get(LOG_CHAIN)
        entry = encode_entry(
            Entry(
                kind=kind,
                origin=live.config.origin,
                producer=LOG_WRITER,
                instance=LOG_INSTANCE,
                seq=tip.seq + 1 if tip else 0,
                prev=tip.leaf_hash.hex() if tip else ZERO_HASH_HEX,
                time=format_time(live.clock.unix_us()),
                body=body,
            )
        )
        leaf_hash = sha256(b"\x00" + entry).digest()
        head = ChainHead(LOG_INSTANCE, tip.seq + 1 if tip else 0, leaf_hash, index)
        if producer is not None:
            producer = ProducerRecord(leaf_hash, producer.name, producer.vkey, producer.note, index)
            answer: Enrolled | Sequenced = Enrolled(leaf_hash, index, entry)
        else:
            answer = Sequenced(index, leaf_hash)
        item = Pending(
            entries=[entry],
            leaf_hashes=[leaf_hash],
            chain=LOG_CHAIN,
            new_head=head,
            run=ChainRun(LOG_CHAIN, LOG_INSTANCE, head.seq, head.seq, index),
            producer=producer,
            life=life,
            ends=ends,
            future=new_future(),
            result=lambda _: answer,
        )
        live.admit(item)
        return item


def _check_same(name: str, known: tuple[str, str], found: tuple[str, str]) -> None:
    if known != found:
        raise SubmissionRefused(
            f"producer: expected a new name, or the key and note that {name!r} enrolled with, found others"
        )


def new_future() -> Future[Any]:
    """A future that its holder cannot cancel."""
    future: Future[Any] = Future()
    # Running from the start: a caller that gives up waiting cannot take back what is already in the order.
    future.set_running_or_notify_cancel()
    return future


def _resolved(value: Any) -> Future[Any]:
    future = new_future()
    future.set_result(value)
    return future
