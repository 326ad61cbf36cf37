"""Disclosures: one value, or one whole body, shown so that
it opens a commitment (spec/commitment.md, "Disclosures").

    {"body":B,"index":N,"kind":"field","path":[..],"pointer":P,"salt":S,"value":V}
    {"body":B,"bytes":D,"kind":"whole","salts":S}

A disclosure file is {"disclosures":[..],"id":I,"v":"auditlog/disclosures@v1"}
and one newline, canonical JSON. Never a bare digest, never a key: a field's
salt opens that field only, a body's salts open that body only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from auditlog.core import canonical
from auditlog.core.bodies import BODY_NAMES
from auditlog.core.commitment import SALT_BYTES, leaf_hashes, salts, scan_body
from auditlog.core.content import FORM_JSON, field_text
from auditlog.core.jsonfields import MAX_BODY_BYTES, MAX_LEAVES, MAX_POINTER_BYTES, scan_fields
from auditlog.core.members import Members
from auditlog.core.merkle import prove_inclusion
from auditlog.core.scalars import encode_base64
from auditlog.errors import DisclosureError, MalformedError

DISCLOSURES_VERSION = "auditlog/disclosures@v1"
MAX_DISCLOSURES_BYTES = 64 * 1024 * 1024
MAX_DISCLOSURES = 4096
MAX_PATH = 10
"""Hashes of a path in a tree of at most 1,024 leaves."""

_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*+)*+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FieldDisclosure:
    """One leaf of a field tree, opened."""

    body: str
    index: int
    pointer: str
    salt: bytes
    value: bytes
    path: tuple[bytes, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the disclosure."""
        return {
            "body": self.body,
            "index": self.index,
            "kind": "field",
            "path": [encode_base64(value) for value in self.path],
            "pointer": self.pointer,
            "salt": encode_base64(self.salt),
            "value": encode_base64(self.value),
        }


