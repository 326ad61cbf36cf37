"""Ending producers from the log's side: a retirement, and the declaration that a host is lost.

Spec: `auditlog/spec/entry.md`, "Ends and losses"; `auditlog/spec/api.md`, "Producers". Both name the newest
entry of the producer in the order, pending ones among them, under the log's lock: a batch is before the
end, and in, or after it, and refused. Both may be asked for again: what was said once is not said twice,
and the answer comes after its commit. Must never: name another last number than the last one accepted.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from auditlog.core.bodies import check_body
from auditlog.core.entry import format_time, parse_entry, parse_time
from auditlog.errors import EntryPruned
from auditlog.log.intake import Intake, new_future
from auditlog.log.live import Live
from auditlog.log.lives import last_of, loss_of
from auditlog.log.pool import Pending
from auditlog.log.reader import Reader
from auditlog.log.standing import check_admits
from auditlog.storage.records import LOG_CHAIN, ChainHead, LossRecord, ProducerRecord, RetirementRecord


@dataclass(frozen=True, slots=True)
class Retired:
    """A producer has ended: the `retirement` entry at `index`; `last` is its newest entry for ever (None: it
    never wrote).
    """

    producer: bytes
    index: int
    last: ChainHead | None


@dataclass(frozen=True, slots=True)
class Lost:
    """A host is gone: what was declared (None: it never wrote and no instance was named), and its end."""

    loss: LossRecord | None
    retired: Retired


@dataclass(frozen=True, slots=True)
class ProducerState:
    """A producer as the operator sees it, committed facts only."""

    record: ProducerRecord
    vkey: str
    """The key in force."""
    rotations: int
    head: ChainHead | None
    retired_at: int | None
    """Index of its `retirement` entry."""
    losses: tuple[LossRecord, ...]


class Endings:
    """Ends producers of one log. Safe to use from any thread."""

    def __init__(self, live: Live, intake: Intake, reader: Reader, wake: Callable[[], None]) -> None:
        self._live = live
        self._intake = intake
        self._reader = reader
        self._wake = wake

    def retire(self, producer: bytes) -> Future[Retired]:
        """End a producer at its newest entry; see `Log.retire`."""
        with self._live.lock:
            self._live.check_running()
            future = self._retire(producer)
        self._wake()
        return future

    def declare_lost(self, producer: bytes, instance: str | None) -> Future[Lost]:
        """Declare what a lost host held, then end its producer; see `Log.declare_lost`."""
        live = self._live
        since_us = self.newest_time(producer)
        with live.lock:
            live.check_running()
            loss = self._declare(producer, instance, since_us)
            retired = self._retire(producer)
        self._wake()
        answer: Future[Lost] = new_future()
        retired.add_done_callback(lambda done: _pass_on(done, answer, loss))
        return answer

    def state_of(self, producer: bytes) -> ProducerState:
        """Where a producer stands. Raises: NotFoundError."""
        live = self._live
        with live.lock:
            record, size = live.chains.producer(producer), live.tree.size
            lives = live.chains.lives
            rotations, end = lives.rotations(producer, below=size), lives.retirement(producer)
            return ProducerState(
                record=record,
                vkey=rotations[-1].vkey if rotations else record.vkey,
                rotations=len(rotations),
                head=live.chains.committed.get(producer),
                retired_at=end.index if end is not None and end.index < size else None,
                losses=tuple(each for each in lives.losses(producer) if each.index < size),
            )

    def _retire(self, producer: bytes) -> Future[Retired]:
        """Under the lock. The answer to a repeated request waits for the commit of what it repeats."""
        chains = self._live.chains
        chains.producer(producer)
        known, last = chains.lives.retirement(producer), chains.pending.get(producer)
        if known is not None:
            return self._after_all(Retired(producer, known.index, last))
        check_admits(self._live, self._reader)
        body = {"producer": producer.hex(), "last": last_of(producer, last)}
        index = self._live.next_index
        added = self._intake.add_own("retirement", body, life=RetirementRecord(producer, index))
        return _mapped(added.future, Retired(producer, index, last))

    def _declare(self, producer: bytes, instance: str | None, since_us: int) -> LossRecord | None:
        """The loss of what the host held behind the newest entry the log has; of another instance, all of
        it. Under the lock.
        """
        live = self._live
        tip = live.chains.pending.get(producer)
        if instance is None and tip is None:
            return None
        lost = instance if instance is not None else (tip.instance if tip is not None else "")
        after_seq = tip.seq if tip is not None and tip.instance == lost else self._newest_of(producer, lost)
        for known in live.chains.lives.losses(producer):
            if (known.instance, known.after_seq) == (lost, after_seq):
                return known
        check_admits(live, self._reader)
        now_us = live.clock.unix_us()
        detail: dict[str, Any] = {
            "producer": producer.hex(),
            "instance": lost,
            "after_seq": after_seq,
            "from": format_time(min(since_us, now_us)),
            "to": format_time(now_us),
        }
        body = {"what": "declared_lost", "detail": detail}
        check_body("notice", body)
        record = loss_of(detail, live.next_index)
        self._intake.add_own("notice", body, life=record)
        return record

    def _newest_of(self, producer: bytes, instance: str) -> int:
        """The newest number of an earlier instance in the log; -1 if the log never heard of it."""
        run = self._live.stores.state.last_run(producer, instance)
        return -1 if run is None else run.seq

    def newest_time(self, producer: bytes) -> int:
        """The time that the newest committed entry of the producer claims, its enrolment's if it has none, in
        Unix microseconds. Raises: NotFoundError.
        """
        with self._live.lock:
            record = self._live.chains.producer(producer)
            head = self._live.chains.committed.get(producer)
        index = head.index if head else record.index
        try:
            return parse_time(parse_entry(self._reader.entry(index)).time)
        except EntryPruned:
            # Its enrolment is kept: a loss then reaches further back than it need.
            return parse_time(parse_entry(self._reader.entry(record.index)).time)

    def _after_all(self, answer: Retired) -> Future[Retired]:
        """An empty item: it resolves when everything admitted before it is committed."""
        item = Pending(
            entries=[],
            leaf_hashes=[],
            chain=LOG_CHAIN,
            new_head=None,
            run=None,
            future=new_future(),
            result=lambda _size: answer,
        )
        self._live.admit(item)
        return item.future


def _mapped(done: Future[Any], answer: Retired) -> Future[Retired]:
    future: Future[Retired] = new_future()

    def settle(finished: Future[Any]) -> None:
        error = finished.exception()
        if error is None:
            future.set_result(answer)
        else:
            future.set_exception(error)

    done.add_done_callback(settle)
    return future


def _pass_on(done: Future[Retired], answer: Future[Lost], loss: LossRecord | None) -> None:
    error = done.exception()
    if error is None:
        answer.set_result(Lost(loss, done.result()))
    else:
        answer.set_exception(error)
