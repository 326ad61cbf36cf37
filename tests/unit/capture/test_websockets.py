"""Websockets: one entry per turn or connection, framed bodies, messages untouched."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Iterable
from typing import Any

import pytest

from auditlog.capture import CaptureSettings
from auditlog.capture.asgi import AuditMiddleware
from auditlog.capture.routes import RouteTable
from auditlog.capture.settings import parse_routes
from auditlog.capture.starting import begin
from auditlog.capture.unrecordable import AnswerWithheld
from auditlog.core.commitment import commit_body
from tests.support.observing import DECISION_ID, RECEIPTS, ObservingRecorder, lost

REALTIME = "/v1/realtime"
CONNECT = {"type": "websocket.connect"}
ACCEPT = {"type": "websocket.accept", "subprotocol": "realtime", "headers": [(b"x-app", b"1")]}
CLOSE = {"type": "websocket.close", "code": 1000}
Message = dict[str, Any]


@pytest.fixture
def recorder() -> ObservingRecorder:
    """A recorder in memory, raising the layer's own errors."""
    return ObservingRecorder()


def said(text: str | bytes) -> Message:
    """A message of the client."""
    return {"type": "websocket.receive", "text" if isinstance(text, str) else "bytes": text}


def say(text: str | bytes) -> Message:
    """A message of the server."""
    return {"type": "websocket.send", "text" if isinstance(text, str) else "bytes": text}


def event(kind: str, **members: Any) -> str:
    """An event of the realtime protocol."""
    return json.dumps({"type": kind, **members})


def gone(code: int = 1005) -> Message:
    """The client has left."""
    return {"type": "websocket.disconnect", "code": code}


def framed(*messages: str | bytes) -> bytes:
    """What messages contribute to a body: kind, length, bytes."""
    parts = b""
    for message in messages:
        content = message.encode() if isinstance(message, str) else message
        parts += struct.pack(">BI", 1 if isinstance(message, str) else 2, len(content)) + content
    return parts


def scope(path: str = REALTIME, **members: Any) -> Message:
    """A scope as a websocket server makes it."""
    return {
        "type": "websocket", "asgi": {"version": "3.0", "spec_version": "2.4"}, "path": path,
        "root_path": "", "headers": [], "server": ("127.0.0.1", 8000), **members,
    }  # fmt: skip


def converse(
    recorder: ObservingRecorder,
    steps: Iterable[Message | str],
    *,
    incoming: Iterable[Message] = (),
    error: BaseException | None = None,
    sent: list[Message] | None = None,
    **members: Any,
) -> list[Message]:
    """Run an application that sends the dicts among `steps` and receives at each "<"; what was sent."""
    queue, sent = [CONNECT, *incoming], [] if sent is None else sent

    async def receive() -> Message:
        return queue.pop(0) if queue else gone()

    async def send(message: Message) -> None:
        sent.append(message)

    async def app(_: Any, receive: Any, send: Any) -> None:
        for step in steps:
            await (receive() if isinstance(step, str) else send(step))
        if error is not None:
            raise error

    asyncio.run(AuditMiddleware(app, recorder)(scope(**members), receive, send))  # type: ignore[arg-type]
    return sent


def test_messages_pass_and_the_handshake_names_the_decision(recorder: ObservingRecorder) -> None:
    """All messages are the application's own objects, but for the lines on the accept."""
    steps = ["<", ACCEPT, "<", say("a"), say(b"\x00"), CLOSE]
    sent = converse(recorder, steps, incoming=[said("hi")], path="/anything")
    assert all(got is given for got, given in zip(sent[1:], [*steps[3:]], strict=True))
    assert sent[0]["subprotocol"] == "realtime"
    number = recorder.only().exchange.id
    assert sent[0]["headers"] == [
        (b"x-app", b"1"),
        (b"audit-id", number.encode()),
        (b"audit-receipt", (RECEIPTS + number).encode()),
    ]


def test_bodies_are_framed_messages(recorder: ObservingRecorder) -> None:
    """Kind, length and bytes of each message: no cut of the same bytes into others gives the same body."""
    steps = ["<", ACCEPT, "<", say("é"), "<", say(b""), CLOSE]
    converse(recorder, steps, incoming=[said("ü"), said(b"\xff\x00")])
    seen = recorder.only()
    key = seen.exchange.exchange_key
    assert seen.exchange.request.digest() == commit_body(key, "request", framed("ü", b"\xff\x00"))
    assert seen.exchange.response.digest() == commit_body(key, "response", framed("é", b""))
    assert (seen.request.data, seen.response.data) == (framed("ü", b"\xff\x00"), framed("é", b""))
    assert (seen.operation, seen.route, seen.ended, seen.status) == ("chat", REALTIME, "ok", None)


