"""The text inside a body, before its fields are cut: content coding undone, streams folded
(spec/commitment.md).

The whole commitment is over the bytes as they were sent; fields are over what those bytes say. The coding is
told from the bytes themselves, never from a header: 1f 8b begins gzip (RFC 1952), 78 with a valid check
begins deflate in its zlib wrapping (RFC 1950, as RFC 9110 section 8.4.1.2 means it), and no JSON text or
event stream begins like either.
"""

from __future__ import annotations

import re
import zlib

from auditlog.core.fold import DIALECTS, fold
from auditlog.core.jsonfields import MAX_BODY_BYTES

FORM_JSON = "json"

_FOLD_FORM = re.compile(r"fold:([a-z0-9.]+)@v1")


def is_known_form(form: str) -> bool:
    """Whether this code can cut fields of that form."""
    fold_form = _FOLD_FORM.fullmatch(form)
    return form == FORM_JSON or (fold_form is not None and fold_form[1] in DIALECTS)


def fold_form(dialect: str) -> str:
    """Return the form of a stream dialect, `fold:<dialect>@v1`."""
    return f"fold:{dialect}@v1"


def field_text(body: bytes, form: str = FORM_JSON) -> bytes | None:
    """Return the JSON text the fields of `body` are cut from; None if this form has none for these bytes.

    Raises:
        ValueError: a form this code does not know; ask `is_known_form` first.
    """
    if not is_known_form(form):
        raise ValueError(f"form: expected json or fold:<known dialect>@v1, found {form!r}")
    plain = decode_content(body)
    if plain is None or form == FORM_JSON:
        return plain
    return fold(form[len("fold:") : -len("@v1")], plain)


def decode_content(body: bytes) -> bytes | None:
    """Undo gzip or deflate: attacker-controlled. None if that fails, or either side is over 1 MiB."""
    if len(body) > MAX_BODY_BYTES:
        return None
    if body[:2] == b"\x1f\x8b":
        return _inflate(body, wbits=31)
    if body[:1] == b"\x78" and len(body) > 1 and int.from_bytes(body[:2], "big") % 31 == 0:
        return _inflate(body, wbits=15)
    return body


def _inflate(body: bytes, *, wbits: int) -> bytes | None:
    """Decompress one gzip member or zlib stream of at most 1 MiB, with nothing behind it."""
    reader = zlib.decompressobj(wbits)
    try:
        # One byte over the limit is asked for, so that an exact fit and an excess can be told apart.
        plain = reader.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error:
        return None
    complete = reader.eof and not reader.unused_data
    return plain if complete and len(plain) <= MAX_BODY_BYTES else None
