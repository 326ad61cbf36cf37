"""The dialect `anthropic.messages`, version 2 (spec/commitment.md, "Folds, version 2").

A stream is one message: its beginning, its content blocks in pieces, its end with the reason and the usage.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from auditlog.core.folds.events import Json, is_text, list_in, object_in, place_of, read_value
from auditlog.core.folds.written import join_texts

_PIECES = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
_ENDS = ("container", "stop_details", "stop_reason", "stop_sequence")


class _Block:
    """One content block in the making: how it began, and what came to it."""

    def __init__(self, began: Json) -> None:
        self.began = began
        self.pieces: dict[str, list[str]] = {}
        self.citations: list[Any] = []
        self.signature: str | None = None

    def add(self, delta: Json) -> None:
        """Add one delta; of an unknown type it adds nothing."""
        kind = delta.get("type")
        name = _PIECES.get(kind) if is_text(kind) else None
        if name is not None and is_text(delta.get(name)):
            self.pieces.setdefault(name, []).append(delta[name])
        elif kind == "signature_delta" and is_text(delta.get("signature")):
            self.signature = delta["signature"]
        elif kind == "citations_delta" and "citation" in delta:
            self.citations.append(delta["citation"])

    def written(self) -> Json:
        """The block as the answer has it."""
        block = dict(self.began)
        for name in ("text", "thinking"):
            if name in self.pieces:
                began = [block[name]] if is_text(block.get(name)) else []
                block[name] = join_texts(began + self.pieces[name])
        source = join_texts(self.pieces.get("partial_json", ()))
        if source:
            is_value, value = read_value(source)
            # What was cut off is not JSON, and is shown as the text it is.
            block["input"] = value if is_value else source
        if self.signature is not None:
            block["signature"] = self.signature
        if self.citations:
            block["citations"] = list_in(block, "citations") + self.citations
        return block


def fold_messages(events: Iterator[Json]) -> Json | None:
    """The message of a stream, or None if none begins."""
    message: Json | None = None
    blocks: dict[int, _Block] = {}
    error: Json | None = None
    for event in events:
        kind = event.get("type")
        if kind == "message_start" and message is None and type(event.get("message")) is dict:
            message = dict(event["message"])
            began = enumerate(list_in(message, "content"))
            blocks = {place: _Block(block) for place, block in began if type(block) is dict}
        elif kind == "error" and type(event.get("error")) is dict:
            error = event["error"]
        elif message is not None and kind == "message_stop":
            break
        elif message is not None and kind == "message_delta":
            _add_end(message, event)
        elif message is not None:
            _add_to_block(blocks, event)
    if message is None:
        return None
    message["content"] = [blocks[place].written() for place in sorted(blocks)]
    return message if error is None else {**message, "error": error}


def _add_end(message: Json, event: Json) -> None:
    """Take over why it ended and the newest counts; what is null says nothing."""
    delta = object_in(event, "delta")
    message.update({name: delta[name] for name in _ENDS if delta.get(name) is not None})
    for name, value in object_in(event, "usage").items():
        if value is not None:
            if type(message.get("usage")) is not dict:
                message["usage"] = {}
            message["usage"][name] = value  # in place: copied for every event it would not be linear


def _add_to_block(blocks: dict[int, _Block], event: Json) -> None:
    place = place_of(event.get("index"))
    if place is None:
        return
    if event.get("type") == "content_block_start" and type(event.get("content_block")) is dict:
        blocks[place] = _Block(event["content_block"])
    elif event.get("type") == "content_block_delta" and type(event.get("delta")) is dict:
        blocks.setdefault(place, _Block({})).add(event["delta"])
