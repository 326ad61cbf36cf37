"""The middleware, message by message: what passes, what is added, what is observed."""

from __future__ import annotations

import asyncio
import base64
import gzip
from typing import Any

import pytest

from auditlog.capture.asgi import AuditMiddleware
from auditlog.capture.body_tap import MAX_KEPT_BYTES
from auditlog.core.commitment import commit_body
from tests.support.observing import (
    RECEIPTS,
    START,
    ObservingRecorder,
    answering,
    body,
    drive,
    http_scope,
    run,
)

CHAT = "/v1/chat/completions"


@pytest.fixture
def recorder() -> ObservingRecorder:
    """A recorder in memory, raising the layer's own errors."""
    return ObservingRecorder()


def test_bodies_are_committed_as_they_flow(recorder: ObservingRecorder) -> None:
    """The commitments are those of the whole bodies, however they were cut, and the values are kept."""
    run(
        answering(START, body(b'{"a"', more=True), body(b":1}")),
        recorder,
        chunks=[b'{"mod', b"", b'el":"m"}'],
    )
    seen = recorder.only()
    key = seen.exchange.exchange_key
    assert seen.exchange.request.digest() == commit_body(key, "request", b'{"model":"m"}')
    assert seen.exchange.response.digest() == commit_body(key, "response", b'{"a":1}')
    assert (seen.request.data, seen.response.data) == (b'{"model":"m"}', b'{"a":1}')
    assert (seen.operation, seen.capture, seen.method, seen.route) == ("chat", "asgi", "POST", CHAT)
    assert (seen.status, seen.ended, seen.keep_values) == (200, "ok", True)
    assert seen.read_request is not None
    assert seen.read_request(seen.request.data).model == "m"


def test_messages_pass_unchanged_but_for_our_headers(recorder: ObservingRecorder) -> None:
    """Same messages, same order, same objects; the first gains Audit-Id and Audit-Receipt at the end."""
    messages = [START, body(b"one", more=True), body(b"", more=True), body(b"two", more=True), body(b"")]
    sent = run(answering(*messages), recorder)
    assert sent[1:] == messages[1:]
    assert all(got is given for got, given in zip(sent[1:], messages[1:], strict=True))
    assert sent[0]["headers"][:1] == START["headers"]
    number = recorder.only().exchange.id
    assert sent[0]["headers"][1:] == [
        (b"audit-id", number.encode()),
        (b"audit-receipt", (RECEIPTS + number).encode()),
    ]
    assert START["headers"] == [(b"content-type", b"application/json")]


def test_each_chunk_is_forwarded_before_the_next_is_asked_for(recorder: ObservingRecorder) -> None:
    """When the application goes on after a send, the server already has that chunk: nothing is buffered."""
    at_server: list[bytes] = []

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(START)
        for number in range(5):
            chunk = b"data: %d\n\n" % number
            await send(body(chunk, more=True))
            assert at_server[-1] == chunk
        await send(body(b""))

    async def send(message: Any) -> None:
        at_server.append(message.get("body"))

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}"}

    asyncio.run(AuditMiddleware(app, recorder)(http_scope(), receive, send))
    assert len(at_server) == 7


def test_observation_is_handed_over_with_the_last_chunk(recorder: ObservingRecorder) -> None:
    """Background work after the response, and a failure in it, change nothing in the record."""

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(START)
        await send(body(b"{}"))
        assert recorder.only().ended == "ok"
        raise RuntimeError("background")

    with pytest.raises(RuntimeError, match="background"):
        run(app, recorder)
    assert recorder.only().ended == "ok"


@pytest.mark.parametrize("value", [b"key", b" key "])
def test_exchange_key_is_given_when_asked_for(recorder: ObservingRecorder, value: bytes) -> None:
    """`Audit-Want: key` brings Audit-Key and forbids storing the response."""
    sent = run(answering(START, body(b"{}")), recorder, headers=[(b"audit-want", value)])
    headers = dict(sent[0]["headers"])
    assert base64.b64decode(headers[b"audit-key"]) == recorder.only().exchange.exchange_key
    assert headers[b"cache-control"] == b"private, no-store"


