"""The broker on NATS JetStream: a stream for each log, replicated, synced, bounded, refusing when full.

Spec: auditlog/spec/api.md, "Several processes"; contract: `ports`. A stream is a work queue: a batch leaves
it when the sequencer says `done`. There is one consumer a stream, made anew by whoever sequences, so that all
that is not done comes at once and not after the last one's time-outs. Promises: no two calls publish under
one message id, because JetStream would then silently drop what a producer sends again. Must never: trust the
order or the number of deliveries. How streams are made: `streams`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import deque

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from auditlog.errors import BrokerError, Pushback, TooLargeError
from auditlog.ingest.ports import AWAY, NO_QUEUE, Delivery
from auditlog.ingest.streams import TRIES, TRY_S, JetStreamSettings, Streams, failed

CONSUMER = "sequencer"
HEARTBEAT_S = 1.0
ACK_WAIT_S = 10.0
"""A delivery that was lost on its way comes again after this; one that waits for its commit longer comes
twice, which is harmless."""
MAX_UNDONE = 512


class JetStreamBroker:
    """`Broker` on NATS. Made and used in one event loop."""

    def __init__(self, settings: JetStreamSettings) -> None:
        self._settings = settings
        self._client = Client()
        self._stream: JetStreamContext = self._client.jetstream()
        self._streams = Streams(self._client, self._stream, settings)
        self._was_connected = False

    async def start(self, logs: list[str]) -> None:
        """Check the servers, connect, make or check the stream of each log; see the port."""
        settings = self._settings
        await self._streams.check_syncs()
        try:
            await self._client.connect(
                servers=settings.servers,
                user=settings.user,
                password=settings.password,
                tls=settings.tls,
                name="auditlog",
                connect_timeout=2,
                reconnect_time_wait=1,
                max_reconnect_attempts=-1,
                allow_reconnect=True,
                ping_interval=5,
                error_cb=_quiet,
            )
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise BrokerError(f"expected to reach NATS, found {type(error).__name__}") from error
        self._was_connected = True
        self._streams.check_sizes()
        for log in logs:
            await self._streams.find(log)

    def fault(self, log: str) -> str | None:
        """Why it takes no batch of this log, as far as is known. See the port."""
        if not self._client.is_connected:
            return AWAY
        return NO_QUEUE if self._streams.is_lost(log) else None

    async def publish(self, log: str, batch: bytes) -> int:
        """Hand over a batch; its position, once a majority has synced it. See the port."""
        if not self._client.is_connected:
            raise BrokerError("expected a connection to NATS, found none; connecting again")
        # Of this call alone: the same batch in a later call is a batch of its own.
        headers = {api.Header.MSG_ID.value: secrets.token_hex(12)}
        try:
            stored = await self._store_or_mend(log, batch, headers)
        except APIError as error:
            if (error.description or "").startswith("maximum"):
                raise Pushback(
                    f"expected room in the stream of the log, found it full: {error.description}",
                    retry_after_s=2,
                ) from error
            raise failed("a batch to be stored", error) from error
        except nats.errors.MaxPayloadError:
            raise TooLargeError(
                f"expected a batch of at most {self._client.max_payload} bytes, found {len(batch)}"
            ) from None
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise failed("a batch to be stored", error) from error
        return stored.seq

    async def _store_or_mend(self, log: str, batch: bytes, headers: dict[str, str]) -> api.PubAck:
        """Publish; where no stream listens it is looked for and perhaps made again, then once more."""
        subject = self._streams.subject(log)
        try:
            return await self._store(subject, batch, headers)
        except NoStreamResponseError:
            # Nobody has the batch. The stream has no leader for a moment, or is not there.
            await self._streams.mend(log)
        return await self._store(subject, batch, headers)

    async def _store(self, subject: str, batch: bytes, headers: dict[str, str]) -> api.PubAck:
        """Publish until it is confirmed; while a stream has no leader nobody answers, and nobody says so."""
        for _ in range(TRIES - 1):
            with contextlib.suppress(nats.errors.TimeoutError):
                return await self._stream.publish(subject, batch, timeout=TRY_S, headers=headers)
        return await self._stream.publish(subject, batch, timeout=TRY_S, headers=headers)

    async def consume(self, log: str) -> JetStreamConsumer:
        """Make the consumer of this log anew, in the place of whoever had it. See the port."""
        consumer = JetStreamConsumer(self._client, self._stream, self._streams.name(log))
        try:
            await consumer.open()
        except StreamMissing:
            await self._streams.mend(log)
            await consumer.open()
        return consumer

    async def close(self) -> None:
        """Close the connection, after what was published was sent."""
        await self._streams.close()
        if self._client.is_connected:
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                await self._client.flush(timeout=1)
        if self._was_connected and not self._client.is_closed:
            await self._client.close()


class StreamMissing(BrokerError):
    """The stream to consume from is not there."""


class JetStreamConsumer:
    """One push consumer with a heartbeat, so that a consumer somebody replaced is noticed."""

    def __init__(self, client: Client, stream: JetStreamContext, name: str) -> None:
        self._client = client
        self._stream = stream
        self._name = name
        self._inbox = client.new_inbox()
        self._subscription: Subscription | None = None
        self._waiting: deque[Msg] = deque()
        self._arrived = asyncio.Event()
        self._heard = time.monotonic()

    async def open(self) -> None:
        """Take the place of the consumer that was there.

        Raises:
            StreamMissing: there is no stream to consume from. BrokerError.
        """
        try:
            self._subscription = await self._client.subscribe(self._inbox, cb=self._receive)
            with contextlib.suppress(NotFoundError):
                await self._stream.delete_consumer(self._name, CONSUMER)
            await self._stream.add_consumer(
                self._name,
                api.ConsumerConfig(
                    durable_name=CONSUMER,
                    deliver_subject=self._inbox,
                    ack_policy=api.AckPolicy.EXPLICIT,
                    ack_wait=ACK_WAIT_S,
                    max_ack_pending=MAX_UNDONE,
                    idle_heartbeat=HEARTBEAT_S,
                ),
            )
        except (nats.errors.Error, OSError, TimeoutError) as error:
            await self.close()
            if isinstance(error, NotFoundError):
                raise StreamMissing(f"expected the stream {self._name}, found none") from error
            raise failed("a consumer", error) from error
        self._heard = time.monotonic()

    async def next(self, most: int) -> list[Delivery]:
        """Wait for deliveries, as long as the server is heard of. See the port."""
        while not self._waiting:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), HEARTBEAT_S)
            except TimeoutError:
                silent_s = time.monotonic() - self._heard
                if silent_s > 3 * HEARTBEAT_S:
                    raise BrokerError(
                        f"expected a heartbeat every {HEARTBEAT_S:g} s, found {silent_s:.1f} s of silence"
                    ) from None
        count = min(most, len(self._waiting))
        return [_Delivered(self._waiting.popleft()) for _ in range(count)]

    async def close(self) -> None:
        """Stop listening. The consumer stays for the next one to replace."""
        if self._subscription is not None:
            with contextlib.suppress(nats.errors.Error, OSError):
                await self._subscription.unsubscribe()
            self._subscription = None

    async def _receive(self, message: Msg) -> None:
        self._heard = time.monotonic()
        if message.headers and "Status" in message.headers:
            if message.reply:  # the server asks whether we keep up
                await message.respond(b"")
            return
        self._waiting.append(message)
        self._arrived.set()


class _Delivered:
    """`Delivery` of one message."""

    def __init__(self, message: Msg) -> None:
        self._message = message
        self.position = message.metadata.sequence.stream

    @property
    def data(self) -> bytes:
        """The published bytes."""
        return self._message.data

    async def done(self) -> None:
        """Acknowledge; if that is lost the batch comes again, and is skipped."""
        with contextlib.suppress(nats.errors.Error, OSError):
            await self._message.ack()

    async def later(self, delay_s: float) -> None:
        """Give it up for a while."""
        with contextlib.suppress(nats.errors.Error, OSError):
            await self._message.nak(delay=delay_s)


async def _quiet(_: Exception) -> None:
    """The client reconnects by itself; what could not be done is an error where it was asked for."""
