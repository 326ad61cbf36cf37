"""The broker on NATS JetStream: a stream for each log, replicated, synced, bounded, refusing when full.

Spec: auditlog/spec/api.md, "Several processes"; contract: `ports`. A stream is a work queue: a batch leaves
it when the sequencer says `done`. There is one consumer a stream, made anew by whoever sequences, so that all
that is not done comes at once and not after the last one's time-outs. Promises: no two calls publish under
one message id, because JetStream would then silently drop what a producer sends again. Must never: trust the
order or the number of deliveries.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import time
from collections import deque
from dataclasses import dataclass, field

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from auditlog.errors import BrokerError, ConfigurationError, Pushback, TooLargeError
from auditlog.ingest.durability import check_servers
from auditlog.ingest.ports import Delivery

CONSUMER = "sequencer"
TRY_S = 1.5
TRIES = 4
HEARTBEAT_S = 1.0
ACK_WAIT_S = 10.0
"""A delivery that was lost on its way comes again after this; one that waits for its commit longer comes
twice, which is harmless."""
MAX_UNDONE = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class JetStreamSettings:
    """How the servers are reached and what is made on them. Sizes in bytes."""

    servers: list[str]
    monitors: list[str]
    prefix: str = "auditlog"
    replicas: int = 3
    max_stream_bytes: int = 1 << 30
    """Of one log: above it, pushback."""
    max_batch_bytes: int = 4 << 20
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None


class JetStreamBroker:
    """`Broker` on NATS. Made and used in one event loop."""

    def __init__(self, settings: JetStreamSettings) -> None:
        self._settings = settings
        self._client = Client()
        self._stream: JetStreamContext = self._client.jetstream()
        self._was_connected = False

    async def start(self, logs: list[str]) -> None:
        """Check the servers, connect, make or check the stream of each log; see the port."""
        settings = self._settings
        await asyncio.to_thread(check_servers, settings.monitors)
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
        if self._client.max_payload < settings.max_batch_bytes:
            raise ConfigurationError(
                f"expected NATS to take messages of service.max_batch_bytes ({settings.max_batch_bytes}), "
                f"found max_payload {self._client.max_payload}: raise it in NATS, or lower the setting"
            )
        for log in logs:
            await self._find_stream(log)

    @property
    def is_connected(self) -> bool:
        """Whether one of the servers is connected."""
        return bool(self._client.is_connected)

    async def publish(self, log: str, batch: bytes) -> int:
        """Hand over a batch; its position, once a majority has synced it. See the port."""
        if not self._client.is_connected:
            raise BrokerError("expected a connection to NATS, found none; connecting again")
        # Of this call alone: the same batch in a later call is a batch of its own.
        headers = {api.Header.MSG_ID.value: secrets.token_hex(12)}
        try:
            stored = await self._store(self._subject(log), batch, headers)
        except APIError as error:
            if (error.description or "").startswith("maximum"):
                raise Pushback(
                    f"expected room in the stream of the log, found it full: {error.description}",
                    retry_after_s=2,
                ) from error
            raise _failed("a batch to be stored", error) from error
        except nats.errors.MaxPayloadError:
            raise TooLargeError(
                f"expected a batch of at most {self._client.max_payload} bytes, found {len(batch)}"
            ) from None
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise _failed("a batch to be stored", error) from error
        return stored.seq

    async def _store(self, subject: str, batch: bytes, headers: dict[str, str]) -> api.PubAck:
        """Publish until it is confirmed; while a stream has no leader nobody answers, and nobody says so."""
        for _ in range(TRIES - 1):
            with contextlib.suppress(nats.errors.TimeoutError):
                return await self._stream.publish(subject, batch, timeout=TRY_S, headers=headers)
        return await self._stream.publish(subject, batch, timeout=TRY_S, headers=headers)

    async def consume(self, log: str) -> JetStreamConsumer:
        """Make the consumer of this log anew, in the place of whoever had it. See the port."""
        consumer = JetStreamConsumer(self._client, self._stream, self._name(log))
        await consumer.open()
        return consumer

    async def close(self) -> None:
        """Close the connection, after what was published was sent."""
        if self._client.is_connected:
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                await self._client.flush(timeout=1)
        if self._was_connected and not self._client.is_closed:
            await self._client.close()

    def _name(self, log: str) -> str:
        return f"{self._settings.prefix}-{log}"

    def _subject(self, log: str) -> str:
        return f"{self._settings.prefix}.{log}"

    async def _find_stream(self, log: str) -> None:
        """Make or check a stream. A cluster that elects a leader, or is asked by several at once, is slow."""
        for _ in range(TRIES - 1):
            try:
                return await self._make_stream(log)
            except BrokerError:
                await asyncio.sleep(TRY_S)
        return await self._make_stream(log)

    async def _make_stream(self, log: str) -> None:
        wanted = api.StreamConfig(
            name=self._name(log),
            subjects=[self._subject(log)],
            retention=api.RetentionPolicy.WORK_QUEUE,
            storage=api.StorageType.FILE,
            discard=api.DiscardPolicy.NEW,
            num_replicas=self._settings.replicas,
            max_bytes=self._settings.max_stream_bytes,
        )
        try:
            try:
                found = (await self._stream.stream_info(self._name(log))).config
            except NotFoundError:
                found = (await self._stream.add_stream(wanted)).config
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise _failed(f"a stream of {self._settings.replicas} replicas for {log}", error) from error
        for name in ("subjects", "retention", "storage", "discard", "num_replicas"):
            if getattr(found, name) != getattr(wanted, name):
                raise ConfigurationError(
                    f"expected the stream {wanted.name} to have {name} {getattr(wanted, name)}, found "
                    f"{getattr(found, name)}: it was made by somebody else, or with other settings"
                )


class JetStreamConsumer:
    """One push consumer with a heartbeat, so that a consumer somebody replaced is noticed."""

    def __init__(self, client: Client, stream: JetStreamContext, name: str) -> None:
        self._client = client
        self._stream = stream
        self._name = name
        self._inbox = client.new_inbox()
        self._waiting: deque[Msg] = deque()
        self._arrived = asyncio.Event()
        self._heard = time.monotonic()

    async def open(self) -> None:
        """Take the place of the consumer that was there. Raises: BrokerError."""
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
            raise _failed("a consumer", error) from error
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
        with contextlib.suppress(nats.errors.Error, OSError):
            await self._subscription.unsubscribe()

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


def _failed(what: str, error: Exception) -> BrokerError:
    return BrokerError(f"expected {what}, found {type(error).__name__}: {error}")


async def _quiet(_: Exception) -> None:
    """The client reconnects by itself; what could not be done is an error where it was asked for."""
