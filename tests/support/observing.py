"""A recorder that keeps observations in memory, and a way to drive an ASGI application message by message."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from auditlog.capture import CaptureSettings, Exchange, Observation, Recorded
from auditlog.capture.asgi import AuditMiddleware
from auditlog.capture.awaiting import Deadlines, ThreadWaiter, Waiter
from auditlog.capture.coverage import CoverageNote
from auditlog.capture.metrics import Counters
from auditlog.capture.observation import Settled
from auditlog.capture.redaction import Redactor
from auditlog.capture.safety import Guard
from auditlog.core.commitment import BodyCommitment

DECISION_ID = "01900000-0000-7000-8000-{:012x}"
RECEIPTS = "https://log.example/receipts/"


def promised(observation: Observation) -> Settled:
    """Durable, with a text in place of a promise that names the decision."""
    return Settled(f"promise of {observation.exchange.id}\n", is_durable=True)


def unpromised(_: Observation) -> Settled:
    """Durable; nothing may be promised."""
    return Settled(None, is_durable=True)


def lost(_: Observation) -> Settled:
    """Not durable, and it will not be."""
    return Settled(None, is_durable=False)


def silent(_: Observation) -> None:
    """Nothing is heard of it."""


class ObservingRecorder:
    """Stands where `Recorder` stands, for the hooks: mints exchanges and keeps what it is given.

    `outcome` is what an answer that waits is told: at once by default, after `delay_s` if that is set, never
    if `outcome` is None.
    """

    def __init__(self, settings: CaptureSettings | None = None, *, enrolled: bool = True) -> None:
        self.settings = settings or CaptureSettings(log_url="http://log.example/logs/main", strict=True)
        self.metrics = Counters()
        self.guard = Guard(self.metrics, logging.getLogger("observing"), strict=self.settings.strict)
        self.redactor = Redactor.for_recording(self.settings.redact)
        self.enrolled = enrolled
        self.enabled = True
        self.started = self.closed = self.minted = 0
        self.observations: list[Observation] = []
        self.models: list[dict[str, Any]] = []
        self.outcomes: list[tuple[str, dict[str, object], str | None]] = []
        self.is_recording = True
        self.adapter_paths: dict[str, Any] = {}
        self.model_changes: Any = None
        self.first_measurement: Any = None
        self.outcome: Callable[[Observation], Settled | None] = promised
        self.delay_s: float | None = None
        self.expects_quick = self.can_reserve = True
        self.reserved = 0
        self.deadlines = Deadlines()
        self.late: list[Settled] = []
        self.dropped: list[Exchange] = []
        self.lost: list[Exchange] = []
        self.shown: list[str] = []
        self.problems: list[str] = []
        self.coverage: list[CoverageNote] = []
        self.ports: list[int] = []

    def start(self) -> None:
        self.started += 1

    def close(self) -> None:
        self.closed += 1

    def new_exchange(self) -> Exchange | None:
        if not self.enabled:
            return None
        self.minted += 1
        key, number = os.urandom(32), DECISION_ID.format(self.minted)
        url = RECEIPTS + number if self.enrolled else None
        return Exchange(
            number,
            key,
            1_700_000_000_000_000,
            BodyCommitment(key, "request"),
            BodyCommitment(key, "response"),
            url,
        )

    def record(self, observation: Observation, *, want_durable: bool = False) -> Recorded | None:
        self.observations.append(observation)
        return Recorded(observation.exchange.id, observation.exchange.exchange_key)

    def record_awaited(self, observation: Observation) -> Waiter | None:
        waiter, settled = Waiter(asyncio.get_running_loop(), self.late.append), self.outcome(observation)
        self.observations.append(observation)
        if settled is not None and self.delay_s is None:
            waiter.loop.call_soon(waiter.settle, settled)
        elif settled is not None:
            waiter.loop.call_later(self.delay_s, waiter.settle, settled)
        return waiter

    def record_watched(self, observation: Observation) -> ThreadWaiter | None:
        waiter, settled = ThreadWaiter(), self.outcome(observation)
        self.observations.append(observation)
        if settled is not None:
            waiter.settle(settled)
        return waiter

    def defer(self, exchange: Exchange) -> None:
        self.metrics.add("deferred")

    def drop(self, exchange: Exchange) -> None:
        self.dropped.append(exchange)

    def lose(self, exchange: Exchange) -> None:
        self.lost.append(exchange)

    def promised(self, id: str, promise: str) -> None:  # noqa: A002
        self.shown.append(id)

    def reserve(self) -> bool:
        self.reserved += self.can_reserve
        return self.can_reserve

    def release(self) -> None:
        self.reserved -= 1

    def report_settings(self) -> None: ...

    def report(self, problem: str, level: int = logging.ERROR) -> None:
        self.problems.append(problem)

    def cover(self, note: CoverageNote) -> None:
        self.coverage.append(note)

    def note_port(self, port: int) -> None:
        self.ports.append(port)

    def record_outcome(self, decision: str, facts: dict[str, object], *, item: str | None = None) -> bool:
        self.outcomes.append((decision, facts, item))
        return True

    def change_model(self, *, is_expected: bool, adapter: str | None = None) -> None:
        self.models.append({"changed": is_expected, "adapter": adapter})

    def expect_model(self) -> None:
        self.models.append({"expected": True})

    def give_up_model(self) -> None:
        self.models.append({"expected": False})

    def register_model(self, **model: Any) -> None:
        self.models.append(model)

    def only(self) -> Observation:
        """The one observation there must be."""
        [observation] = self.observations
        return observation


Application = Callable[..., Awaitable[None]]


def http_scope(
    path: str = "/v1/chat/completions",
    method: str = "POST",
    headers: Iterable[tuple[bytes, bytes]] = (),
    **members: Any,
) -> dict[str, Any]:
    """A scope as an HTTP server makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": list(headers),
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        **members,
    }


async def drive(
    app: Application,
    scope: dict[str, Any],
    chunks: Iterable[bytes] = (b"",),
    *,
    disconnect_after: int | None = None,
) -> list[dict[str, Any]]:
    """Run `app` for one request whose body comes in `chunks`; returns the messages it sent.

    After the body `receive` says that the client is gone. With `disconnect_after` that many messages are
    taken and the next `send` raises OSError, as servers do from ASGI 2.4 on.
    """
    parts = list(chunks)
    incoming = [
        {"type": "http.request", "body": part, "more_body": number + 1 < len(parts)}
        for number, part in enumerate(parts)
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if disconnect_after is not None and len(sent) >= disconnect_after:
            raise OSError("client disconnected")
        sent.append(message)

    await app(scope, receive, send)
    return sent


START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}


def body(chunk: bytes, *, more: bool = False) -> dict[str, Any]:
    """A body message."""
    return {"type": "http.response.body", "body": chunk, "more_body": more}


def answering(*messages: dict[str, Any], error: BaseException | None = None, **scope_members: Any) -> Any:
    """An application that reads the whole request, is routed as `scope_members` say, sends `messages`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope.update(scope_members)
        while (await receive()).get("more_body"):
            pass
        for message in messages:
            await send(message)
        if error is not None:
            raise error

    return app


def run(app: Any, recorder: ObservingRecorder, **kwargs: Any) -> list[dict[str, Any]]:
    """Drive `app` behind the middleware; other keywords go to the scope."""
    scope = http_scope(**{k: kwargs.pop(k) for k in list(kwargs) if k not in ("chunks", "disconnect_after")})
    return asyncio.run(drive(AuditMiddleware(app, recorder), scope, **kwargs))
