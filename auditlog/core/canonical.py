"""Canonical JSON: the one byte form of every JSON object we hash or sign (spec/entry.md, "Canonical JSON").

RFC 8785 restricted to what needs no number formatting: objects with ASCII
keys, arrays, strings, booleans, null and integers from -(2**53-1) to 2**53-1.
A real number is written as a decimal string. At most 16 containers deep.

Promises: `encode` is a function (one value, one byte string) and `parse(b)` accepts
exactly the range of `encode`, so two parties that hold equal values hold equal
bytes. Total on bytes: a value or `MalformedError`. Must never: accept bytes that
`encode` would not write, nor depend on a size or depth limit of the interpreter.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from auditlog.errors import MalformedError

MAX_DEPTH = 16
"""Containers inside one another: a scalar has depth 0, `[]` has depth 1, `[[]]` depth 2."""

MAX_INTEGER = 2**53 - 1
"""The largest integer every JSON reader keeps exactly (RFC 8785 section 3.2.2.3, I-JSON)."""

MAX_BYTES = 16 * 1024 * 1024
"""The most bytes `parse` reads when the caller names no limit of its own."""

_MAX_INTEGER_CHARS = 17  # a sign and the 16 digits of 2**53-1

_encoder = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
)


def encode(value: Any, *, max_depth: int = MAX_DEPTH) -> bytes:
    """Write `value` (dict, list, str, bool, None, int) as canonical JSON.

    Raises:
        MalformedError: a float, another type, a key that is not an ASCII string, an integer beyond 2**53-1,
            a lone surrogate, or more than `max_depth` containers inside one another.
    """
    _check(value, max_depth)
    try:
        # The standard encoder writes RFC 8785 strings: short escapes, lower-case \u00xx for other control
        # characters, everything else as itself. Keys are ASCII, so code-point order is the UTF-16 order the
        # RFC asks for.
        return _encoder.encode(value).encode("utf-8")
    except UnicodeEncodeError as err:
        raise MalformedError("canonical JSON: expected Unicode text, found a lone surrogate") from err


def parse(data: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Any:
    """Read canonical JSON: attacker-controlled bytes in, a value out.

    Raises:
        MalformedError: longer than `max_bytes`, not JSON, not UTF-8, or any byte differs from what `encode`
            writes for the value read (white space, key order, repeated keys, escapes, -0, floats, integers
            beyond 2**53-1).
    """
    if len(data) > max_bytes:
        raise MalformedError(f"canonical JSON: expected at most {max_bytes} bytes, found {len(data)}")
    try:
        value = _decoder.decode(bytes(data).decode("utf-8"))
    except UnicodeDecodeError as err:
        raise MalformedError(f"canonical JSON: expected UTF-8, found another byte at {err.start}") from err
    except RecursionError:
        raise MalformedError(f"canonical JSON: expected at most {max_depth} levels, found far more") from None
    except ValueError as err:
        where = getattr(err, "pos", 0)
        raise MalformedError(
            f"canonical JSON: expected JSON, found something else at character {where}"
        ) from err
    if encode(value, max_depth=max_depth) != data:
        raise MalformedError(
            "canonical JSON: expected the canonical form, found another spelling of the same value"
        )
    return value


def _check(value: Any, depth_left: int) -> None:
    """Refuse what canonical JSON has no form for. The depth limit also ends a walk over a circular value."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return
    if kind is dict:
        _check_depth(depth_left)
        for key, member in value.items():
            if type(key) is not str or not key.isascii():
                raise MalformedError("canonical JSON: expected keys of ASCII text, found another key")
            if type(member) is not str:
                _check(member, depth_left - 1)
    elif kind is list:
        _check_depth(depth_left)
        for member in value:
            if type(member) is not str:
                _check(member, depth_left - 1)
    elif kind is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise MalformedError("canonical JSON: expected integers up to 2^53-1, found a larger one")
    else:
        raise MalformedError(f"canonical JSON: expected a JSON value without floats, found {kind.__name__}")


def _check_depth(depth_left: int) -> None:
    if depth_left <= 0:
        raise MalformedError(
            "canonical JSON: expected fewer containers inside one another, found one too many"
        )


def _parse_int(text: str) -> int:
    # Bounded before conversion: int() of a long text is slow, or refused, depending on the interpreter's
    # settings.
    if len(text) > _MAX_INTEGER_CHARS:
        raise MalformedError("canonical JSON: expected integers up to 2^53-1, found a larger one")
    return int(text)


def _refuse_real(_: str) -> NoReturn:
    raise MalformedError("canonical JSON: expected integers only, found a real number")


_decoder = json.JSONDecoder(parse_int=_parse_int, parse_float=_refuse_real, parse_constant=_refuse_real)
