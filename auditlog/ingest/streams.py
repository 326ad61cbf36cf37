"""The streams of the logs on NATS: made or checked at the start, and made again when one is found missing.

Spec: auditlog/spec/api.md, "Several processes". A stream holds nothing but what its senders hold too, so one
that was deleted, or whose disks were wiped, is made again by whoever finds it missing: a replica that
publishes, the sequencer that consumes. Promises: one function makes a stream, at the start and later, and
before it makes one the servers have said that they sync always; no log is tried more than once a second, and
not given up. Must never: take the place of a stream that is there.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import nats.errors
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from auditlog.errors import BrokerError, ConfigurationError
from auditlog.ingest.durability import check_servers

TRY_S = 1.5
TRIES = 4
AGAIN_S = 1.0
"""Between two attempts to make one stream again."""
PATIENCE_S = 3.0
"""Whoever found it missing waits so long for it."""
LOST_AFTER = 2
"""Failed attempts in a row after which the stream counts as one that cannot be made: one says little, since
servers that elect a leader do not answer."""
MADE_AGAIN = "stream_made_again"
NOT_MADE = "stream_not_made"


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


class Streams:
    """The streams of one connection. Used from one event loop; `is_lost` from any thread."""

    def __init__(
        self,
        client: Client,
        context: JetStreamContext,
        settings: JetStreamSettings,
        *,
        check: Callable[[list[str]], int] = check_servers,
    ) -> None:
        """`check` asks the monitoring addresses, as `durability.check_servers`."""
        self._client = client
        self._context = context
        self._settings = settings
        self._check = check
        self._tried: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._mending: dict[str, asyncio.Task[None]] = {}
        self._logger: structlog.typing.FilteringBoundLogger = structlog.get_logger("auditlog.ingest")

    def name(self, log: str) -> str:
        """The name of the stream of a log."""
        return f"{self._settings.prefix}-{log}"

    def subject(self, log: str) -> str:
        """What its batches are published under."""
        return f"{self._settings.prefix}.{log}"

    def is_lost(self, log: str) -> bool:
        """Whether the stream was found missing and could not be made again so far."""
        return self._failures.get(log, 0) >= LOST_AFTER

    async def check_syncs(self) -> None:
        """Ask the servers whether they sync always. Raises: ConfigurationError, BrokerError."""
        await asyncio.to_thread(self._check, self._settings.monitors)

    def check_sizes(self) -> None:
        """Whether the connected server takes our batches. Raises: ConfigurationError."""
        if self._client.max_payload < self._settings.max_batch_bytes:
            raise ConfigurationError(
                "expected NATS to take messages of service.max_batch_bytes "
                f"({self._settings.max_batch_bytes}), found max_payload {self._client.max_payload}: raise it "
                "in NATS, or lower the setting"
            )

    async def find(self, log: str) -> None:
        """Make or check a stream. A cluster that elects a leader, or is asked by several at once, is slow.

        Raises:
            ConfigurationError: it is another than we would make. BrokerError: nobody answered.
        """
        for _ in range(TRIES - 1):
            try:
                await self._make(log, is_checked=True)
            except BrokerError:
                await asyncio.sleep(TRY_S)
            else:
                return
        await self._make(log, is_checked=True)

    async def mend(self, log: str) -> None:
        """Make the stream again that was found missing; all who find it so wait for the same attempt.

        Raises: BrokerError: it is not there yet, or was made otherwise. It is tried on in the background.
        """
        task = self._mending.get(log)
        if task is None or task.done():
            task = self._mending[log] = asyncio.create_task(self._mend(log), name=f"auditlog-mend-{log}")
        if not self._failures.get(log):
            await asyncio.wait({task}, timeout=PATIENCE_S)
        if not task.done() or task.cancelled():
            raise BrokerError(f"expected the stream of {log}, found none; making it again")
        task.result()

    async def close(self) -> None:
        """Try no more."""
        tasks = list(self._mending.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _mend(self, log: str) -> None:
        """Try until it is there. Whoever else makes it meanwhile makes the same one, so nobody minds."""
        while True:
            await asyncio.sleep(self._tried.get(log, float("-inf")) + AGAIN_S - time.monotonic())
            self._tried[log] = time.monotonic()
            try:
                is_made = await self._make(log, is_checked=False)
            except (BrokerError, ConfigurationError) as error:
                failures = self._failures[log] = self._failures.get(log, 0) + 1
                if failures == 1:
                    self._logger.error(NOT_MADE, log=log, stream=self.name(log), error=str(error))
                continue
            self._failures.pop(log, None)
            if is_made:
                self._logger.warning(MADE_AGAIN, log=log, stream=self.name(log), lost=_LOST)
            return

    async def _make(self, log: str, *, is_checked: bool) -> bool:
        """Check the stream, or make it; whether it was made. `is_checked`: the servers were, just now."""
        wanted = api.StreamConfig(
            name=self.name(log),
            subjects=[self.subject(log)],
            retention=api.RetentionPolicy.WORK_QUEUE,
            storage=api.StorageType.FILE,
            discard=api.DiscardPolicy.NEW,
            num_replicas=self._settings.replicas,
            max_bytes=self._settings.max_stream_bytes,
        )
        is_made = False
        try:
            try:
                info = await self._context.stream_info(self.name(log))
            except NotFoundError:
                if not is_checked:
                    await self.check_syncs()
                    self.check_sizes()
                info = await self._context.add_stream(wanted)
                is_made = bool(info.did_create)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise failed(f"a stream of {self._settings.replicas} replicas for {log}", error) from error
        for name in ("subjects", "retention", "storage", "discard", "num_replicas"):
            if getattr(info.config, name) != getattr(wanted, name):
                raise ConfigurationError(
                    f"expected the stream {wanted.name} to have {name} {getattr(wanted, name)}, found "
                    f"{getattr(info.config, name)}: it was made by somebody else, or with other settings"
                )
        return is_made


_LOST = "nothing: the senders of what was in it hold it, and send it again"


def failed(what: str, error: Exception) -> BrokerError:
    """An error of the client as one of ours."""
    return BrokerError(f"expected {what}, found {type(error).__name__}: {error}")
