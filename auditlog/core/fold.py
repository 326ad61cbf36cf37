"""Fold a streamed answer into the answer it would have been without streaming (spec/commitment.md, "Folds").

A stream of server-sent events carries text in pieces that mean nothing alone. The fold joins them and writes
one JSON text in the field names of the non-streaming answer, so that a field of either can be disclosed in
the same words. `openai.completions` and `openai.chat`, version 1, fold text only: tool calls and log
probabilities are left out.

Promises: a function of the bytes, total, linear. Must never
be changed: the form `fold:<dialect>@v1` stands in entries.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from auditlog.core import canonical
from auditlog.core.jsonfields import MAX_BODY_BYTES
from auditlog.core.sse import event_data
from auditlog.errors import MalformedError

DIALECTS = ("openai.chat", "openai.completions")

MAX_EVENT_DEPTH = 64
"""An event with more containers inside one another is skipped."""

_CHUNK_OBJECTS = {"openai.chat": "chat.completion.chunk", "openai.completions": "text_completion"}
_ANSWER_OBJECTS = {"openai.chat": "chat.completion", "openai.completions": "text_completion"}
_ONCE = ("created", "id", "model", "service_tier", "system_fingerprint")
_COMPLETION_TEXTS: tuple[str, ...] = ("text",)
_DELTA_TEXTS = ("content", "reasoning", "reasoning_content", "refusal")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_INDEX = re.compile(r"0|[1-9][0-9]{0,3}")


class _NumberSource(str):
    """A number of an event, as the characters it was written with."""

    __slots__ = ()


class _NoFoldError(Exception):
    """These bytes have no fold."""


def fold(dialect: str, stream: bytes | Iterable[bytes]) -> bytes | None:
    """Return the folded answer of an event stream (whole or
    in chunks, attacker-controlled), or None if it has none.

    Raises:
        ValueError: a dialect that is not in `DIALECTS`.
    """
    if dialect not in DIALECTS:
        raise ValueError(f"dialect: expected one of {DIALECTS}, found {dialect!r}")
    data = stream if isinstance(stream, bytes) else b"".join(stream)
    if len(data) > MAX_BODY_BYTES:
        return None
    try:
        answer = _fold_events(dialect, data)
        text = _write(answer).encode("utf-8")
    except (_NoFoldError, MalformedError, RecursionError):
        return None
    return text if len(text) <= MAX_BODY_BYTES else None


def _fold_events(dialect: str, data: bytes) -> dict[str, Any]:
    once: dict[str, Any] = {}
    usage: dict[str, Any] | None = None
    choices: dict[int, dict[str, Any]] = {}
    known = False
    for event in _known_events(data, _CHUNK_OBJECTS[dialect]):
        known = True
        for name in _ONCE:
            value = event.get(name)
            if isinstance(value, str):  # a string or a number's source
                once.setdefault(name, value)
        if type(event.get("usage")) is dict:
            usage = event["usage"]
        for index, choice in _indexed(event.get("choices")):
            _add(
                choices.setdefault(index, {"finish_reason": None, "texts": {}, "role": None}), choice, dialect
            )
    if not known:
        raise _NoFoldError
    answer: dict[str, Any] = {**once, "object": _ANSWER_OBJECTS[dialect]}
    answer["choices"] = [_answer_choice(index, choices[index], dialect) for index in sorted(choices)]
    if usage is not None:
        answer["usage"] = usage
    return answer


def _known_events(data: bytes, chunk_object: str) -> Iterator[dict[str, Any]]:
    """Yield the events of the dialect. What is not JSON, too deep, or another object, is skipped."""
    reader = _EventReader()
    for payload in event_data(data):
        event = reader.read(payload)
        if type(event) is dict and event.get("object") == chunk_object:
            yield event


def _indexed(choices: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the choices of one event that say which choice they continue."""
    for choice in choices if type(choices) is list else ():
        index = choice.get("index") if type(choice) is dict else None
        if type(index) is _NumberSource and _INDEX.fullmatch(index):
            yield int(index), choice


def _add(joined: dict[str, Any], choice: dict[str, Any], dialect: str) -> None:
    """Add one piece of one choice."""
    if type(choice.get("finish_reason")) is str:
        joined["finish_reason"] = choice["finish_reason"]
    if dialect == "openai.completions":
        piece, names = choice, _COMPLETION_TEXTS
    else:
        delta = choice.get("delta")
        piece, names = (delta if type(delta) is dict else {}), _DELTA_TEXTS
        if joined["role"] is None and type(piece.get("role")) is str:
            joined["role"] = piece["role"]
    for name in names:
        if type(piece.get(name)) is str:
            joined["texts"].setdefault(name, []).append(piece[name])


def _answer_choice(index: int, joined: dict[str, Any], dialect: str) -> dict[str, Any]:
    choice = {"finish_reason": joined["finish_reason"], "index": _NumberSource(index)}
    texts = {name: _join_utf16(pieces) for name, pieces in joined["texts"].items()}
    if dialect == "openai.completions":
        return {**choice, "text": texts.get("text", "")}
    message: dict[str, Any] = {"content": None, **texts}
    if joined["role"] is not None:
        message["role"] = joined["role"]
    return {**choice, "message": message}


def _join_utf16(pieces: list[str]) -> str:
    """Join as UTF-16 code units: one character may be
    cut between two events, a half of it escaped in each.
    """
    units = "".join(pieces).encode("utf-16-le", "surrogatepass")
    try:
        return units.decode("utf-16-le")
    except UnicodeDecodeError:
        raise _NoFoldError from None


def _write(value: Any, depth_left: int = canonical.MAX_DEPTH) -> str:
    """Write canonical JSON, but a number as its source."""
    if type(value) is _NumberSource:
        return str(value)
    if type(value) in (dict, list) and depth_left == 0:
        raise _NoFoldError
    if type(value) is list:
        return "[" + ",".join(_write(item, depth_left - 1) for item in value) + "]"
    if type(value) is dict:
        if not all(map(str.isascii, value)):
            raise _NoFoldError
        members = (f"{_write(key)}:{_write(value[key], depth_left - 1)}" for key in sorted(value))
        return "{" + ",".join(members) + "}"
    return canonical.encode(value).decode("utf-8")


class _EventReader:
    """Reads the JSON of one event after another."""

    def __init__(self) -> None:
        self._repeated = False
        self._decoder = json.JSONDecoder(
            parse_int=_NumberSource,
            parse_float=_NumberSource,
            parse_constant=_refuse_constant,
            object_pairs_hook=self._pairs,
        )

    def read(self, payload: bytes) -> Any:
        """Return the value, or None to skip the event: not
        JSON, or more than 64 containers inside one another.

        Raises:
            _NoFoldError: not UTF-8, or a repeated key: which of two readings the client took cannot be known.
        """
        self._repeated = False
        try:
            text = payload.decode("utf-8")
        except UnicodeDecodeError:
            raise _NoFoldError from None
        if not is_shallow(payload):
            return None
        try:
            event = self._decoder.decode(text)
        except (ValueError, RecursionError):
            return None
        if self._repeated:
            raise _NoFoldError
        return event

    def _pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        self._repeated = self._repeated or len(members) != len(pairs)
        return members


def is_shallow(payload: bytes) -> bool:
    """Whether the event is within the depth limit; most are, seen by counting brackets."""
    if payload.count(b"[") + payload.count(b"{") <= MAX_EVENT_DEPTH:
        return True
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", payload)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_EVENT_DEPTH:
            return False
    return True


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError
