"""Official clients, websockets and connections that are cut, on a real server with the middleware."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from websockets.sync.client import connect

from auditlog.capture import CaptureSettings
from auditlog.capture.asgi import AuditMiddleware
from tests.support.observing import ObservingRecorder, lost
from tests.support.vllm_like import VllmLike, exchange, request_bytes, served
from tests.support.vllm_streams import TOOL

QUESTION: list[Any] = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def ports() -> Iterator[tuple[int, int, ObservingRecorder]]:
    """The ports of the bare and the wrapped server, and what the latter's recorder saw."""
    bare, wrapped, recorder = VllmLike(), VllmLike(), ObservingRecorder()
    wrapped.app.add_middleware(AuditMiddleware, recorder=recorder)
    with served(bare.app) as bare_port, served(wrapped.app) as wrapped_port:
        yield bare_port, wrapped_port, recorder


def chat(client: openai.OpenAI) -> list[Any]:
    """A chat stream, event by event."""
    with client.chat.completions.create(model="tiny", messages=QUESTION, stream=True) as stream:
        return [event.to_dict() for event in stream]


def chat_helper(client: openai.OpenAI) -> list[Any]:
    """A chat stream through the client's own accumulator, tool calls included."""
    tool: Any = {"type": "function", "function": {"name": TOOL["name"], "strict": True, "parameters": {}}}
    with client.chat.completions.stream(model="tiny", messages=QUESTION, tools=[tool]) as stream:
        kinds = [event.type for event in stream]
        call = stream.get_final_completion().choices[0].message.tool_calls
    assert call is not None
    assert call[0].function.arguments == TOOL["arguments"]
    return kinds


def completions(client: openai.OpenAI) -> list[Any]:
    """A completions stream."""
    with client.completions.create(model="tiny", prompt="p", stream=True) as stream:
        return [event.to_dict() for event in stream]


def responses(client: openai.OpenAI) -> list[Any]:
    """A responses stream through the client's own accumulator."""
    with client.responses.stream(model="tiny", input="i") as stream:
        events = [event.to_dict(warnings=False) for event in stream]
        assert stream.get_final_response().output_text.startswith("w0 é")
    return events


@pytest.mark.parametrize("ask", [chat, chat_helper, completions, responses])
def test_the_openai_client_streams_unaware(ports: Any, ask: Any) -> None:
    """The same events, in the same order, with and without the middleware."""
    answers = []
    for port in ports[:2]:
        url = f"http://127.0.0.1:{port}/v1"
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
            answers.append(ask(client))
    assert answers[0] == answers[1]
    assert len(answers[0]) > 3
    assert ports[2].observations[-1].ended == "ok"


def messages(client: anthropic.Anthropic) -> list[Any]:
    """A messages stream through the client's own accumulator, a tool's input included."""
    tool: Any = {"name": TOOL["name"], "input_schema": {"type": "object"}}
    with client.messages.stream(model="tiny", max_tokens=9, messages=QUESTION, tools=[tool]) as stream:
        events = [event.to_dict() for event in stream]
        assert stream.get_final_message().content[-1].to_dict()["input"] == json.loads(TOOL["arguments"])
    return events


def raw_messages(client: anthropic.Anthropic) -> list[Any]:
    """A messages stream, event by event."""
    with client.messages.create(model="tiny", max_tokens=9, messages=QUESTION, stream=True) as stream:
        return [event.to_dict() for event in stream]


@pytest.mark.parametrize("ask", [messages, raw_messages])
def test_the_anthropic_client_streams_unaware(ports: Any, ask: Any) -> None:
    """The same events, in the same order, with and without the middleware."""
    answers = []
    for port in ports[:2]:
        url = f"http://127.0.0.1:{port}"
        with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client:
            answers.append(ask(client))
    assert answers[0] == answers[1]
    assert ports[2].observations[-1].response.dialect == "anthropic.messages"


def test_a_realtime_session_is_untouched_and_leaves_an_entry_a_turn(ports: Any) -> None:
    """The same messages come back; the handshake names the first turn."""
    *both, recorder = ports
    recorder.observations.clear()
    told = []
    for port in both:
        with connect(f"ws://127.0.0.1:{port}/v1/realtime", subprotocols=["realtime"]) as session:  # type: ignore[list-item]
            said = []
            for question in ("one two", "three"):
                session.send(question)
                said += [session.recv() for _ in range(len(question.split()) + 1)]
            told.append((said, session.subprotocol))
            assert session.response is not None
            number = session.response.headers.get("Audit-Id")
    assert told[0] == told[1]
    assert [seen.ended for seen in recorder.observations] == ["ok", "ok"]
    assert recorder.observations[0].exchange.id == number


@contextlib.contextmanager
def closed(http: str, outcome: Any) -> Iterator[int]:
    """A server in fail_closed."""
    settings = CaptureSettings(log_url="http://log.example/logs/main", mode="fail_closed", fail_after_ms=50)
    recorder, like = ObservingRecorder(settings), VllmLike()
    recorder.outcome = outcome
    like.app.add_middleware(AuditMiddleware, recorder=recorder)
    with served(like.app, http=http) as port:
        yield port


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_fail_closed_cuts_what_cannot_be_put_on_record(http: str) -> None:
    """A whole answer becomes 503; a stream has neither its terminal event nor an end of its chunks."""
    with closed(http, lost) as port:
        whole = exchange(port, request_bytes("/v1/chat/completions", b"{}"))
        assert whole.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: " in whole
        assert b"w0" not in whole
        for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat"):
            cut = exchange(port, request_bytes(path, b'{"stream":true}', close=False))
            assert cut.startswith(b"HTTP/1.1 200 ")
            assert (b"w4" in cut) == (path != "/api/chat")  # No line of that one says that it is the last.
            assert not cut.endswith(b"0\r\n\r\n")
            assert not any(end in cut for end in (b"[DONE]", b"message_stop", b"response.completed"))
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0) as client:
            with pytest.raises(openai.InternalServerError):
                client.completions.create(model="tiny", prompt="p")
            with pytest.raises((openai.APIError, httpx.RemoteProtocolError)):
                chat(client)


def test_a_client_that_leaves_during_the_wait_is_a_late_hang_up() -> None:
    """The answer was sealed; the record says `ok`, the counter says one."""
    recorder, like = ObservingRecorder(), VllmLike()
    recorder.settings = CaptureSettings(log_url="http://log.example/logs/main", wait_ms=60_000, strict=True)
    recorder.delay_s = 0.3
    like.app.add_middleware(AuditMiddleware, recorder=recorder)
    with served(like.app) as port, socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request_bytes("/v1/completions", b'{"stream":true}'))
        received = b""
        while b"w4" not in received:
            received += connection.recv(65536)
        connection.close()
    assert [seen.ended for seen in recorder.observations] == ["ok"]
    assert recorder.metrics.get("late_hangups") == 1
