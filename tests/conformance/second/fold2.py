"""commitment.md, "Folds, version 2"."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from .canonical import Malformed, need
from .fields import MIB
from .fold import Number, _nesting, _no_constant, _Skip, _Twice, _unique

DIALECTS = ("anthropic.messages", "openai.chat", "openai.completions", "openai.responses")
LIMIT = 8 * MIB

Event = dict[str, Any]


def _value(data: bytes) -> Any:
    """One JSON value of an event; _Skip or Malformed for what is none, or two in one."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("a payload is not UTF-8") from error
    if _nesting(data) > 64:
        raise _Skip
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_int=Number, parse_float=Number, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise _Skip from error
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            need(item.get("") is not _Twice, "a key occurs twice")
            todo.extend(item.values())
        elif isinstance(item, list):
            todo.extend(item)
    return value


def _events(stream: bytes) -> list[Event]:
    found: list[Event] = []
    data: list[bytes] = []
    for line in re.split(rb"\r\n|\n|\r", stream.removeprefix(b"\xef\xbb\xbf"))[:-1]:
        name, _, value = line.partition(b":")
        if line and name == b"data":
            data.append(value.removeprefix(b" "))
        if line or not data:
            continue
        payload, data = b"\n".join(data), []
        if payload == b"[DONE]":
            break
        try:
            event = _value(payload)
        except _Skip:
            continue
        if isinstance(event, dict):
            found.append(event)
    return found


def _text(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, Number)


def _place(value: Any) -> int | None:
    good = isinstance(value, Number) and re.fullmatch(r"0|[1-9][0-9]{0,3}", value)
    return int(value) if good else None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _join(parts: list[str]) -> str:
    units = b"".join(part.encode("utf-16-be", "surrogatepass") for part in parts)
    return units.decode("utf-16-be", "surrogatepass")


