"""Cut a JSON text into the leaves of its field tree (spec/commitment.md, "Fields").

A leaf is (pointer, value): an RFC 6901 pointer in UTF-8 and the exact source bytes
of one value. Own scanner, because a decoded value has lost its source bytes, and
because a library parser lets repeated keys and lone surrogates through and stops
at a nesting depth of its own. No recursion: any depth, any bytes, linear time.

Leaves, in document order: each scalar, each empty container, each array of numbers only, each container 32
tokens deep. Over 1,024 of them: each member of the root instead. Still over: the root alone, pointer "".
"""

from __future__ import annotations

import json
import re

MAX_BODY_BYTES = 1024 * 1024
"""Longer texts have no fields."""

MAX_LEAVES = 1024
MAX_POINTER_BYTES = 65_535
WHOLE_DEPTH = 32
"""A container whose pointer has this many tokens is one leaf, whatever is in it."""


FieldLeaf = tuple[bytes, bytes]
"""One leaf before its salt: RFC 6901 pointer in UTF-8 (at most 65,535 bytes), exact source bytes of the
value.
"""


# Every repetition is possessive: a text that does not match is given up at once, never tried again
# differently.
_WS = rb"[ \t\n\r]*+"
_PLAIN = (
    rb"[ !#-\[\]-\xff]*+"  # all but control characters, quote and backslash; said positively it is faster
)
_CHARS = _PLAIN + rb'(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})' + _PLAIN + rb")*+"
_NUMBER = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+"
_NUMBERS = rb"\[" + _WS + _NUMBER + rb"(?:" + _WS + rb"," + _WS + _NUMBER + rb")*+" + _WS + rb"\]"
_EMPTY = rb"\{" + _WS + rb"\}|\[" + _WS + rb"\]"
_LEAF = rb'"' + _CHARS + rb'"|' + _NUMBER + rb"|true|false|null|" + _EMPTY + rb"|" + _NUMBERS

# Groups: 1 the key (members only), then 2 leaf and 3 what follows it, or 4 the bracket of a container.
_VALUE = rb"(?:(" + _LEAF + rb")" + _WS + rb"([,\]}])|([\[{]))"
_MEMBER = re.compile(_WS + rb'"(' + _CHARS + rb')"' + _WS + rb":" + _WS + _VALUE)
_ELEMENT = re.compile(_WS + rb"()" + _VALUE)
_AFTER = re.compile(_WS + rb"([,\]}])")
_ROOT = re.compile(_WS + rb"(?:(" + _LEAF + rb")" + _WS + rb"\Z|([\[{]))")
_REST = re.compile(_WS + rb"\Z")
_OPENED = 4

# No escape is a surrogate without its other half. Only asked where "\u" occurs at all.
_PAIRED = re.compile(
    rb"(?:[^\\]++|\\[^u]|\\u(?:[0-9a-cefA-CEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}"
    rb"|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))*+",
    re.DOTALL,
)


class _NoFieldsError(Exception):
    """The text is not JSON, or has a repeated key."""


def scan_fields(text: bytes) -> list[FieldLeaf] | None:
    """Return the leaves of a JSON text, attacker-controlled; None where the format gives it no fields.

    None for: over 1 MiB, not UTF-8, not JSON (RFC 8259; a byte order mark is not JSON), a repeated key or a
    lone surrogate anywhere, or a leaf whose pointer is over 65,535 bytes.
    """
    if len(text) > MAX_BODY_BYTES or not _is_clean_utf8(text):
        return None
    try:
        leaves = _Walk(text, WHOLE_DEPTH, stop_after=MAX_LEAVES).run()
        if len(leaves) > MAX_LEAVES:
            # The first walk stopped early. This one sees the whole text, and so vouches for it.
            leaves = _Walk(text, 1).run()
        if len(leaves) > MAX_LEAVES:
            leaves = [(b"", text.strip(b" \t\n\r"))]
    except _NoFieldsError:
        return None
    if max(len(pointer) for pointer, _ in leaves) > MAX_POINTER_BYTES:
        return None
    return leaves


def _is_clean_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\\u" not in text or _PAIRED.fullmatch(text) is not None


def _token(key: bytes, seen: set[bytes]) -> bytes:
    """Return the pointer token of a member's key, which must be the first of its name in its object."""
    if b"\\" in key:
        key = json.loads(b'"' + key + b'"').encode("utf-8")
    if key in seen:
        raise _NoFieldsError
    seen.add(key)
    if b"~" in key or b"/" in key:
        key = key.replace(b"~", b"~0").replace(b"/", b"~1")
    return b"/" + key


class _Walk:
    """One pass over a text. A container is (pointer, keys seen so far or None for an array, next index)."""

    def __init__(self, text: bytes, whole_depth: int, *, stop_after: int | None = None) -> None:
        self.text = text
        self.whole_depth = whole_depth
        self.stop_after = len(text) if stop_after is None else stop_after
        self.leaves: list[FieldLeaf] = []
        self.around: list[tuple[bytes, set[bytes] | None, int]] = []  # the containers around the current one
        self.whole_pointer = b""
        self.whole_start = 0

    def run(self) -> list[FieldLeaf]:
        """Return the leaves; more than `stop_after` of them means the rest of the text was not looked at.

        Raises:
            _NoFieldsError: the text is not JSON, or has a repeated key.
        """
        root = _ROOT.match(self.text)
        if root is None:
            raise _NoFieldsError
        if root.lastindex == 1:
            return [(b"", root[1])]
        self._members(root.end(), set() if root[2] == b"{" else None)
        return self.leaves

    def _members(self, position: int, keys: set[bytes] | None) -> None:
        text, leaves, around, prefix, index = self.text, self.leaves, self.around, b"", 0
        while len(leaves) <= self.stop_after:
            match = (_ELEMENT if keys is None else _MEMBER).match(text, position)
            if match is None:
                raise _NoFieldsError
            position = match.end()
            if keys is None:
                pointer = b"%b/%d" % (prefix, index)
                index += 1
            else:
                pointer = prefix + _token(match[1], keys)
            if match.lastindex == _OPENED:
                around.append((prefix, keys, index))
                prefix, keys, index = self._enter(pointer, position), set() if match[4] == b"{" else None, 0
                continue
            if len(around) < self.whole_depth:
                leaves.append((pointer, match[2]))
            if match[3] != b",":
                position = self._leave(match[3], position, keys)
                if not around:
                    return
                prefix, keys, index = around.pop()

    def _enter(self, pointer: bytes, position: int) -> bytes:
        """Note a container that is one leaf; return the pointer its members' pointers start with."""
        if len(self.around) == self.whole_depth:
            self.whole_pointer, self.whole_start = pointer, position - 1
        # Inside a whole value no pointer is used: leaving them out keeps deep texts linear.
        return b"" if len(self.around) >= self.whole_depth else pointer

    def _leave(self, closing: bytes, position: int, keys: set[bytes] | None) -> int:
        """Close the current container and those that end right behind it; return where reading goes on.

        Leaves on `around` the container to go on in, or nothing
        when the root is closed and the text is at its end.
        """
        while True:
            if (closing == b"}") != (keys is not None):
                raise _NoFieldsError
            if not self.around:
                if _REST.match(self.text, position) is None:
                    raise _NoFieldsError
                return position
            if len(self.around) == self.whole_depth:
                self.leaves.append((self.whole_pointer, self.text[self.whole_start : position]))
            match = _AFTER.match(self.text, position)
            if match is None:
                raise _NoFieldsError
            closing, position = match[1], match.end()
            if closing == b",":
                return position
            keys = self.around.pop()[1]
