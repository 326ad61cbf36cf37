"""How whole answers and streams leave: the promise in a header, in a comment, or not at all."""

from __future__ import annotations

import asyncio
import base64
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditlog.capture import CaptureSettings
from auditlog.capture.asgi import AuditMiddleware
from auditlog.core.commitment import commit_body
from tests.support.observing import (
    START,
    ObservingRecorder,
    answering,
    body,
    drive,
    http_scope,
    run,
    silent,
    unpromised,
)

SSE = {**START, "headers": [(b"content-type", b"text/event-stream")]}
EVENT = b'data: {"choices":[]}\n\n'
DONE = b"data: [DONE]\n\n"


@pytest.fixture
def recorder() -> ObservingRecorder:
    """A recorder in memory, raising the layer's own errors."""
    return ObservingRecorder()


def with_mode(**options: Any) -> ObservingRecorder:
    """A recorder with these settings."""
    return ObservingRecorder(CaptureSettings(log_url="http://log.example/logs/main", strict=True, **options))


def text_of(sent: list[Any]) -> bytes:
    """All bytes of the body that were sent."""
    return b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")


def comment_of(recorder: ObservingRecorder) -> bytes:
    """The comment that promises the one decision there is."""
    note = f"promise of {recorder.only().exchange.id}\n".encode()
    return b": audit-promise " + base64.b64encode(note) + b"\n\n"


def headers_of(sent: list[Any]) -> dict[bytes, bytes]:
    """The header lines of the answer."""
    return dict(sent[0]["headers"])


def test_a_whole_answer_carries_its_promise(recorder: ObservingRecorder) -> None:
    """Start and body leave together, after the record; the promise is a header, in base64, on one line."""
    order: list[str] = []

    async def send(message: Any) -> None:
        order.append(f"{message['type']} after {len(recorder.observations)}")

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}"}

    asyncio.run(AuditMiddleware(answering(START, body(b"{}")), recorder)(http_scope(), receive, send))  # type: ignore[arg-type]
    assert order == ["http.response.start after 1", "http.response.body after 1"]
    headers = headers_of(run(answering(START, body(b"{}")), recorder))
    number = recorder.observations[1].exchange.id
    assert base64.b64decode(headers[b"audit-promise"], validate=True) == f"promise of {number}\n".encode()
    assert b"audit-status" not in headers


@pytest.mark.parametrize("why", ["silent", "slow", "unpromised", "no wait", "not enrolled"])
def test_an_answer_without_promise_says_so(why: str) -> None:
    """In fail_open the answer leaves all the same; it is recorded, and the header says `deferred`."""
    recorder = with_mode(wait_ms=0 if why == "no wait" else 20)
    recorder.enrolled = why != "not enrolled"
    recorder.expects_quick = why != "slow"
    recorder.outcome = {"silent": silent, "unpromised": unpromised}.get(why, recorder.outcome)
    sent = run(answering(START, body(b"{}")), recorder)
    assert headers_of(sent)[b"audit-status"] == b"deferred"
    assert b"audit-promise" not in headers_of(sent)
    assert sent[1] == body(b"{}")
    assert recorder.only().ended == "ok"
    assert recorder.metrics.get("deferred") == (why in ("silent", "slow"))


