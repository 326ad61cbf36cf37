"""What the holder of a receipt can show: from the exchange key and the bytes both ways to disclosures
(spec/commitment.md, "Disclosures").

A caller that asked for `Audit-Key` needs nothing of the operator to show what was asked
and answered. A field is named `label`, `/choices/0/text` or, to say in which body,
`response:label`; a pointer to an object or array opens all that is below it. Promises:
what is opened is exactly what was asked for. Must never: give out a key. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from auditlog.core.bodies import BODY_NAMES
from auditlog.core.commitment import as_committed, field_leaves, salts
from auditlog.core.content import field_text, is_known_form
from auditlog.core.disclosure import Disclosure, WholeDisclosure, disclose_field
from auditlog.core.entry import Entry
from auditlog.core.items import item_names
from auditlog.core.opening import verify_field, verify_whole
from auditlog.errors import DisclosureError

__all__ = ["SEARCHED", "check_opened", "open_held", "pointers_of", "split_field_name"]

SEARCHED = ("facts", "response", "request")
"""The bodies of a decision, in the order in which a bare field name is looked for."""


def split_field_name(name: str) -> tuple[str | None, str]:
    """(body, pointer) of `body:pointer`, `pointer` or a bare label; the body is None if none is named."""
    prefix, colon, rest = name.partition(":")
    is_explicit = bool(colon) and prefix in BODY_NAMES
    wanted = rest if is_explicit else name
    return prefix if is_explicit else None, wanted if wanted.startswith("/") or not wanted else f"/{wanted}"


def pointers_of(text: bytes, pointer: str) -> list[str]:
    """Pointers of the leaves of a JSON text at or below `pointer`, in document order."""
    below = f"{pointer}/"
    return [leaf for leaf, _ in field_leaves(text) if leaf == pointer or leaf.startswith(below)]


def open_held(
    entry: Entry,
    key: bytes,
    bodies: Mapping[str, bytes],
    *,
    fields: Sequence[str] = (),
    whole: Sequence[str] = (),
    item: str | None = None,
) -> tuple[Disclosure, ...]:
    """Disclosures of a decision from the caller's own copy of its bodies, still to be checked.

    The body of `entry` was checked. `key` is the exchange key (32 bytes), `bodies` are `request` and
    `response` as sent and received. `item` names one of several things asked for (`core.items`).

    Raises:
        DisclosureError: a field, body or item is named that is not among them.
    """
    bodies = {
        body: as_committed(entry.body.get(body, {}).get("commitment", ""), key, body, data)
        for body, data in bodies.items()
    }
    if item is not None:
        texts = {body: _text(entry, bodies, body) for body in ("request", "response")}
        fields = [*fields, *item_names(item, texts["request"], texts["response"])]
    opened: dict[tuple[str, str | None], Disclosure] = {}
    for name in whole:
        if name not in bodies:
            raise DisclosureError(
                f"disclosure: expected one of {sorted(bodies)} to open whole, found {name!r}"
            )
        size = _fields_member(entry, name).get("size", 0)
        opened[name, None] = WholeDisclosure(name, salts(key, name, size), bodies[name])
    for name in fields:
        for body, pointer, text in _leaves(entry, bodies, name):
            opened[body, pointer] = disclose_field(key, body, text, pointer)
    return tuple(opened.values())


def check_opened(entry: Entry, items: Sequence[Disclosure]) -> None:
    """Check each disclosure as a verifier will.

    Raises:
        DisclosureError: the key or the bytes are not those of this decision.
    """
    for item in items:
        member = entry.body.get(item.body, {})
        if "commitment" not in member:
            raise DisclosureError(f"disclosure: expected an entry that commits to a {item.body}, found none")
        if isinstance(item, WholeDisclosure):
            verify_whole(item, member)
        else:
            verify_field(item, member)


def _fields_member(entry: Entry, name: str) -> dict[str, Any]:
    """The `fields` of a body that the entry commits to; empty if it has none."""
    fields: dict[str, Any] = entry.body.get(name, {}).get("fields", {})
    return fields


def _text(entry: Entry, bodies: Mapping[str, bytes], body: str) -> bytes | None:
    """The text whose fields the entry commits to, from the bytes in hand; None without either."""
    form = _fields_member(entry, body).get("form", "")
    return field_text(bodies[body], form) if body in bodies and is_known_form(form) else None


def _leaves(entry: Entry, bodies: Mapping[str, bytes], name: str) -> Iterator[tuple[str, str, bytes]]:
    """(body, pointer, text) of every leaf a name stands for, in the first body that has one."""
    explicit, pointer = split_field_name(name)
    for body in SEARCHED if explicit is None else (explicit,):
        text = _text(entry, bodies, body)
        found = [] if text is None else pointers_of(text, pointer)
        if text is not None and found:
            yield from ((body, leaf, text) for leaf in found)
            return
    raise DisclosureError(f"disclosure: expected a field {name!r} in the bodies given, found none")
