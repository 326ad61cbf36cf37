"""The field leaves of a JSON text the slow and obvious way: a recursive reader of spec/commitment.md.

Written from the page, sharing nothing with auditlog.core.jsonfields, to be compared with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_SPACE = b" \t\n\r"
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "/": "/"}


class NotJsonError(Exception):
    """The text has no fields."""


@dataclass
class Node:
    """One value of the text: where it is, what it is, what is in it."""

    kind: str
    start: int
    end: int = 0
    members: list[tuple[str, Node]] = field(default_factory=list)


class Reader:
    """Recursive descent over bytes."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.at = 0

    def whole(self) -> Node:
        """The one value of the text."""
        node = self.value()
        self.space()
        if self.at != len(self.text):
            raise NotJsonError
        return node

    def space(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in _SPACE:
            self.at += 1

    def peek(self) -> bytes:
        return self.text[self.at : self.at + 1]

    def take(self, expected: bytes) -> None:
        if not self.text.startswith(expected, self.at):
            raise NotJsonError
        self.at += len(expected)

    def value(self) -> Node:
        self.space()
        node = Node("", self.at)
        first = self.peek()
        if first == b"{":
            node.kind = "object"
            self.object(node)
        elif first == b"[":
            node.kind = "array"
            self.array(node)
        elif first == b'"':
            node.kind = "string"
            self.string()
        elif first in (b"t", b"f", b"n"):
            node.kind = "word"
            self.take({b"t": b"true", b"f": b"false", b"n": b"null"}[first])
        else:
            node.kind = "number"
            match = _NUMBER.match(self.text, self.at)
            if match is None:
                raise NotJsonError
            self.at = match.end()
        node.end = self.at
        return node

    def object(self, node: Node) -> None:
        self.take(b"{")
        self.space()
        if self.peek() == b"}":
            self.take(b"}")
            return
        while True:
            self.space()
            key = self.string()
            if any(key == other for other, _ in node.members):
                raise NotJsonError
            self.space()
            self.take(b":")
            node.members.append((key, self.value()))
            self.space()
            if self.peek() == b"}":
                self.take(b"}")
                return
            self.take(b",")

    def array(self, node: Node) -> None:
        self.take(b"[")
        self.space()
        if self.peek() == b"]":
            self.take(b"]")
            return
        while True:
            node.members.append((str(len(node.members)), self.value()))
            self.space()
            if self.peek() == b"]":
                self.take(b"]")
                return
            self.take(b",")

    def string(self) -> str:
        self.take(b'"')
        units: list[str] = []
        while True:
            end = self.at
            while end < len(self.text) and self.text[end] not in b'"\\' and self.text[end] >= 0x20:
                end += 1
            units.append(self.text[self.at : end].decode("utf-8"))
            self.at = end
            if self.peek() == b'"':
                self.take(b'"')
                return self.pair("".join(units))
            self.take(b"\\")
            units.append(self.escape())

    def escape(self) -> str:
        letter = self.peek().decode("latin-1")
        self.at += 1
        if letter in _ESCAPES and letter:
            return _ESCAPES[letter]
        digits = self.text[self.at : self.at + 4]
        if letter != "u" or re.fullmatch(rb"[0-9a-fA-F]{4}", digits) is None:
            raise NotJsonError
        self.at += 4
        return chr(int(digits, 16))

    def pair(self, text: str) -> str:
        try:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            raise NotJsonError from None


def naive_leaves(text: bytes) -> list[tuple[bytes, bytes]] | None:
    """What `scan_fields` must return."""
    if len(text) > 1024 * 1024:
        return None
    try:
        text.decode("utf-8")
        root = Reader(text).whole()
    except (UnicodeDecodeError, NotJsonError):
        return None
    leaves = _walk(text, root, "", 0, 32)
    if len(leaves) > 1024:
        leaves = _walk(text, root, "", 0, 1)
    if len(leaves) > 1024:
        leaves = [(b"", text[root.start : root.end])]
    return None if any(len(pointer) > 65_535 for pointer, _ in leaves) else leaves


def _walk(text: bytes, node: Node, pointer: str, tokens: int, whole: int) -> list[tuple[bytes, bytes]]:
    is_numbers = node.kind == "array" and all(item.kind == "number" for _, item in node.members)
    if not node.members or is_numbers or tokens == whole:
        return [(pointer.encode("utf-8"), text[node.start : node.end])]
    leaves = []
    for key, item in node.members:
        token = key.replace("~", "~0").replace("/", "~1")
        leaves += _walk(text, item, f"{pointer}/{token}", tokens + 1, whole)
    return leaves