@pytest.mark.parametrize("end", ["response.done", "transcription.done"])
def test_one_entry_per_turn(recorder: ObservingRecorder, end: str) -> None:
    """A turn ends with the server's last event of it (OpenAI's, or vLLM's for a transcription); facts tie the
    turns to the id of the handshake.
    """
    done = event(end, response={})
    steps = ["<", ACCEPT, say("hello"), "<", say("delta"), say(done), "<", say(done), say(done), CLOSE]
    converse(recorder, steps, incoming=[said("one"), said("two")])
    found = [(seen.request.data, seen.response.data) for seen in recorder.observations]
    assert found == [
        (framed("one"), framed("hello", "delta", done)),
        (framed("two"), framed(done)),
        (b"", framed(done)),
    ]
    first = recorder.observations[0].exchange.id
    facts = [dict(seen.facts or {}) for seen in recorder.observations]
    assert facts == [{"connection": first, "turn": number} for number in (1, 2, 3)]


@pytest.mark.parametrize(
    "text",
    ['{"type":"response.done"', '{"type":"x","note":"response.done"}', '["response.done"]', "response.done"],
)
def test_what_only_mentions_the_end_of_a_turn(recorder: ObservingRecorder, text: str) -> None:
    """Only the type of the event counts, and only where the server says it."""
    steps = ["<", ACCEPT, "<", say(text), CLOSE]
    converse(recorder, steps, incoming=[said(event("response.done"))])
    assert len(recorder.observations) == 1


@pytest.mark.parametrize(
    ("last", "code", "path", "ended"),
    [
        ("x", 1005, "/other", "ok"),
        ("x", 1000, "/other", "ok"),
        ("x", 1006, "/other", "client_disconnected"),
        ("x", 1000, REALTIME, "client_disconnected"),
        (event("response.done"), 1006, REALTIME, "ok"),
    ],
)
def test_how_a_connection_ends(
    recorder: ObservingRecorder, last: str, code: int, path: str, ended: str
) -> None:
    """A client that leaves without closing, or within a turn, has hung up."""
    steps = ["<", ACCEPT, "<", say(last), "<"]
    converse(recorder, steps, incoming=[said("hi"), gone(code)], path=path)
    assert [seen.ended for seen in recorder.observations] == [ended]


@pytest.mark.parametrize(("code", "ended"), [(1000, "ok"), (None, "ok"), (3999, "ok"), (1011, "error")])
def test_the_servers_close(recorder: ObservingRecorder, code: int | None, ended: str) -> None:
    """Its code says whether it went wrong."""
    close = {"type": "websocket.close"} if code is None else {**CLOSE, "code": code}
    converse(recorder, ["<", ACCEPT, close], path="/x")
    assert recorder.only().ended == ended


@pytest.mark.parametrize(
    ("error", "ended"), [(ValueError("model"), "error"), (asyncio.CancelledError(), "aborted")]
)
def test_failures_are_recorded_and_raised_again(
    recorder: ObservingRecorder, error: BaseException, ended: str
) -> None:
    """The very exception passes through."""
    with pytest.raises(type(error)):
        converse(recorder, ["<", ACCEPT, "<"], incoming=[said("hi")], error=error)
    assert recorder.only().ended == ended


REFUSALS: list[tuple[list[Message], str]] = [
    ([CLOSE], "refused.403"),
    ([{"type": "websocket.http.response.start", "status": 401, "headers": []},
      {"type": "websocket.http.response.body", "body": b"no"}], "refused.401"),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "metric"), REFUSALS)
def test_a_refused_handshake_is_counted(
    recorder: ObservingRecorder, steps: list[Message], metric: str
) -> None:
    """Nothing was decided: no entry, no line of ours."""
    assert converse(recorder, ["<", *steps]) == steps
    assert (recorder.observations, len(recorder.dropped)) == ([], 1)
    assert recorder.metrics.get(metric) == 1


def test_an_old_server_gets_no_headers(recorder: ObservingRecorder) -> None:
    """Before version 2.1 of the protocol an accept had none."""
    sent = converse(recorder, ["<", ACCEPT, CLOSE], asgi={"version": "3.0"})
    assert sent[0] is ACCEPT


