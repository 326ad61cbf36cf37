"""The end of a known stream, held in the application's own messages (README.md, "How a response leaves").

    take(message) -> the messages that may leave now; from the terminal event on they stay here
    release()     -> what is here, in order: together the application's bytes

Promises: a message that nothing of is held leaves as the very object it came as; one is cut only where a
terminal event begins, or may begin, within it. What is held is copied: the application may use its buffer
again. Pure. Must never: hold more than `http_stream` says, or change a byte.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from auditlog.capture.http_stream import TerminalFinder

Message = MutableMapping[str, Any]


class HeldEnding:
    """Looks for the terminal event of one stream, and holds it."""

    __slots__ = ("_finder", "_held", "_is_given_up", "_must_hold", "is_found")

    def __init__(self, dialect: str, *, must_hold: bool) -> None:
        """`must_hold`: hold the terminal event even where no comment may stand before it (fail_closed)."""
        self._finder = TerminalFinder(dialect)
        self._must_hold = must_hold
        self._held: list[Message] = []
        self._is_given_up = self.is_found = False

    @property
    def allows_comment(self) -> bool:
        """Whether a comment before the terminal event changes nothing for readers."""
        return self._finder.allows_comment

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
        held = {**message}
        if "body" in held:
            held["body"] = bytes(held["body"])
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


def _body_of(chunk: bytes) -> Message:
    return {"type": "http.response.body", "body": chunk, "more_body": True}
