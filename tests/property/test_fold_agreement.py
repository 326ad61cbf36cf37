"""Two readings of commitment.md, "Folds, version 2", agree on streams nobody thought of."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from auditlog.core.folds import DIALECTS, fold_v2
from auditlog.core.jsonfields import scan_fields
from tests.conformance.second.canonical import Malformed
from tests.conformance.second.fold2 import fold2

QUICK = settings(max_examples=150, deadline=None)

PLACES = st.one_of(st.integers(-1, 3), st.sampled_from(["0", None, 9999, 10_000, 1.5]))
TEXTS = st.one_of(
    st.sampled_from(["", "a", "ä", '{"a":', "1}", "\ud83d", "\ude00", "[]"]), st.none(), st.integers(0, 3)
)
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-2, 2), st.floats(allow_nan=False, allow_infinity=False), TEXTS
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("abcé"), inner, max_size=2)
    ),
    max_leaves=4,
)


_FUNCTIONS = st.fixed_dictionaries({}, optional={"name": TEXTS, "arguments": TEXTS})
_CALLS = st.fixed_dictionaries(
    {"index": PLACES}, optional={"id": TEXTS, "type": TEXTS, "function": _FUNCTIONS}
)
_LOGPROBS = st.dictionaries(
    st.sampled_from(["content", "refusal", "tokens", "x"]),
    st.one_of(VALUES, st.lists(VALUES, max_size=2)),
    max_size=3,
)
_DELTAS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("content", "reasoning", "reasoning_content", "refusal", "role"), TEXTS),
        "tool_calls": st.lists(_CALLS, max_size=2),
        "function_call": st.one_of(_FUNCTIONS, VALUES),
    },
)
_CHOICES = st.fixed_dictionaries(
    {"index": PLACES},
    optional={
        "delta": st.one_of(_DELTAS, VALUES),
        "text": TEXTS,
        "finish_reason": TEXTS,
        "stop_reason": TEXTS,
        "logprobs": st.one_of(_LOGPROBS, VALUES),
    },
)
OPENAI = st.fixed_dictionaries(
    {},
    optional={
        "object": st.sampled_from(["chat.completion.chunk", "text_completion", "error"]),
        "choices": st.one_of(st.lists(_CHOICES, max_size=3), VALUES),
        **dict.fromkeys(("id", "created", "usage", "error", "model"), VALUES),
    },
)

_BLOCKS = st.fixed_dictionaries(
    {},
    optional={
        "type": TEXTS,
        "text": TEXTS,
        "thinking": TEXTS,
        "input": VALUES,
        "citations": VALUES,
        "signature": TEXTS,
    },
)
_BLOCK_DELTAS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["text_delta", "thinking_delta", "input_json_delta", "signature_delta", "citations_delta", "x"]
        )
    },
    optional={
        "text": TEXTS,
        "thinking": TEXTS,
        "partial_json": TEXTS,
        "signature": TEXTS,
        "citation": VALUES,
    },
)
ANTHROPIC = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            [
                "message_start",
                "content_block_start",
                "content_block_delta",
                "content_block_delta",
                "message_delta",
                "message_stop",
                "error",
                "ping",
            ]
        )
    },
    optional={
        "index": PLACES,
        "message": st.fixed_dictionaries(
            {},
            optional={
                "content": st.one_of(VALUES, st.lists(_BLOCKS, max_size=2)),
                "usage": VALUES,
                "id": TEXTS,
            },
        ),
        "content_block": st.one_of(_BLOCKS, VALUES),
        "delta": st.one_of(
            _BLOCK_DELTAS, st.dictionaries(st.sampled_from(["stop_reason", "container"]), VALUES)
        ),
        "usage": VALUES,
        "error": VALUES,
    },
)

_WHAT = [
    "output_item",
    "content_part",
    "reasoning_summary_part",
    "output_text",
    "refusal",
    "reasoning_text",
    "reasoning_summary_text",
    "function_call_arguments",
    "mcp_call_arguments",
    "custom_tool_call_input",
    "code_interpreter_call_code",
    "output_text.annotation",
]
_RESPONSE_TYPES = st.one_of(
    st.builds("response.{}.{}".format, st.sampled_from(_WHAT), st.sampled_from(["added", "delta", "done"])),
    st.sampled_from(
        ["response.created", "response.in_progress", "response.completed", "response.failed", "error", "x"]
    ),
)
_ITEMS = st.fixed_dictionaries(
    {},
    optional={
        "content": st.one_of(st.lists(_BLOCKS, max_size=2), VALUES),
        "summary": VALUES,
        "arguments": TEXTS,
        "text": TEXTS,
        "annotations": VALUES,
        "logprobs": VALUES,
    },
)
RESPONSES = st.fixed_dictionaries(
    {"type": _RESPONSE_TYPES, "output_index": PLACES, "content_index": PLACES, "summary_index": PLACES},
    optional={
        "delta": TEXTS,
        **dict.fromkeys(("text", "refusal", "arguments", "input", "code", "message"), TEXTS),
        "item": st.one_of(_ITEMS, VALUES),
        "part": st.one_of(_ITEMS, VALUES),
        "annotation": VALUES,
        "annotation_index": PLACES,
        "logprobs": VALUES,
        "response": st.fixed_dictionaries(
            {}, optional={"output": st.one_of(st.lists(_ITEMS, max_size=2), VALUES), "id": TEXTS}
        ),
    },
)
EVENTS = {
    "openai.chat": OPENAI,
    "openai.completions": OPENAI,
    "anthropic.messages": ANTHROPIC,
    "openai.responses": RESPONSES,
}


def _second(dialect: str, stream: bytes) -> bytes | None:
    try:
        return fold2(stream, dialect)
    except Malformed:
        return None


def _stream(events: list[Any], *, ascii_only: bool) -> bytes:
    """Events as a server would send them, halves of characters escaped."""
    lines = (f"data: {json.dumps(event, ensure_ascii=ascii_only)}\n\n" for event in events)
    return "".join(lines).encode("utf-8", "replace")


@QUICK
@given(st.data(), st.sampled_from(DIALECTS), st.booleans())
def test_the_second_reading_agrees(data: st.DataObject, dialect: str, ascii_only: bool) -> None:
    """The same text, or none, from both; what there is has fields."""
    events = data.draw(st.lists(EVENTS[dialect], max_size=8))
    if dialect == "anthropic.messages":
        events = [{"type": "message_start", "message": {"content": []}}, *events]
    stream = _stream(events, ascii_only=ascii_only)
    text = fold_v2(dialect, stream)
    assert text == _second(dialect, stream)
    assert text is None or scan_fields(text) is not None


@QUICK
@given(st.sampled_from(DIALECTS), st.binary(max_size=80), st.binary(max_size=20))
def test_noise_gives_a_fold_or_none(dialect: str, noise: bytes, more: bytes) -> None:
    """Any bytes, alone or among events: never a crash, and the same answer from both."""
    good = _stream(
        [{"type": "message_start", "message": {}}, {"type": "response.x", "object": "text_completion"}],
        ascii_only=True,
    )
    for stream in (
        noise,
        good + noise,
        b"data:" + noise + b"\n\n" + good + b"\r\rdata: [DONE]\r\n\r\n" + more,
    ):
        assert fold_v2(dialect, stream) == _second(dialect, stream)
