"""Event streams of `anthropic.messages` and `openai.responses`, for the vectors of their folds.

`none-` streams have no fold.
"""

from __future__ import annotations

import base64
import json
from typing import Any

Json = dict[str, Any]


def sse(*events: Json, named: bool = False, end: str = "data: [DONE]\n\n") -> bytes:
    """Events as a server sends them; `named`: with their type on an `event` line, and no `[DONE]`."""
    lines = ""
    for event in events:
        lines += f"event: {event['type']}\n" if named else ""
        lines += f"data: {json.dumps(event, ensure_ascii=False, separators=(',', ':'))}\n\n"
    return (lines + ("" if named else end)).encode("utf-8", "surrogatepass")


MESSAGES = sse(
    {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "smol",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 25, "output_tokens": 1, "service_tier": "standard"},
        },
    },
    {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "thinking", "thinking": "", "signature": ""},
    },
    {"type": "ping"},
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "thinking_delta", "thinking": "Look it up."},
    },
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "EqQB"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "I will "}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "look."}},
    {
        "type": "content_block_delta",
        "index": 1,
        "delta": {
            "type": "citations_delta",
            "citation": {"type": "char_location", "document_index": 0, "cited_text": "sky"},
        },
    },
    {"type": "content_block_stop", "index": 1},
    {
        "type": "content_block_start",
        "index": 2,
        "content_block": {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}},
    },
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": ""}},
    {
        "type": "content_block_delta",
        "index": 2,
        "delta": {"type": "input_json_delta", "partial_json": '{"größe": 1.'},
    },
    {
        "type": "content_block_delta",
        "index": 2,
        "delta": {"type": "input_json_delta", "partial_json": '50, "city": "Köln"}'},
    },
    {"type": "content_block_stop", "index": 2},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 89, "input_tokens": None},
    },
    {"type": "message_stop"},
    named=True,
)

GZIP_MESSAGES = base64.b64decode(
    "H4sIAAAAAAACA8VVS27bMBDd+xTCrAUjMhCg5bJAF0W76boqBFYayKxpUhHJJIahs/QWuYAv1qFkKZStqGirICubbx45bz6a"
    "wXtUlkV7NIaXmBnLa7squOUsOoI9VAgMRkaI+zOwI4jC202ZJYSP6QTUWnqAGyPormrv6gIlYWavJR1zrSwJAPbtewzG6iqr"
    "kRutgCkn5RkyeOdQ5diDbvCuKmczq3eoDLDNbQza2RBK6AWs70WOmRVYe7+ko+B1AU3TrFbYRX9Wkf2QOt9N52CCQvKFKvAR"
    "2E08tntt53t2K9ROqNKnp//LgE5GlIpbV3sSBFoqYlw69xi8JJfyafm83JYyktsh1zIHaiD2i9a7SNjIVWtoXlXFkJOBG2bp"
    "493XDzBTNV39qWi6CtwvV/5kpvz46Intz7jO/5u+ZKKI5OW5gJ3LT9GDkDJ6A8+S2mb9yn5zYbkVWpmB2yMhacvrjB7scHpE"
    "527vvQRfr7BYZGfhZneYnQ5/12fJcn22mekzrWXmjB+67Uj2Z9cOZcX3nvCA3G5pAsbd0KSrzYKl2VyXppvNP2mWD+SKohFc"
    "tuDCX8M/CTimUNanp9MvTIFFyfrNBd3exFHqm/HgBaXw+fQkVQrNclNv8/xQv9UnYxsZIYhltKPDtpvY1E2wqi8W87v38cX2"
    "bi9cq5sKMLT5tfgbe/5HQcQIAAA="
)
"""`MESSAGES` compressed, as a constant: another compressor would write other bytes for the same text."""

_RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "in_progress",
    "model": "smol",
    "error": None,
    "output": [],
}
RESPONSES_STREAM: tuple[Json, ...] = (
    {"type": "response.created", "sequence_number": 0, "response": _RESPONSE},
    {
        "type": "response.output_item.added",
        "output_index": 0,
        "item": {"id": "rs_1", "type": "reasoning", "summary": []},
    },
    {
        "type": "response.reasoning_summary_part.added",
        "output_index": 0,
        "summary_index": 0,
        "part": {"type": "summary_text", "text": ""},
    },
    {
        "type": "response.reasoning_summary_text.delta",
        "output_index": 0,
        "summary_index": 0,
        "delta": "Think",
    },
    {
        "type": "response.reasoning_summary_text.done",
        "output_index": 0,
        "summary_index": 0,
        "text": "Thinking.",
    },
    {
        "type": "response.output_item.added",
        "output_index": 1,
        "item": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "in_progress",
            "content": [],
        },
    },
    {
        "type": "response.content_part.added",
        "output_index": 1,
        "content_index": 0,
        "part": {"type": "output_text", "text": "", "annotations": []},
    },
    {
        "type": "response.output_text.delta",
        "output_index": 1,
        "content_index": 0,
        "delta": "Blue ",
        "logprobs": [{"token": "Blue ", "logprob": -0.5}],
    },
    {
        "type": "response.output_text.delta",
        "output_index": 1,
        "content_index": 0,
        "delta": "sky",
        "logprobs": [],
    },
    {
        "type": "response.output_text.annotation.added",
        "output_index": 1,
        "content_index": 0,
        "annotation_index": 0,
        "annotation": {"type": "url_citation", "url": "https://example.org"},
    },
    {
        "type": "response.output_item.added",
        "output_index": 2,
        "item": {
            "id": "fc_1",
            "type": "function_call",
            "name": "weather",
            "call_id": "call_1",
            "arguments": "",
        },
    },
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"city":'},
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '"Köln"}'},
)


