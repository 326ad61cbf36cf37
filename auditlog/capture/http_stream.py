r"""Where the end of an event stream begins (spec/promise.md; WHATWG HTML section 9.2 for the events).

    ...data: {"delta": "!"}\n\n | data: [DONE]\n\n         the terminal event of a dialect, and what follows
    feed(chunk) -> the bytes that may leave at once; the rest is `pending`

The comment with the promise goes right before the terminal event. So that it can, that event is held;
nothing else ever is, but for the few last bytes of a chunk that may still become one (`\n\nda`). A terminal
event counts only where it stands alone: its telling line first, after an empty line or at the very start.

In fail_closed an end must not slip out because it looks a little different: `AnyEndFinder` also takes any
`data` line that begins with `[DONE]`, in any stream and whatever the event's name, the telling words of the
dialect with blanks around them, and data that has such a word as its `type`. No comment goes before those:
readers would not look there. Where events have no names it `is_unsure`.

Promises: a pure function of the bytes, however they are cut; what was let go and what is pending make up what
was fed. Constant work beyond a few searches per chunk; at most `MAX_PENDING_BYTES` are held before the end is
found (`MAX_BLANKS` by `AnyEndFinder`). The stream is the application's and may hold anything:
attacker-controlled. Must never: decode, or change a byte.
"""

from __future__ import annotations

import re

from auditlog.core.sse import TERMINAL_LINES, promise_comment

__all__ = ["MAX_PENDING_BYTES", "TERMINAL_LINES", "TerminalFinder", "promise_comment"]

MAX_PENDING_BYTES = max(len(line) for lines in TERMINAL_LINES.values() for line in lines)

MAX_BLANKS = 256
"""So many bytes of one line are held by `AnyEndFinder`: more blanks than that are not looked through."""

