"""A log as the service of a replica sees it: what the routes of that role ask of `auditlog.log.Log`.

Spec: auditlog/spec/api.md, "Several processes". It submits through the broker, knows chains from the database
and reads tiles from the stores. Whatever else a `Log` can do is done by the sequencer. Must never: hold a key
of the log, or write to a store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from types import MappingProxyType

from auditlog.ingest.ports import Broker
from auditlog.ingest.published import Published
from auditlog.ingest.replica import Replica, ReplicaState
from auditlog.log.admission import Accepted, Batch
from auditlog.log.endings import ProducerState
from auditlog.log.log import LogStatus
from auditlog.storage.records import ProducerRecord


class _NoIndex:
    """A replica follows nothing: the index is the sequencer's."""

    lag = 0
    flagged: MappingProxyType[str, int] = MappingProxyType({})


class _NoPromises:
    """Promises are kept by the sequencer."""

    kept = conflicting = 0


class ReplicaLog:
    """One log on a replica. Its methods block and are for any thread."""

    publication_lag_s = 0.0
    witnesses = None
    quorum = None
    index = _NoIndex()
    promises = _NoPromises()
    standing = "open"

    def __init__(
        self,
        name: str,
        origin: str,
        state: ReplicaState,
        published: Published,
        broker: Broker,
        *,
        wait_s: float,
        monotonic: Callable[[], float],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """`loop` is the one the broker was started in."""
        self.origin = origin
        self._name = name
        self.reader = published
        self._broker = broker
        self._loop = loop
        self._replica = Replica(name, origin, state, published, broker, wait_s=wait_s, monotonic=monotonic)

    @property
    def fault(self) -> str | None:
        """Why nothing can be taken now."""
        return self._broker.fault(self._name)

    @property
    def published_size(self) -> int:
        """Tree size of the published checkpoint; 0 before the first. Raises: StorageError."""
        return self.reader.size()

    def published(self) -> str:
        """The published checkpoint. Raises: NotFoundError, StorageError."""
        return self.reader.note()

    def status(self) -> LogStatus:
        """Only the published size is known here."""
        size = self.published_size
        return LogStatus(self.origin, size, size, 0, size, self.fault, self.standing)

    def submit(self, batch: Batch) -> Future[Accepted]:
        """As `Log.submit`; the future may also fail with `NotYetCommitted`: accepted, nothing promised.

        Raises: as `Replica.examine`.
        """
        examined = self._replica.examine(batch)
        return asyncio.run_coroutine_threadsafe(self._replica.deliver(examined), self._loop)

    def producer(self, producer: bytes) -> ProducerRecord:
        """The enrolment of a producer. Raises: NotFoundError, StorageError."""
        return self._replica.producer(producer)

    def producer_state(self, producer: bytes) -> ProducerState:
        """Where a producer stands. Raises: NotFoundError, StorageError."""
        return self._replica.producer_state(producer)

    def close(self) -> None:
        """Nothing is held."""
