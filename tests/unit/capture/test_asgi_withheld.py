"""fail_closed: whatever a stream looks like, its end is missing where it could not be put on record."""

from __future__ import annotations

import asyncio
import gzip
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditlog.capture import CaptureSettings
from auditlog.capture.asgi import AuditMiddleware
from auditlog.capture.body_tap import BodyTap
from auditlog.capture.http_ending import MAX_AFTER_END_BYTES
from auditlog.capture.unrecordable import AnswerWithheld
from tests.support.observing import START, ObservingRecorder, body, http_scope, lost

CHAT, OTHER = "/v1/chat/completions", "/anything"
SSE = {**START, "headers": [(b"content-type", b"text/event-stream")]}
NDJSON = {**START, "headers": [(b"content-type", b"application/x-ndjson")]}
EVENT, DONE = b'data: {"choices":[]}\n\n', b"data: [DONE]\n\n"
CODED = gzip.compress(EVENT + DONE, mtime=0)


def closed(outcome: Any = None) -> ObservingRecorder:
    """A recorder in fail_closed."""
    recorder = ObservingRecorder(
        CaptureSettings(log_url="http://log.example/l", mode="fail_closed", fail_after_ms=5, strict=True)
    )
    recorder.outcome = outcome or recorder.outcome
    return recorder


def streamed(recorder: ObservingRecorder, path: str, start: Any, chunks: list[bytes], **scope: Any) -> Any:
    """What was at the server after each message of a stream, and whether it was cut."""
    at_server: list[bytes] = [b""]
    after: list[bytes] = []

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(start)
        for number, chunk in enumerate(chunks):
            await send(body(chunk, more=number + 1 < len(chunks)))
            after.append(at_server[0])

    async def main() -> None:
        async def send(message: Any) -> None:
            at_server[0] += message.get("body", b"")

        async def receive() -> Any:
            return {"type": "http.request", "body": b"{}"}

        await AuditMiddleware(app, recorder)(http_scope(path, **scope), receive, send)  # type: ignore[arg-type]

    try:
        asyncio.run(main())
    except AnswerWithheld:
        return after, at_server[0], True
    return after, at_server[0], False


def with_line(name: bytes, value: bytes) -> Any:
    """The start of an event stream with one more header line."""
    return {**SSE, "headers": [(b"content-type", b"text/event-stream"), (name, value)]}


MESSAGES = "/v1/messages"
NAMED = b'event: message_delta\ndata: {"type":"message_delta"}\n\n'
NAMELESS = b'data: {"type":"ping"}\r\n\r\n'
STOP = b'data: {"type" : "message_stop"}\n\n'
COMPLETED = b'data: {"type":"response.completed","response":{}}\n\n'
CUT: dict[str, tuple[str, Any, list[bytes], bytes]] = {
    "json, then an empty message": (CHAT, START, [b'{"label":"approved"}', b""], b""),
    "lines of json": ("/api/chat", NDJSON, [b'{"a":1}\n', b'{"done":true}\n', b""], b'{"a":1}\n'),
    "coded events": (CHAT, with_line(b"content-encoding", b"gzip"), [CODED[:9], CODED[9:], b""], CODED[:9]),
    "an odd coding": (CHAT, with_line(b"content-encoding", b"\xff"), [CODED[:9], CODED[9:], b""], CODED[:9]),
    "digest": (CHAT, with_line(b"repr-digest", b"sha-256=:x:"), [EVENT, DONE, b""], EVENT),
    "length": (CHAT, with_line(b"content-length", b"36"), [EVENT, DONE[:13], DONE[13:], b""], EVENT),
    "ids": (CHAT, SSE, [b"id: 1\n" + EVENT, DONE, b""], b"id: 1\n" + EVENT),
    "blanks": (CHAT, SSE, [EVENT, b"data: \t[DONE]", b" \t", b"\n\n", b""], EVENT),
    "a named event": (CHAT, SSE, [EVENT, b"event: done\ndata: [DONE]\n\n", b""], EVENT + b"event: done\n"),
    "blanks after a name": ("/v1/messages", SSE, [EVENT, b"event: message_stop \ndata: {}\n\n", b""], EVENT),
    "events of no dialect": (OTHER, SSE, [EVENT, EVENT * 2, b""], EVENT),
    "the usual end in no dialect": (OTHER, SSE, [EVENT, EVENT, DONE, b": bye\n\n", b""], EVENT * 2),
    "the usual end and more": (CHAT, SSE, [EVENT, b"data: [DO", b"NE]x\n\n", b""], EVENT),
    "the type in the data": (
        MESSAGES,
        SSE,
        [NAMED, b"event: x\n" + STOP, b": bye\n\n", b""],
        NAMED + b"event: x\n",
    ),
    "a type in two pieces": (
        MESSAGES,
        SSE,
        [NAMED, b"event: x\n" + STOP[:19], STOP[19:], b"\n", b""],
        NAMED + b"event: x\n" + STOP[:19],
    ),
    "no names": ("/v1/responses", SSE, [NAMELESS, COMPLETED, b"data: [D", b""], NAMELESS),
    "no names, the end alone": ("/v1/responses", SSE, [COMPLETED, b": bye\n\n", b""], b""),
    "no names, an escape": (
        MESSAGES,
        SSE,
        [NAMED, NAMELESS, STOP.replace(b"_", b"\\u005f"), b""],
        NAMED + NAMELESS,
    ),
    "no line end": (CHAT, SSE, [EVENT, b"data: [DONE]", b""], EVENT),
}