@pytest.mark.parametrize("length", [b"2", b"0"])
def test_a_body_of_the_declared_length_is_whole(recorder: ObservingRecorder, length: bytes) -> None:
    """Layers that stream everything still get the promise as a header: the last byte is there."""
    start = {**START, "headers": [(b"content-length", length)]}
    content = b"{}" if length == b"2" else b""
    sent = run(answering(start, body(content, more=True), body(b"")), recorder)
    assert b"audit-promise" in headers_of(sent)
    assert sent[1:] == [body(content, more=True), body(b"")]
    assert recorder.only().ended == "ok"


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("/v1/chat/completions", DONE),
        ("/v1/completions", b"data:[DONE]\r\n\r\n"),
        ("/v1/responses", b'event: response.completed\ndata: {"type":"response.completed"}\n\n'),
        ("/v1/responses", b"event: response.incomplete\ndata: {}\n\n"),
        ("/v1/responses", b"event: response.failed\ndata: {}\n\n"),
        ("/v1/messages", b'event: message_stop\ndata: {"type":"message_stop"}\n\n'),
    ],
)
@pytest.mark.parametrize("shape", ["apart", "one message", "all at the end", "two ends"])
def test_the_comment_stands_before_the_terminal_event(
    recorder: ObservingRecorder, path: str, end: bytes, shape: str
) -> None:
    """Whatever messages the application cuts its stream into; the commitment is over its bytes alone."""
    messages = {
        "apart": [body(EVENT, more=True), body(end, more=True), body(b"")],
        "one message": [body(EVENT, more=True), body(EVENT + end, more=True), body(b"")],
        "all at the end": [body(EVENT, more=True), body(EVENT + end)],
        "two ends": [body(EVENT, more=True), body(end + end, more=True), body(end, more=True), body(b"")],
    }[shape]
    sent = run(answering(SSE, *messages), recorder, path=path)
    plain = text_of(messages)
    at = plain.index(end)
    assert text_of(sent) == plain[:at] + comment_of(recorder) + plain[at:]
    assert [message.get("more_body") for message in sent[1:]] == [True] * (len(sent) - 2) + [False]
    seen = recorder.only()
    assert seen.exchange.response.digest() == commit_body(seen.exchange.exchange_key, "response", plain)
    assert (seen.response.data, seen.ended) == (plain, "ok")
    assert not {b"audit-promise", b"audit-status"} & headers_of(sent).keys()
    assert recorder.shown == [seen.exchange.id]  # and at its address


STREAM = EVENT + b": ping\r\n\r\n" + EVENT * 2 + DONE


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, len(STREAM)), max_size=20), st.booleans())
def test_bytes_without_the_comment_are_the_applications(places: list[int], ends_apart: bool) -> None:
    """For every cut of the stream into messages."""
    recorder = ObservingRecorder()
    bounds = [0, *sorted(places), len(STREAM)]
    chunks = [STREAM[a:b] for a, b in pairwise(bounds)]
    messages = [body(chunk, more=True) for chunk in chunks]
    messages = [*messages, body(b"")] if ends_apart else [*messages[:-1], body(chunks[-1])]
    sent = run(answering(SSE, *messages), recorder)
    comment = comment_of(recorder)
    if len(messages) == 1:
        assert b"audit-promise" in headers_of(sent)
        assert text_of(sent) == STREAM
        return
    assert text_of(sent).count(comment) == 1
    assert text_of(sent).replace(comment, b"") == STREAM
    assert text_of(sent).endswith(comment + DONE)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/chat/completions", [(b"content-length", b"%d" % len(EVENT + DONE))]),
        ("/v1/chat/completions", [(b"content-encoding", b"gzip")]),
        ("/v1/chat/completions", [(b"content-digest", b"sha-256=:AA==:")]),
        ("/v1/chat/completions", [(b"content-type", b"application/x-ndjson")]),
        ("/v1/embeddings", []),
        ("/anything", []),
        ("/generate", [(b"content-type", b"application/octet-stream")]),
    ],
)
def test_streams_that_take_no_comment(recorder: ObservingRecorder, path: str, headers: Any) -> None:
    """A fixed length, a coding, a digest, another type or dialect: every message passes as it is."""
    kinds = [] if any(name == b"content-type" for name, _ in headers) else SSE["headers"]
    messages = [body(EVENT, more=True), body(DONE, more=True), body(b"")]
    sent = run(answering({**SSE, "headers": [*kinds, *headers]}, *messages), recorder, path=path)
    assert all(got is given for got, given in zip(sent[1:], messages, strict=True))
    assert recorder.only().ended == "ok"


def test_streams_with_event_ids_take_no_comment(recorder: ObservingRecorder) -> None:
    """Common clients would make an empty event of it."""
    messages = [body(b"id: 1\n" + EVENT, more=True), body(DONE, more=True), body(b"")]
    assert text_of(run(answering(SSE, *messages), recorder)) == text_of(messages)