@dataclass(frozen=True, slots=True)
class WholeDisclosure:
    """One body, opened: the salts of that body (whole
    first, then each leaf) and its bytes as they were sent.
    """

    body: str
    salts: bytes
    data: bytes

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the disclosure."""
        return {
            "body": self.body,
            "bytes": encode_base64(self.data),
            "kind": "whole",
            "salts": encode_base64(self.salts),
        }


Disclosure = FieldDisclosure | WholeDisclosure


@dataclass(frozen=True, slots=True)
class Disclosures:
    """A disclosure file: what is shown of one decision."""

    id: str
    items: tuple[Disclosure, ...]


def disclose_field(key: bytes, name: str, data: bytes, pointer: str) -> FieldDisclosure:
    """Open the leaf at `pointer` of the JSON text `data` (what `field_root` was given).

    Raises:
        DisclosureError: the text has no fields, or no leaf with that pointer.
    """
    leaves = scan_body(data) or []
    wanted = pointer.encode("utf-8", "surrogatepass")
    index = next((place for place, leaf in enumerate(leaves) if leaf[0] == wanted), None)
    if index is None:
        raise DisclosureError(
            f"disclosure: expected one of the {len(leaves)} fields of {name}, found no such pointer"
        )
    stream = salts(key, name, len(leaves))
    path = prove_inclusion(leaf_hashes(stream, leaves), index)
    salt = stream[SALT_BYTES * (index + 1) : SALT_BYTES * (index + 2)]
    return FieldDisclosure(name, index, pointer, salt, leaves[index][1], tuple(path))


def disclose_whole(key: bytes, name: str, data: bytes, form: str | None = FORM_JSON) -> WholeDisclosure:
    """Open a whole body; `data` are its bytes as they were sent and committed to.

    `form` is that of the entry's `fields` for this body, None if the entry has no `fields` for it.
    """
    text = None if form is None else field_text(data, form)
    leaves = None if text is None else scan_fields(text)
    return WholeDisclosure(name, salts(key, name, len(leaves or ())), data)


def read_disclosure(value: Any) -> Disclosure:
    """Read the JSON object of a disclosure: attacker-controlled.

    Raises:
        MalformedError: neither of the two forms.
    """
    kind = value.get("kind") if type(value) is dict else None
    if kind == "whole":
        return _read_whole(Members(value, "disclosure", required=("body", "bytes", "kind", "salts")))
    if kind == "field":
        return _read_field(
            Members(
                value,
                "disclosure",
                required=("body", "index", "kind", "path", "pointer", "salt", "value"),
            )
        )
    raise MalformedError("disclosure: expected an object of kind field or whole, found something else")


def parse_disclosures(data: bytes) -> Disclosures:
    """Read a disclosure file: attacker-controlled.

    Raises:
        MalformedError: anything `format_disclosures` would not write.
    """
    if not data.endswith(b"\n"):
        raise MalformedError("disclosures: expected one newline at the end, found none")
    members = Members(
        canonical.parse(data[:-1], max_bytes=MAX_DISCLOSURES_BYTES),
        "disclosures",
        required=("disclosures", "id", "v"),
    )
    if members.value("v") != DISCLOSURES_VERSION:
        raise members.error("v", DISCLOSURES_VERSION)
    return Disclosures(members.text("id"), read_disclosures(members))


def format_disclosures(disclosures: Disclosures) -> bytes:
    """Write a disclosure file."""
    value = {
        "disclosures": [item.to_json() for item in disclosures.items],
        "id": disclosures.id,
        "v": DISCLOSURES_VERSION,
    }
    return canonical.encode(value) + b"\n"


def read_disclosures(members: Members) -> tuple[Disclosure, ...]:
    """Read the member `disclosures` of a file or a receipt; no body or field may be opened twice."""
    items = tuple(read_disclosure(item) for item in members.array("disclosures", most=MAX_DISCLOSURES))
    places = {(item.body, item.index if isinstance(item, FieldDisclosure) else None) for item in items}
    if len(places) != len(items):
        raise members.error("disclosures", "each body and each field at most once")
    return items


def check_body_name(name: str) -> str:
    """Return `name` if it is a name bytes are committed under.

    Raises:
        MalformedError: it is not one.
    """
    if name not in BODY_NAMES:
        raise MalformedError(f"disclosure body: expected one of {BODY_NAMES}, found something else")
    return name


def _read_whole(members: Members) -> WholeDisclosure:
    stream = members.data("salts")
    if len(stream) % SALT_BYTES or not SALT_BYTES <= len(stream) <= SALT_BYTES * (MAX_LEAVES + 1):
        raise members.error("salts", f"1 to {MAX_LEAVES + 1} salts of {SALT_BYTES} bytes")
    return WholeDisclosure(check_body_name(members.text("body")), stream, members.data("bytes"))


def _read_field(members: Members) -> FieldDisclosure:
    index, salt, value = members.natural("index"), members.data("salt"), members.data("value")
    pointer = members.text("pointer")
    if index >= MAX_LEAVES:
        raise members.error("index", f"an integer below {MAX_LEAVES}")
    if len(salt) != SALT_BYTES:
        raise members.error("salt", f"{SALT_BYTES} bytes")
    if len(pointer.encode("utf-8")) > MAX_POINTER_BYTES:
        raise members.error("pointer", f"at most {MAX_POINTER_BYTES} bytes of UTF-8")
    if _POINTER.fullmatch(pointer) is None:
        raise members.error("pointer", "an RFC 6901 pointer")
    if scan_fields(value) is None or value.strip(b" \t\n\r") != value:
        raise members.error(
            "value", f"one JSON value of at most {MAX_BODY_BYTES} bytes, without repeated keys"
        )
    path = members.hashes("path", most=MAX_PATH)
    return FieldDisclosure(check_body_name(members.text("body")), index, pointer, salt, value, path)
