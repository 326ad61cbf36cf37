"""The dialect `openai.responses`, version 2 (spec/commitment.md, "Folds, version 2").

The last event of a stream carries the whole answer. A stream that broke off before it is put together from
its pieces: items of the output, their content and summary parts, texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from auditlog.core.folds.events import Json, is_text, list_in, place_of
from auditlog.core.folds.written import join_texts

_BEGINNINGS = frozenset({"response.created", "response.queued", "response.in_progress"})
_ENDINGS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_ERROR_MEMBERS = ("code", "message", "param")

_PARTS = {
    "response.content_part": ("content", "content_index"),
    "response.reasoning_summary_part": ("summary", "summary_index"),
}
"""Events that give a part: which array of the item, which member of the event has its place."""

_TEXTS = {
    "response.output_text": ("content", "content_index", "text"),
    "response.refusal": ("content", "content_index", "refusal"),
    "response.reasoning_text": ("content", "content_index", "text"),
    "response.reasoning_summary_text": ("summary", "summary_index", "text"),
    "response.function_call_arguments": ("", "", "arguments"),
    "response.mcp_call_arguments": ("", "", "arguments"),
    "response.custom_tool_call_input": ("", "", "input"),
    "response.code_interpreter_call_code": ("", "", "code"),
}
"""Events that give text: the same, or "" where the text is the item's own; and the member it is joined in."""


class _Node:
    """An item, or a part of one, in the making: what was given of it, and what came to it since."""

    def __init__(self, given: Json) -> None:
        self.given = given
        self.texts: dict[str, list[str]] = {}
        self.parts: dict[str, dict[int, _Node]] = {}
        self.annotations: dict[int, Any] = {}
        self.logprobs: list[Any] = []

    def part(self, name: str, place: int) -> _Node:
        """A part of the item; one that nobody gave begins empty."""
        parts = self.parts.setdefault(name, {})
        if place not in parts:
            given = list_in(self.given, name)
            known = given[place] if place < len(given) else None
            parts[place] = _Node(known if type(known) is dict else {})
        return parts[place]

    def add(self, name: str, piece: str) -> None:
        """Add to a text."""
        if name not in self.texts:
            self.texts[name] = [self.given[name]] if is_text(self.given.get(name)) else []
        self.texts[name].append(piece)

    def written(self) -> Json:
        """The item or part as the answer has it."""
        value = {**self.given, **{name: join_texts(pieces) for name, pieces in self.texts.items()}}
        if self.logprobs:
            value["logprobs"] = list_in(self.given, "logprobs") + self.logprobs
        if self.annotations:
            value["annotations"] = _overlaid(list_in(self.given, "annotations"), self.annotations)
        for name, parts in self.parts.items():
            written = {place: part.written() for place, part in parts.items()}
            value[name] = _overlaid(list_in(self.given, name), written)
        return value


def fold_responses(events: Iterator[Json]) -> Json | None:
    """The response of a stream, or None if no event is of this dialect."""
    response: Json | None = None
    items: dict[int, _Node] = {}
    error: Json | None = None
    for event in events:
        kind = event.get("type")
        if not is_text(kind) or not (kind == "error" or kind.startswith("response.")):
            continue
        response = {"object": "response"} if response is None else response
        if kind == "error":
            error = {name: event[name] for name in _ERROR_MEMBERS if name in event}
        elif kind in _ENDINGS and type(event.get("response")) is dict:
            response = event["response"]
            if list_in(event["response"], "output"):
                return response
            break
        elif kind in _BEGINNINGS and type(event.get("response")) is dict:
            response = event["response"]
        else:
            _add(items, kind, event)
    if response is None:
        return None
    written = {place: item.written() for place, item in items.items()}
    response = {**response, "output": _overlaid(list_in(response, "output"), written)}
    return response if error is None else {**response, "error": error}


def _add(items: dict[int, _Node], kind: str, event: Json) -> None:
    """Add one event about one item; of an unknown type it adds nothing."""
    place = place_of(event.get("output_index"))
    what, _, when = kind.rpartition(".")
    if place is None or when not in ("added", "delta", "done"):
        return
    if what == "response.output_item" and type(event.get("item")) is dict and when != "delta":
        items[place] = _Node(event["item"])
    elif what in _PARTS and type(event.get("part")) is dict and when != "delta":
        name, index = _PARTS[what]
        at = place_of(event.get(index))
        if at is not None:
            items.setdefault(place, _Node({})).parts.setdefault(name, {})[at] = _Node(event["part"])
    elif what in _TEXTS and when != "added":
        _add_text(items, place, what, when, event)
    elif kind == "response.output_text.annotation.added" and "annotation" in event:
        at, number = place_of(event.get("content_index")), place_of(event.get("annotation_index"))
        if at is not None and number is not None:
            items.setdefault(place, _Node({})).part("content", at).annotations[number] = event["annotation"]


def _add_text(items: dict[int, _Node], place: int, what: str, when: str, event: Json) -> None:
    array, index, name = _TEXTS[what]
    at = place_of(event.get(index)) if array else 0
    piece = event.get("delta" if when == "delta" else name)
    if at is None or not is_text(piece):
        return
    item = items.setdefault(place, _Node({}))
    node = item.part(array, at) if array else item
    if when == "done":
        node.texts[name] = [piece]
        return
    node.add(name, piece)
    if what == "response.output_text":
        node.logprobs += list_in(event, "logprobs")


def _overlaid(given: list[Any], written: dict[int, Any]) -> list[Any]:
    """An array whose places are what came, else what was given; places that neither has are left out."""
    known = {**dict(enumerate(given)), **written}
    return [known[place] for place in sorted(known)]
