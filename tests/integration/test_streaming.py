"""A real server with and without the middleware: the bytes on the wire are the same, our header lines aside.

Chunked transfer coding shows every `send` as one chunk, so equal bytes mean equal chunk boundaries too.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import random
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from fastapi.middleware.gzip import GZipMiddleware

from auditlog.capture import CaptureSettings, Recorder
from auditlog.core.commitment import commit_body
from auditlog.core.fold import fold
from tests.support.observing import ObservingRecorder
from tests.support.vllm_like import VllmLike, exchange, request_bytes, served

DOTTED_PATH = "auditlog.capture.asgi.AuditMiddleware"
"""As `vllm serve --middleware` names it."""

OUR_LINES = re.compile(
    rb"(audit-id|audit-receipt|audit-key|audit-promise|audit-status): [^\r]*\r\n"
    rb"|cache-control: private, no-store\r\n"
    rb"|[0-9a-f]+\r\n: audit-promise [A-Za-z0-9+/=]+\n\n\r\n"
)
"""Our header lines, and the chunk that is our comment."""


class Pair:
    """The same application served twice, bare and wrapped, and what the wrapped one's recorder saw."""

    def __init__(self, bare: tuple[VllmLike, int], wrapped: tuple[VllmLike, int], recorder: Any) -> None:
        self.bare, self.bare_port = bare
        self.wrapped, self.wrapped_port = wrapped
        self.recorder = recorder

    def compare(self, request: bytes) -> bytes:
        """Send the request to both; the answers must be the same bytes but for our lines. Returns the wrapped
        one.
        """
        plain, audited = exchange(self.bare_port, request), exchange(self.wrapped_port, request)
        assert OUR_LINES.sub(b"", audited) == plain
        return audited


def wrap(like: VllmLike, **options: Any) -> None:
    """Add the middleware the way vLLM does: import the dotted path, hand the class to FastAPI."""
    module, _, name = DOTTED_PATH.rpartition(".")
    like.app.add_middleware(getattr(importlib.import_module(module), name), **options)


@contextlib.contextmanager
def pair(http: str, prepare: Callable[[VllmLike], None] = lambda _: None) -> Iterator[Pair]:
    """Both servers; `prepare` is done to either application before ours goes around it."""
    bare, wrapped, recorder = VllmLike(), VllmLike(), ObservingRecorder()
    prepare(bare)
    prepare(wrapped)
    wrap(wrapped, recorder=recorder)
    with served(bare.app, http=http) as bare_port, served(wrapped.app, http=http) as wrapped_port:
        yield Pair((bare, bare_port), (wrapped, wrapped_port), recorder)


@pytest.fixture(scope="module", params=["httptools", "h11"])
def servers(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two servers, for each of uvicorn's HTTP implementations."""
    with pair(request.param) as both:
        yield both


@pytest.fixture
def seen(servers: Pair) -> list[Any]:
    """The observations of this test alone."""
    servers.recorder.observations.clear()
    return servers.recorder.observations


def chat(**members: Any) -> bytes:
    """A chat request."""
    return json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], **members}).encode()


REQUESTS = {
    "chat stream": request_bytes("/v1/chat/completions", chat(stream=True, max_tokens=40)),
    "completions stream": request_bytes("/v1/completions", b'{"prompt":"p","stream":true}'),
    "chat": request_bytes("/v1/chat/completions", chat()),
    "tool calls stream": request_bytes("/v1/chat/completions", chat(stream=True, tools=[{}])),
    "responses stream": request_bytes("/v1/responses", b'{"input":"i","stream":true}'),
    "responses": request_bytes("/v1/responses", b'{"input":"i"}'),
    "messages stream": request_bytes("/v1/messages", b'{"stream":true,"tools":[{}],"max_tokens":9}'),
    "messages": request_bytes("/v1/messages", b"{}"),
    "lines of json": request_bytes("/api/chat", b"{}"),
    "chunked upload": request_bytes("/v1/chat/completions", chat(temperature=0.70), chunked=True),
    "key wanted": request_bytes("/v1/chat/completions", chat(), "audit-want: key"),
    "unknown route": request_bytes("/customers/4711/echo", b"x" * 3000),
    "large body": request_bytes("/customers/1/echo", b"x" * 2_500_000),
    "invalid": request_bytes("/v1/completions", b'{"prompt":'),
    "get": request_bytes("/health", b"", method="GET"),
    "head": request_bytes("/health", b"", method="HEAD"),
    "not found": request_bytes("/nothing", b"{}"),
    "wrong method": request_bytes("/v1/completions", b"", method="GET"),
    "unauthorised": request_bytes("/v1/score", b"{}"),
    "server error": request_bytes("/v1/embeddings", b"{}"),
    "two on one connection": request_bytes("/v1/chat/completions", chat(stream=True), close=False)
    + request_bytes("/v1/chat/completions", chat()),
}


