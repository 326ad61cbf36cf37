"""The lines of a policy text: which characters, which fields. C2SP tlog-policy, lexical part.

Spec: `auditlog/spec/log.md`, "Policy". Knows nothing of
what the lines mean; `auditlog.core.policy` does. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from auditlog.core.decimals import parse_decimal
from auditlog.errors import MalformedError

MAX_POLICY_BYTES = 1_000_000
"""Above this a policy is refused unread."""

_MAX_MEMBERS = 1024
_SPACES = re.compile(r"[ \t]+")


@dataclass(frozen=True, slots=True)
class Line:
    """One line that says something: its number from 1, its first word and the other fields."""

    number: int
    keyword: str
    rest: tuple[str, ...]

    def error(self, message: str) -> MalformedError:
        """An error that names the line."""
        return MalformedError(f"policy line {self.number}: {message}")

    def fields(self, needed: int, optional: int) -> tuple[str, ...]:
        """The fields, missing optional ones as empty strings."""
        if not needed <= len(self.rest) <= needed + optional:
            raise self.error(f"expected {needed} to {needed + optional} fields, found {len(self.rest)}")
        return self.rest + ("",) * (needed + optional - len(self.rest))

    def all_fields(self, least: int) -> tuple[str, ...]:
        """The fields, at least so many."""
        if not least <= len(self.rest) <= _MAX_MEMBERS:
            raise self.error(f"expected {least} to {_MAX_MEMBERS} fields, found {len(self.rest)}")
        return self.rest

    def threshold(self, rule: str, members: int) -> int:
        """How many members a group rule asks for."""
        if rule in ("all", "any"):
            return members if rule == "all" else 1
        try:
            threshold = parse_decimal(rule, "threshold", maximum=members)
        except MalformedError as error:
            raise self.error(str(error)) from None
        if threshold == 0:
            raise self.error("expected a threshold of at least 1, found 0")
        return threshold


def check_name(line: Line, name: str) -> None:
    """Refuse the one name that is predefined; all others, `all` and `2` among them, are free."""
    if name == "none":
        raise line.error("expected a name other than none, which is predefined, found it")


def read_lines(text: str) -> Iterator[Line]:
    """The lines with content.

    Raises:
        MalformedError: too long, or an octet outside tab, newline, 0x20-0x7E and 0x80-0xFF.
    """
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError:
        raise MalformedError("expected a policy in UTF-8, found a lone surrogate") from None
    if len(raw) > MAX_POLICY_BYTES:
        raise MalformedError(f"expected a policy of at most {MAX_POLICY_BYTES} bytes, found {len(raw)}")
    if any((octet < 0x20 and octet not in b"\t\n") or octet == 0x7F for octet in set(raw)):
        raise MalformedError("expected a policy without control characters, found one")
    for number, content in enumerate(text.split("\n"), start=1):
        stripped = content.strip(" \t")
        # A comment is a whole line; a number sign further on belongs to a name, vkey or URL.
        if stripped and not stripped.startswith("#"):
            keyword, *rest = _SPACES.split(stripped)
            yield Line(number, keyword, tuple(rest))
