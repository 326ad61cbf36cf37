"""Folds of version 2: a streamed answer as one JSON text (spec/commitment.md, "Folds, version 2").

Text, tool calls, log probabilities, reasons for the end and usage, in the field names of the answer without
streaming. One module a family of dialects; `events` reads a stream, `written` writes the answer.

Promises: a function of the bytes, total, linear. Must never be changed: the form `fold:<dialect>@v2` stands
in entries. Another reading is another version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from auditlog.core.folds.anthropic import fold_messages
from auditlog.core.folds.events import MAX_STREAM_BYTES, Json, NoFoldError, read_events
from auditlog.core.folds.openai import fold_chat, fold_completions
from auditlog.core.folds.responses import fold_responses
from auditlog.core.folds.written import write_json
from auditlog.core.jsonfields import MAX_BODY_BYTES

__all__ = ["DIALECTS", "MAX_STREAM_BYTES", "fold_v2"]

_FOLDS: dict[str, Callable[[Iterator[Json]], dict[str, Any] | None]] = {
    "anthropic.messages": fold_messages,
    "openai.chat": fold_chat,
    "openai.completions": fold_completions,
    "openai.responses": fold_responses,
}

DIALECTS = tuple(_FOLDS)


def fold_v2(dialect: str, stream: bytes) -> bytes | None:
    """Return the folded answer of an event stream (attacker-controlled), or None if it has none.

    None for: over 8 MiB, no event of the dialect, an event that is not UTF-8 or repeats a key, a lone
    surrogate in what would be written, a fold over 1 MiB.

    Raises:
        ValueError: a dialect that is not in `DIALECTS`.
    """
    if dialect not in _FOLDS:
        raise ValueError(f"dialect: expected one of {DIALECTS}, found {dialect!r}")
    if len(stream) > MAX_STREAM_BYTES:
        return None
    try:
        answer = _FOLDS[dialect](read_events(stream))
        text = None if answer is None else write_json(answer)
    except NoFoldError:
        return None
    return text if text is not None and len(text) <= MAX_BODY_BYTES else None
