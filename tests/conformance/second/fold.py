"""commitment.md, "Folds"."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from .canonical import Malformed, depth_of, need, refuse
from .fields import MIB

DIALECTS = {"openai.chat": "chat.completion.chunk", "openai.completions": "text_completion"}
_STRINGS = ("content", "reasoning", "reasoning_content", "refusal")
_JSON_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


class Number(str):
    """A number with the characters it had."""

    __slots__ = ()


class _Twice(Exception):
    """An object has a key twice."""


class _Skip(Exception):
    """The payload is left out."""


def payloads(stream: bytes) -> list[bytes]:
    """The payloads of the events of a stream."""
    stream = stream.removeprefix(b"\xef\xbb\xbf")
    found: list[bytes] = []
    data: list[bytes] = []
    event = b""
    for line in re.split(rb"\r\n|\n|\r", stream)[:-1]:
        if not line:
            if data and event in {b"", b"message"}:
                found.append(b"\n".join(data))
            data, event = [], b""
            continue
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value
    return found


def _nesting(payload: bytes) -> int:
    deepest = depth = 0
    for byte in _JSON_STRING.sub(b"", payload):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        made[""] = _Twice  # only a fault once the whole payload proves to be JSON
    return made


def _no_constant(text: str) -> NoReturn:
    raise _Skip


def _known(payload: bytes, wanted: str) -> dict[str, Any]:
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("a payload is not UTF-8") from error
    if _nesting(payload) > 64:
        raise _Skip
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_int=Number,
            parse_float=Number,
            parse_constant=_no_constant,
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
    if not isinstance(value, dict) or not _is_string(value.get("object")) or value["object"] != wanted:
        raise _Skip
    return value


def _is_string(value: object) -> bool:
    return isinstance(value, str) and not isinstance(value, Number)


def _joined(parts: list[str]) -> str:
    try:
        return "".join(parts).encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError as error:
        raise Malformed("a lone surrogate") from error


def _write(value: Any) -> str:
    """Canonical JSON in which a number keeps its characters; the depth was checked before."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        need(all(key.isascii() for key in value), "a key beyond ASCII")
        inner = ",".join(
            f"{json.dumps(key, ensure_ascii=False)}:{_write(value[key])}" for key in sorted(value)
        )
        return "{" + inner + "}"
    if isinstance(value, list):
        return "[" + ",".join(_write(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _choices(events: list[dict[str, Any]], dialect: str) -> list[dict[str, Any]]:
    chat = dialect == "openai.chat"
    found: dict[int, dict[str, Any]] = {}
    for event in events:
        listed = event.get("choices")
        for item in listed if isinstance(listed, list) else []:
            index = item.get("index") if isinstance(item, dict) else None
            if not isinstance(index, Number) or not re.fullmatch(r"0|[1-9][0-9]{0,3}", index):
                continue
            choice = found.setdefault(int(index), {"parts": {}})
            if _is_string(item.get("finish_reason")):
                choice["finish_reason"] = item["finish_reason"]
            source = item.get("delta") if chat else item
            if not isinstance(source, dict):
                continue
            for name in _STRINGS if chat else ("text",):
                if _is_string(source.get(name)):
                    choice["parts"].setdefault(name, []).append(source[name])
            if chat and _is_string(source.get("role")):
                choice.setdefault("role", source["role"])
    written = []
    for index in sorted(found):
        choice = found[index]
        texts: dict[str, Any] = {name: _joined(parts) for name, parts in choice["parts"].items()}
        made: dict[str, Any] = {"finish_reason": choice.get("finish_reason"), "index": Number(index)}
        if chat:
            texts.setdefault("content", None)
            if "role" in choice:
                texts["role"] = choice["role"]
            made["message"] = texts
        else:
            made["text"] = texts.get("text", "")
        written.append(made)
    return written


def fold(stream: bytes, dialect: str) -> bytes:
    """The folded text of an event stream; Malformed if there is none."""
    need(len(stream) <= MIB, "a stream over 1 MiB")
    events = []
    for payload in payloads(stream):
        try:
            events.append(_known(payload, DIALECTS[dialect]))
        except _Skip:
            continue
    if not events:
        refuse("no known events")
    folded: dict[str, Any] = {"object": "chat.completion" if dialect == "openai.chat" else "text_completion"}
    for name in ("created", "id", "model", "service_tier", "system_fingerprint"):
        for event in events:
            if isinstance(event.get(name), str):  # a Number is a str too
                folded[name] = event[name]
                break
    for event in events:
        if isinstance(event.get("usage"), dict):
            folded["usage"] = event["usage"]
    folded["choices"] = _choices(events, dialect)
    need(depth_of(folded) <= 16, "more than 16 levels")
    try:
        text = _write(folded).encode("utf-8")
    except UnicodeEncodeError as error:
        raise Malformed("a lone surrogate") from error
    need(len(text) <= MIB, "a fold over 1 MiB")
    return text
