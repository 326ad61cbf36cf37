"""The events that servers of the responses and the messages API send, and what a realtime session says.

In the order and with the names of the official clients' own types; deterministic to the byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

MODEL = "tiny"
TOOL = {"name": "look_up", "arguments": '{"customer": "4711"}'}


def event(kind: str, **members: Any) -> str:
    """One named event."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n"


def tool_deltas() -> Iterator[dict[str, Any]]:
    """The deltas of a chat answer that calls a tool: the name first, then the arguments in pieces."""
    call = {
        "index": 0,
        "id": "call_1",
        "type": "function",
        "function": {"name": TOOL["name"], "arguments": ""},
    }
    yield {"role": "assistant", "tool_calls": [call]}
    text = TOOL["arguments"]
    for at in range(0, len(text), 5):
        yield {"tool_calls": [{"index": 0, "function": {"arguments": text[at : at + 5]}}]}


def response_object(text: str, status: str) -> dict[str, Any]:
    """The answer of the responses API."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": status, "content": content}
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "model": MODEL, "status": status,
        "output": [message] if text else [], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
    }  # fmt: skip


def response_events(words: list[str]) -> Iterator[str]:
    """The stream of the responses API."""
    text, at = "".join(words), {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item = response_object(text, "completed")["output"][0]
    part = {"type": "output_text", "text": "", "annotations": []}
    events: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": response_object("", "in_progress")}),
        ("response.in_progress", {"response": response_object("", "in_progress")}),
        (
            "response.output_item.added",
            {"output_index": 0, "item": {**item, "status": "in_progress", "content": []}},
        ),
        ("response.content_part.added", {**at, "part": part}),
        *(("response.output_text.delta", {**at, "delta": word, "logprobs": []}) for word in words),
        ("response.output_text.done", {**at, "text": text, "logprobs": []}),
        ("response.content_part.done", {**at, "part": {**part, "text": text}}),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        ("response.completed", {"response": response_object(text, "completed")}),
    ]
    for number, (kind, members) in enumerate(events):
        yield event(kind, sequence_number=number, **members)


def message_object(text: str, *, with_tool: bool = False) -> dict[str, Any]:
    """The answer of the messages API."""
    content: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    if with_tool:
        tool = {"type": "tool_use", "id": "toolu_1", "name": TOOL["name"]}
        content.append({**tool, "input": json.loads(TOOL["arguments"])})
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": content,
        "stop_reason": "tool_use" if with_tool else "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 5},
    }  # fmt: skip


def message_events(words: list[str], *, with_tool: bool = False) -> Iterator[str]:
    """The stream of the messages API: a text block, then the call of a tool if there is one."""
    start = {**message_object(""), "stop_reason": None, "usage": {"input_tokens": 3, "output_tokens": 1}}
    yield event("message_start", message=start)
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    yield event("ping")
    for word in words:
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
    yield event("content_block_stop", index=0)
    if with_tool:
        block = {"type": "tool_use", "id": "toolu_1", "name": TOOL["name"], "input": {}}
        yield event("content_block_start", index=1, content_block=block)
        for at in range(0, len(TOOL["arguments"]), 7):
            delta = {"type": "input_json_delta", "partial_json": TOOL["arguments"][at : at + 7]}
            yield event("content_block_delta", index=1, delta=delta)
        yield event("content_block_stop", index=1)
    reason = "tool_use" if with_tool else "end_turn"
    end = {"stop_reason": reason, "stop_sequence": None}
    yield event("message_delta", delta=end, usage={"output_tokens": 5})
    yield event("message_stop")


def realtime_answer(question: str) -> Iterator[str]:
    """What a realtime server says to one question: a turn."""
    for word in question.split():
        yield json.dumps({"type": "response.output_text.delta", "delta": word.upper()})
    yield json.dumps({"type": "response.done", "response": {"id": "resp_1", "status": "completed"}})
