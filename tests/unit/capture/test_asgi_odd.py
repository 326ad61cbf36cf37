"""Odd answers: heads, hints, trailers, extensions, messages out of order, applications that stop anywhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from auditlog.capture import CaptureSettings
from auditlog.capture.asgi import AuditMiddleware
from auditlog.capture.audited import audited
from auditlog.capture.redaction import Redactor
from auditlog.capture.settings import parse_routes
from auditlog.capture.unrecordable import AnswerWithheld
from auditlog.core.commitment import commit_body
from tests.support.observing import START, ObservingRecorder, answering, body, drive, http_scope, lost, run

SSE = {**START, "headers": [(b"content-type", b"text/event-stream")]}
EVENT, DONE = b"data: {}\n\n", b"data: [DONE]\n\n"


@pytest.fixture
def recorder() -> ObservingRecorder:
    """A recorder in memory, raising the layer's own errors."""
    return ObservingRecorder()


class StrictServer:
    """Takes messages as uvicorn does: what is out of order raises."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.phase = "start"

    async def send(self, message: dict[str, Any]) -> None:
        kind = message["type"].rpartition(".")[2]
        if kind in ("early_hint", "push", "debug"):
            self.sent.append(message)
            return
        if kind != self.phase:
            raise RuntimeError(f"expected {self.phase}, found {kind}")
        self.sent.append(message)
        if kind == "start":
            self.phase = "body"
        elif not message.get("more_body", False):
            self.phase = "trailers" if self.sent[0].get("trailers") else "nothing"


def served(app: Any, recorder: ObservingRecorder | None, scope: dict[str, Any] | None = None) -> Any:
    """What a strict server was sent, and what came out of the application; `recorder` None: without us."""
    server = StrictServer()

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}"}

    wrapped = app if recorder is None else AuditMiddleware(app, recorder)  # type: ignore[arg-type]
    try:
        asyncio.run(wrapped(scope or http_scope(), receive, server.send))
    except Exception as error:
        return server.sent, repr(error)
    return server.sent, None


def plain(sent: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages without what we add."""
    kept = []
    for message in sent:
        if "headers" in message:
            lines = [line for line in message["headers"] if not line[0].startswith(b"audit-")]
            kept.append({**message, "headers": lines})
        elif not message.get("body", b"").startswith(b": audit-promise "):
            kept.append(message)
    return kept


HINT = {"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]}
PUSH = {"type": "http.response.push", "path": "/a", "headers": []}
TRAILERS = {"type": "http.response.trailers", "headers": [(b"x", b"1")], "more_trailers": False}
ODD: dict[str, list[dict[str, Any]]] = {
    "nothing": [],
    "start only": [START],
    "body before start": [body(b"x")],
    "two starts": [START, START, body(b"{}")],
    "body after the end": [START, body(b"{}"), body(b"more")],
    "start after the end": [START, body(b"{}"), START],
    "hint before start": [HINT, START, body(b"{}")],
    "push after start": [START, PUSH, body(b"{}")],
    "push while ending": [SSE, body(EVENT, more=True), body(DONE, more=True), PUSH, body(b"")],
    "trailers": [{**START, "trailers": True}, body(b"{}"), TRAILERS],
    "trailers of a stream": [{**SSE, "trailers": True}, body(EVENT, more=True), body(DONE), TRAILERS],
    "empty first chunk": [START, body(b"", more=True), body(b"{}")],
    "no body member": [START, {"type": "http.response.body"}],
    "no end": [START, body(b"half", more=True)],
    "no end, a beginning of the end": [SSE, body(EVENT, more=True), body(b"data: [D", more=True)],
    "no end after the terminal event": [SSE, body(EVENT, more=True), body(DONE, more=True)],
    "unknown message": [START, {"type": "http.response.debug", "info": {}}, body(b"{}")],
}


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("name", list(ODD))
def test_the_server_sees_what_it_would_have_seen(
    recorder: ObservingRecorder, name: str, raises: bool
) -> None:
    """The same messages and the same error, whatever the application sends and whether it fails then."""
    app = answering(*ODD[name], error=ValueError("model") if raises else None)
    bare, ours = served(app, None), served(app, recorder)
    assert plain(ours[0]) == bare[0]
    assert ours[1] == bare[1]
    assert len(recorder.observations) == 1


MALFORMED: dict[str, list[Any]] = {
    "no status": [{"type": "http.response.start"}, body(b"{}")],
    "status in words": [{**START, "status": "200"}, body(b"{}")],
    "headers None": [{**START, "headers": None}, body(b"{}")],
    "headers of three": [{**START, "headers": [(b"a", b"b", b"c")]}, body(b"{}")],
    "body None": [START, {"type": "http.response.body", "body": None}],
    "body of text": [START, {"type": "http.response.body", "body": "{}"}],
    "body of text in a stream": [
        SSE,
        body(EVENT, more=True),
        body(b"data: [D", more=True),
        {"type": "http.response.body", "body": "x", "more_body": True},
    ],
    "no type": [START, {"body": b"{}"}],
    "no message": [START, None],
}


@pytest.mark.parametrize("name", list(MALFORMED))
def test_the_server_judges_what_is_malformed(name: str) -> None:
    """It gets the very message, after what came before it; nothing of ours is raised instead."""
    recorder = ObservingRecorder(CaptureSettings(log_url="http://x.example/l"))
    sent: list[Any] = []

    async def main() -> None:
        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"{}"}

        await AuditMiddleware(answering(*MALFORMED[name]), recorder)(http_scope(), receive, send)  # type: ignore[arg-type]

    asyncio.run(main())
    odd = next(at for at, message in enumerate(MALFORMED[name]) if not _is_usual(message))
    assert any(message is MALFORMED[name][odd] for message in sent)
    bodies = [message.get("body", b"") for message in MALFORMED[name][:odd]]
    bytes_before = b"".join(
        message["body"] for message in sent if message and isinstance(message.get("body"), bytes)
    )
    assert bytes_before.startswith(b"".join(bodies))
    assert not [seen for seen in recorder.observations if seen.ended == "ok"]