@pytest.mark.parametrize("name", list(REQUESTS))
def test_bytes_are_identical(servers: Pair, name: str) -> None:
    """Status line, headers, their order and case, chunks and bodies are the same with and without us."""
    servers.compare(REQUESTS[name])


WITH_COMMENT = {
    "chat stream": b"data: [DONE]",
    "tool calls stream": b"data: [DONE]",
    "completions stream": b"data: [DONE]",
    "responses stream": b"event: response.completed",
    "messages stream": b"event: message_stop",
}


@pytest.mark.parametrize("name", list(REQUESTS))
def test_the_promise_is_in_the_comment_or_the_header(servers: Pair, name: str) -> None:
    """Known streams carry it right before their terminal event, whole answers as a header, others nowhere."""
    audited = servers.compare(REQUESTS[name])
    end = WITH_COMMENT.get(name)
    if end is not None:
        assert re.search(rb": audit-promise [A-Za-z0-9+/=]+\n\n\r\n[0-9a-f]+\r\n" + re.escape(end), audited)
        assert audited.count(b"audit-promise") == 1
    is_whole = b"content-length: " in audited.partition(b"\r\n\r\n")[0] and b"audit-id: " in audited
    assert (b"\r\naudit-promise: " in audited) == (is_whole or name == "two on one connection")
    assert b"audit-status: " not in audited


def test_random_chunks_are_identical(servers: Pair) -> None:
    """Streams of random chunks, empty and binary ones included, keep every boundary."""
    rng = random.Random(20261121)
    for _ in range(40):
        chunks = [rng.randbytes(rng.choice([0, 1, 2, 100, 70_000])).hex() for _ in range(rng.randrange(12))]
        servers.compare(request_bytes("/v1/raw", json.dumps(chunks).encode()))


def test_a_stream_is_committed_to_as_it_was_sent(servers: Pair, seen: list[Any]) -> None:
    """The kept bytes are the events, the commitment is theirs, and they fold into the full answer."""
    servers.compare(REQUESTS["chat stream"])
    [observation] = seen
    data = observation.response.data
    assert data.startswith(b"data: {")
    assert data.endswith(b"data: [DONE]\n\n")
    assert observation.exchange.response.digest() == commit_body(
        observation.exchange.exchange_key, "response", data
    )
    folded = json.loads(fold(observation.response.dialect, data) or b"")
    assert folded["choices"][0]["message"]["content"].startswith("w0 éw1 é")
    assert (observation.route, observation.ended) == ("/v1/chat/completions", "ok")


def test_ids_are_given_with_recorded_answers_only(servers: Pair, seen: list[Any]) -> None:
    """Refusals and GETs carry no line of ours and leave no entry; an application error leaves one."""
    refused = ["not found", "wrong method", "unauthorised", "get", "head"]
    assert not any(b"audit-" in servers.compare(REQUESTS[name]) for name in refused)
    assert seen == []
    answer = servers.compare(REQUESTS["key wanted"])
    servers.compare(REQUESTS["server error"])
    assert f"audit-id: {seen[0].exchange.id}\r\n".encode() in answer
    assert b"audit-key: " in answer
    assert (seen[1].ended, seen[1].status) == ("error", None)


def test_routes_are_templates(servers: Pair, seen: list[Any]) -> None:
    """The customer's number in the path does not reach the entry."""
    servers.compare(REQUESTS["unknown route"])
    assert (seen[0].route, seen[0].keep_values) == ("/customers/{customer}/echo", False)


def until(condition: Callable[[], bool]) -> None:
    """Wait for something another thread does."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited for 20 s"
        time.sleep(0.005)


def read_events(connection: socket.socket, count: int) -> bytes:
    """Read until that many events have come."""
    received = b""
    while received.count(b"data: ") < count:
        part = connection.recv(65536)
        assert part, received
        received += part
    return received


def test_each_event_arrives_before_the_next_is_made(servers: Pair) -> None:
    """The first event reaches the client while the application still holds the second back."""
    like = servers.wrapped
    like.is_gated = True
    try:
        with socket.create_connection(("127.0.0.1", servers.wrapped_port), timeout=20) as connection:
            connection.sendall(request_bytes("/v1/chat/completions", chat(stream=True, max_tokens=3)))
            for number in range(3):
                like.gate.release()
                assert f"w{number}".encode() in read_events(connection, 1)
    finally:
        like.is_gated = False


def test_a_hang_up_in_a_stream_ends_it_and_is_recorded(servers: Pair, seen: list[Any]) -> None:
    """The application's generator is closed as it is without us; the decision holds what was sent."""
    closed = []
    for like, port in ((servers.bare, servers.bare_port), (servers.wrapped, servers.wrapped_port)):
        like.is_gated, before = True, like.closed
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(request_bytes("/v1/completions", b'{"stream":true,"max_tokens":1000}'))
            like.gate.release()
            read_events(connection, 1)
        until(lambda like=like, before=before: like.closed == before + 1)  # type: ignore[misc]
        closed.append(like.closed - before)
        like.is_gated = False
    until(lambda: len(seen) == 1)
    assert closed == [1, 1]
    assert seen[0].ended == "client_disconnected"
    assert seen[0].response.data.startswith(b"data: ")
    assert b"[DONE]" not in seen[0].response.data