@pytest.mark.parametrize("headers", [[], [(b"audit-want", b"keys")], [(b"audit-wanted", b"key")]])
def test_exchange_key_is_not_given_unasked(recorder: ObservingRecorder, headers: Any) -> None:
    """Without the exact request there is neither key nor cache header."""
    sent = run(answering(START, body(b"{}")), recorder, headers=headers)
    assert not {b"audit-key", b"cache-control"} & dict(sent[0]["headers"]).keys()


def test_no_receipt_url_before_enrolment() -> None:
    """Until the log knows the producer there is an id, but no address."""
    recorder = ObservingRecorder(enrolled=False)
    sent = run(answering(START, body(b"{}")), recorder)
    assert sent[0]["headers"][1:] == [
        (b"audit-id", recorder.only().exchange.id.encode()),
        (b"audit-status", b"deferred"),
    ]


def test_exceptions_of_the_application_are_recorded_and_raised_again(recorder: ObservingRecorder) -> None:
    """The very exception passes through; the decision says error and has no status."""
    error = ValueError("model exploded")
    with pytest.raises(ValueError, match="model exploded") as raised:
        run(answering(error=error), recorder)
    assert raised.value is error
    assert (recorder.only().ended, recorder.only().status) == ("error", None)


def test_a_failure_in_the_middle_of_a_stream_is_recorded(recorder: ObservingRecorder) -> None:
    """What the application had sent is committed to, and the decision says error."""
    with pytest.raises(RuntimeError):
        run(answering(START, body(b"half", more=True), error=RuntimeError()), recorder)
    seen = recorder.only()
    assert (seen.ended, seen.status, seen.response.data) == ("error", 200, b"half")


def test_server_errors_say_error(recorder: ObservingRecorder) -> None:
    """A complete response of 500 or more is an error of the application, recorded with its status."""
    run(answering({**START, "status": 503}, body(b"busy")), recorder)
    assert (recorder.only().ended, recorder.only().status) == ("error", 503)


def test_an_application_that_sends_no_end_is_an_error(recorder: ObservingRecorder) -> None:
    """Returning without the last chunk is recorded with what was there."""
    run(answering(START, body(b"half", more=True)), recorder)
    assert recorder.only().ended == "error"


def test_hang_up_seen_by_receive(recorder: ObservingRecorder) -> None:
    """http.disconnect before the last chunk makes it client_disconnected, with what was sent until then."""

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(START)
        await send(body(b"first", more=True))
        assert (await receive())["type"] == "http.disconnect"

    run(app, recorder)
    assert (recorder.only().ended, recorder.only().response.data) == ("client_disconnected", b"first")


def test_hang_up_seen_by_send(recorder: ObservingRecorder) -> None:
    """An OSError of the server reaches the application, and the decision says client_disconnected."""
    with pytest.raises(OSError, match="client disconnected"):
        run(answering(START, body(b"1", more=True), body(b"2", more=True)), recorder, disconnect_after=2)
    assert recorder.only().ended == "client_disconnected"


def test_hang_up_during_the_last_chunk(recorder: ObservingRecorder) -> None:
    """The last chunk of a stream that could not be handed to the server leaves no `ok`."""
    with pytest.raises(OSError, match="client disconnected"):
        run(answering(START, body(b"1", more=True), body(b"2")), recorder, disconnect_after=2)
    assert recorder.only().ended == "client_disconnected"
    assert recorder.metrics.get("late_hangups") == 0


@pytest.mark.parametrize("taken", [0, 1])
def test_hang_up_after_the_record(recorder: ObservingRecorder, taken: int) -> None:
    """A whole answer is sealed before it leaves: who is gone by then is counted, and the record stands."""
    with pytest.raises(OSError, match="client disconnected"):
        run(answering(START, body(b"1")), recorder, disconnect_after=taken)
    assert recorder.only().ended == "ok"
    assert recorder.metrics.get("late_hangups") == 1


def test_hang_up_after_the_last_chunk_changes_nothing(recorder: ObservingRecorder) -> None:
    """A listener that hears of the end of a finished response does not turn it into a hang-up."""

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(START)
        await send(body(b"all"))
        assert (await receive())["type"] == "http.disconnect"

    run(app, recorder)
    assert recorder.only().ended == "ok"


