"""The sender: one thread that carries the spool to the log, one batch in flight, until each is acknowledged.

Spec: entry.md "Producer chain" and "Heads", api.md. Start: ask the log for our newest entry and go on from
there. Then: at most 500 entries of one instance, with a head signed over exactly these; the same bytes again
until 200, or until the log's head shows them after a 202 (`handover`). A conflict is looked into once: what
the log already has is skipped; a log that contradicts our chain, or forgot acknowledged entries, stops the
sender for good, raises the alarm and sets the slot aside.
A refused enrolment is asked for again, slowly. What the sender met last is kept for `auditlog doctor`.
Promises: every turn either makes progress or waits; nothing leaves the spool before its 200. Must never:
change a sealed byte, skip an entry the log does not have, or spin.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from auditlog.capture.backlog import REFUSED, RETIRED, STOPPED
from auditlog.capture.client import LogClient, LogHead
from auditlog.capture.enrolment import Enrolment
from auditlog.capture.forking import ForkGate
from auditlog.capture.frames import Record
from auditlog.capture.handover import ASK_S, Handover, framed, signed_head
from auditlog.capture.metrics import Counters
from auditlog.capture.rotation import SlotKeys, ending_kind
from auditlog.capture.safety import Guard
from auditlog.capture.spool import Spool
from auditlog.core.merkle import hash_leaf
from auditlog.core.note import Ed25519Signer
from auditlog.errors import (
    AuditLogError,
    AuthenticationError,
    ChainConflictError,
    ConfigurationError,
    LogQuiesced,
    NotFoundError,
    NotYetCommitted,
    ProducerRetired,
    Pushback,
    StorageError,
    SubmissionRefused,
    TooLargeError,
)

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 30.0
REFUSED_WAIT_S = 60.0
"""Longest time between tries when the token is refused or the log unknown: someone has to act."""
IDLE_WAIT_S = 5.0
NOTE_EVERY_S = 5.0
"""How often, under load, it is noted how far the log has come."""
LINGER_S = 0.25
"""Pause after a batch that was not full: a request to the log costs milliseconds of this host's CPU, and a
head and a commit then cover several decisions. The first entry after a pause goes at once."""


@dataclass(frozen=True, slots=True)
class Route:
    """Everything the sender needs once the producer is enrolled."""

    enrolment: Enrolment
    signer: Ed25519Signer
    spool: Spool
    keys: SlotKeys | None = None
    """Follows the slot's keys through a rotation; without it `signer` signs all."""

    @property
    def head_signer(self) -> Ed25519Signer:
        """The key in force for what is sent now."""
        return self.signer if self.keys is None else self.keys.heads


