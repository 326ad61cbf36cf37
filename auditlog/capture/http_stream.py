r"""Where the end of an event stream begins (spec/promise.md; WHATWG HTML section 9.2 for the events).

    ...data: {"delta": "!"}\n\n | data: [DONE]\n\n         the terminal event of a dialect, and what follows
    feed(chunk) -> the bytes that may leave at once; the rest is `pending`

The comment with the promise goes right before the terminal event. So that it can, that event is held;
nothing else ever is, but for the few last bytes of a chunk that may still become one (`\n\nda`). A terminal
event counts only where it stands alone: its telling line first, after an empty line or at the very start.

Promises: a pure function of the bytes, however they are cut; what was let go and what is pending make up what
was fed. Constant work beyond a few searches per chunk; at most `MAX_PENDING_BYTES` are held before the end is
found. The stream is the application's and may hold anything: attacker-controlled. Must never: decode, or
change a byte.
"""

from __future__ import annotations

from auditlog.core.sse import TERMINAL_LINES, promise_comment

__all__ = ["MAX_PENDING_BYTES", "TERMINAL_LINES", "TerminalFinder", "promise_comment"]

MAX_PENDING_BYTES = max(len(line) for lines in TERMINAL_LINES.values() for line in lines)

_BEFORE_BYTES = 4
"""How far one looks back to see an empty line: CR LF CR LF."""
_LINE_ENDS = (b"\n", b"\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class TerminalFinder:
    """Finds the terminal event in one stream as it flows. Not fed any more once `found`."""

    __slots__ = ("_before", "_has_ids", "_lines", "_needles", "_started", "found", "pending")

    def __init__(self, dialect: str) -> None:
        """Look for the end of this dialect; KeyError for one without a marked end."""
        self._lines = TERMINAL_LINES[dialect]
        # Most chunks hold none of these words, and are done with after one search for each.
        self._needles = tuple(sorted({line.partition(b":")[2].strip() for line in self._lines}))
        self._before = b""
        self._started = self._has_ids = False
        self.pending = b""
        self.found = False

    @property
    def allows_comment(self) -> bool:
        """Whether a block of comments changes nothing for the readers there are.

        Where events have ids, the event readers of widely used clients take any empty line for the end of
        an event, and would hand out one without data.
        """
        return not self._has_ids

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes; returns those that may leave now. The rest is `pending`: the terminal event
        and what follows it if one was `found`, else a few bytes that may become one.
        """
        if not self.pending and self._is_plain(chunk):
            self._started, self._before = True, chunk[-_BEFORE_BYTES:]
            return chunk
        text = self.pending + chunk
        window = self._before + text
        offset = len(self._before)
        if not self._has_ids:
            self._has_ids = b"\nid:" in window or b"\rid:" in window or self._starts_with_id(window)
        at = self._terminal(window, offset)
        if at is None:
            at = self._possible(window, offset)
        else:
            self.found = True
        self._remember(window, at)
        leaving, self.pending = window[offset:at], window[at:]
        return leaving

    def _is_plain(self, chunk: bytes) -> bool:
        """Whether these are whole lines of usual events without anything of interest: nearly all chunks."""
        return (
            chunk.endswith(b"\n\n")
            and chunk.startswith((b"data:", b"event:"))
            and b"\nid:" not in chunk
            and b"\r" not in chunk
            and not any(needle in chunk for needle in self._needles)
        )

    def _terminal(self, window: bytes, offset: int) -> int | None:
        """Where a whole telling line stands, its end included; None if nowhere."""
        if not any(needle in window for needle in self._needles):
            return None
        places = []
        for line in self._lines:
            at = window.find(line, offset)
            while at >= 0:
                if window[at + len(line) : at + len(line) + 1] in _LINE_ENDS and self._is_fresh(window, at):
                    places.append(at)
                    break
                at = window.find(line, at + 1)
        return min(places, default=None)

    def _possible(self, window: bytes, offset: int) -> int:
        """Where the last line begins if it may still become a telling one; else the end of the window."""
        end = len(window)
        start = max(window.rfind(b"\n", offset), window.rfind(b"\r", offset), offset - 1) + 1
        if start == 0 and not self._started and window.startswith(_BYTE_ORDER_MARK):
            start = len(_BYTE_ORDER_MARK)
        last = window[start:end]
        if 0 < len(last) <= MAX_PENDING_BYTES and any(line.startswith(last) for line in self._lines):
            return start if self._is_fresh(window, start) else end
        return end

    def _is_fresh(self, window: bytes, at: int) -> bool:
        """Whether an event begins at `at`: an empty line, or the start of the stream, stands before it."""
        before = window[max(0, at - _BEFORE_BYTES) : at]
        if not self._started and at <= len(_BYTE_ORDER_MARK) and before in (b"", _BYTE_ORDER_MARK):
            return True
        line = before[:-2] if before.endswith(b"\r\n") else before[:-1]
        if before[-1:] not in _LINE_ENDS:
            return False
        # An empty line may also be the very first one of the stream.
        return line.endswith(_LINE_ENDS) or (line == b"" and not self._started and at == len(before))

    def _starts_with_id(self, window: bytes) -> bool:
        return not self._started and window.removeprefix(_BYTE_ORDER_MARK).startswith(b"id:")

    def _remember(self, window: bytes, at: int) -> None:
        """Keep the last bytes that left; until enough of them did, the start of the stream is in sight."""
        if at > _BEFORE_BYTES:
            self._started = True
        self._before = window[max(0, at - _BEFORE_BYTES) : at]