def _completed(kind: str, **response: Any) -> Json:
    return {"type": kind, "response": {**_RESPONSE, "status": kind.removeprefix("response."), **response}}


def _begun(*events: Json, **message: Any) -> bytes:
    start = {"type": "message_start", "message": {"id": "m", "content": [], **message}}
    return sse(start, *events, named=True)


def _block(place: Any, block: Json, *deltas: Json) -> list[Json]:
    start = {"type": "content_block_start", "index": place, "content_block": block}
    return [start, *({"type": "content_block_delta", "index": place, "delta": delta} for delta in deltas)]


def _json(*pieces: str) -> bytes:
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return _begun(*_block(0, {"type": "tool_use", "input": {}}, *deltas))


def _item(*events: Json) -> bytes:
    return sse(*({"output_index": 0, **event} for event in events), named=True)


def message_streams() -> dict[str, bytes]:
    """Streams of `anthropic.messages` by name."""
    text = {"type": "text", "text": ""}
    delta = {"type": "text_delta", "text": "a"}
    return {
        "messages": MESSAGES,
        "messages-tool-cut-off": _json('{"a": ', '[1, "b'),
        "messages-tool-not-an-object": _json("7.50"),
        "messages-tool-repeated-key": _json('{"a":1,', '"a":2}'),
        "messages-tool-nothing": _json(""),
        "messages-tool-64-levels": _json("[" * 64 + "]" * 64),
        "messages-tool-65-levels": _json("[" * 65 + "]" * 65),
        "messages-tool-input-at-once": _begun(*_block(0, {"type": "tool_use", "input": {"a": 1}})),
        "messages-block-never-begun": _begun({"type": "content_block_delta", "index": 4, "delta": delta}),
        "messages-block-begun-twice": _begun(
            *_block(0, text, delta), *_block(0, {"type": "text", "text": "b"}, delta)
        ),
        "messages-text-in-the-beginning": _begun(
            *_block(
                0,
                {"type": "text", "text": "x", "citations": [1]},
                delta,
                {"type": "citations_delta", "citation": 2},
            )
        ),
        "messages-content-in-the-beginning": _begun(
            {"type": "content_block_delta", "index": 1, "delta": delta},
            content=[7, {"type": "text", "text": "b"}],
        ),
        "messages-unknown-delta": _begun(
            *_block(0, text, {"type": "smell_delta", "smell": "x"}, {"type": "text_delta", "text": 7})
        ),
        "messages-empty-text-added": _begun(*_block(0, {"type": "x"}, {"type": "text_delta", "text": ""})),
        "messages-signature-last": _begun(
            *_block(
                0,
                {"type": "thinking", "thinking": "", "signature": "a"},
                {"type": "signature_delta", "signature": "b"},
                {"type": "signature_delta", "signature": "c"},
            )
        ),
        "messages-second-start-skipped": sse(
            {"type": "message_start", "message": {"id": "a"}},
            {"type": "message_start", "message": {"id": "b"}},
            named=True,
        ),
        "messages-nothing-behind-stop": _begun({"type": "message_stop"}, *_block(0, text, delta)),
        "messages-error": _begun(
            *_block(0, text, delta), {"type": "error", "error": {"type": "overloaded_error"}}
        ),
        "messages-usage-without-any": _begun(
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {"output_tokens": 3, "x": None},
            }
        ),
        "messages-usage-in-two": _begun(
            {"type": "message_delta", "usage": {"a": 1}},
            {
                "type": "message_delta",
                "delta": {"stop_reason": None, "container": {"id": "c"}},
                "usage": {"b": 2, "a": 3},
            },
            usage={"c": 4},
            stop_reason="x",
        ),
        "messages-place-not-a-number": _begun(*_block("0", text, delta), *_block(-1, text, delta)),
        "none-messages-never-begun": sse(*_block(0, text, delta), named=True),
        "none-messages-error-alone": sse({"type": "error", "error": {"type": "api_error"}}, named=True),
        "none-messages-lone-surrogate": _begun(*_block(0, text)).replace(
            b'"type":"text"', b'"type":"\\udc00"'
        ),
    }