def _write(value: Any) -> str:
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_write(key)}:{_write(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_write, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _sorted(array: list[Any], given: dict[int, Any]) -> list[Any]:
    """An array with what events gave at their places, and its own elsewhere."""
    places = sorted({*range(len(array)), *given})
    return [given[place] if place in given else array[place] for place in places]


# openai.chat and openai.completions


def _function(pieces: list[Event]) -> Event:
    names = [piece["name"] for piece in pieces if _text(piece.get("name")) and piece["name"]]
    made: Event = {
        "arguments": _join([piece["arguments"] for piece in pieces if _text(piece.get("arguments"))])
    }
    return {**made, "name": names[0]} if names else made


def _message(deltas: list[Event]) -> Event:
    made: Event = {"content": None}
    for name in ("content", "reasoning", "reasoning_content", "refusal"):
        parts = [delta[name] for delta in deltas if _text(delta.get(name))]
        if parts:
            made[name] = _join(parts)
    roles = [delta["role"] for delta in deltas if _text(delta.get("role"))]
    if roles:
        made["role"] = roles[0]
    legacy = [delta["function_call"] for delta in deltas if isinstance(delta.get("function_call"), dict)]
    if legacy:
        made["function_call"] = _function(legacy)
    calls: dict[int, list[Event]] = {}
    for delta in deltas:
        for call in _list(delta.get("tool_calls")):
            place = _place(_dict(call).get("index"))
            if place is not None:
                calls.setdefault(place, []).append(call)
    if calls:
        made["tool_calls"] = [_call(calls[place]) for place in sorted(calls)]
    return made


def _call(pieces: list[Event]) -> Event:
    made: Event = {"function": _function([_dict(piece.get("function")) for piece in pieces])}
    for name in ("id", "type"):
        found = [piece[name] for piece in pieces if _text(piece.get(name)) and piece[name]]
        if found:
            made[name] = found[0]
    return made


def _choice(place: int, pieces: list[Event], chat: bool) -> Event:
    made: Event = {"finish_reason": None, "index": Number(place)}
    logprobs: Event = {}
    arrays = ("content", "refusal") if chat else ("text_offset", "token_logprobs", "tokens", "top_logprobs")
    for piece in pieces:
        if _text(piece.get("finish_reason")):
            made["finish_reason"] = piece["finish_reason"]
        if isinstance(piece.get("stop_reason"), str):  # a Number is a str too
            made["stop_reason"] = piece["stop_reason"]
        for name in arrays:
            found = _dict(piece.get("logprobs")).get(name)
            if isinstance(found, list):
                logprobs.setdefault(name, []).extend(found)
    if logprobs:
        made["logprobs"] = logprobs
    if chat:
        made["message"] = _message([_dict(piece.get("delta")) for piece in pieces])
    else:
        made["text"] = _join([piece["text"] for piece in pieces if _text(piece.get("text"))])
    return made


def _openai(events: list[Event], chat: bool) -> Event:
    kind = "chat.completion.chunk" if chat else "text_completion"
    chunks = [event for event in events if _text(event.get("object")) and event["object"] == kind]
    errors = [
        event["error"] for event in events if "object" not in event and isinstance(event.get("error"), dict)
    ]
    need(chunks or errors, "no known events")
    made: Event = {"object": "chat.completion" if chat else "text_completion"}
    if errors:
        made["error"] = errors[-1]
    for name in ("created", "id", "model", "service_tier", "system_fingerprint"):
        found = [event[name] for event in chunks if isinstance(event.get(name), str)]
        if found:
            made[name] = found[0]
    usage = [event["usage"] for event in chunks if isinstance(event.get("usage"), dict)]
    if usage:
        made["usage"] = usage[-1]
    choices: dict[int, list[Event]] = {}
    for event in chunks:
        for piece in _list(event.get("choices")):
            place = _place(_dict(piece).get("index"))
            if place is not None:
                choices.setdefault(place, []).append(piece)
    made["choices"] = [_choice(place, choices[place], chat) for place in sorted(choices)]
    return made


# anthropic.messages


def _block(began: Event, deltas: list[Event]) -> Event:
    def those(kind: str, member: str) -> list[str]:
        return [delta[member] for delta in deltas if delta.get("type") == kind and _text(delta.get(member))]

    made = dict(began)
    for name in ("text", "thinking"):
        added = those(f"{name}_delta", name)
        if added:
            made[name] = _join(([began[name]] if _text(began.get(name)) else []) + added)
    source = _join(those("input_json_delta", "partial_json"))
    if source:
        try:
            made["input"] = _value(source.encode("utf-8"))
        except (_Skip, Malformed, UnicodeEncodeError):
            made["input"] = source
    signatures = those("signature_delta", "signature")
    if signatures:
        made["signature"] = signatures[-1]
    cited = [
        delta["citation"]
        for delta in deltas
        if delta.get("type") == "citations_delta" and "citation" in delta
    ]
    if cited:
        made["citations"] = _list(began.get("citations")) + cited
    return made


def _anthropic(events: list[Event]) -> Event:
    made: Event | None = None
    blocks: dict[int, tuple[Event, list[Event]]] = {}
    error: Event | None = None
    for event in events:
        kind = event.get("type")
        if kind == "error" and isinstance(event.get("error"), dict):
            error = event["error"]
        if made is None:
            if kind == "message_start" and isinstance(event.get("message"), dict):
                made = dict(event["message"])
                for place, block in enumerate(_list(made.get("content"))):
                    if isinstance(block, dict):
                        blocks[place] = (block, [])
            continue
        if kind == "message_stop":
            break
        at = _place(event.get("index"))
        if kind == "content_block_start" and at is not None and isinstance(event.get("content_block"), dict):
            blocks[at] = (event["content_block"], [])
        if kind == "content_block_delta" and at is not None and isinstance(event.get("delta"), dict):
            blocks.setdefault(at, ({}, []))[1].append(event["delta"])
        if kind == "message_delta":
            delta = _dict(event.get("delta"))
            for name in ("container", "stop_details", "stop_reason", "stop_sequence"):
                if delta.get(name) is not None:
                    made[name] = delta[name]
            counts = {name: n for name, n in _dict(event.get("usage")).items() if n is not None}
            if counts:
                made["usage"] = {**_dict(made.get("usage")), **counts}
    need(made is not None, "no message begins")
    answer = {**(made or {}), "content": [_block(*blocks[place]) for place in sorted(blocks)]}
    return answer if error is None else {**answer, "error": error}


# openai.responses


class _Thing:
    """An item or a part: what was given of it, and the changes since."""

    def __init__(self, given: Event) -> None:
        self.made = dict(given)
        self.below: dict[str, dict[int, _Thing]] = {"content": {}, "summary": {}}
        self.notes: dict[int, Any] = {}
        self.joined: dict[str, list[str]] = {}

    def at(self, array: str, place: int) -> _Thing:
        own = _list(self.made.get(array))
        found = own[place] if place < len(own) else {}
        return self.below[array].setdefault(place, _Thing(_dict(found)))

    def add(self, name: str, more: str) -> None:
        was = self.made.get(name)
        self.joined.setdefault(name, [was] if _text(was) else []).append(more)

    def written(self) -> Event:
        made = {**self.made, **{name: _join(parts) for name, parts in self.joined.items()}}
        for array, things in self.below.items():
            if things:
                made[array] = _sorted(
                    _list(made.get(array)), {n: thing.written() for n, thing in things.items()}
                )
        if self.notes:
            made["annotations"] = _sorted(_list(made.get("annotations")), self.notes)
        return made


_CONTENT, _SUMMARY = ("content", "content_index"), ("summary", "summary_index")
_WHERE: dict[str, tuple[tuple[str, str] | None, str]] = {
    "output_text": (_CONTENT, "text"),
    "reasoning_text": (_CONTENT, "text"),
    "refusal": (_CONTENT, "refusal"),
    "reasoning_summary_text": (_SUMMARY, "text"),
    "function_call_arguments": (None, "arguments"),
    "mcp_call_arguments": (None, "arguments"),
    "custom_tool_call_input": (None, "input"),
    "code_interpreter_call_code": (None, "code"),
}


def _change(items: dict[int, _Thing], event: Event) -> None:
    name = event["type"].removeprefix("response.")
    at = _place(event.get("output_index"))
    if at is None:
        return

    def item() -> _Thing:
        return items.setdefault(at, _Thing({}))

    if name in {"output_item.added", "output_item.done"}:
        if isinstance(event.get("item"), dict):
            items[at] = _Thing(event["item"])
        return
    for prefix, (array, index) in {"content_part": _CONTENT, "reasoning_summary_part": _SUMMARY}.items():
        place = _place(event.get(index))
        if name in {f"{prefix}.added", f"{prefix}.done"}:
            if place is not None and isinstance(event.get("part"), dict):
                item().below[array][place] = _Thing(event["part"])
            return
    if name == "output_text.annotation.added":
        place, number = _place(event.get("content_index")), _place(event.get("annotation_index"))
        if place is not None and number is not None and "annotation" in event:
            item().at("content", place).notes[number] = event["annotation"]
        return
    for prefix, (where, member) in _WHERE.items():
        if name not in {f"{prefix}.delta", f"{prefix}.done"}:
            continue
        ends = name.endswith(".done")
        more = event.get(member if ends else "delta")
        place = 0 if where is None else _place(event.get(where[1]))
        if place is None or not _text(more):
            return
        thing = item() if where is None else item().at(where[0], place)
        if ends:
            thing.joined[member] = [more]
            return
        thing.add(member, more)
        if prefix == "output_text" and _list(event.get("logprobs")):
            thing.made["logprobs"] = _list(thing.made.get("logprobs")) + event["logprobs"]


def _responses(events: list[Event]) -> Event:
    known = [
        event
        for event in events
        if _text(event.get("type")) and (event["type"] == "error" or event["type"].startswith("response."))
    ]
    need(known, "no known events")
    response: Event = {"object": "response"}
    items: dict[int, _Thing] = {}
    error: Event | None = None
    for event in known:
        kind = event["type"].removeprefix("response.")
        said = event.get("response")
        if event["type"] == "error":
            error = {name: event[name] for name in ("code", "message", "param") if name in event}
        elif kind in {"completed", "incomplete", "failed"} and isinstance(said, dict):
            if _list(said.get("output")):
                return said
            response = said
            break
        elif kind in {"created", "queued", "in_progress"} and isinstance(said, dict):
            response = said
        else:
            _change(items, event)
    written = {place: thing.written() for place, thing in items.items()}
    made = {**response, "output": _sorted(_list(response.get("output")), written)}
    return made if error is None else {**made, "error": error}


_FOLDS: dict[str, Callable[[list[Event]], Event]] = {
    "anthropic.messages": _anthropic,
    "openai.chat": lambda events: _openai(events, chat=True),
    "openai.completions": lambda events: _openai(events, chat=False),
    "openai.responses": _responses,
}


def fold2(stream: bytes, dialect: str) -> bytes:
    """The folded text of an event stream; Malformed if there is none."""
    need(len(stream) <= LIMIT, "a stream over 8 MiB")
    try:
        text = _write(_FOLDS[dialect](_events(stream))).encode("utf-8")
    except UnicodeEncodeError as error:
        raise Malformed("a lone surrogate") from error
    need(len(text) <= MIB, "a fold over 1 MiB")
    return text
