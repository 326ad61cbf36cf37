"""Where a response is on its way to the server (README.md of this package, "How a response leaves"), and what
waits with a start that is held in fail_closed. Must never: hold more than `MAX_KEPT_BYTES` of a body.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auditlog.capture.http_headers import ResponseHeaders

Message = MutableMapping[str, Any]

MAX_KEPT_BYTES = 65_536
"""More behind a start than this, and it is no answer of headers only: it leaves as a stream."""

WITHOUT_BODY = frozenset({204, 304})
"""What servers pass on without any body."""
_SAID_ALL = WITHOUT_BODY | {205}


class Phase(Enum):
    """What was done with the answer so far."""

    WAITING = "nothing was sent"
    HELD = "the start is held"
    OPEN = "a stream flows"
    ENDING = "the terminal event is held"
    PASSING = "all is forwarded: the answer is over, or not recorded"
    REPLACED = "503 was sent instead; the rest is swallowed"
    CUT = "the end was not sent"


UNFINISHED = (Phase.WAITING, Phase.HELD, Phase.OPEN, Phase.ENDING)


class HeldHead:
    """What follows a start that must not leave before the record does, since it may be the whole answer.

    A HEAD, a 204, 205 or 304, a redirect and a `Content-Length` of 0 say all in their headers: their bodies
    wait with the start. Of any other answer nobody knows before its first byte whether there will be one.
    """

    __slots__ = ("_is_head", "_kept", "_size", "_takes_empty", "says_all")

    def __init__(self, status: int, answered: ResponseHeaders, *, is_head: bool) -> None:
        is_redirect = 300 <= status < 400
        self.says_all = is_head or is_redirect or status in _SAID_ALL or answered.length == 0
        self._is_head = is_head
        self._takes_empty = not answered.is_event_stream  # There the start is what the caller waits for.
        self._kept: list[Message] = []
        self._size = 0

    def keeps(self, message: Message, chunk: bytes) -> bool:
        """Whether this message, which is not the last, waits with the start. One without bytes for the caller
        is forgotten: it would only have been a reason for the start to leave.
        """
        if self._is_head or (not chunk and (self.says_all or self._takes_empty)):
            return True
        self._size += len(chunk)
        if not self.says_all or self._size > MAX_KEPT_BYTES:
            return False
        self._kept.append({**message, "body": bytes(chunk)})
        return True

    def release(self) -> list[Message]:
        """What waits, once."""
        kept, self._kept = self._kept, []
        return kept