def test_the_terminal_event_waits_a_tenth_of_a_second_for_the_end(recorder: ObservingRecorder) -> None:
    """An application that goes on after it gets it sent without the comment, before anything else."""
    at_server: list[bytes] = []

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(SSE)
        await send(body(EVENT, more=True))
        await send(body(b"data: [DO", more=True))
        await send(body(b"NE]\n\n", more=True))
        assert at_server == [b"", EVENT]
        while len(at_server) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await send(body(b": bye\n\n", more=True))
        await send(body(b""))

    async def send(message: Any) -> None:
        at_server.append(message.get("body", b""))

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}"}

    asyncio.run(AuditMiddleware(app, recorder)(http_scope(), receive, send))  # type: ignore[arg-type]
    assert at_server == [b"", EVENT, DONE, b": bye\n\n", b""]
    assert recorder.only().response.data == EVENT + DONE + b": bye\n\n"


@pytest.mark.parametrize("more", [True, False])
def test_a_stream_whose_record_is_slow_ends_without_comment(more: bool) -> None:
    """After AUDITLOG_WAIT_MS the terminal event leaves as it is."""
    recorder = with_mode(wait_ms=1)
    recorder.outcome = silent
    messages = [body(EVENT, more=True), body(DONE, more=more), *([body(b"")] if more else [])]
    sent = run(answering(SSE, *messages), recorder)
    assert sent[1:] == messages
    assert recorder.metrics.get("deferred") == 1


def test_a_buffer_that_is_used_again_is_copied_while_held(recorder: ObservingRecorder) -> None:
    """What is held stays what it was."""
    buffer = bytearray(DONE)

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(SSE)
        await send(body(EVENT, more=True))
        await send(body(buffer, more=True))  # type: ignore[arg-type]
        buffer[:] = b"x" * len(buffer)
        await send(body(b""))

    assert text_of(run(app, recorder)) == EVENT + comment_of(recorder) + DONE


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_any_buffer_is_a_chunk(recorder: ObservingRecorder, kind: Any) -> None:
    """Servers take them all."""
    parts = [kind(part) for part in (EVENT, EVENT + DONE[:3], DONE[3:])]
    messages = [*(body(part, more=True) for part in parts), body(b"")]
    assert text_of(run(answering(SSE, *messages), recorder)) == EVENT * 2 + comment_of(recorder) + DONE


