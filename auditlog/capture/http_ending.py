"""The end of a stream, held in the application's own messages (README.md, "How a response leaves").

    take(message) -> the messages that may leave now; from the terminal event on they stay here
    release()     -> what is here, in order: together the application's bytes

Two ways to hold it: `HeldEnding` finds the terminal event of a known stream; `NewestChunk`, in fail_closed
alone, holds whatever came last, so that a stream whose end nobody can tell lacks its last bytes if it is cut.

Promises: a message that nothing of is held leaves as the very object it came as; one is cut only where a
terminal event begins, or may begin, within it. What is held is copied: the application may use its buffer
again. Must never: hold more than one chunk, or than `http_stream` says, or change a byte.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from auditlog.capture.http_stream import TERMINAL_LINES, AnyEndFinder, TerminalFinder

if TYPE_CHECKING:
    from auditlog.capture.http_exchange import HttpExchange

Message = MutableMapping[str, Any]

MAX_AFTER_END_BYTES = 65_536
"""If more follows an event that looked like the last one, it was not."""

_OVER_WITHOUT_LAST = frozenset({"1.0", "0.9"})
"""Where closing the connection is the end of an answer: a cut looks like any other end."""


def holders(exchange: HttpExchange, *, has_loop: bool) -> tuple[HeldEnding | None, NewestChunk | None]:
    """What holds back something of a stream that begins now: its end, its newest chunk, or neither."""
    answered, is_closed = exchange.answered, exchange.fails_closed
    if answered is None:
        return None, None
    dialect = exchange.stream_dialect if exchange.stream_dialect in TERMINAL_LINES else None
    if is_closed:
        is_readable = answered.is_event_stream and not answered.is_coded
    else:
        is_readable = dialect is not None and answered.allows_comment and has_loop
    if not is_readable:
        return None, NewestChunk() if is_closed else None
    ending = HeldEnding(dialect, must_hold=is_closed, takes_comment=answered.allows_comment)
    shows_a_cut = dialect is not None and exchange.http_version not in _OVER_WITHOUT_LAST
    return ending, NewestChunk() if is_closed and not shows_a_cut else None


class HeldEnding:
    """Looks for the terminal event of one stream, and holds it."""

    __slots__ = ("_finder", "_held", "_is_given_up", "_must_hold", "_takes_comment", "held_bytes", "is_found")

    def __init__(self, dialect: str | None, *, must_hold: bool, takes_comment: bool) -> None:
        """`must_hold`: hold an end in any form, even where no comment may stand before it (fail_closed).
        Without it the dialect must be one with a marked end.
        """
        self._finder = AnyEndFinder(dialect) if must_hold else TerminalFinder(dialect or "")
        self._must_hold, self._takes_comment = must_hold, takes_comment
        self.held_bytes = 0
        self._held: list[Message] = []
        self._is_given_up = self.is_found = False

    @property
    def allows_comment(self) -> bool:
        """Whether a comment before the terminal event changes nothing for readers."""
        return self._takes_comment and self._finder.allows_comment

    @property
    def is_unsure(self) -> bool:
        """Whether the end of this stream may not look like one (fail_closed)."""
        return self._finder.is_unsure

    @property
    def is_overrun(self) -> bool:
        """Whether so much follows what was found that it cannot have been the end."""
        return self.held_bytes > MAX_AFTER_END_BYTES

    def take(self, message: Message, chunk: bytes, *, is_last: bool) -> list[Message]:
        """The messages that may leave now that `message` with the bytes `chunk` came. With the last one, and
        no terminal event, all may.
        """
        if self.is_found:
            self.keep(message)
            return []
        if self._is_given_up:
            return [message]
        before = self._finder.pending
        chunk = chunk if type(chunk) is bytes else bytes(chunk)  # ASGI's servers take any buffer
        leaving = self._finder.feed(chunk)
        if self._finder.found and (self.allows_comment or self._must_hold):
            return self._begin(message, leaving, is_whole=not leaving and not before)
        if self._finder.found or is_last:
            self._is_given_up, self._finder.pending = True, b""
            leaving = before + chunk
            return [{**message, "body": leaving} if before else message]
        if not before and len(leaving) == len(chunk):
            return [message]
        return [{**message, "body": leaving}] if leaving else []

    def keep(self, message: Message) -> None:
        """Hold one more message."""
        held = _copy(message)
        self.held_bytes += len(held.get("body", b""))
        self._held.append(held)

    def release(self) -> list[Message]:
        """All that is held, once: the terminal event, or a few bytes that have not become one."""
        held, self._held = self._held, []
        pending, self._finder.pending = self._finder.pending, b""
        if pending and not self.is_found:
            return [_body_of(pending)]
        return held

    def _begin(self, message: Message, leaving: bytes, *, is_whole: bool) -> list[Message]:
        """The terminal event begins in this message."""
        self.is_found = True
        self.keep(message if is_whole else {**message, "body": self._finder.pending})
        return [_body_of(leaving)] if leaving else []


class NewestChunk:
    """Holds the newest chunk of a stream, with the empty messages behind it, until the next one comes."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: list[Message] = []

    def take(self, messages: list[Message]) -> list[Message]:
        """Hold the last of `messages` that has bytes and what follows it; the messages that may leave now."""
        last = max((at for at, one in enumerate(messages) if one.get("body")), default=None)
        if last is None:
            if not self._held:
                return messages
            self._held += map(_copy, messages)
            return []
        leaving = [*self._held, *messages[:last]]
        self._held = [_copy(message) for message in messages[last:]]
        return leaving

    def release(self) -> list[Message]:
        """All that is held, once."""
        held, self._held = self._held, []
        return held


def _copy(message: Message) -> Message:
    copied = {**message}
    if "body" in copied:
        copied["body"] = bytes(copied["body"])
    return copied


def _body_of(chunk: bytes) -> Message:
    return {"type": "http.response.body", "body": chunk, "more_body": True}
