"""Server-sent events: the payloads of an event stream
(WHATWG HTML, section 9.2; spec/commitment.md, "Folds").

Lines end in CR LF, LF or CR. An event is the lines up to an empty one; its payload is its `data` lines
joined by newlines. Events of another type than "message", events without data, comments and a last event
that no empty line ends are left out. Bytes in, bytes out: a character cut at the end of a broken stream
harms no event before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_LINE_END = re.compile(rb"\r\n|\n|\r")


def event_data(stream: bytes) -> Iterator[bytes]:
    """Yield the payload of each message event of a stream: attacker-controlled."""
    lines = _LINE_END.split(stream.removeprefix(b"\xef\xbb\xbf"))
    lines.pop()  # what no line end closed
    data: list[bytes] = []
    event_type = b""
    for line in lines:
        if line == b"":
            if data and event_type in (b"", b"message"):
                yield b"\n".join(data)
            data, event_type = [], b""
            continue
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event_type = value