_BEFORE_BYTES = 4
"""How far one looks back to see an empty line: CR LF CR LF."""
_LINE_ENDS = (b"\n", b"\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class TerminalFinder:
    """Finds the terminal event in one stream as it flows. Not fed any more once `found`."""

    __slots__ = ("_before", "_has_ids", "_lines", "_needles", "_started", "found", "is_unsure", "pending")
    _KEPT_BYTES = _BEFORE_BYTES

    def __init__(self, dialect: str) -> None:
        """Look for the end of this dialect; KeyError for one without a marked end."""
        self._look_for(TERMINAL_LINES[dialect])
        self._before = b""
        self._started = self._has_ids = False
        self.pending = b""
        self.found = self.is_unsure = False

    @property
    def allows_comment(self) -> bool:
        """Whether a block of comments changes nothing for the readers there are.

        Where events have ids, the event readers of widely used clients take any empty line for the end of
        an event, and would hand out one without data.
        """
        return not self._has_ids

    def _look_for(self, lines: tuple[bytes, ...]) -> None:
        self._lines = lines
        # Most chunks hold none of these words, and are done with after one search for each.
        self._needles = tuple(sorted({line.partition(b":")[2].strip() for line in lines}))

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes; returns those that may leave now. The rest is `pending`: the terminal event
        and what follows it if one was `found`, else a few bytes that may become one.
        """
        if not self.pending and self._is_plain(chunk):
            self._started, self._before = True, chunk[-self._KEPT_BYTES :]
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
        start, end = self._last_line(window, offset), len(window)
        last = window[start:end]
        if 0 < len(last) <= MAX_PENDING_BYTES and any(line.startswith(last) for line in self._lines):
            return start if self._is_fresh(window, start) else end
        return end

    def _last_line(self, window: bytes, offset: int) -> int:
        """Where the last line begins, if not before `offset`; a byte order mark is before the first one."""
        start = max(window.rfind(b"\n", offset), window.rfind(b"\r", offset), offset - 1) + 1
        if start <= len(_BYTE_ORDER_MARK) and not self._started and window.startswith(_BYTE_ORDER_MARK):
            return len(_BYTE_ORDER_MARK)
        return start

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
        if at > self._KEPT_BYTES:
            self._started = True
        self._before = window[max(0, at - self._KEPT_BYTES) : at]


class AnyEndFinder(TerminalFinder):
    """As `TerminalFinder`, and also finds ends that stand in another form, or in streams of no dialect."""

    __slots__ = ("_is_exact", "_is_named", "_pattern", "_tail", "_types", "_words")
    _KEPT_BYTES = 64
    """The longest spelling of a telling type, with blanks: it may be cut."""

    def __init__(self, dialect: str | None) -> None:
        """Look for the end of this dialect, and for `[DONE]` in any."""
        self._before = b""
        self._started = self._has_ids = self.found = self.is_unsure = False
        self.pending = b""
        lines = TERMINAL_LINES.get(dialect or "", ())
        self._look_for(lines)
        self._is_exact = bool(lines)
        self._needles = tuple(sorted({*self._needles, _DONE}))
        events = {line.partition(b":")[2].strip() for line in lines if line.startswith(_EVENT)}
        self._words = {_DATA: frozenset({_DONE}), _EVENT: frozenset(events)}
        self._pattern, self._types = _ends_of(frozenset(events)), _types_of(frozenset(events))
        self._tail, self._is_named = b"\n", False

    @property
    def allows_comment(self) -> bool:
        """Whether the end found is one that readers of the comment know, too."""
        return self._is_exact and not self._has_ids

    def feed(self, chunk: bytes) -> bytes:
        """As `TerminalFinder.feed`; also sees whether the stream names its events as the dialect does."""
        if self._types is not None and not self.is_unsure:
            self._look_at_names(chunk)
        return super().feed(chunk)

    def _terminal(self, window: bytes, offset: int) -> int | None:
        if not any(needle in window for needle in self._needles):
            return None
        exact, match = super()._terminal(window, offset), self._pattern.search(window, offset)
        places = (exact, None if match is None else match.start(), self._typed(window, offset))
        first = min((place for place in places if place is not None), default=None)
        self._is_exact = self._is_exact and first == exact
        return first

    def _typed(self, window: bytes, offset: int) -> int | None:
        """Where the first line begins that is still here and has a telling `type` in its data."""
        for found in () if self._types is None else self._types.finditer(window):
            if found.end() > offset:
                line = max(window.rfind(end, 0, found.start()) for end in _LINE_ENDS) + 1
                return max(line, offset)
        return None

    def _look_at_names(self, chunk: bytes) -> None:
        """An event without a name may be the last one, its type spelled as no search finds it."""
        text = self._tail + chunk
        for found in _FIELD.finditer(text):
            if found.end() > len(self._tail):  # else it was seen with the chunk before
                is_data = found[1] == b"data"
                self.is_unsure = self.is_unsure or (is_data and not self._is_named)
                self._is_named = not is_data
        self._tail = text[-_FIELD_BYTES:]

    def _possible(self, window: bytes, offset: int) -> int:
        start, end = self._last_line(window, offset), len(window)
        if not self._begins_line(window, start):
            return end
        last = window[start:end]
        return start if 0 < len(last) <= MAX_BLANKS and self._may_become(last) else end

    def _begins_line(self, window: bytes, at: int) -> bool:
        is_first = not self._started and window[:at] in (b"", _BYTE_ORDER_MARK)
        return is_first or window[at - 1 : at] in _LINE_ENDS

    def _may_become(self, line: bytes) -> bool:
        """Whether a line that begins so may still be telling."""
        for field, words in self._words.items():
            if field.startswith(line):
                return True
            if line.startswith(field):
                value = line[len(field) :].strip(b" \t")
                return any(word.startswith(value) for word in words)
        return False


_DATA, _EVENT, _DONE = b"data:", b"event:", b"[DONE]"
_FIELD = re.compile(rb"(?:[\r\n]|\xef\xbb\xbf)(data|event):")
_FIELD_BYTES = len(b"\nevent:") - 1


def _ends_of(events: frozenset[bytes]) -> re.Pattern[bytes]:
    """A telling line at the start of any line, in whatever event, its end included."""
    words = b"|".join(sorted(map(re.escape, events)))
    named = rb"|event:[ \t]*(?:" + words + rb")[ \t]*[\r\n]" if events else b""
    start = rb"(?:(?<![^\r\n])|(?<=\A\xef\xbb\xbf))"
    # Common clients take whatever begins with [DONE] for the end.
    return re.compile(start + rb"(?:data:[ \t]*\[DONE\][ \t]*[^ \t]" + named + rb")")


def _types_of(events: frozenset[bytes]) -> re.Pattern[bytes] | None:
    """A telling type as a member of the data: clients read it there, whatever the event is called."""
    if not events:
        return None
    return re.compile(rb'"type"[ \t]*:[ \t]*"(?:' + b"|".join(sorted(map(re.escape, events))) + rb')"')
