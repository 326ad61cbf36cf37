"""Applications and callers that wait for each other, and requests that are not read whole."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from auditlog.capture import CaptureSettings
from auditlog.capture.asgi import AuditMiddleware
from auditlog.core.commitment import commit_body
from tests.support.observing import START, ObservingRecorder, answering, body, drive, http_scope, run

MODES = ["fail_open", "fail_closed"]
LENGTH = (b"content-length", b"5")


def of_mode(mode: Any) -> ObservingRecorder:
    """A recorder in this mode."""
    return ObservingRecorder(CaptureSettings(log_url="http://log.example/l", mode=mode, strict=True))


def headers_of(message: Any) -> dict[bytes, bytes]:
    """The lines of a start."""
    return dict(message["headers"])


class Caller:
    """Sends the rest of its request only when the headers of the answer have come."""

    def __init__(self, *first: Any) -> None:
        self.sent: list[Any] = []
        self._first = list(first)
        self._answered = asyncio.Event()

    async def receive(self) -> Any:
        if self._first:
            return self._first.pop(0)
        await asyncio.wait_for(self._answered.wait(), 20)
        return {"type": "http.request", "body": b"hello", "more_body": False}

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        self._answered.set()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("concurrently", [False, True])
def test_a_start_leaves_for_a_caller_who_waits_for_it(mode: str, concurrently: bool) -> None:
    """The application sends its start and awaits the rest of the request, or has awaited it all along; the
    promise goes to the log.
    """
    recorder = of_mode(mode)

    async def app(_: Any, receive: Any, send: Any) -> None:
        reading = asyncio.ensure_future(receive()) if concurrently else None
        await asyncio.sleep(0)
        await send(START)
        message = await (reading or receive())
        await send(body(message["body"]))

    async def main() -> list[Any]:
        caller = Caller()
        scope = http_scope(headers=[LENGTH])
        await AuditMiddleware(app, recorder)(scope, caller.receive, caller.send)  # type: ignore[arg-type]
        return caller.sent

    start, last = asyncio.run(main())
    assert not {b"audit-promise", b"audit-status"} & headers_of(start).keys()
    assert b"audit-id" in headers_of(start)
    assert last["body"] == b"hello"
    assert recorder.only().ended == "ok"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("before", [False, True])
def test_a_start_leaves_for_a_caller_who_is_waited_for(mode: str, before: bool) -> None:
    """The request is whole and the application waits, for the hang-up: a tenth of a second, then it goes."""
    recorder, sent = of_mode(mode), []

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        waiting = asyncio.ensure_future(receive()) if before else None
        await asyncio.sleep(0)
        await send(START)
        assert (await (waiting or receive()))["type"] == "http.disconnect"

    async def main() -> None:
        answered, parts = asyncio.Event(), [{"type": "http.request", "body": b"{}"}]

        async def receive() -> Any:
            if parts:
                return parts.pop()
            await asyncio.wait_for(answered.wait(), 20)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)
            answered.set()

        await AuditMiddleware(app, recorder)(http_scope(), receive, send)  # type: ignore[arg-type]

    asyncio.run(main())
    assert [message["type"] for message in sent] == ["http.response.start"]


def test_a_listener_costs_a_quick_answer_nothing() -> None:
    """Frameworks await the hang-up beside their streams: the promise is a header all the same."""
    recorder = of_mode("fail_open")

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        waiting = asyncio.ensure_future(receive())
        await send(START)
        await send(body(b"{}"))
        await waiting

    sent = run(app, recorder)
    assert b"audit-promise" in headers_of(sent[0])


def test_the_servers_refusal_of_a_start_reaches_the_next_send() -> None:
    """What a server has against a start that left early is said where the application sends next."""
    recorder = of_mode("fail_open")

    async def app(_: Any, receive: Any, send: Any) -> None:
        await send(START)
        await receive()
        with pytest.raises(RuntimeError, match="no such status"):
            await send(body(b"{}"))

    async def main() -> None:
        async def receive() -> Any:
            await asyncio.sleep(0.01)
            return {"type": "http.request", "body": b"hello"}

        async def send(_: Any) -> None:
            raise RuntimeError("no such status")

        await AuditMiddleware(app, recorder)(http_scope(headers=[LENGTH]), receive, send)  # type: ignore[arg-type]

    asyncio.run(main())


def reading(times: int) -> Any:
    """An application that takes so many messages of the request and answers."""

    async def app(_: Any, receive: Any, send: Any) -> None:
        for _ in range(times):
            await receive()
        await send(START)
        await send(body(b"{}"))

    return app


UNREAD: list[tuple[str, int, bool]] = [
    # headers of the request, messages read of two, whether it was read whole
    ("length", 0, False),
    ("length", 1, False),
    ("length", 2, True),
    ("chunks", 1, False),
    ("chunks", 2, True),
    ("first is all", 1, True),
    ("none", 0, True),
    ("later version", 0, False),
]


@pytest.mark.parametrize(("kind", "times", "is_whole"), UNREAD)
def test_what_was_not_read_whole_is_not_promised(kind: str, times: int, is_whole: bool) -> None:
    """The commitment is over what the application read; it says so by having neither fields nor promise."""
    headers = {
        "length": [LENGTH],
        "chunks": [(b"transfer-encoding", b"chunked")],
        "first is all": [(b"content-length", b"2")],
    }.get(kind, [])
    version = "2" if kind == "later version" else "1.1"
    recorder, parts = of_mode("fail_open"), [b'{"', b'":1']
    scope = http_scope(headers=headers, http_version=version)
    asyncio.run(drive(AuditMiddleware(reading(times), recorder), scope, parts))  # type: ignore[arg-type]
    seen, read = recorder.only(), b"".join(parts[:times])
    assert seen.may_promise is is_whole
    assert seen.request.data == (read if is_whole else None)
    assert seen.exchange.request.digest() == commit_body(seen.exchange.exchange_key, "request", read)


@pytest.mark.parametrize(
    ("status", "length", "chunk", "may_promise"),
    [
        (204, None, b"{}", False),
        (304, None, b"{}", False),
        (204, None, b"", True),
        (304, b"10", b"", True),
        (205, None, b"{}", True),
        (200, b"2", b"{}xyz", False),
        (200, b"2", b"{}", True),
        (200, b"10", b"{}", True),
    ],
)
def test_bytes_that_no_server_passes_on_are_not_promised(
    status: int, length: bytes | None, chunk: bytes, may_promise: bool
) -> None:
    """The caller gets none of them, or others, and the check would fail an honest operator."""
    recorder = of_mode("fail_open")
    headers = [] if length is None else [(b"content-length", length)]
    run(answering({**START, "status": status, "headers": headers}, body(chunk)), recorder)
    assert recorder.only().may_promise is may_promise
