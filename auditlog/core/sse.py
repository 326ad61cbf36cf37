"""Server-sent events: the payloads of an event stream, and the comment that carries a promise in one
(WHATWG HTML, section 9.2; spec/commitment.md, "Folds" and "Where the comment stands").

Lines end in CR LF, LF or CR. An event is the lines up to an empty one; its payload is its `data` lines
joined by newlines. Events without data, comments and a last event that no empty line ends are left out; for
`event_data` also events of another type than "message". Bytes in, bytes out: a character cut at the end of a
broken stream harms no event before it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

TERMINAL_LINES: dict[str, tuple[bytes, ...]] = {
    "openai.chat": (b"data: [DONE]", b"data:[DONE]"),
    "openai.completions": (b"data: [DONE]", b"data:[DONE]"),
    "openai.responses": tuple(
        b"event:" + space + b"response." + word
        for word in (b"completed", b"incomplete", b"failed")
        for space in (b" ", b"")
    ),
    "anthropic.messages": (b"event: message_stop", b"event:message_stop"),
}
"""By dialect: the first line of the event that ends an answer."""

_LEAD = b": audit-promise "
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_COMMENT = re.compile(
    rb": audit-promise ([A-Za-z0-9+/]{1,65536}={0,2})\n\n(?=(?:"
    + b"|".join(sorted({re.escape(line) for lines in TERMINAL_LINES.values() for line in lines}))
    + rb")[\r\n])"
)
_LINE_END = re.compile(rb"\r\n|\n|\r")


def promise_comment(promise: str) -> bytes:
    """The comment that carries a promise (base64 of its note), a block of its own."""
    return _LEAD + promise.encode("ascii") + b"\n\n"


def without_promise_comment(data: bytes) -> tuple[bytes, str | None]:
    """Take the comment of a promise out of a stream somebody saved: attacker-controlled.

    Returns the stream without it and the note it carried, or `data` itself and None. The first comment that
    stands right before a terminal event is it. The application may have sent such a line itself: take it out
    only of bytes that are not those committed to, and believe the rest only if they are.
    """
    at = data.find(_LEAD)
    found = None
    while at >= 0 and found is None:
        found = _COMMENT.match(data, at) if _begins_block(data, at) else None
        at = data.find(_LEAD, at + 1)
    if found is None:
        return data, None
    try:
        note = base64.b64decode(found[1], validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return data, None
    return data[: found.start()] + data[found.end() :], note


def _begins_block(data: bytes, at: int) -> bool:
    """Whether the start of the stream or an empty line stands before `at`."""
    before = data[max(0, at - 4) : at]
    if at == 0 or (at == len(_BYTE_ORDER_MARK) and before == _BYTE_ORDER_MARK):
        return True
    line = before[:-2] if before.endswith(b"\r\n") else before[:-1]
    return before[-1:] in (b"\r", b"\n") and (line[-1:] in (b"\r", b"\n") or at == len(before) - len(line))


def event_data(stream: bytes) -> Iterator[bytes]:
    """Yield the payload of each message event of a stream: attacker-controlled."""
    return (data for event_type, data in _events(stream) if event_type in (b"", b"message"))


def all_event_data(stream: bytes) -> Iterator[bytes]:
    """Yield the payload of each event of a stream, whatever its type: attacker-controlled."""
    return (data for _, data in _events(stream))


def _events(stream: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (type, payload) of each event with data."""
    data: list[bytes] = []
    event_type = b""
    for line in _lines(stream.removeprefix(_BYTE_ORDER_MARK)):
        if line == b"":
            if data:
                yield event_type, b"\n".join(data)
            data, event_type = [], b""
            continue
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event_type = value


def _lines(stream: bytes) -> Iterator[bytes]:
    """Yield the lines that have an end, one at a time: millions of empty ones must not fill the memory."""
    start = 0
    for end in _LINE_END.finditer(stream):
        yield stream[start : end.start()]
        start = end.end()