class SenderStopped(Exception):
    """The log and our chain contradict each other; only a person can resolve it."""

    def __init__(self, reason: str, detail: dict[str, object]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class Sender:
    """Sends one slot's spool. `run` is the body of its thread; the other methods may be called from any."""

    def __init__(
        self,
        *,
        open_route: Callable[[LogClient], Route],
        open_client: Callable[[], LogClient],
        on_conflict: Callable[[dict[str, object]], None],
        on_retired: Callable[[str, dict[str, object]], None] = lambda _producer, _last: None,
        rng: Callable[[int], bytes],
        metrics: Counters,
        guard: Guard,
        logger: logging.Logger,
        on_acknowledged: Callable[[Route, int, list[Record]], None] = lambda _route, _number, _batch: None,
        gathers: bool = True,
        note: Callable[[str, str, int | None], None] = lambda _state, _detail, _acknowledged: None,
        until_drained: bool = False,
        gate: ForkGate | None = None,
        max_batch_entries: int = 500,
        max_batch_bytes: int = 1 << 20,
    ) -> None:
        """`open_route` enrols if need be and waits for the writer; it may raise what `LogClient` raises.

        `on_acknowledged` is told the number before which the log has everything, and the batch it took last
        (none after a look at the log's newest entry). Without `gathers` each entry goes at once. `note` keeps
        state, detail and how far the log has come. With `until_drained`, `run` ends when all is
        sent, or at the first failure.
        """
        self._open_route = open_route
        self._open_client = open_client
        self._on_conflict = on_conflict
        self._on_retired = on_retired
        self._rng = rng
        self._on_acknowledged = on_acknowledged
        self._note = note
        self._until_drained = until_drained
        self._gate = gate or ForkGate()
        self._metrics = metrics
        self._guard = guard
        self._logger = logger
        self._max_entries = max_batch_entries
        self._max_bytes = max_batch_bytes
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._hurrying = threading.Event()
        if not gathers:
            self._hurrying.set()
        self._failures = 0
        self._route: Route | None = None
        self._next: int | None = None
        self._conflict_at: int | None = None
        self._is_refused = False
        self._noted = (0.0, -1)
        self._handover = Handover()
        self.state = "starting"
        self.head: str | None = None
        """The newest head note that was signed here."""
        self.acknowledged_us = 0
        """The time of the newest entry that the log has acknowledged to this sender."""

    def notify(self) -> None:
        """Say that there may be something to send."""
        if not self._wake.is_set():  # said for every group: usually it is
            self._wake.set()

    def hurry(self) -> None:
        """Send what there is at once from now on: the process is ending."""
        self._hurrying.set()
        self._wake.set()

    def stop(self) -> None:
        """End `run` after the request in flight."""
        self._stopping.set()
        self._hurrying.set()
        self._wake.set()

    @property
    def is_in_step(self) -> bool:
        """Whether the log, as last heard in this life, knows our chain and takes what it is sent: only then
        may an entry be promised. Any thread may ask.
        """
        stands = self._next is not None and self._conflict_at is None
        return stands and not self._is_refused and self.state not in {STOPPED, RETIRED}

    @property
    def is_drained(self) -> bool:
        """Whether the log has acknowledged all that is in the spool, or never will (stopped)."""
        if self.state in {STOPPED, RETIRED}:
            return True
        return self._route is not None and self._next is not None and self._next >= self._route.spool.next

    def run(self) -> None:
        """Send until `stop`. Returns early only when the log contradicts our chain."""
        client = self._open_client()
        try:
            while not self._stopping.is_set():
                with self._gate:
                    wait_s = self._turn(client)
                if self._until_drained and (self._failures or self.is_drained):
                    break
                if wait_s > 0:
                    self._pause(wait_s)
        except SenderStopped as verdict:
            self._give_up(verdict)
        finally:
            self._note_progress(every_s=0.0)
            client.close()

    def _turn(self, client: LogClient) -> float:
        """One attempt; returns how long to wait before the next, in seconds."""
        try:
            wait_s = self._progress(client)
        except Pushback as full:
            self._metrics.add("sender.pushback")
            self._failures += 1
            self._is_refused |= isinstance(full, LogQuiesced)  # it may last: nothing is promised meanwhile
            return max(float(full.retry_after_s), self._backoff_s())
        except NotYetCommitted:
            self._is_refused |= self._handover.lasts
            return ASK_S
        except (SubmissionRefused, ConfigurationError) as refusal:
            return self._refused(refusal)
        except StorageError as damage:
            raise SenderStopped("spool_damaged", {"message": str(damage)}) from damage
        except (AuditLogError, OSError) as failure:
            self._report("unreachable", failure)
            self._failures += 1
            return self._backoff_s()
        except SenderStopped:
            raise
        except Exception as failure:  # noqa: BLE001  a fault of ours must not end the sending for good
            self._guard.failed("sender", failure)
            self._failures += 1
            return LONGEST_WAIT_S
        self._failures, self._is_refused = 0, False
        return wait_s

    def _progress(self, client: LogClient) -> float:
        if self._route is None:
            self._route = self._open_route(client)
        route = self._route
        if self._next is None:
            self._next = self._position(route, client.head(route.enrolment.producer))
            self._acknowledge(route, self._next, [])
        batch = self._handover.held(self._next_batch(route.spool, self._next))
        if not batch:
            self.state = "idle"
            self._conflict_at = None
            self._note_progress(every_s=0.0)
            return IDLE_WAIT_S
        self.state = "sending"
        try:
            producer = route.enrolment.producer
            self._handover.submit(client, producer, batch, lambda: self._encode(route, batch))
        except ChainConflictError as conflict:
            self._is_refused = True  # until the next turn succeeds: nothing is promised meanwhile
            self._resolve(route, client.head(route.enrolment.producer), conflict)
            return 0.0
        self._next += len(batch)
        self._conflict_at = None
        # Before the spool may drop a rotation, the slot's files say which key is in force.
        following = None if route.keys is None else route.keys.settle(batch[-1:])
        # Dying before this line sends the batch once more after the restart; the log skips what it has.
        self._acknowledge(route, self._next, batch)
        if route.keys is not None and following is not None:
            route.keys.heads = following
        self.acknowledged_us = batch[-1].time_us
        self._note_progress(every_s=NOTE_EVERY_S)
        self._metrics.add("sender.batches")
        self._metrics.add("sender.entries", len(batch))
        return 0.0 if len(batch) >= self._max_entries or self._hurrying.is_set() else LINGER_S

    def _acknowledge(self, route: Route, number: int, batch: list[Record]) -> None:
        route.spool.acknowledge(number)
        self._guard.call("acknowledged", None, self._on_acknowledged, route, number, batch)

    def _next_batch(self, spool: Spool, number: int) -> list[Record]:
        records = spool.read(number, max_records=self._max_entries, max_bytes=self._max_bytes)
        # A head speaks for one instance and is signed by one key.
        for position, record in enumerate(records):
            if record.instance != records[0].instance:
                return records[:position]
            if ending_kind(record.payload) is not None:
                return records[: position + 1]
        return records

    def _encode(self, route: Route, batch: list[Record]) -> bytes:
        self.head = signed_head(route.enrolment, route.head_signer, batch)
        return framed(self.head, batch)

    def _resolve(self, route: Route, head: LogHead, conflict: ChainConflictError) -> None:
        """Find our place from the log's newest entry of ours; the same place again is a true conflict."""
        position = self._position(route, head)
        self._metrics.add("sender.conflicts")
        if position == self._next and self._conflict_at == position:
            raise SenderStopped("conflict", {"expected": conflict.expected, "found": conflict.found})
        self._conflict_at = position
        self._next = position
        self._acknowledge(route, position, [])

    def _position(self, route: Route, head: LogHead) -> int:
        """The number of the first record the log does not have, judged by its leaf hash and nothing else."""
        spool = route.spool
        if route.keys is not None and head.vkey is not None:
            route.keys.in_force(head.vkey)
        number, endings = spool.first, list[Record]()
        before = spool.tip_before_first
        if before.leaf_hash == head.leaf_hash:
            return number
        while records := spool.read(number, max_records=1000, max_bytes=1 << 22):
            for record in records:
                number += 1
                if ending_kind(record.payload) is not None:
                    endings.append(record)
                if hash_leaf(record.payload) == head.leaf_hash:
                    self._settle(route, endings)
                    return number
        raise SenderStopped(
            "conflict",
            {
                "log_has": {"instance": head.instance, "seq": head.seq, "leaf_hash": head.leaf_hash.hex()},
                "we_have": {
                    "instance": spool.tip.instance,
                    "seq": spool.tip.seq,
                    "leaf_hash": spool.tip.leaf_hash.hex(),
                },
            },
        )

    def _settle(self, route: Route, records: list[Record]) -> None:
        """The log has these endings of batches, though no 200 of this life said so."""
        following = None if route.keys is None else route.keys.settle(records)
        if route.keys is not None and following is not None:
            route.keys.heads = following

    def _shrink(self, refusal: TooLargeError) -> float:
        """Halve the batch after a 413; a single entry that is too large will never be taken."""
        if self._max_entries == 1:
            raise SenderStopped("refused", {"error": refusal.code, "message": str(refusal)}) from refusal
        self._max_entries = max(1, self._max_entries // 2)
        self._max_bytes = max(1 << 16, self._max_bytes // 2)
        return FIRST_WAIT_S

    def _refused(self, refusal: AuditLogError) -> float:
        """Ask again, slowly, where someone may act without a restart; a verdict on a batch stops us."""
        self._is_refused = True
        if isinstance(refusal, ProducerRetired):
            raise SenderStopped(RETIRED, {"last": refusal.expected, "message": str(refusal)}) from refusal
        may_change = isinstance(refusal, AuthenticationError | NotFoundError | ConfigurationError)
        if self._route is not None and not may_change:
            if isinstance(refusal, TooLargeError):
                return self._shrink(refusal)
            raise SenderStopped("refused", {"error": refusal.code, "message": str(refusal)}) from refusal
        self._report(REFUSED, refusal)
        self._failures += 1
        return min(REFUSED_WAIT_S, 4 * self._backoff_s())

    def _backoff_s(self) -> float:
        """Exponential with jitter, so that many producers do not come back together after an outage."""
        longest: float = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(self._failures - 1, 10))
        return longest * (0.5 + self._rng(1)[0] / 510)

    def _pause(self, wait_s: float) -> None:
        if self.state == "idle":
            # Only an idle wait ends early: new work is no reason to ask a sick log sooner.
            self._wake.wait(wait_s)
            self._wake.clear()
        elif self.state == "sending" and not self._failures and not self._handover.waits:
            self._hurrying.wait(wait_s)
        else:
            self._stopping.wait(wait_s)

    def _report(self, state: str, failure: Exception) -> None:
        self._metrics.add(f"sender.{state}")
        if self.state != state:
            self._logger.warning(
                "auditlog: sender %s: %s", state, failure, extra={"event": "sender", "state": state}
            )
            self._note(state, str(failure), self._next)
            self._noted = (0.0, -1)  # so that the next success takes this back
        self.state = state

    def _note_progress(self, *, every_s: float) -> None:
        """Note how far the log has come, if that is news and the last note is old enough."""
        now = time.monotonic()
        noted_at, noted = self._noted
        if self._next is None or self._next == noted or now - noted_at < every_s:
            return
        self._noted = now, self._next
        if self.state in {"idle", "sending"}:
            self._note(self.state, "", self._next)

    def _give_up(self, verdict: SenderStopped) -> None:
        # First of all: from here on no answer may leave with a promise.
        self._is_refused = True
        if verdict.reason == RETIRED and self._route is not None:
            last, producer = verdict.detail["last"], self._route.enrolment.producer
            self._guard.call(
                "retired", None, self._on_retired, producer, last if isinstance(last, dict) else {}
            )
        self.state = RETIRED if verdict.reason == RETIRED else STOPPED
        self._metrics.add("sender.stopped")
        detail = {"reason": verdict.reason, **verdict.detail}
        self._note(self.state, str(detail), self._next)
        self._logger.critical(
            "auditlog: sender stopped, entries stay on this host: %s",
            detail,
            extra={"event": "sender_stopped"},
        )
        if verdict.reason == "conflict":
            self._on_conflict(detail)
