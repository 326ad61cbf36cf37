"""From bytes on the wire to the body of an entry, through the real recorder and its spool, without a log."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from auditlog.capture import CaptureSettings, Recorder
from auditlog.capture.asgi import AuditMiddleware
from auditlog.capture.books import read_draft
from auditlog.capture.chain import empty_tip
from auditlog.capture.frames import DRAFTS
from auditlog.capture.slots import acquire_slot
from auditlog.capture.spool import Spool
from auditlog.core.bodies import check_body
from tests.support.observing import START, answering, body, drive, http_scope

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "Am I approved?"}], "temperature": 0.70}
STREAM = {**START, "headers": [(b"content-type", b"text/event-stream")]}
EVENTS = [
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"tiny","choices":'
    b'[{"index":0,"delta":{"role":"assistant","content":"%b"},"finish_reason":null}]}\n\n' % word
    for word in (b"Yes", b", you are.")
] + [b"data: [DONE]\n\n"]


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    """The real recorder with a log that is not there: what it seals stays on disk as drafts."""
    return Recorder(
        CaptureSettings(log_url="http://127.0.0.1:9/logs/main", producer="p", state_dir=tmp_path, strict=True)
    )


def request(recorder: Recorder, app: Any, data: bytes, path: str = "/v1/chat/completions") -> None:
    """One request through the middleware."""
    asyncio.run(drive(AuditMiddleware(app, recorder), http_scope(path), [data]))


def decisions(recorder: Recorder) -> list[dict[str, Any]]:
    """Close the recorder and read the bodies of its decisions back from the disk."""
    recorder.close()
    slot = acquire_slot(recorder.settings.state_dir, "p")
    spool = Spool(slot.drafts_dir, DRAFTS, segment_bytes=1 << 20, start=empty_tip(bytes(32)))
    try:
        records = spool.read(spool.first, max_records=1000, max_bytes=1 << 24)
    finally:
        spool.close()
        slot.release()
    found = [read_draft(record) for record in records]
    return [content for kind, content in found if kind == "decision"]


def test_a_chat_request_becomes_a_decision(recorder: Recorder) -> None:
    """Model, sampling, fields and route are in the body, and every member is one the format knows."""
    reference = recorder.register_model(name="tiny", root=bytes(32), files=1).result(20)
    answer = json.dumps({"choices": [{"message": {"content": "Yes"}}]}).encode()
    request(recorder, answering(START, body(answer)), json.dumps(CHAT).encode())
    [decision] = decisions(recorder)
    assert decision["model"] == reference
    assert decision["sampling"] == {"temperature": "0.7"}
    assert (decision["route"], decision["operation"]) == ("/v1/chat/completions", "chat")
    assert (decision["values"], decision["ended"], decision["status"]) == ("kept", "ok", 200)
    assert decision["request"]["fields"]["form"] == "json"
    assert decision["request"]["fields"]["size"] == 4
    resolved = {**decision, "model": "0" * 64}
    assert check_body("decision", resolved) == []


def test_a_stream_gets_the_fields_of_its_fold(recorder: Recorder) -> None:
    """The response's fields are those of the folded answer, the commitment is over the events."""
    parts = [body(event, more=True) for event in EVENTS]
    request(recorder, answering(STREAM, *parts, body(b"")), json.dumps({**CHAT, "stream": True}).encode())
    [decision] = decisions(recorder)
    assert decision["response"]["fields"]["form"] == "fold:openai.chat@v2"
    assert decision["sampling"] == {"stream": "true", "temperature": "0.7"}


def test_compressed_answers_have_fields_too(recorder: Recorder) -> None:
    """Gzip is undone for fields, and the coding is named."""
    packed = gzip.compress(b'{"label":"good"}')
    start = {**START, "headers": [(b"content-encoding", b"gzip")]}
    request(recorder, answering(start, body(packed)), b"{}")
    [decision] = decisions(recorder)
    assert (decision["content_encoding"], decision["response"]["fields"]["size"]) == ("gzip", 1)


def test_adapters_are_named_when_they_are_asked_for(recorder: Recorder) -> None:
    """A registered adapter that is asked for is named, with its model; any other name means the model."""
    reference = recorder.register_model(
        name="tiny", root=bytes(32), files=1, adapters=(("polite", bytes(32), 1),)
    )
    model = reference.result(20)
    for name in ("polite", "whatever", None, 7):
        request(recorder, answering(START, body(b"{}")), json.dumps({**CHAT, "model": name}).encode())
    found = decisions(recorder)
    assert [decision["model"] for decision in found] == [model] * 4
    assert [decision.get("adapters") for decision in found] == [["polite"], None, None, None]


def test_unknown_routes_commit_without_values(recorder: Recorder) -> None:
    """Neither fields nor sampling of a route nobody named reach the entry."""
    request(recorder, answering(START, body(b'{"a":1}')), json.dumps(CHAT).encode(), path="/anything")
    [decision] = decisions(recorder)
    assert decision["values"] == "not_kept"
    assert not {"sampling", "route"} & decision.keys()
    assert list(decision["request"]) == list(decision["response"]) == ["commitment"]


@pytest.mark.parametrize(
    "data", [b"\xff\xfe", b'{"temperature":1e999999}', b"[" * 5000, b'{"model":"\\ud800"}', b""]
)
def test_hostile_requests_become_decisions_all_the_same(recorder: Recorder, data: bytes) -> None:
    """Whatever the bytes, one valid decision comes of them."""
    request(recorder, answering(START, body(b"{}")), data)
    [decision] = decisions(recorder)
    assert check_body("decision", decision) == []
