"""Server-sent events: the payloads of an event stream
(WHATWG HTML, section 9.2; spec/commitment.md, "Folds").

Lines end in CR LF, LF or CR. An event is the lines up to an empty one; its payload is its `data` lines
joined by newlines. Events without data, comments and a last event that no empty line ends are left out; for
`event_data` also events of another type than "message". Bytes in, bytes out: a character cut at the end of a
broken stream harms no event before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_LINE_END = re.compile(rb"\r\n|\n|\r")


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
    for line in _lines(stream.removeprefix(b"\xef\xbb\xbf")):
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