@pytest.mark.parametrize("name", sorted({*MALFORMED} - {"no type", "no message"}))
def test_fail_closed_refuses_what_is_malformed(name: str) -> None:
    """A server might take it; what cannot be read cannot be put on record."""
    recorder = ObservingRecorder(CaptureSettings(log_url="http://x.example/l", mode="fail_closed"))
    is_begun = name == "body of text in a stream"
    try:
        sent = run(answering(*MALFORMED[name]), recorder)
    except AnswerWithheld:
        assert is_begun
    else:
        assert (sent[0]["status"], is_begun) == (503, False)


def _is_usual(message: Any) -> bool:
    if not message or "type" not in message:
        return False
    if message["type"] == "http.response.start":
        lines = message.get("headers")
        return type(message.get("status")) is int and bool(lines) and all(len(line) == 2 for line in lines)
    return isinstance(message.get("body"), bytes)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/health"])
def test_headers_that_can_be_read_once(recorder: ObservingRecorder, path: str) -> None:
    """An iterator of header lines is read once, and every line arrives."""
    start = {**START, "headers": iter([(b"content-type", b"application/json"), (b"x-a", b"1")])}
    method = "GET" if path == "/health" else "POST"
    sent = run(answering(start, body(b"{}")), recorder, path=path, method=method)
    assert list(sent[0]["headers"])[:2] == [(b"content-type", b"application/json"), (b"x-a", b"1")]


@pytest.mark.parametrize("mode", ["fail_open", "fail_closed"])
@pytest.mark.parametrize("message", [body(b"{}"), body(b"", more=True)])
def test_metrics_that_fail_reach_nobody(mode: Any, message: Any) -> None:
    """Counting is no reason to fail a request; fail_closed still answers by its own rules."""
    recorder = ObservingRecorder(CaptureSettings(log_url="http://x.example/l", mode=mode, fail_after_ms=5))
    recorder.outcome = lost

    def broken(*_: Any) -> None:
        raise RuntimeError

    recorder.metrics.add = broken  # type: ignore[method-assign]
    for can_reserve in (True, False):
        recorder.can_reserve = can_reserve
        try:
            sent = run(answering({**START, "status": 404}, body(b"no")), recorder)
            sent = run(answering(START, message, body(b"")), recorder)
        except AnswerWithheld:
            continue
        assert sent[0]["status"] == (200 if mode == "fail_open" else 503) or message["more_body"]


ENDED = {
    "nothing": "error",
    "start only": "error",
    "body after the end": "ok",
    "trailers": "ok",
    "no end": "error",
    "no end after the terminal event": "error",
}


@pytest.mark.parametrize("name", list(ENDED))
def test_how_it_ended_is_recorded(recorder: ObservingRecorder, name: str) -> None:
    """An answer that was whole is `ok`, any other an error; only bytes before its end are committed to."""
    served(answering(*ODD[name]), recorder)
    seen = recorder.only()
    assert seen.ended == ENDED[name]
    if name == "body after the end":
        assert seen.exchange.response.digest() == commit_body(seen.exchange.exchange_key, "response", b"{}")


def test_informational_starts_pass(recorder: ObservingRecorder) -> None:
    """A status below 200 is not the answer."""
    early = {**START, "status": 103}
    sent = run(answering(early, START, body(b"{}")), recorder)
    assert sent[0] is early
    assert b"audit-promise" in dict(sent[1]["headers"])
    assert recorder.only().status == 200


def test_the_body_of_a_head_is_not_the_answers() -> None:
    """Servers do not send it, so nothing is committed to; the declared length is not waited for."""
    recorder = ObservingRecorder(
        CaptureSettings(log_url="http://x.example/l", strict=True, routes=parse_routes("HEAD /a=values", []))
    )
    start = {**START, "headers": [(b"content-length", b"100")]}
    sent = run(answering(start, body(b"{}")), recorder, path="/a", method="HEAD")
    assert b"audit-promise" in dict(sent[0]["headers"])
    seen = recorder.only()
    assert seen.exchange.response.digest() == commit_body(seen.exchange.exchange_key, "response", b"")


@pytest.mark.parametrize("mode", ["fail_open", "fail_closed"])
@pytest.mark.parametrize(
    "held",
    [
        [],
        [START],
        [SSE, body(EVENT, more=True), body(DONE, more=True)],
        [SSE, body(EVENT, more=True), body(b"data: [DO", more=True)],
    ],
)
def test_cancellation_sends_what_was_handed_over(mode: Any, held: list[Any]) -> None:
    """What is held when the task is cancelled leaves, as it would have; not so in fail_closed."""
    recorder = ObservingRecorder(CaptureSettings(log_url="http://x.example/l", mode=mode, strict=True))
    server, inside = StrictServer(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answering(*held)(scope, receive, send)
        inside.set()
        await asyncio.sleep(3600)

    async def main() -> None:
        async def receive() -> Any:
            return {"type": "http.request", "body": b"{}"}

        task = asyncio.create_task(AuditMiddleware(app, recorder)(http_scope(), receive, server.send))  # type: ignore[arg-type]
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.12)

    asyncio.run(main())
    left = held if mode == "fail_open" else held[:2] if len(held) == 3 else []
    assert [message.get("body") for message in server.sent] == [message.get("body") for message in left]
    assert recorder.only().ended == "aborted"


def test_an_abandoned_coroutine_is_closed_quietly(recorder: ObservingRecorder) -> None:
    """GeneratorExit cannot wait for anything."""

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(START)
        await asyncio.Future()

    async def main() -> None:
        running = drive(AuditMiddleware(app, recorder), http_scope())
        running.send(None)
        running.close()

    asyncio.run(main())
    assert recorder.only().ended == "aborted"


@pytest.mark.parametrize("name", ["request", "response"])
def test_a_body_to_be_redacted_is_kept_and_not_hashed(recorder: ObservingRecorder, name: str) -> None:
    """The writer commits to what is left of it; here not one byte of it goes into a hash."""
    recorder.redactor = Redactor.from_setting(f"{name}:/a")
    run(answering(START, body(b'{"a":1}')), recorder, path="/anything", chunks=[b'{"a":1}'])
    seen = recorder.only()
    lengths = {"request": seen.exchange.request.length, "response": seen.exchange.response.length}
    assert lengths == {**dict.fromkeys(lengths, 7), name: 0}
    assert (seen.request.data, seen.response.data, seen.keep_values) == (b'{"a":1}', b'{"a":1}', False)


def test_another_event_loop_is_served_without_waiting(recorder: ObservingRecorder) -> None:
    """Where there is no asyncio nothing waits: no promise travels, everything else is as ever."""
    messages = [body(EVENT, more=True), body(DONE, more=True), body(b"")]
    for app in (answering(SSE, *messages), answering(START, body(b"{}"))):
        without_loop = drive(AuditMiddleware(app, recorder), http_scope())
        with pytest.raises(StopIteration):
            without_loop.send(None)
    assert [seen.ended for seen in recorder.observations] == ["ok", "ok"]


class Reads:
    """An inner layer that reads the whole request before the handler is chosen."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        parts = []
        while not parts or parts[-1].get("more_body"):
            parts.append(await receive())

        async def again() -> Any:
            return parts.pop(0)

        await self.app(scope, again, send)


@pytest.mark.parametrize(("size", "may_promise"), [(9, True), (70_000, False)])
def test_a_body_that_was_read_before_the_handler_was_chosen(size: int, may_promise: bool) -> None:
    """It is what the commitment is over; too long to be kept until then, nothing is promised of it."""

    @audited(recorder=ObservingRecorder())  # type: ignore[arg-type]
    def decide() -> None: ...

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["endpoint"] = decide
        await answering(START, body(b"{}"))(scope, receive, send)

    recorder, sent = ObservingRecorder(), b"x" * size
    run(Reads(app), recorder, path="/decide", method="GET", chunks=[sent[:4], sent[4:]])
    seen = recorder.only()
    key = seen.exchange.exchange_key
    assert (seen.exchange.request.digest() == commit_body(key, "request", sent)) is may_promise
    assert seen.may_promise is may_promise
    assert seen.request.data == (sent if may_promise else None)