def test_a_hang_up_during_the_upload_is_recorded(servers: Pair, seen: list[Any]) -> None:
    """Half a request is committed to, and both servers go on serving."""
    with socket.create_connection(("127.0.0.1", servers.wrapped_port), timeout=20) as connection:
        connection.sendall(request_bytes("/v1/completions", b'{"prompt":"' + b"x" * 100)[:-50])
    until(lambda: len(seen) == 1)
    assert seen[0].ended == "client_disconnected"
    servers.compare(REQUESTS["chat"])


def test_compressed_answers_are_identical() -> None:
    """With compression inside, the coded bytes pass and are committed to; the coding is named."""

    def compress(like: VllmLike) -> None:
        like.app.add_middleware(GZipMiddleware, minimum_size=1)

    with pair("httptools", compress) as both:
        for body in (chat(max_tokens=100), chat(stream=True)):
            both.compare(request_bytes("/v1/chat/completions", body, "accept-encoding: gzip"))
        whole, stream = both.recorder.observations
    assert (whole.content_encoding, whole.response.data[:2]) == ("gzip", b"\x1f\x8b")
    assert (stream.content_encoding, stream.response.data[:6]) == (None, b"data: ")


def test_whole_answers_through_layers_that_stream_have_their_promise() -> None:
    """A decorated middleware inside sends every answer as a stream: with its last byte it is whole."""

    def decorate(like: VllmLike) -> None:
        @like.app.middleware("http")
        async def pass_on(request: Any, call_next: Any) -> Any:
            return await call_next(request)

    with pair("httptools", decorate) as both:
        assert b"\r\naudit-promise: " in both.compare(REQUESTS["chat"])
        assert b": audit-promise " in both.compare(REQUESTS["chat stream"])
        for name in ("tool calls stream", "server error", "unauthorised", "lines of json"):
            both.compare(REQUESTS[name])


def test_the_official_client_reads_the_same(servers: Pair, seen: list[Any]) -> None:
    """The openai package gets the same texts, streamed and whole, and can read our id from the response."""
    texts = []
    for port in (servers.bare_port, servers.wrapped_port):
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0) as client:
            whole = client.completions.create(model="tiny", prompt="p").choices[0].text
            with client.chat.completions.create(
                model="tiny", messages=[{"role": "user", "content": "hi"}], stream=True
            ) as stream:
                streamed = "".join(event.choices[0].delta.content or "" for event in stream)
            raw = client.completions.with_raw_response.create(model="tiny", prompt="p")
            texts.append((whole, streamed))
    assert texts[0] == texts[1]
    assert texts[0][0] == texts[0][1]
    assert raw.headers["audit-id"] == seen[-1].exchange.id


def test_the_real_recorder_changes_nothing_either(tmp_path: Path) -> None:
    """With the real recorder and a log that is not there, bytes are the same and ids are given."""
    settings = CaptureSettings(
        log_url="http://127.0.0.1:9/logs/main",
        producer="p",
        state_dir=tmp_path,
        strict=True,
        close_timeout_s=1.0,
    )
    recorder, bare, wrapped = Recorder(settings), VllmLike(), VllmLike()
    wrap(wrapped, recorder=recorder)
    with served(bare.app) as bare_port, served(wrapped.app) as wrapped_port:
        both = Pair((bare, bare_port), (wrapped, wrapped_port), recorder)
        for name in ("chat stream", "chat", "server error", "unknown route"):
            assert (b"audit-id: " in both.compare(REQUESTS[name])) == (name != "server error")
        until(lambda: recorder.metrics.get("recorded") == 4)
    recorder.close()


def test_settings_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named by its dotted path, with AUDITLOG_* alone, the middleware records; the recorder lives with the
    server.
    """
    for name, value in {
        "LOG": "http://127.0.0.1:9/logs/main",
        "STATE": str(tmp_path),
        "PRODUCER": "p",
    }.items():
        monkeypatch.setenv(f"AUDITLOG_{name}", value)
    like = VllmLike()
    wrap(like)
    with served(like.app) as port:
        assert b"audit-id: " in exchange(port, REQUESTS["chat"])
    assert [path.name for path in tmp_path.iterdir()] != []


def test_bad_settings_leave_the_server_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a log the application serves as ever, unaudited."""
    monkeypatch.setenv("AUDITLOG_LOG", "not a url")
    like, bare = VllmLike(), VllmLike()
    wrap(like)
    with served(like.app) as port, served(bare.app) as bare_port:
        assert exchange(port, REQUESTS["chat stream"]) == exchange(bare_port, REQUESTS["chat stream"])
