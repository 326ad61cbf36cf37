"""The broker port: what carries batches from any replica to the sequencer, with its contract in writing.

Spec: auditlog/spec/api.md, "Several processes". The contract, which `tests/support/broker_contract.py` holds
every implementation to:

* `publish` returns after the batch is on stable storage of a majority of the broker's servers. That makes a
  batch *accepted* (202), never *acknowledged*: whatever the broker loses is sent again by its producer.
* Nothing is merged or dropped because it looks like something published before: the same bytes again are a
  second batch. (A broker that drops repeats would drop the one that is sent because the first was lost.)
* Batches of one log are delivered in the order of their positions, and delivered again until `done`: at least
  once. `later` gives one up to be delivered again after a while, which changes the order.
* A full log is told apart (`Pushback`); it bounds nobody else.
* A queue that is missing (deleted, or its disks wiped) is made again by whoever publishes or consumes, with
  the checks of `start`, and tried again until it is there; what it held is lost like anything a broker loses.

So a batch may come twice, late, out of order, or not at all, and every consumer must be right all the same:
idempotence rests on the producer's committed head (`auditlog.log.chains`), a position is an optimisation.
"""

from __future__ import annotations

from typing import Protocol

AWAY = "broker_away"
NO_QUEUE = "broker_refuses"
"""It has no queue for the log, and none could be made."""


class Delivery(Protocol):
    """One batch as the broker hands it over: attacker-controlled, whoever published it checked nothing we
    rely on.
    """

    @property
    def data(self) -> bytes:
        """The batch, framed as `core.batch` has it."""

    @property
    def position(self) -> int:
        """Its place in the order of its log; from 1, with holes."""

    async def done(self) -> None:
        """Never deliver it again: it is committed, or will never be. Best effort: it may come again all the
        same.
        """

    async def later(self, delay_s: float) -> None:
        """Deliver it again after about this time. Best effort."""


class Consumer(Protocol):
    """The deliveries of one log to one sequencer. One that is opened later takes the place of this one."""

    async def next(self, most: int) -> list[Delivery]:
        """Wait for deliveries; from 1 up to `most` of them, in order.

        Raises:
            BrokerError: it delivers no more (another took its place, or the broker is away): open a new one.
        """

    async def close(self) -> None:
        """Stop delivering. What was delivered and is not done goes to the next consumer."""


class Broker(Protocol):
    """Carries the batches of many logs. Used from one event loop."""

    async def start(self, logs: list[str]) -> None:
        """Connect, check that the broker keeps its promises, and make the queues of these logs.

        Raises:
            ConfigurationError: it is set up so that it would lose what it accepted, or otherwise than we
            were told. BrokerError: it cannot be reached.
        """

    def fault(self, log: str) -> str | None:
        """Why it takes no batch of this log, in a word: `AWAY`, `NO_QUEUE`; None as far as is known. For any
        thread. One failure to publish is no reason.
        """

    async def publish(self, log: str, batch: bytes) -> int:
        """Hand over a batch; its position, once a majority has it on stable storage.

        Raises:
            Pushback: the queue of this log is full; nothing was accepted.
            BrokerError: it failed, or did not answer; whether it was accepted is unknown.
        """

    async def consume(self, log: str) -> Consumer:
        """Begin with the oldest batch that is not done. Raises: BrokerError."""

    async def close(self) -> None:
        """Let go of the broker."""