def test_hang_up_during_the_upload(recorder: ObservingRecorder) -> None:
    """A client that goes away while sending is recorded with the part that came."""

    async def app(_: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        raise ConnectionError

    with pytest.raises(ConnectionError):
        run(app, recorder, chunks=[b'{"a":'])
    assert (recorder.only().ended, recorder.only().request.data) == ("client_disconnected", b'{"a":')


def test_cancellation_is_recorded_as_aborted(recorder: ObservingRecorder) -> None:
    """A cancelled request is recorded and the cancellation goes on."""

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(START)
        await send(body(b"part", more=True))
        await asyncio.sleep(3600)

    async def main() -> None:
        task = asyncio.create_task(drive(AuditMiddleware(app, recorder), http_scope()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert (recorder.only().ended, recorder.only().response.data) == ("aborted", b"part")


def test_a_body_over_the_cap_is_committed_to_but_not_kept(recorder: ObservingRecorder) -> None:
    """Beyond 1 MiB only the commitment stays; the other body is kept all the same."""
    big = b"x" * (MAX_KEPT_BYTES + 1)
    run(answering(START, body(big[:1000], more=True), body(big[1000:])), recorder, chunks=[b"{}"])
    seen = recorder.only()
    assert seen.response.data is None
    assert seen.exchange.response.digest() == commit_body(seen.exchange.exchange_key, "response", big)
    assert seen.request.data == b"{}"


def test_mutable_buffers_are_copied(recorder: ObservingRecorder) -> None:
    """An application that reuses its buffer does not change what was kept."""
    buffer = bytearray(b"one")

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(START)
        await send(body(memoryview(buffer), more=True))  # type: ignore[arg-type]
        buffer[:] = b"two"
        await send(body(b""))

    run(app, recorder)
    assert recorder.only().response.data == b"one"


@pytest.mark.parametrize(
    ("path", "content_type", "dialect"),
    [
        (CHAT, b"text/event-stream; charset=utf-8", "openai.chat"),
        ("/v1/completions", b"text/event-stream", "openai.completions"),
        (CHAT, b"application/json", None),
        ("/v1/embeddings", b"text/event-stream", None),
    ],
)
def test_streams_name_their_dialect(
    recorder: ObservingRecorder, path: str, content_type: bytes, dialect: str | None
) -> None:
    """A stream of a known route can be folded; anything else is read as it is."""
    run(answering({**START, "headers": [(b"Content-Type", content_type)]}, body(b"x")), recorder, path=path)
    assert recorder.only().response.dialect == dialect


def test_content_encoding_is_recorded_and_bytes_stay_coded(recorder: ObservingRecorder) -> None:
    """The commitment is over the bytes as sent; the coding is named beside it."""
    packed = gzip.compress(b"{}")
    run(answering({**START, "headers": [(b"content-encoding", b"GZIP")]}, body(packed)), recorder)
    assert (recorder.only().content_encoding, recorder.only().response.data) == ("gzip", packed)


@pytest.mark.parametrize("value", [b"identity", b"", b"\xff\xfe", b"x" * 65])
def test_no_or_nonsense_content_encoding_is_absent(recorder: ObservingRecorder, value: bytes) -> None:
    """Identity is no coding, and nonsense does not reach the entry."""
    run(answering({**START, "headers": [(b"content-encoding", value)]}, body(b"{}")), recorder)
    assert recorder.only().content_encoding is None


def test_parent_and_retry_come_from_request_headers(recorder: ObservingRecorder) -> None:
    """A decision id in Audit-Parent or Audit-Retry-Of is taken over."""
    parent, retried = "01890000-0000-7000-8000-000000000001", "01890000-0000-7000-8000-000000000002"
    headers = [(b"audit-parent", parent.encode()), (b"audit-retry-of", retried.encode())]
    run(answering(START, body(b"{}")), recorder, headers=headers)
    assert (recorder.only().parent, recorder.only().retry_of) == (parent, retried)


@pytest.mark.parametrize(
    "value", [b"", b"1", b"01890000-0000-4000-8000-000000000001", b"\xff" * 36, b"x" * 9999]
)
def test_anything_else_in_those_headers_is_ignored(recorder: ObservingRecorder, value: bytes) -> None:
    """The headers are a stranger's: only a UUIDv7 in lower case reaches the entry."""
    run(
        answering(START, body(b"{}")),
        recorder,
        headers=[(b"audit-parent", value), (b"audit-retry-of", value)],
    )
    assert (recorder.only().parent, recorder.only().retry_of) == (None, None)
