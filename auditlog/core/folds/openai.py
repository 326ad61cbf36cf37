"""The dialects `openai.chat` and `openai.completions`, version 2 (spec/commitment.md, "Folds, version 2").

Chunks carry pieces of up to 10,000 choices; each choice is joined by its index, each of its tool calls by the
call's own. Audio and whatever else is not named here is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from auditlog.core.folds.events import Json, Number, is_text, list_in, object_in, place_of
from auditlog.core.folds.written import join_texts

_ONCE = ("created", "id", "model", "service_tier", "system_fingerprint")
_DELTA_TEXTS = ("content", "reasoning", "reasoning_content", "refusal")
_CHAT_LOGPROBS = ("content", "refusal")
_COMPLETION_LOGPROBS = ("text_offset", "token_logprobs", "tokens", "top_logprobs")


class _Call:
    """A tool call, or a legacy function call, in the making."""

    def __init__(self) -> None:
        self.named: Json = {}
        self.name: str | None = None
        self.arguments: list[str] = []

    def add(self, function: Json) -> None:
        """Add a piece of the function: its name is the first that is not empty, its arguments are joined."""
        if self.name is None and is_text(function.get("name")) and function["name"]:
            self.name = function["name"]
        if is_text(function.get("arguments")):
            self.arguments.append(function["arguments"])

    def function(self) -> Json:
        """The function as the answer has it."""
        written: Json = {"arguments": join_texts(self.arguments)}
        return written if self.name is None else {**written, "name": self.name}


class _Choice:
    """One choice in the making."""

    def __init__(self) -> None:
        self.ends: Json = {}
        self.role: str | None = None
        self.texts: dict[str, list[str]] = {}
        self.logprobs: dict[str, list[Any]] = {}
        self.calls: dict[int, _Call] = {}
        self.function_call: _Call | None = None

    def add(self, choice: Json, logprobs: tuple[str, ...]) -> None:
        """Add what every dialect has: how it ended, and log probabilities."""
        if is_text(choice.get("finish_reason")):
            self.ends["finish_reason"] = choice["finish_reason"]
        if isinstance(choice.get("stop_reason"), str):  # a stop string, or the number of a token
            self.ends["stop_reason"] = choice["stop_reason"]
        for name in logprobs:
            found = object_in(choice, "logprobs").get(name)
            if type(found) is list:
                self.logprobs.setdefault(name, []).extend(found)

    def add_text(self, piece: Json, names: tuple[str, ...]) -> None:
        """Add pieces of text."""
        for name in names:
            if is_text(piece.get(name)):
                self.texts.setdefault(name, []).append(piece[name])

    def add_delta(self, delta: Json) -> None:
        """Add a chat delta."""
        self.add_text(delta, _DELTA_TEXTS)
        if self.role is None and is_text(delta.get("role")):
            self.role = delta["role"]
        if type(delta.get("function_call")) is dict:
            self.function_call = self.function_call or _Call()
            self.function_call.add(delta["function_call"])
        for item in list_in(delta, "tool_calls"):
            place = place_of(item.get("index")) if type(item) is dict else None
            if place is None:
                continue
            call = self.calls.setdefault(place, _Call())
            for name in ("id", "type"):
                if is_text(item.get(name)) and item[name]:
                    call.named.setdefault(name, item[name])
            call.add(object_in(item, "function"))

    def written(self, index: int) -> Json:
        """What every dialect writes of a choice."""
        choice: Json = {"finish_reason": None, **self.ends, "index": Number(index)}
        return {**choice, "logprobs": self.logprobs} if self.logprobs else choice

    def message(self) -> Json:
        """The message of a chat answer."""
        message: Json = {"content": None, **{name: join_texts(texts) for name, texts in self.texts.items()}}
        if self.role is not None:
            message["role"] = self.role
        if self.function_call is not None:
            message["function_call"] = self.function_call.function()
        if self.calls:
            message["tool_calls"] = [
                {**self.calls[place].named, "function": self.calls[place].function()}
                for place in sorted(self.calls)
            ]
        return message


def fold_chat(events: Iterator[Json]) -> Json | None:
    """The answer of a chat stream, or None if no event is of this dialect."""
    answer: Json = {"object": "chat.completion"}
    choices: dict[int, _Choice] = {}
    for index, choice in _known(events, "chat.completion.chunk", answer):
        joined = choices.setdefault(index, _Choice())
        joined.add(choice, _CHAT_LOGPROBS)
        joined.add_delta(object_in(choice, "delta"))
    return _answer(
        answer, [{**choices[i].written(i), "message": choices[i].message()} for i in sorted(choices)]
    )


def fold_completions(events: Iterator[Json]) -> Json | None:
    """The answer of a completions stream, or None if no event is of this dialect."""
    answer: Json = {"object": "text_completion"}
    choices: dict[int, _Choice] = {}
    for index, choice in _known(events, "text_completion", answer):
        joined = choices.setdefault(index, _Choice())
        joined.add(choice, _COMPLETION_LOGPROBS)
        joined.add_text(choice, ("text",))
    texts = {index: join_texts(joined.texts.get("text", ())) for index, joined in choices.items()}
    return _answer(answer, [{**choices[i].written(i), "text": texts[i]} for i in sorted(choices)])


def _known(events: Iterator[Json], chunk: str, answer: Json) -> Iterator[tuple[int, Json]]:
    """Yield (index, choice) of every piece of a choice; note in `answer` what concerns all of it."""
    for event in events:
        if event.get("object") != chunk:
            if "object" not in event and type(event.get("error")) is dict:
                answer.update(error=event["error"], choices=[])
            continue
        answer["choices"] = []
        for name in _ONCE:
            if isinstance(event.get(name), str):  # a string or a number
                answer.setdefault(name, event[name])
        if type(event.get("usage")) is dict:
            answer["usage"] = event["usage"]
        for choice in list_in(event, "choices"):
            index = place_of(choice.get("index")) if type(choice) is dict else None
            if index is not None:
                yield index, choice


def _answer(answer: Json, choices: list[Json]) -> Json | None:
    """`choices` is in the answer from the first known event on."""
    return {**answer, "choices": choices} if "choices" in answer else None
