"""fail_closed: nothing that ends an answer leaves before its record is durable."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from auditlog.capture import CaptureSettings
from auditlog.capture.asgi import AuditMiddleware
from auditlog.capture.routes import Mark
from auditlog.capture.settings import parse_routes
from auditlog.capture.unrecordable import AnswerWithheld
from tests.support.observing import (
    START,
    ObservingRecorder,
    answering,
    body,
    http_scope,
    lost,
    run,
    silent,
    unpromised,
)

SSE = {**START, "headers": [(b"content-type", b"text/event-stream")]}
EVENT, DONE = b"data: {}\n\n", b"data: [DONE]\n\n"


def closed(outcome: Any = None, **options: Any) -> ObservingRecorder:
    """A recorder in fail_closed that soon gives up waiting."""
    settings = CaptureSettings(
        log_url="http://log.example/logs/main", mode="fail_closed", fail_after_ms=5, strict=True, **options
    )
    recorder = ObservingRecorder(settings)
    recorder.outcome = outcome or recorder.outcome
    return recorder


def problem(sent: list[Any]) -> dict[str, Any]:
    """The problem of a 503, with its headers checked."""
    assert sent[0]["status"] == 503
    headers = dict(sent[0]["headers"])
    assert headers[b"content-type"] == b"application/problem+json"
    assert int(headers[b"retry-after"]) > 0
    assert int(headers[b"content-length"]) == len(sent[1]["body"])
    found: dict[str, Any] = json.loads(sent[1]["body"])
    assert (found["status"], found["type"]) == (503, "urn:auditlog:problem:unrecordable")
    return found


def test_without_room_the_application_is_not_called() -> None:
    """The caller gets 503 with Retry-After, and it is counted."""
    recorder = closed()
    recorder.can_reserve = False
    sent = run(answering(error=AssertionError("called")), recorder)
    assert "nothing was decided" in problem(sent)["detail"]
    assert (recorder.minted, recorder.observations) == (0, [])
    assert recorder.metrics.get("refused.503") == 1


def test_an_exchange_that_cannot_be_minted_gives_its_room_back() -> None:
    """No slot, for example: refused as well."""
    recorder = closed()
    recorder.enabled = False
    problem(run(answering(error=AssertionError("called")), recorder))
    assert recorder.reserved == 0


def test_switched_off_stops_nothing() -> None:
    """AUDITLOG_ENABLED=0 serves, whatever the mode."""
    recorder = closed(enabled=False)
    recorder.enabled = recorder.can_reserve = False
    assert run(answering(START, body(b"{}")), recorder) == [START, body(b"{}")]


@pytest.mark.parametrize("path", ["/health", "/nothing"])
def test_what_is_not_recorded_needs_no_room(path: str) -> None:
    """Other methods are served."""
    recorder = closed()
    recorder.can_reserve = False
    assert run(answering(START, body(b"ok")), recorder, path=path, method="GET") == [START, body(b"ok")]


@pytest.mark.parametrize(("outcome", "header"), [(None, b"audit-promise"), (unpromised, b"audit-status")])
def test_a_durable_answer_leaves(outcome: Any, header: bytes) -> None:
    """With its promise, or without one where none may be given."""
    recorder = closed(outcome)
    recorder.expects_quick = False  # Whoever must wait, waits.
    sent = run(answering(START, body(b"{}")), recorder)
    assert (sent[0]["status"], sent[1]["body"]) == (200, b"{}")
    assert header in dict(sent[0]["headers"])
    assert recorder.only().mode == "fail_closed"


@pytest.mark.parametrize("outcome", [silent, lost])
@pytest.mark.parametrize("streamed", [True, False])
def test_a_whole_answer_that_is_not_durable_is_withheld(outcome: Any, streamed: bool) -> None:
    """503 leaves in its place, with the id of what may yet be recorded; what else comes is swallowed."""
    recorder = closed(outcome)
    start = {**START, "headers": [(b"content-length", b"6")]} if streamed else START
    messages = [body(b"secret", more=streamed), *([body(b"")] if streamed else [])]
    sent = run(answering(start, *messages), recorder)
    assert "withheld" in problem(sent)["detail"]
    assert len(sent) == 2
    assert b"secret" not in sent[1]["body"]
    assert dict(sent[0]["headers"])[b"audit-id"] == recorder.only().exchange.id.encode()
    assert recorder.metrics.get("refused.503") == 1


@pytest.mark.parametrize("outcome", [silent, lost])
@pytest.mark.parametrize(
    ("path", "start", "messages", "left"),
    [
        ("/v1/completions", SSE, [EVENT, DONE, b""], EVENT),
        ("/v1/completions", SSE, [EVENT, EVENT + DONE[:5], DONE[5:], b": x\n\n", b""], EVENT * 2),
        ("/v1/embeddings", START, [b"a", b"b", b""], b"a"),
        ("/v1/embeddings", START, [b"a", b"", b""], b""),
        ("/v1/embeddings", START, [b"a", b"", b"b", b"", b""], b"a"),
        ("/v1/embeddings", START, [b"a", b"b", b"c"], b"ab"),
        (
            "/v1/embeddings",
            {**START, "headers": [(b"content-length", b"3")]},
            [b"a", b"b", b"c", b""],
            b"ab",
        ),
    ],
)
def test_the_end_of_a_stream_that_is_not_durable_is_not_sent(
    outcome: Any, path: str, start: Any, messages: list[bytes], left: bytes
) -> None:
    """What flowed has flowed; the terminal event, last message or last byte has not, and the server cuts."""
    recorder, sent = closed(outcome), []

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(start)
        for number, chunk in enumerate(messages):
            await send(body(chunk, more=number + 1 < len(messages)))

    async def main() -> None:
        from auditlog.capture.asgi import AuditMiddleware
        from tests.support.observing import http_scope

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"{}"}

        await AuditMiddleware(app, recorder)(http_scope(path), receive, send)  # type: ignore[arg-type]

    with pytest.raises(AnswerWithheld, match="found none in time"):
        asyncio.run(main())
    assert b"".join(message.get("body", b"") for message in sent) == left
    assert all(message.get("more_body", True) for message in sent)
    assert recorder.metrics.get("refused.503") == 1


def test_an_application_that_catches_the_error_is_cut_all_the_same() -> None:
    """Whatever it makes of it, the server must not end the answer."""
    recorder = closed(lost)

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(SSE)
        await send(body(EVENT, more=True))
        for message in (body(DONE), body(b"")):
            with pytest.raises(AnswerWithheld):
                await send(message)

    with pytest.raises(AnswerWithheld):
        run(app, recorder)


@pytest.mark.parametrize("end", ["return", "raise"])
@pytest.mark.parametrize("outcome", [None, lost])
def test_an_application_that_ends_without_its_last_message(outcome: Any, end: str) -> None:
    """The terminal event that is held leaves if it is durable."""
    recorder = closed(outcome)
    error = RuntimeError("model") if end == "raise" else None
    app = answering(SSE, body(EVENT, more=True), body(DONE, more=True), error=error)
    sent: list[Any] = []
    expected = AnswerWithheld if outcome is lost else RuntimeError if error else None
    if expected is None:
        sent = run(app, recorder)
        assert sent[-1]["body"] == DONE
    else:
        with pytest.raises(expected):
            run(app, recorder)
    assert recorder.only().ended == "error"


def test_an_error_without_an_answer_is_put_on_record_first() -> None:
    """If that fails the caller gets 503 from here; the error goes on to the server."""
    recorder, sent = closed(lost), []

    async def main() -> None:
        from auditlog.capture.asgi import AuditMiddleware
        from tests.support.observing import http_scope

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"{}"}

        app = AuditMiddleware(answering(error=ValueError("model")), recorder)  # type: ignore[arg-type]
        await app(http_scope(), receive, send)

    with pytest.raises(ValueError, match="model"):
        asyncio.run(main())
    problem(sent)


def test_a_durable_stream_has_its_comment() -> None:
    """As in fail_open; the terminal event waits for the last message as long as it takes."""
    recorder = closed()

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(SSE)
        await send(body(EVENT, more=True))
        await send(body(DONE, more=True))
        await asyncio.sleep(0.15)
        await send(body(b""))

    sent = run(app, recorder)
    assert sent[2]["body"].startswith(b": audit-promise ")
    assert [message["body"] for message in sent[3:]] == [DONE, b""]


@pytest.mark.parametrize("status", [401, 404, 429])
def test_refusals_give_the_room_back(status: int) -> None:
    """Nothing was decided, so nothing waits; the exchange is dropped."""
    recorder = closed(lost)
    sent = run(answering({**START, "status": status}, body(b"no")), recorder)
    assert sent[0]["status"] == status
    assert len(recorder.dropped) == 1


@pytest.mark.parametrize("fault", ["new_exchange", "routes", "response.update"])
def test_own_failures_refuse(fault: str) -> None:
    """Where this layer fails there is no record: then there is no answer either."""
    recorder = closed()
    recorder.settings = CaptureSettings(
        log_url="http://log.example/logs/main", mode="fail_closed", fail_after_ms=5
    )

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError

    if fault == "new_exchange":
        recorder.new_exchange = broken  # type: ignore[method-assign]
    elif fault == "routes":
        recorder.note_port = broken  # type: ignore[method-assign]
    else:
        real = recorder.new_exchange

        def minted() -> Any:
            exchange = real()
            assert exchange is not None
            exchange.response = type("Broken", (), {"update": broken})()  # type: ignore[assignment]
            return exchange

        recorder.new_exchange = minted  # type: ignore[method-assign]
    recorder.guard = type(recorder.guard)(recorder.metrics, recorder.guard._logger)
    problem(run(answering(START, body(b"secret")), recorder))
    assert recorder.observations == []


def test_a_marked_handler_without_room_is_answered_503() -> None:
    """What turns out to be a decision while it runs cannot be stopped, but its answer can."""
    recorder = closed()
    recorder.can_reserve = False

    def handler() -> None: ...

    handler.__auditlog_mark__ = Mark("classify", True)  # type: ignore[attr-defined]
    app = answering(START, body(b"secret", more=True), body(b""), endpoint=handler)
    sent = run(app, recorder, path="/own", method="GET")
    problem(sent)
    assert len(sent) == 2


def test_a_refused_head_has_no_body() -> None:
    """As HTTP has it."""
    recorder = closed()
    recorder.can_reserve = False

    def handler() -> None: ...

    handler.__auditlog_mark__ = Mark("classify", True)  # type: ignore[attr-defined]
    sent = run(answering(START, body(b""), endpoint=handler), recorder, path="/own", method="HEAD")
    assert (sent[0]["status"], sent[1]["body"]) == (503, b"")


LOCATION = (b"location", b"/approved")
EMPTY, END = body(b"", more=True), body(b"")
ONLY_HEADERS: dict[str, tuple[str, int, list[tuple[bytes, bytes]], list[Any]]] = {
    "HEAD": ("HEAD", 200, [], [body(b"abc", more=True), body(b"def")]),
    "204": ("POST", 204, [], [EMPTY, EMPTY, END]),
    "205": ("POST", 205, [], [EMPTY, END]),
    "304": ("POST", 304, [], [EMPTY, END]),
    "303": ("POST", 303, [LOCATION], [EMPTY, END]),
    "302 with a body": ("POST", 302, [LOCATION], [body(b"moved", more=True), body(b" there")]),
    "no length": ("POST", 200, [(b"content-length", b"0")], [EMPTY, END]),
    "no bytes": ("POST", 200, [(b"x-decision", b"yes")], [EMPTY, EMPTY, END]),
}


def headed(name: str, recorder: ObservingRecorder, *, pause_s: float = 0.0) -> list[Any]:
    """What an application sends that answers so, having waited for its caller meanwhile."""
    method, status, headers, bodies = ONLY_HEADERS[name]

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({**START, "status": status, "headers": headers})
        listening = asyncio.ensure_future(receive()) if pause_s else None
        await asyncio.sleep(pause_s)
        for message in bodies:
            await send(message)
        if listening is not None:
            listening.cancel()

    return run_waiting(app, recorder, method)


def run_waiting(app: Any, recorder: ObservingRecorder, method: str) -> list[Any]:
    """Drive it for a caller who says nothing behind the request."""
    sent: list[Any] = []

    async def main() -> None:
        asked = [{"type": "http.request", "body": b"{}"}]

        async def receive() -> Any:
            return asked.pop() if asked else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = http_scope("/v1/chat/completions" if method == "POST" else "/score", method)
        await AuditMiddleware(app, recorder)(scope, receive, send)  # type: ignore[arg-type]

    asyncio.run(main())
    return sent


@pytest.mark.parametrize("name", list(ONLY_HEADERS))
def test_an_answer_of_headers_only_waits_whole(name: str) -> None:
    """Also where the application says it in pieces: its headers are what the caller acts on."""
    rules = parse_routes("* /score=record", [])
    sent = headed(name, closed(lost, routes=rules))
    assert [message.get("status") for message in sent] == [503, None]
    recorder = closed(routes=rules)
    method, status, _, bodies = ONLY_HEADERS[name]
    sent = headed(name, recorder)
    assert sent[0]["status"] == status
    assert b"audit-promise" in dict(sent[0]["headers"])
    whole = b"".join(message["body"] for message in bodies)
    assert method == "HEAD" or b"".join(message["body"] for message in sent[1:]) == whole
    assert [message["more_body"] for message in sent[1:]][-1] is False


@pytest.mark.parametrize("name", ["HEAD", "204", "303"])
def test_a_start_that_says_all_waits_while_the_application_listens(name: str) -> None:
    """Frameworks listen for a hang-up all the while: no reason to let it leave before its record."""
    sent = headed(name, closed(lost, routes=parse_routes("* /score=record", [])), pause_s=0.15)
    assert sent[0]["status"] == 503


def test_a_long_body_behind_a_redirect_is_a_stream() -> None:
    """What is kept is bounded: then the start leaves, and no byte is lost."""
    chunks = [b"x" * 30_000, b"y" * 30_000, b"z" * 30_000]
    start = {**START, "status": 303, "headers": []}
    app = answering(start, *(body(chunk, more=True) for chunk in chunks), body(b""))
    sent = run(app, closed())
    assert b"".join(message.get("body", b"") for message in sent) == b"".join(chunks)
    with pytest.raises(AnswerWithheld):
        run(app, closed(lost))


def test_an_event_stream_opens_with_its_first_message() -> None:
    """The caller of a stream waits for its headers, not for its first event."""
    seen: list[int] = []

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(SSE)
        await send(body(b"", more=True))
        seen.append(len(sent))
        await send(body(EVENT))

    sent: list[Any] = []

    async def main() -> None:
        async def receive() -> Any:
            return {"type": "http.request", "body": b"{}"}

        async def send(message: Any) -> None:
            sent.append(message)

        await AuditMiddleware(app, closed())(http_scope(), receive, send)  # type: ignore[arg-type]

    asyncio.run(main())
    assert seen[0] >= 1
