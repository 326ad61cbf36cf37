"""Vectors of the folds of version 2: event streams of four dialects, and what they fold to.

Each function yields (folder, file name, vector), as in vectors_values. `none-` streams have no fold.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from auditlog.core.content import field_text
from auditlog.core.disclosure import disclose_field, disclose_whole
from auditlog.core.folds import fold_v2
from auditlog.core.scalars import encode_base64
from tests.support import format_world as fixed
from tests.support.fold_streams import GZIP_MESSAGES, MESSAGES, Json, message_streams, response_streams, sse
from tests.support.vectors_bodies import commitment_vector
from tests.support.vectors_values import Vector


def _chunk(delta: Json | None = None, index: int = 0, **choice: Any) -> Json:
    made = {"index": index, **({} if delta is None else {"delta": delta}), **choice}
    return {
        "id": "chatcmpl-7",
        "object": "chat.completion.chunk",
        "created": 1767225610,
        "model": "smol",
        "choices": [made],
    }


def _call(place: int, arguments: str | None = None, **more: Any) -> Json:
    function = {key: more.pop(key) for key in ("name",) if key in more}
    if arguments is not None:
        function["arguments"] = arguments
    return {"tool_calls": [{"index": place, **more, **({"function": function} if function else {})}]}


def _text(text: str, **choice: Any) -> Json:
    return {
        "id": "cmpl-7",
        "object": "text_completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "text": text, **choice}],
    }


CHAT_TOOLS = sse(
    _chunk({"role": "assistant", "content": None}),
    _chunk({"reasoning_content": "They want "}),
    _chunk({"reasoning_content": "the weather."}),
    _chunk(_call(0, "", id="call_1", type="function", name="weather")),
    _chunk(_call(0, '{"city": "K')),
    _chunk(_call(0, 'öln"}')),
    _chunk(
        _call(1, "{}", id="call_2", type="function", name="clock"),
        logprobs={"content": [{"token": "{}", "logprob": -0.25}]},
    ),
    _chunk({}, finish_reason="tool_calls", stop_reason=128008),
    {
        "id": "chatcmpl-7",
        "object": "chat.completion.chunk",
        "choices": [],
        "usage": {"prompt_tokens": 9, "completion_tokens": 21},
    },
)


def _chat() -> dict[str, bytes]:
    name = "weather"
    return {
        "chat-tools": CHAT_TOOLS,
        "chat-text-of-version-1": sse(
            _chunk({"content": "a"}), _chunk({"content": "b"}, finish_reason="stop")
        ),
        "chat-surrogates-cut": sse(_chunk({"content": "\ud83d"}), _chunk({"content": "\udc99"}))
        .replace("\ud83d".encode("utf-8", "surrogatepass"), b"\\ud83d")
        .replace("\udc99".encode("utf-8", "surrogatepass"), b"\\udc99"),
        "chat-function-call": sse(
            _chunk({"function_call": {"name": name, "arguments": ""}}),
            _chunk({"function_call": {"arguments": "{}"}}),
        ),
        "chat-function-call-empty": sse(_chunk({"function_call": {}})),
        "chat-names-once": sse(
            _chunk(_call(0, "a", id="", type="", name="")),
            _chunk(_call(0, "b", id="x", type="function", name=name)),
            _chunk(_call(0, "c", id="y", type="other", name="later")),
        ),
        "chat-call-without-function": sse(_chunk(_call(3, id="x"))),
        "chat-calls-out-of-order": sse(_chunk(_call(9, "9")), _chunk(_call(0, "0"))),
        "chat-call-place-over-9999-left-out": sse(
            _chunk(_call(10_000, "a")), _chunk({"tool_calls": [{"id": "x"}, 7]})
        ),
        "chat-logprobs": sse(
            _chunk({}, logprobs={"content": [{"token": "a", "bytes": [97]}], "refusal": None}),
            _chunk({}, logprobs=None),
            _chunk({}, logprobs={"content": [1.50, None], "refusal": [], "other": [1]}),
        ),
        "chat-two-choices": sse(
            _chunk({"content": "b"}, 1), _chunk({"content": "a"}), _chunk({"content": "B"}, 1)
        ),
        "chat-stop-reason-text": sse(
            _chunk({}, stop_reason=7), _chunk({}, stop_reason="END"), _chunk({}, stop_reason=None)
        ),
        "chat-error": sse(_chunk({"content": "a"}), {"error": {"message": "out of memory", "code": 500}}),
        "chat-error-alone": sse({"error": {"message": "no"}}),
        "chat-error-of-an-object-left-out": sse(
            _chunk({"content": "a"}), {"object": "error", "error": {"message": "x"}}
        ),
        "chat-nothing-behind-done": sse(_chunk({"content": "a"})) + sse(_chunk({"content": "hidden"})),
        "chat-not-utf8-behind-done": sse(_chunk({"content": "a"})) + b"data: \xff\n\n",
        "chat-event-lines-ignored": b"event: chunk\n" + sse(_chunk({"content": "a"})),
        "chat-key-beyond-ascii": sse({**_chunk({}), "usage": {"größe": 1, "a": {"€": [2.50]}}}),
        "chat-17-levels": sse({**_chunk({}), "usage": json.loads('{"a":' * 40 + "1" + "}" * 40)}),
        "chat-64-levels": sse({**_chunk({}), "usage": json.loads('{"a":' * 63 + "1" + "}" * 63)}),
        "chat-65-levels-skipped": sse(
            _chunk({"content": "a"}), {**_chunk({"content": "b"}), "x": json.loads("[" * 64 + "]" * 64)}
        ),
        "chat-audio-left-out": sse(_chunk({"audio": {"id": "x", "data": "AAAA"}, "content": "a"})),
        "none-chat-no-events": b"data: [DONE]\n\n",
        "none-chat-of-completions": sse(_text("a")),
        "none-chat-repeated-key": b'data: {"object":"chat.completion.chunk","choices":[],"choices":[]}\n\n',
        "none-chat-repeated-key-in-other-event": b'data: {"a":{"b":1,"b":2}}\n\n'
        + sse(_chunk({"content": "a"})),
        "none-chat-not-utf8": b"data: \xff\n\n" + sse(_chunk({"content": "a"})),
        "none-chat-lone-surrogate": b'data: {"object":"chat.completion.chunk","id":"\\ud83d"}\n\n',
    }


def _completions() -> dict[str, bytes]:
    tokens = {"text_offset": [0], "token_logprobs": [-0.50], "tokens": ["a"], "top_logprobs": [{"a": -0.5}]}
    more = {"text_offset": [1], "token_logprobs": [None], "tokens": ["b"], "top_logprobs": [None]}
    return {
        "completions-logprobs": sse(
            _text("a", logprobs=tokens),
            _text("b", logprobs=more),
            _text("", finish_reason="length", stop_reason=None),
        ),
        "completions-no-choices": sse({"object": "text_completion", "choices": []}),
        "completions-stop-reason": sse(_text("a", finish_reason="stop", stop_reason="\n\n")),
        "completions-logprobs-empty": sse(_text("a", logprobs={"tokens": []})),
        "none-completions-of-chat": sse(_chunk({"content": "a"})),
    }


def fold2_vectors() -> Iterator[Vector]:
    """Event streams and what they fold to; null where they do not."""
    families = {
        "openai.chat": _chat(),
        "openai.completions": _completions(),
        "anthropic.messages": message_streams(),
        "openai.responses": response_streams(),
    }
    for dialect, streams in families.items():
        for name, stream in streams.items():
            text = fold_v2(dialect, stream)
            if (text is None) != name.startswith("none-"):
                raise AssertionError(name)
            expect = {"text": None if text is None else text.decode()}
            vector = {"dialect": dialect, "stream_b64": encode_base64(stream), "ok": True, "expect": expect}
            yield "fold2", f"good-{name}", vector


def stream_vectors() -> Iterator[Vector]:
    """Commitments to streams of version 2 and to messages, and disclosures of them."""
    key, form = fixed.seed("messages exchange key"), "fold:anthropic.messages@v2"
    yield commitment_vector("good-stream-v2", key, "response", MESSAGES, form)
    yield commitment_vector("good-stream-v2-gzip", key, "response", GZIP_MESSAGES, form)
    yield commitment_vector("good-stream-v2-chat", key, "response", CHAT_TOOLS, "fold:openai.chat@v2")
    said = b'{"type":"session.update"}'
    messages = (
        b"\x01" + len(said).to_bytes(4, "big") + said + b"\x02" + (3).to_bytes(4, "big") + b"\x00\xff\x01"
    )
    yield commitment_vector("good-none-websocket-messages", key, "request", messages, "json")
    member = fixed.committed(key, "response", MESSAGES, form)
    text = field_text(MESSAGES, form) or b""
    field = disclose_field(key, "response", text, "/content/2/input/größe").to_json()
    yield (
        "disclosure",
        "good-field-of-stream-v2",
        {"member": member, "disclosure": field, "ok": True, "expect": {}},
    )
    whole = disclose_whole(key, "response", MESSAGES, form).to_json()
    matched = {"member": member, "disclosure": whole, "ok": True, "expect": {"fields": "matched"}}
    yield "disclosure", "good-whole-of-stream-v2", matched
    other = disclose_whole(key, "response", MESSAGES.replace(b"look.", b"wait."), form).to_json()
    yield (
        "disclosure",
        "bad-whole-of-stream-v2-other-text",
        {"member": member, "disclosure": other, "ok": False},
    )
    version = {**member, "fields": {**member["fields"], "form": "fold:anthropic.messages@v1"}}
    unknown = {"member": version, "disclosure": whole, "ok": True, "expect": {"fields": "unknown_form"}}
    yield "disclosure", "good-whole-of-a-dialect-version-1-lacks", unknown