def response_streams() -> dict[str, bytes]:
    """Streams of `openai.responses` by name."""
    output = [{"type": "message", "content": [{"type": "output_text", "text": "final"}]}]
    part = {
        "type": "response.content_part.added",
        "content_index": 0,
        "part": {"type": "output_text", "text": "ab"},
    }
    delta = {"type": "response.output_text.delta", "content_index": 0, "delta": "c"}
    cut = sse(
        *RESPONSES_STREAM,
        {"type": "error", "code": "server_error", "message": "gone", "param": None, "sequence_number": 13},
        named=True,
    )
    texts = (
        "refusal",
        "reasoning_text",
        "mcp_call_arguments",
        "custom_tool_call_input",
        "code_interpreter_call_code",
    )
    member = {
        "refusal": "refusal",
        "reasoning_text": "text",
        "mcp_call_arguments": "arguments",
        "custom_tool_call_input": "input",
        "code_interpreter_call_code": "code",
    }
    deltas = [
        {"type": f"response.{name}.delta", "content_index": 0, "delta": piece}
        for name in texts
        for piece in "xy"
    ]
    dones = [{"type": f"response.{name}.done", "content_index": 0, member[name]: "z"} for name in texts]
    return {
        "responses-broken-off": cut,
        "responses-completed": sse(
            *RESPONSES_STREAM, _completed("response.completed", output=output), named=True
        ),
        "responses-incomplete": sse(
            *RESPONSES_STREAM, _completed("response.incomplete", output=output), named=True
        ),
        "responses-failed-without-output": sse(
            *RESPONSES_STREAM, _completed("response.failed", error={"code": "x"}), named=True
        ),
        "responses-completed-output-null": sse(
            *RESPONSES_STREAM, _completed("response.completed", output=None), named=True
        ),
        "responses-nothing-behind-the-end": sse(
            _completed("response.completed", output=output), *RESPONSES_STREAM, named=True
        ),
        "responses-final-tool-schema-deep": sse(
            _completed(
                "response.completed", output=output, tools=[json.loads('{"a":' * 30 + "1" + "}" * 30)]
            ),
            named=True,
        ),
        "responses-item-done-replaces": _item(
            {"type": "response.output_item.added", "item": {"id": "a"}},
            part,
            delta,
            {"type": "response.output_item.done", "item": {"id": "b", "content": [{"text": "whole"}]}},
        ),
        "responses-part-done-replaces": _item(
            part, delta, {"type": "response.content_part.done", "content_index": 0, "part": {"text": "whole"}}
        ),
        "responses-text-done-replaces": _item(
            part,
            delta,
            {"type": "response.output_text.done", "content_index": 0, "text": "abcd", "logprobs": [1]},
            delta,
        ),
        "responses-parts-of-the-item": _item(
            {"type": "response.output_item.added", "item": {"content": [{"text": "a"}, 7, {"text": "b"}]}},
            {**delta, "content_index": 2},
            {**delta, "content_index": 1},
        ),
        "responses-every-text": _item(*deltas),
        "responses-every-text-done": _item(*deltas, *dones),
        "responses-logprobs-begun": _item(
            {**part, "part": {"text": "", "logprobs": [1]}}, {**delta, "logprobs": [2, 3]}
        ),
        "responses-annotations": _item(
            {**part, "part": {"annotations": ["a", "b"]}},
            *(
                {
                    "type": "response.output_text.annotation.added",
                    "content_index": 0,
                    "annotation_index": at,
                    "annotation": at,
                }
                for at in (1, 5)
            ),
        ),
        "responses-nobody-gave": _item(
            delta, {"type": "response.reasoning_summary_text.delta", "summary_index": 3, "delta": "s"}
        ),
        "responses-output-of-the-beginning": sse(
            {"type": "response.in_progress", "response": {"output": [{"id": "a"}, {"id": "b"}]}},
            {"type": "response.output_item.added", "output_index": 1, "item": {"id": "c"}},
            named=True,
        ),
        "responses-newest-beginning": sse(
            {"type": "response.created", "response": {"status": "queued"}},
            {"type": "response.in_progress", "response": {"status": "in_progress"}},
            named=True,
        ),
        "responses-other-events": sse(
            {"type": "response.web_search_call.searching", "output_index": 0}, {"type": "ping"}, named=True
        ),
        "responses-places-odd": _item(
            {**delta, "output_index": "0"},
            {**delta, "content_index": -1},
            {**delta, "delta": 7},
            {"type": "response.output_item.added", "item": None},
        ),
        "responses-error-first": sse({"type": "error", "message": "no"}, named=True),
        "none-responses-of-chat": sse({"object": "chat.completion.chunk", "choices": []}),
    }
