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

from auditlog.core import fold as v1
from auditlog.core import folds as v2
from auditlog.core.jsonfields import MAX_BODY_BYTES

FORM_JSON = "json"
NEWEST_FOLD = 2

_DIALECTS = {"1": v1.DIALECTS, "2": v2.DIALECTS}
_FOLD_FORM = re.compile(r"fold:([a-z0-9.]+)@v([12])")


def is_known_form(form: str) -> bool:
    """Whether this code can cut fields of that form."""
    fold_form = _FOLD_FORM.fullmatch(form)
    return form == FORM_JSON or (fold_form is not None and fold_form[1] in _DIALECTS[fold_form[2]])


def fold_form(dialect: str, version: int = NEWEST_FOLD) -> str:
    """Return the form of a stream dialect, `fold:<dialect>@v<version>`."""
    return f"fold:{dialect}@v{version}"


def field_text(body: bytes, form: str = FORM_JSON) -> bytes | None:
    """Return the JSON text the fields of `body` are cut from; None if this form has none for these bytes.

    Raises:
        ValueError: a form this code does not know; ask `is_known_form` first.
    """
    if not is_known_form(form):
        raise ValueError(f"form: expected json or a known fold:<dialect>@v<version>, found {form!r}")
    fold_form = _FOLD_FORM.fullmatch(form)
    if fold_form is None:
        return decode_content(body)
    if fold_form[2] == "1":
        plain = decode_content(body)
        return None if plain is None else v1.fold(fold_form[1], plain)
    plain = decode_content(body, most=v2.MAX_STREAM_BYTES)
    return None if plain is None else v2.fold_v2(fold_form[1], plain)


def decode_content(body: bytes, *, most: int = MAX_BODY_BYTES) -> bytes | None:
    """Undo gzip or deflate: attacker-controlled. None if that fails, or either side is over `most` bytes."""
    if len(body) > most:
        return None
    if body[:2] == b"\x1f\x8b":
        return _inflate(body, wbits=31, most=most)
    if body[:1] == b"\x78" and len(body) > 1 and int.from_bytes(body[:2], "big") % 31 == 0:
        return _inflate(body, wbits=15, most=most)
    return body


def _inflate(body: bytes, *, wbits: int, most: int) -> bytes | None:
    """Decompress one gzip member or zlib stream of at most `most` bytes, with nothing behind it."""
    reader = zlib.decompressobj(wbits)
    try:
        # One byte over the limit is asked for, so that an exact fit and an excess can be told apart.
        plain = reader.decompress(body, most + 1)
    except zlib.error:
        return None
    complete = reader.eof and not reader.unused_data
    return plain if complete and len(plain) <= most else None
