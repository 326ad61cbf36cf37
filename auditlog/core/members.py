"""Read the members of our JSON objects strictly: exactly these names, each of its type (spec/receipt.md).

Receipts, disclosures and trust files hold no member a reader does not know: what one reader passes over
silently, another may believe. Entry bodies are the exception, and have their own rules in core.bodies.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from auditlog.core.scalars import HASH_BYTES, parse_base64
from auditlog.errors import MalformedError


class Members:
    """One JSON object, attacker-controlled; `what` names it in errors."""

    __slots__ = ("_value", "what")
    _value: dict[str, Any]

    def __init__(
        self, value: Any, what: str, *, required: Iterable[str], optional: Iterable[str] = ()
    ) -> None:
        """Raises `MalformedError` unless `value` is an object with all required and no unknown members."""
        if type(value) is not dict:
            raise MalformedError(f"{what}: expected an object, found another JSON value")
        required = set(required)
        missing = required - value.keys()
        unknown = value.keys() - required - set(optional)
        if missing or unknown:
            raise MalformedError(
                f"{what}: expected the members {sorted(required)}, "
                f"found {sorted(missing)} missing and {len(unknown)} unknown"
            )
        self._value = value
        self.what = what

    def __contains__(self, name: str) -> bool:
        return name in self._value

    @property
    def members(self) -> dict[str, Any]:
        """The object itself."""
        return self._value

    def value(self, name: str) -> Any:
        """Return the member, of any type."""
        return self._value[name]

    def text(self, name: str) -> str:
        """Return a string member."""
        value = self._value[name]
        if type(value) is not str:
            raise self.error(name, "a string")
        return value

    def natural(self, name: str) -> int:
        """Return an integer member from 0 up."""
        value = self._value[name]
        if type(value) is not int or value < 0:
            raise self.error(name, "an integer of at least 0")
        return value

    def array(self, name: str, *, most: int) -> list[Any]:
        """Return an array member of at most `most` items."""
        value = self._value[name]
        if type(value) is not list or len(value) > most:
            raise self.error(name, f"an array of at most {most}")
        return value

    def data(self, name: str) -> bytes:
        """Return the bytes of a canonical base64 member."""
        return parse_base64(self.text(name), f"{self.what} {name}")

    def hashes(self, name: str, *, most: int) -> tuple[bytes, ...]:
        """Return an array member of 32-byte hashes in canonical base64."""
        what = f"{self.what} {name}"
        return tuple(self._hash(item, name, what) for item in self.array(name, most=most))

    def error(self, name: str, expected: str) -> MalformedError:
        """Return the error for a member of another form; it never shows what was found."""
        return MalformedError(f"{self.what} {name}: expected {expected}, found something else")

    def _hash(self, item: Any, name: str, what: str) -> bytes:
        if type(item) is not str:
            raise self.error(name, "an array of base64 strings")
        value = parse_base64(item, what)
        if len(value) != HASH_BYTES:
            raise self.error(name, "hashes of 32 bytes")
        return value
