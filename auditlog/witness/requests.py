"""The head of an HTTP request, read strictly: attacker-controlled.

Spec: RFC 9112, as far as a witness needs it. Promises: total; a head that two readers could read differently
is refused. Must never: guess where a request ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from auditlog.errors import MalformedError

_LINE = re.compile(r"([A-Z]{1,16}) (/[!-~]{0,2047}) HTTP/1\.([01])")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}):[ \t]*([\t -~\x80-\xff]*)")
_MAX_DIGITS = 12


class MalformedRequest(MalformedError):
    """Not a request that is answered; `status` says why, and the connection ends."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Head:
    """What a request is about."""

    method: str
    path: str
    peer: str
    length: int | None
    """Of the body, or None if none was declared."""
    keep: bool
    """Whether the connection may go on."""
    expects_continue: bool
    forwarded_for: str
    """The last address that `X-Forwarded-For` names, or nothing: a claim, unless a proxy of ours wrote it."""


def parse_head(data: bytes, peer: str) -> Head:
    """Read a head that ends in an empty line.

    Raises:
        MalformedRequest: anything else, or a body whose end is not its declared length.
    """
    first, *rest = data.decode("latin-1").split("\r\n")[:-2]
    line = _LINE.fullmatch(first)
    if line is None:
        raise MalformedRequest(400, "expected a request line")
    fields: dict[str, str] = {}
    for each in rest:
        field = _FIELD.fullmatch(each)
        if field is None:
            raise MalformedRequest(400, "expected header fields")
        name = field[1].lower()
        if name in fields and name in ("content-length", "transfer-encoding", "host"):
            raise MalformedRequest(400, f"expected one {name}")
        fields[name] = field[2].strip(" \t")
    if "transfer-encoding" in fields:
        raise MalformedRequest(501, "expected a body with a Content-Length")
    connection = fields.get("connection", "").lower()
    return Head(
        method=line[1],
        path=line[2],
        peer=peer,
        length=_length(fields.get("content-length")),
        keep="close" not in connection and (line[3] == "1" or "keep-alive" in connection),
        expects_continue=fields.get("expect", "").lower() == "100-continue",
        forwarded_for=fields.get("x-forwarded-for", "").rpartition(",")[2].strip(),
    )


def _length(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise MalformedRequest(400, "expected a decimal Content-Length")
    return int(text)
