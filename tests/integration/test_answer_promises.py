"""Promises as callers get them: a real server, recorder and log; checked with what the caller holds."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from auditlog.capture import Recorder
from auditlog.capture.asgi import AuditMiddleware
from auditlog.core.promise import Promise, check_promise_bytes, parse_promise_text
from auditlog.service.settings import Settings
from tests.support.live_service import create_logs, live_service, write_config
from tests.support.recording import receipt_at, recording, with_host_token
from tests.support.vllm_like import VllmLike, served

COMMENT = re.compile(rb": audit-promise ([A-Za-z0-9+/=]+)\n\n")
STREAMS = {
    "/v1/chat/completions": {"messages": [], "stream": True},
    "/v1/completions": {"prompt": "p", "stream": True},
    "/v1/responses": {"input": "i", "stream": True},
    "/v1/messages": {"stream": True, "tools": [{}]},
}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Recorder]]:
    """A model server whose decisions go to a live log, once it may promise; waits longer than by default."""
    place = tmp_path_factory.mktemp("service")
    config = write_config(place / "service")
    settings = with_host_token(Settings.load(config, environ={}))
    create_logs(settings)
    with live_service(settings) as service, recording(service, place / "state", wait_ms=60_000) as recorder:
        like = VllmLike()
        like.app.add_middleware(AuditMiddleware, recorder=recorder)
        with served(like.app) as port:
            yield f"http://127.0.0.1:{port}", recorder


def ask(base: str, path: str, body: dict[str, Any]) -> tuple[httpx.Response, bytes]:
    """The answer to a caller who wants the key, and the bytes that were asked with."""
    content = json.dumps(body).encode()
    headers = {"audit-want": "key", "content-type": "application/json"}
    return httpx.post(base + path, content=content, headers=headers, timeout=60), content


def text_of(note: bytes) -> Promise:
    """The promise in a note, its signature not checked here."""
    return parse_promise_text(note.decode().split("\n\n")[0] + "\n")


def test_a_whole_answer_and_its_promise_agree(serving: Any) -> None:
    """With the exchange key the caller sees at once that the promise is about these bytes."""
    answer, asked = ask(serving[0], "/v1/chat/completions", {"messages": []})
    note = base64.b64decode(answer.headers["audit-promise"], validate=True)
    key = base64.b64decode(answer.headers["audit-key"])
    check_promise_bytes(text_of(note), exchange_key=key, request=asked, response=answer.content)
    assert "audit-status" not in answer.headers


@pytest.mark.parametrize("path", list(STREAMS))
def test_a_streamed_answer_and_its_promise_agree(serving: Any, path: str) -> None:
    """The comment taken out, the bytes are those that were promised; the same note is at its address."""
    answer, asked = ask(serving[0], path, STREAMS[path])
    [encoded] = COMMENT.findall(answer.content)
    note, key = base64.b64decode(encoded, validate=True), base64.b64decode(answer.headers["audit-key"])
    plain = COMMENT.sub(b"", answer.content)
    check_promise_bytes(text_of(note), exchange_key=key, request=asked, response=plain)
    receipt_at(answer.headers["audit-receipt"])
    log = serving[1].settings.log_url
    kept = _until_there(f"{log}/promises/{answer.headers['audit-id']}")
    assert kept == note


def test_streams_without_a_comment_have_their_promise_at_its_address(serving: Any) -> None:
    """Lines of JSON and the like: unchanged, promised within a moment."""
    answer, asked = ask(serving[0], "/api/chat", {})
    assert b"audit-promise" not in answer.content
    note = _until_there(f"{serving[1].settings.log_url}/promises/{answer.headers['audit-id']}")
    key = base64.b64decode(answer.headers["audit-key"])
    check_promise_bytes(text_of(note), exchange_key=key, request=asked, response=answer.content)


def _until_there(url: str) -> bytes:
    """The promise at this address, asked for until it is there."""
    deadline = time.monotonic() + 60
    while (answer := httpx.get(url, timeout=10)).status_code != 200:
        assert time.monotonic() < deadline, "a promise in time"
        time.sleep(0.02)
    return answer.content