def test_a_failure_in_the_search_ends_the_record_not_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte goes on; what cannot be vouched for is declared."""
    recorder = ObservingRecorder(CaptureSettings(log_url="http://log.example/logs/main"))

    def broken(*_: Any) -> bytes:
        raise RuntimeError

    monkeypatch.setattr("auditlog.capture.http_stream.TerminalFinder.feed", broken)
    messages = [body(EVENT, more=True), body(DONE, more=True), body(b"")]
    assert run(answering(SSE, *messages), recorder)[1:] == messages
    assert (len(recorder.lost), recorder.observations) == (1, [])


def test_an_upstream_id_is_replayed_from_and_sent_once(recorder: ObservingRecorder) -> None:
    """An answer that brings an Audit-Id is a copy of that decision; its lines about it are left out."""
    upstream = b"01890000-0000-7000-8000-0000000000aa"
    lines = [(b"Audit-Id", upstream), (b"audit-promise", b"x"), (b"x-other", b"1")]
    sent = run(answering({**START, "headers": lines}, body(b"{}")), recorder)
    assert recorder.only().replayed_from == upstream.decode()
    assert [name.lower() for name, _ in sent[0]["headers"]].count(b"audit-id") == 1
    assert [name.lower() for name, _ in sent[0]["headers"]].count(b"audit-promise") == 1
    assert sent[0]["headers"][0] == (b"x-other", b"1")


@pytest.mark.parametrize(
    ("line", "expected"),
    [((b"age", b"0"), "cache"), ((b"Age", b"17"), "cache"), ((b"age", b"x"), None),
     ((b"audit-id", b"odd"), "cache"), ((b"x-cache", b"HIT"), None)],
)  # fmt: skip
def test_an_age_means_a_cache(recorder: ObservingRecorder, line: Any, expected: str | None) -> None:
    """Only caches send it."""
    run(answering({**START, "headers": [line]}, body(b"{}")), recorder)
    assert recorder.only().replayed_from == expected


def test_ours_twice_records_once(recorder: ObservingRecorder) -> None:
    """A second middleware around the same application lets the request pass."""
    inner = AuditMiddleware(answering(START, body(b"{}")), recorder)  # type: ignore[arg-type]
    sent = run(inner, recorder)
    assert len(recorder.observations) == 1
    assert [name for name, _ in sent[0]["headers"]].count(b"audit-id") == 1
    assert recorder.only().replayed_from is None


def test_mode_is_in_the_observation() -> None:
    """Each decision says in which mode it was made."""
    for mode in ("fail_open", "fail_closed"):
        recorder = with_mode(mode=mode)
        run(answering(START, body(b"{}")), recorder)
        assert recorder.only().mode == mode


def test_a_late_disconnect_is_counted_once(recorder: ObservingRecorder) -> None:
    """Gone while the record was waited for: the record stands."""
    recorder.delay_s = 0.01

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

        async def listen() -> None:
            while not recorder.observations:  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert (await receive())["type"] == "http.disconnect"

        listener = asyncio.create_task(listen())
        await send(START)
        await send(body(b"{}"))
        await listener

    run(app, recorder)
    assert (recorder.only().ended, recorder.metrics.get("late_hangups")) == ("ok", 1)


@pytest.mark.parametrize("streamed", [False, True])
def test_cancellation_while_waiting_is_a_late_hang_up(recorder: ObservingRecorder, streamed: bool) -> None:
    """The observation was handed over; so was the answer, which leaves whole before the cancellation does."""
    recorder.outcome = silent
    recorder.settings = CaptureSettings(log_url="http://x.example/logs/m", wait_ms=60_000, strict=True)
    sent: list[Any] = []

    async def main() -> None:
        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"{}"}

        messages = [SSE, body(EVENT, more=True), body(DONE)] if streamed else [START, body(b"{}")]
        app = AuditMiddleware(answering(*messages), recorder)  # type: ignore[arg-type]
        task = asyncio.create_task(app(http_scope(), receive, send))
        while not recorder.observations:  # noqa: ASYNC110
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert (recorder.only().ended, recorder.metrics.get("late_hangups")) == ("ok", 1)
    assert text_of(sent) == (EVENT + DONE if streamed else b"{}")
    assert (b"audit-status" in headers_of(sent)) != streamed
    assert [message.get("more_body", True) for message in sent].count(False) == 1


def test_memory_of_a_large_stream_is_bounded(recorder: ObservingRecorder) -> None:
    """100 MB pass chunk by chunk; nothing but the first MiB is ever kept."""
    import tracemalloc

    chunk = EVENT[:-1] * 3000

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(SSE)
        tracemalloc.start()
        for _ in range(100_000_000 // len(chunk)):
            await send(body(chunk, more=True))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()
        await send(body(b""))

    async def send(_: Any) -> None: ...

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}"}

    asyncio.run(AuditMiddleware(app, recorder)(http_scope(), receive, send))  # type: ignore[arg-type]
    assert recorder.only().exchange.response.length > 99_000_000


async def _drive(app: Any, recorder: ObservingRecorder, **kwargs: Any) -> list[Any]:
    return await drive(AuditMiddleware(app, recorder), http_scope(**kwargs))  # type: ignore[arg-type]


def test_many_at_once_wait_side_by_side(recorder: ObservingRecorder) -> None:
    """Waiting for one record holds up no other request."""
    recorder.delay_s = 0.005

    async def main() -> list[list[Any]]:
        app = answering(START, body(b"{}"))
        return await asyncio.gather(*(_drive(app, recorder) for _ in range(50)))

    answers = asyncio.run(main())
    assert all(b"audit-promise" in headers_of(sent) for sent in answers)
    assert len({headers_of(sent)[b"audit-id"] for sent in answers}) == 50