def test_unknown_sockets_keep_no_values_and_skipped_ones_nothing() -> None:
    """As with POST: recorded without values unless the operator says otherwise."""
    rules = parse_routes("WEBSOCKET /skip=skip, WEBSOCKET /own=values", [])
    recorder = ObservingRecorder(CaptureSettings(log_url="http://x.example/l", strict=True, routes=rules))
    for path in ("/unknown", "/skip", "/own"):
        converse(recorder, ["<", ACCEPT, "<", CLOSE], incoming=[said("hi")], path=path)
    unknown, own = recorder.observations
    assert (unknown.keep_values, unknown.request.data, unknown.operation) == (False, None, "unknown")
    assert (own.keep_values, own.request.data) == (True, framed("hi"))


def test_long_conversations_are_committed_to_but_not_kept(recorder: ObservingRecorder) -> None:
    """Beyond the cap only the running commitment stays."""
    text = "x" * 600_000
    converse(recorder, ["<", ACCEPT, say(text), say(text), CLOSE], path="/x")
    seen = recorder.only()
    assert seen.response.data is None
    assert seen.exchange.response.digest() == commit_body(
        seen.exchange.exchange_key, "response", framed(text, text)
    )


def test_an_application_that_fails_before_it_accepts(recorder: ObservingRecorder) -> None:
    """Nothing was decided: turned away, and so in a count (servers answer 500)."""
    with pytest.raises(ValueError, match="model"):
        converse(recorder, ["<"], error=ValueError("model"))
    assert (recorder.observations, recorder.metrics.get("refused.500")) == ([], 1)


def test_own_failures_never_reach_the_application() -> None:
    """The conversation goes on unrecorded; the loss is said."""
    recorder = ObservingRecorder(CaptureSettings(log_url="http://log.example/logs/main"))
    real = recorder.new_exchange

    def minted() -> Any:
        exchange = real()
        assert exchange is not None
        exchange.response = object()  # type: ignore[assignment]
        return exchange

    recorder.new_exchange = minted  # type: ignore[method-assign]
    steps = ["<", ACCEPT, say("a"), say("b"), CLOSE]
    sent = converse(recorder, steps)
    assert [message["type"] for message in sent] == [step["type"] for step in steps[1:]]  # type: ignore[index]
    assert (recorder.observations, len(recorder.lost)) == ([], 1)


def closed(outcome: Any = None) -> ObservingRecorder:
    """A recorder in fail_closed."""
    settings = CaptureSettings(
        log_url="http://log.example/logs/main", mode="fail_closed", fail_after_ms=5, strict=True
    )
    recorder = ObservingRecorder(settings)
    recorder.outcome = outcome or recorder.outcome
    return recorder


@pytest.mark.parametrize("extended", [False, True])
def test_fail_closed_turns_a_handshake_away(extended: bool) -> None:
    """Without room the application is not called."""
    recorder = closed()
    recorder.can_reserve = False
    extensions = {"websocket.http.response": {}} if extended else {}
    sent = converse(recorder, [], error=AssertionError("called"), extensions=extensions)
    if extended:
        assert [message["type"] for message in sent] == [
            "websocket.http.response.start",
            "websocket.http.response.body",
        ]
        assert sent[0]["status"] == 503
    else:
        assert sent == [{"type": "websocket.close", "code": 1013}]
    assert recorder.metrics.get("refused.503") == 1


def test_fail_closed_holds_the_end_of_a_turn() -> None:
    """It leaves once the turn is durable, and its promise is shown at its address."""
    recorder, done = closed(), event("response.done")
    sent = converse(recorder, ["<", ACCEPT, "<", say(done), CLOSE], incoming=[said("hi")])
    assert sent[1] == say(done)
    assert recorder.shown == [DECISION_ID.format(1)]


def test_fail_closed_cuts_at_a_turn_that_is_not_durable() -> None:
    """Its last message is not sent, and the application is ended."""
    recorder, done = closed(lost), event("response.done")
    with pytest.raises(AnswerWithheld):
        converse(recorder, ["<", ACCEPT, "<", say("delta"), say(done), CLOSE], incoming=[said("hi")])


@pytest.mark.parametrize(
    "end",
    [b'{"type":"response.done"}', '{"type":"response\\u002edone"}', b'{"t\\u0079pe":"response.d\\u006fne"}'],
)
def test_the_end_of_a_turn_in_another_form(end: str | bytes) -> None:
    """A binary frame, or escapes in the JSON: a client reads the same event."""
    sent: list[Message] = []
    with pytest.raises(AnswerWithheld):
        converse(closed(lost), ["<", ACCEPT, "<", say("delta"), say(end)], incoming=[said("hi")], sent=sent)
    assert sent[1:] == [say("delta")]
    recorder = closed()
    converse(recorder, ["<", ACCEPT, "<", say(end), "<", say(end), CLOSE], incoming=[said("a"), said("b")])
    assert [dict(seen.facts or {})["turn"] for seen in recorder.observations] == [1, 2]