@pytest.mark.parametrize("name", list(CUT))
@pytest.mark.parametrize("version", ["1.0", "1.1", "2"])
def test_the_content_of_a_cut_answer_lacks_its_end(name: str, version: str) -> None:
    """Whatever the version of HTTP: the newest chunk, or the terminal event, has not left."""
    path, start, chunks, left = CUT[name]
    recorder = closed(lost)
    assert streamed(recorder, path, start, chunks, http_version=version)[1:] == (left, True)
    assert recorder.metrics.get("refused.503") == 1


@pytest.mark.parametrize("name", list(CUT))
def test_the_same_on_record_leaves_whole(name: str) -> None:
    """No byte is lost or changed, but for a comment where one may stand."""
    path, start, chunks, _ = CUT[name]
    recorder = closed()
    _, whole, is_cut = streamed(recorder, path, start, chunks)
    assert (whole, is_cut) == (b"".join(chunks), False)
    assert recorder.only().ended == "ok"


@pytest.mark.parametrize(("version", "left"), [("1.0", EVENT), ("1.1", EVENT * 2)])
def test_a_known_stream_that_never_says_its_end(version: str, left: bytes) -> None:
    """Where closing is the end, its newest chunk waits; else only the end of the chunks is missing."""
    got = streamed(closed(lost), CHAT, SSE, [EVENT, EVENT, b""], http_version=version)
    assert got[1:] == (left, True)


def test_known_streams_are_not_behind() -> None:
    """Each event of a known dialect leaves at once; other streams are one chunk behind, not more."""
    chunks = [EVENT, EVENT, DONE, b""]
    assert streamed(closed(), CHAT, SSE, chunks)[0][:3] == [EVENT, EVENT * 2, EVENT * 2]
    assert streamed(closed(), OTHER, NDJSON, chunks)[0][:3] == [b"", EVENT, EVENT * 2]
    chunks = [NAMED, NAMED[:30], NAMED[30:], b"event: message_stop\n" + STOP, b""]
    after = streamed(closed(), MESSAGES, SSE, chunks)[0]
    assert [len(left) for left in after[:4]] == [len(NAMED), len(NAMED) + 30, 2 * len(NAMED), 2 * len(NAMED)]
    assert b": audit-promise " in after[4]


def test_an_application_that_stops_without_its_last_message() -> None:
    """The chunk that is held leaves if it is on record."""

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(NDJSON)
        await send(body(b"1\n", more=True))
        await send(body(b"2\n", more=True))

    for outcome, expected in ((None, b"1\n2\n"), (lost, b"1\n")):
        sent: list[bytes] = []

        async def main(recorder: Any, sent: list[bytes]) -> None:
            async def send(message: Any) -> None:
                sent.append(message.get("body", b""))

            async def receive() -> Any:
                return {"type": "http.request", "body": b"{}"}

            await AuditMiddleware(app, recorder)(http_scope(OTHER), receive, send)

        if outcome is lost:
            with pytest.raises(AnswerWithheld):
                asyncio.run(main(closed(outcome), sent))
        else:
            asyncio.run(main(closed(outcome), sent))
        assert b"".join(sent) == expected


def test_what_only_looked_like_the_end_does_not_hold_the_stream_up() -> None:
    """More than a terminal event can bring follows it: from then on the newest chunk waits."""
    long = b"data: " + b"x" * MAX_AFTER_END_BYTES + b"\n\n"
    chunks = [EVENT, b"data: [DONE] \n\n", long, EVENT, EVENT, b""]
    after, left, is_cut = streamed(closed(lost), CHAT, SSE, chunks)
    assert [len(part) for part in after] == [len(b"".join(chunks[:n])) for n in (1, 1, 2, 3, 4)]
    assert (left, is_cut) == (b"".join(chunks[:4]), True)


STREAM = EVENT + b"event: done\r\ndata:  [DONE] \r\n\r\n: bye\n\n"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, len(STREAM)), max_size=12), st.sampled_from([CHAT, OTHER]), st.booleans())
def test_every_cut_into_messages(places: list[int], path: str, is_on_record: bool) -> None:
    """The line that says `[DONE]` never leaves before the record, however the stream comes."""
    bounds = [0, *sorted(places), len(STREAM)]
    chunks = [*(STREAM[a:b] for a, b in pairwise(bounds)), b""]
    _, left, is_cut = streamed(closed(None if is_on_record else lost), path, SSE, chunks)
    assert is_cut is not is_on_record
    if is_on_record:
        assert left == STREAM
    else:
        assert STREAM.startswith(left)
        assert len(left) <= STREAM.index(b"data:  [DONE]")


def test_a_record_that_fails_in_the_middle_cuts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be committed to any more is not served on."""
    recorder = closed()
    recorder.settings = CaptureSettings(log_url="http://log.example/l", mode="fail_closed", fail_after_ms=5)
    real, fed = BodyTap.feed, []

    def broken(tap: BodyTap, chunk: bytes) -> None:
        real(tap, chunk)
        fed.append(chunk)
        if fed.count(EVENT) > 1:
            raise RuntimeError

    monkeypatch.setattr(BodyTap, "feed", broken)
    recorder.guard = type(recorder.guard)(recorder.metrics, recorder.guard._logger)
    assert streamed(recorder, CHAT, SSE, [EVENT, EVENT, EVENT, b""])[1:] == (EVENT, True)


NAMES = NAMED + b"event: other\r\n" + STOP + b": bye\n\n"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, len(NAMES)), max_size=12))
def test_every_cut_of_an_event_whose_data_says_the_end(places: list[int]) -> None:
    """The line with the telling `type` never leaves whole before the record."""
    chunks = [*(NAMES[a:b] for a, b in pairwise([0, *sorted(places), len(NAMES)])), b""]
    _, left, is_cut = streamed(closed(lost), MESSAGES, SSE, chunks)
    assert is_cut
    assert NAMES.startswith(left)
    assert len(left) < NAMES.index(b'stop"') + 5
