"""Folds of version 2 (commitment.md): limits, and agreement with the clients that such streams are for."""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import json
from typing import Any

import anthropic
import openai
import pytest

from auditlog.core.content import field_text, fold_form
from auditlog.core.folds import DIALECTS, fold_v2
from auditlog.core.folds.events import MAX_STREAM_BYTES
from auditlog.core.sse import all_event_data, event_data
from tests.support.fold_streams import MESSAGES, RESPONSES_STREAM, sse
from tests.support.vectors_folds import CHAT_TOOLS

# The clients moved from httpx to httpx2; which one is beside them depends on their version.
http: Any = importlib.import_module("httpx2" if importlib.util.find_spec("httpx2") else "httpx")

FILLER = b": a comment that no client reads\n\n"


def served(stream: bytes) -> Any:
    """A client whose server answers everything with this stream."""
    headers = {"content-type": "text/event-stream"}
    transport = http.MockTransport(lambda _: http.Response(200, headers=headers, content=stream))
    return http.Client(transport=transport)


def fold(dialect: str, stream: bytes) -> Any:
    """The fold, read again."""
    text = fold_v2(dialect, stream)
    assert text is not None
    return json.loads(text)


def agrees(folded: Any, client: Any) -> bool:
    """Whether all that the fold says is what the client made of it; a client adds nulls and indices."""
    if isinstance(folded, dict) and isinstance(client, dict):
        return all(name in client and agrees(value, client[name]) for name, value in folded.items())
    if isinstance(folded, list) and isinstance(client, list):
        return len(folded) == len(client) and all(map(agrees, folded, client))
    return bool(folded == client)


def test_the_anthropic_client_reads_the_same_message() -> None:
    """Thinking, text with a citation, a tool call with its input, the reason for the end, usage."""
    client = anthropic.Anthropic(api_key="none", base_url="http://test", http_client=served(MESSAGES))
    asked: Any = {"model": "smol", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    with client.messages.stream(**asked) as stream:
        message = stream.get_final_message().to_dict()
    assert agrees(fold("anthropic.messages", MESSAGES), message)


def test_the_openai_client_reads_the_same_chat() -> None:
    """Reasoning, two tool calls, log probabilities, the reason for the end, usage."""
    client = openai.OpenAI(api_key="none", base_url="http://test", http_client=served(CHAT_TOOLS))
    asked: Any = {"model": "smol", "messages": [{"role": "user", "content": "x"}]}
    with client.chat.completions.stream(**asked) as stream:
        completion: Any = stream.get_final_completion().to_dict()
    folded = fold("openai.chat", CHAT_TOOLS)
    assert (
        folded["choices"][0].pop("stop_reason") == 128008
    )  # of the server's own, which the client leaves out
    assert agrees(folded, completion)


def test_the_openai_client_reads_the_same_response() -> None:
    """The last event of a stream carries the answer, for the client and for the fold."""
    said = {"type": "output_text", "text": "Blue sky", "annotations": []}
    output = [
        {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [said]}
    ]
    begun = RESPONSES_STREAM[0]["response"]
    begin = {**begun, "tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "created_at": 1}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begin},
        {"type": "response.output_item.added", "output_index": 0, "item": {**output[0], "content": []}},
        {
            "type": "response.content_part.added",
            "output_index": 0,
            "content_index": 0,
            "part": {**said, "text": ""},
        },
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Blue sky"},
        {"type": "response.completed", "response": {**begin, "status": "completed", "output": output}},
    ]
    stream = sse(*({**event, "sequence_number": at} for at, event in enumerate(events)), named=True)
    client = openai.OpenAI(api_key="none", base_url="http://test", http_client=served(stream))
    with client.responses.stream(model="smol", input="x") as responses:
        response = responses.get_final_response().to_dict()
    assert agrees(fold("openai.responses", stream), response)
    broken = fold("openai.responses", sse(*events[:-1], named=True))
    assert broken["output"][0]["content"][0]["text"] == response["output"][0]["content"][0]["text"]  # type: ignore[index]
    assert broken["status"] == "in_progress"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_may_have_8_mib_and_no_more(dialect: str) -> None:
    """The limit counts the stream once its coding is undone; one byte more and there is no fold."""
    begun = {"anthropic.messages": MESSAGES, "openai.chat": CHAT_TOOLS}.get(dialect)
    if begun is None:
        begun = sse({"object": "text_completion", "type": "response.created"})
    room = MAX_STREAM_BYTES - len(begun)
    full = FILLER * (room // len(FILLER)) + b"\n" * (room % len(FILLER)) + begun
    form = fold_form(dialect)
    assert len(full) == MAX_STREAM_BYTES
    assert field_text(full, form) == field_text(begun, form) is not None
    assert field_text(gzip.compress(full, 1), form) is not None
    assert field_text(b"\n" + full, form) is None
    assert field_text(gzip.compress(b"\n" + full, 1), form) is None


def test_a_fold_may_have_1_mib_and_no_more() -> None:
    """A long stream may have a short fold; a fold over the limit is none."""

    def stream(size: int) -> bytes:
        return sse({"object": "text_completion", "choices": [{"index": 0, "text": "x" * size}]})

    around = len(fold_v2("openai.completions", stream(0)) or b"")
    assert len(fold_v2("openai.completions", stream(1024 * 1024 - around)) or b"") == 1024 * 1024
    assert fold_v2("openai.completions", stream(1024 * 1024 - around + 1)) is None


def test_an_unknown_dialect_is_the_callers_mistake() -> None:
    """Asked for a fold that does not exist, it says which exist."""
    with pytest.raises(ValueError, match=r"openai\.responses"):
        fold_v2("opera", b"")


def test_event_types_count_in_version_1_alone() -> None:
    """Version 1 skips events of a named type; version 2 reads what their payload says."""
    stream = b"event: a\ndata: 1\n\nevent: message\ndata: 2\n\ndata: 3\n\nevent: b\n\n"
    assert list(event_data(stream)) == [b"2", b"3"]
    assert list(all_event_data(stream)) == [b"1", b"2", b"3"]