@pytest.mark.parametrize("outcome", [None, lost])
def test_an_application_that_returns_without_a_close_waits(outcome: Any) -> None:
    """The server's own close is the end of what was said; what the client left is not waited for."""
    recorder, sent = closed(outcome), list[Message]()
    steps = ["<", ACCEPT, "<", say('{"type":"response.output_text.done"}')]
    if outcome is None:
        converse(recorder, steps, incoming=[said("hi")], sent=sent)
        assert recorder.shown == [DECISION_ID.format(1)]
    else:
        with pytest.raises(AnswerWithheld):
            converse(recorder, steps, incoming=[said("hi")], sent=sent)
        assert recorder.metrics.get("refused.503") == 1
        converse(recorder, [*steps, "<"], incoming=[said("hi")])
        assert recorder.observations[1].ended == "client_disconnected"
    assert recorder.observations[0].ended == "ok"


def test_fail_closed_needs_room_for_each_turn() -> None:
    """A further turn that cannot be reserved does not reach the application."""
    recorder, done, reached = closed(), event("response.done"), []

    def steps() -> Iterable[Any]:
        yield from ("<", ACCEPT, "<", say(done))
        recorder.can_reserve = False
        yield "<"
        reached.append("second turn")

    with pytest.raises(AnswerWithheld):
        converse(recorder, steps(), incoming=[said("one"), said("two")])
    assert (len(recorder.observations), reached) == (1, [])


@pytest.mark.parametrize("extended", [False, True])
def test_fail_closed_turns_sockets_without_turns_away(extended: bool) -> None:
    """No message of theirs could wait for a record: refused before anything is reserved or decided."""
    recorder = closed()
    extensions = {"websocket.http.response": {}} if extended else {}
    sent = converse(recorder, [], error=AssertionError("called"), path="/ws/chat", extensions=extensions)
    if extended:
        assert "whose turns end" in json.loads(sent[1]["body"])["detail"]
    else:
        assert sent == [{"type": "websocket.close", "code": 1013}]
    assert (recorder.metrics.get("refused.503"), recorder.minted, recorder.reserved) == (1, 0, 0)


def test_fail_closed_lets_skipped_sockets_pass() -> None:
    """What the operator leaves out is not refused."""
    rules = parse_routes("WEBSOCKET /ws/chat=skip", [])
    recorder = ObservingRecorder(
        CaptureSettings(log_url="http://x.example/l", mode="fail_closed", routes=rules)
    )
    assert converse(recorder, ["<", ACCEPT, CLOSE], path="/ws/chat") == [ACCEPT, CLOSE]


@pytest.mark.parametrize("mode", ["fail_open", "fail_closed"])
def test_the_start_says_which_sockets_are_turned_away(mode: Any, caplog: pytest.LogCaptureFixture) -> None:
    """One line of the table of routes, in fail_closed alone."""
    from fastapi import FastAPI

    app = FastAPI()
    for path in ("/ws/chat", REALTIME):
        app.add_api_websocket_route(path, lambda: None)
    settings = CaptureSettings(log_url="http://x.example/l", mode=mode)
    recorder = ObservingRecorder(settings)
    with caplog.at_level("INFO", logger="auditlog.capture"):
        begin(recorder, app, RouteTable(()))  # type: ignore[arg-type]
    lines = [line for line in caplog.text.splitlines() if "refused in fail_closed" in line]
    assert [line.rpartition(": ")[2] for line in lines] == (["/ws/chat"] if mode == "fail_closed" else [])


MALFORMED: list[Any] = [
    {"type": "websocket.accept", "headers": None},
    {"type": "websocket.close", "code": "odd"},
    {"text": "no type"},
    None,
]


@pytest.mark.parametrize("message", MALFORMED)
def test_the_server_judges_what_is_malformed(message: Any) -> None:
    """It gets the message as it came; nothing of ours is raised instead."""
    recorder = ObservingRecorder(CaptureSettings(log_url="http://x.example/l"))
    before = (
        [] if message and message["type" if "type" in message else "text"].endswith("accept") else [ACCEPT]
    )
    sent = converse(recorder, ["<", *before, message])
    assert sent[-1] is message
