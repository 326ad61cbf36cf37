"""Redaction before hashing: what the operator takes out of bodies before anything is committed or kept.

    AUDITLOG_REDACT=request:/messages/*/content, response:/choices/*/message/content
    AUDITLOG_REDACT=request:                      the whole body
    AUDITLOG_REDACT=package.module:function       (body name, bytes) -> bytes, or None: the whole body

A pointer is RFC 6901; a segment `*` is any one member or element. What it points to becomes the string
"[redacted]"; everything beside it keeps its source bytes. The commitment, the field root and the disclosure
store then hold the redacted bytes only, and the entry names the body in `redacted`: such an entry does not
bind the bytes on the wire, and says so.

Pointers are for JSON. A body they name and that cannot be redacted (a stream, other coding or content
type, duplicate keys, too large to be kept, not kept at all, JSON whose top level is of another type than a
pointer needs, such as an object wrapped in an array or in a string) is committed to as the fixed text
`"[redacted]"`, whole: nothing unredacted is ever hashed. So is one on which the operator's function fails.
JSON in which no pointer finds anything stays as it is, and is counted (`redactions_missed`).

Servers that refuse a request repeat it: FastAPI under `/detail/*/input` and `ctx`, model servers in the text
of an `error`. Where there is a rule for requests these places of an answer from 400 to 499 are taken out too.
Runs on the writer's thread. Bodies are attacker-controlled. Must never: raise on a body, or let one through
that should not be.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from auditlog.errors import ConfigurationError

BODIES = ("request", "response", "facts")
REDACTED = b'"[redacted]"'
"""What stands in place of a value, or of a whole body."""

RedactFunction = Callable[[str, bytes], bytes | None]
"""The operator's own: body name and bytes to the bytes to commit to; None redacts the whole body."""

_Pointer = tuple[str, ...]
_POINTER = re.compile(r"(/([^~/]|~[01])*)*")
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])


class Redacted(NamedTuple):
    """The bytes to commit to, whether they differ from what was given, and whether nothing of it is left.

    `is_missed`: it is JSON, and no pointer found anything in it.
    """

    data: bytes
    changed: bool
    is_whole: bool = False
    is_missed: bool = False


_ECHOES: tuple[_Pointer, ...] = (
    ("detail", "*", "input"), ("detail", "*", "ctx"), ("error", "message"), ("message",)
)  # fmt: skip
"""Where servers repeat a request that they refuse."""

WHOLE = Redacted(REDACTED, changed=True, is_whole=True)
"""Nothing of the body is left."""


class _RefusedError(Exception):
    """These bytes cannot be redacted by pointers."""


class Redactor:
    """What is taken out of which body. Immutable; any thread may use it."""

    def __init__(
        self,
        pointers: dict[str, tuple[_Pointer, ...]] | None = None,
        function: RedactFunction | None = None,
        on_failed: Callable[[BaseException], None] | None = None,
    ) -> None:
        """Use `from_setting` or `from_callable`. `on_failed` is told when the operator's function fails."""
        self._pointers = pointers or {}
        self._function = function
        self.on_failed = on_failed
        self.on_missed: Callable[[str], None] = lambda _name: None
        """Told the name of each body in which no pointer found anything."""

    @classmethod
    def from_setting(cls, text: str) -> Redactor | None:
        """The redactor of an AUDITLOG_REDACT text; None if it is empty.

        Raises:
            ConfigurationError: an item that is no pointer, or a function that cannot be had. Nothing may be
            recorded then.
        """
        items = [item.strip() for item in text.split(",") if item.strip()]
        if not items:
            return None
        if len(items) == 1 and _FUNCTION.fullmatch(items[0]) is not None:
            return cls.from_callable(_import(items[0]))
        pointers: dict[str, tuple[_Pointer, ...]] = {}
        for item in items:
            body, pointer = _parse(item)
            pointers[body] = (*pointers.get(body, ()), pointer)
        return cls(pointers)

    @classmethod
    def for_recording(
        cls,
        setting: str | RedactFunction,
        on_failed: Callable[[BaseException], None] | None = None,
        on_missed: Callable[[str], None] = lambda _name: None,
    ) -> Redactor | None:
        """What a recorder redacts with: never raises. A setting that cannot be followed redacts everything,
        since what it meant to take out is not known.
        """
        try:
            redactor = cls.from_callable(setting) if callable(setting) else cls.from_setting(setting)
        except ConfigurationError as error:
            redactor = cls.from_callable(lambda _name, _data: None)
            if on_failed is not None:
                on_failed(error)
        if redactor is not None:
            redactor.on_failed, redactor.on_missed = on_failed, on_missed
        return redactor

    @classmethod
    def from_callable(cls, function: RedactFunction) -> Redactor:
        """A redactor that asks `function(body_name, data)` about every body."""
        return cls(function=function)

    def concerns(self, body_name: str) -> bool:
        """Whether anything may be taken out of bodies of this name."""
        return self._function is not None or body_name in self._pointers

    def apply(self, body_name: str, data: bytes | None) -> Redacted:
        """The bytes to commit to in place of `data`; None is a body that nobody kept. Never raises."""
        if not self.concerns(body_name) or data == b"":
            return Redacted(data or b"", changed=False)
        if data is None:
            return WHOLE
        if self._function is not None:
            return self._ask(self._function, body_name, data)
        pointers = self._pointers[body_name]
        if () in pointers or (left := _without(data, pointers)) is None:
            return WHOLE
        return Redacted(left, changed=True) if left else Redacted(data, changed=False, is_missed=True)

    def has_echo(self, status: int | None) -> bool:
        """Whether an answer of this status may repeat what is taken out of requests."""
        return "request" in self._pointers and status is not None and 400 <= status < 500

    def without_echo(self, data: bytes | None) -> Redacted:
        """The body of such an answer without what it repeats; `data` None is one that nobody kept. Text that
        is no JSON stays: it has no places that could be named. Never raises.
        """
        if data is None:
            return WHOLE
        if data.lstrip(b" \t\r\n")[:1] not in (b"{", b"["):
            return Redacted(data, changed=False)
        left = _without(data, _ECHOES)
        if left is None:
            return WHOLE
        return Redacted(left, changed=True) if left else Redacted(data, changed=False)

    def _ask(self, function: RedactFunction, body_name: str, data: bytes) -> Redacted:
        try:
            answer = function(body_name, data)
            if answer is None:
                return WHOLE
            return Redacted(bytes(memoryview(answer)), changed=answer != data)
        except (Exception, SystemExit) as failure:  # noqa: BLE001  what the operator's code left in is not known
            if self.on_failed is not None:
                self.on_failed(failure)
            return WHOLE


def _parse(item: str) -> tuple[str, _Pointer]:
    body, colon, pointer = item.partition(":")
    if body not in BODIES or not colon or _POINTER.fullmatch(pointer) is None:
        raise ConfigurationError(
            "AUDITLOG_REDACT: expected 'request:/pointer', 'response:/pointer', 'facts:/pointer' or one "
            f"'package.module:function', found {item[:80]!r}"
        )
    segments = pointer.split("/")[1:]
    return body, tuple(segment.replace("~1", "/").replace("~0", "~") for segment in segments)


def _import(name: str) -> RedactFunction:
    module, _, path = name.partition(":")
    found: Any
    try:
        found = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as failure:  # noqa: BLE001  importing the operator's code may raise anything
        raise ConfigurationError(
            f"AUDITLOG_REDACT: expected a function {name[:80]}, found {type(failure).__name__}"
        ) from None
    if not callable(found):
        raise ConfigurationError(f"AUDITLOG_REDACT: expected a function {name[:80]}, found something else")
    return found  # type: ignore[no-any-return]  # its calls are guarded


def _check_json(data: bytes) -> None:
    """Refuse what two readers may read differently: then a value could hide from the pointers."""
    json.loads(data.decode("utf-8"), object_pairs_hook=_without_duplicates)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise _RefusedError


def _without(data: bytes, pointers: Sequence[_Pointer]) -> bytes | None:
    """`data` with what the pointers point to replaced; empty if that is nothing, None if it cannot be."""
    try:
        _check_json(data)
        return (_splice(data, pointers) or b"") if _fits(data, pointers) else None
    except (_RefusedError, ValueError, msgspec.MsgspecError, RecursionError):
        return None


def _fits(data: bytes, pointers: Sequence[_Pointer]) -> bool:
    """Whether the top level is of the type that every pointer needs: an object, or where all begin with a
    number or `*`, an array.
    """
    start = data.lstrip(b" \t\r\n")[:1]
    if start == b"[":
        return all(pointer[0] == "*" or pointer[0].isdigit() for pointer in pointers)
    return start == b"{"


def _splice(raw: bytes, pointers: Sequence[_Pointer]) -> bytes | None:
    """`raw` with what `pointers` point to replaced; None if they point to nothing in it."""
    start = raw.lstrip(b" \t\r\n")[:1]
    if start == b"{":
        members = _object.decode(raw)
        changed = {key: _replaced(bytes(value), key, pointers) for key, value in members.items()}
        if all(value is None for value in changed.values()):
            return None
        parts = (
            json.dumps(key).encode() + b":" + (changed[key] or bytes(value)) for key, value in members.items()
        )
        return b"{" + b",".join(parts) + b"}"
    if start == b"[":
        items = [bytes(one) for one in _array.decode(raw)]
        found = [_replaced(one, str(number), pointers) for number, one in enumerate(items)]
        if all(value is None for value in found):
            return None
        return b"[" + b",".join(new or old for new, old in zip(found, items, strict=True)) + b"]"
    return None


def _replaced(raw: bytes, name: str, pointers: Sequence[_Pointer]) -> bytes | None:
    below = [pointer[1:] for pointer in pointers if pointer[0] in ("*", name)]
    if not below:
        return None
    return REDACTED if () in below else _splice(raw, below)
