"""commitment.md: commitments, disclosures, and how a disclosure is checked; receipt.md: capabilities."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Any, NamedTuple

from . import canonical as c
from . import fold2
from .canonical import Malformed, need, refuse
from .fields import Leaf, leaves_of, uncoded
from .fold import DIALECTS, fold
from .merkle import check_inclusion, leaf_hash, root_of

BODIES = ("request", "response", "facts")
MATCHED, NO_FIELDS, UNKNOWN_FORM = "matched", "no_fields", "unknown_form"
SAME_TEXT = "same text, other transport bytes"
_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*", re.DOTALL)


def salts_of(key: bytes, name: str, leaves: int) -> bytes:
    """The salt of the whole body and of so many leaves."""
    return hashlib.shake_256(b"auditlog/salts@v1\x00" + key + name.encode() + b"\x00").digest(
        32 * (leaves + 1)
    )


def commitment_of(salt: bytes, name: str, body: bytes) -> bytes:
    """The commitment of a whole body."""
    return hmac.digest(salt, b"auditlog/body@v1\x00" + name.encode() + b"\x00" + body, "sha256")


def leaf_bytes(salt: bytes, pointer: bytes, value: bytes) -> bytes:
    """One leaf of the field tree."""
    return salt + len(pointer).to_bytes(2, "big") + pointer + value


def field_root(salts: bytes, leaves: list[Leaf]) -> bytes:
    """The root over leaves, with the salts of a body."""
    return root_of(
        [leaf_hash(leaf_bytes(salts[32 * i + 32 : 32 * i + 64], *leaf)) for i, leaf in enumerate(leaves)],
    )


def known_form(form: str) -> bool:
    """Whether the text of a form can be had."""
    first, second = (
        {f"fold:{name}@v{n}" for name in names} for n, names in ((1, DIALECTS), (2, fold2.DIALECTS))
    )
    return form == "json" or form in first | second


def leaves_by_form(body: bytes, form: str) -> list[Leaf]:
    """The leaves of a body; Malformed if it has no fields."""
    if form == "json":
        return leaves_of(uncoded(body))
    dialect = form.removeprefix("fold:")[: -len("@v1")]
    if form.endswith("@v2"):
        return leaves_of(fold2.fold2(uncoded(body, fold2.LIMIT), dialect))
    return leaves_of(fold(uncoded(body), dialect))


class Disclosure(NamedTuple):
    """One disclosure, field or whole."""

    kind: str
    body: str
    index: int = -1
    pointer: str = ""
    salt: bytes = b""
    value: bytes = b""
    path: tuple[bytes, ...] = ()
    salts: bytes = b""
    data: bytes = b""


def parse_disclosure(value: Any) -> Disclosure:
    """One disclosure as the pages lay it out."""
    if not isinstance(value, dict):
        refuse("a disclosure is an object")
    kind = value.get("kind")
    if kind == "field":
        c.members(value, "kind body index pointer salt value path")
    elif kind == "whole":
        c.members(value, "kind body salts bytes")
    else:
        refuse("neither field nor whole")
    need(isinstance(value["body"], str) and value["body"] in BODIES, "not the name of a body")
    if kind == "whole":
        salts = c.unbase64(value["salts"])
        need(len(salts) % 32 == 0 and 1 <= len(salts) // 32 <= 1025, "not 32 (n + 1) bytes of salts")
        return Disclosure(kind, value["body"], salts=salts, data=c.unbase64(value["bytes"]))
    need(c.is_int(value["index"], 0, 1023), "index")
    pointer = value["pointer"]
    need(isinstance(pointer, str) and _POINTER.fullmatch(pointer), "not a pointer")
    need(len(pointer.encode("utf-8")) <= 65_535, "a pointer over 65,535 bytes")
    salt, source = c.unbase64_hash(value["salt"]), c.unbase64(value["value"])
    need(source.strip(b" \t\n\r") == source, "white space around the value")
    leaves_of(source)
    path = tuple(c.hashes(value["path"], 10))
    return Disclosure(kind, value["body"], value["index"], pointer, salt, source, path)


def parse_disclosures(value: Any) -> list[Disclosure]:
    """The rules of a list of disclosures, in a file and in a receipt."""
    listed = [parse_disclosure(item) for item in c.array(value, 4096)]
    places = [(item.body, item.index) for item in listed]
    need(len(set(places)) == len(places), "a body or an index of a body is opened twice")
    return listed


def parse_disclosure_file(data: bytes) -> tuple[str, list[Disclosure]]:
    """A disclosure file: the id it names, and what it discloses."""
    need(len(data) <= 64 * 1_048_576, "over 64 MiB")
    need(data.endswith(b"\n"), "no final newline")
    value = c.members(c.parse(data[:-1]), "v id disclosures")
    need(value["v"] == "auditlog/disclosures@v1", "not auditlog/disclosures@v1")
    need(isinstance(value["id"], str), "id")
    return value["id"], parse_disclosures(value["disclosures"])


def check_disclosure(member: Any, disclosure: Disclosure) -> str:
    """Whether it opens this commitment object; of a whole body, how its fields compare."""
    if member is None:
        refuse("the entry has no such commitment")
    fields = member.get("fields")
    if disclosure.kind == "field":
        if fields is None:
            refuse("the commitment has no fields")
        leaf = leaf_bytes(disclosure.salt, disclosure.pointer.encode("utf-8"), disclosure.value)
        root = bytes.fromhex(fields["root"])
        check_inclusion(leaf_hash(leaf), disclosure.index, fields["size"], list(disclosure.path), root)
        return MATCHED
    n = 0 if fields is None else fields["size"]
    need(len(disclosure.salts) == 32 * (n + 1), "another number of salts")
    opened = commitment_of(disclosure.salts[:32], disclosure.body, disclosure.data)
    if opened.hex() != member["commitment"]:
        refuse(SAME_TEXT if fields and _same_fields(disclosure, fields) else "not the bytes committed to")
    if fields is None:
        return NO_FIELDS
    if not known_form(fields["form"]):
        return UNKNOWN_FORM
    _check_fields(disclosure, fields)
    return MATCHED


def _check_fields(disclosure: Disclosure, fields: dict[str, Any]) -> None:
    try:
        leaves = leaves_by_form(disclosure.data, fields["form"])
    except Malformed as error:
        raise Malformed(f"the body has no fields: {error}") from error
    need(len(leaves) == fields["size"], "another number of fields")
    need(field_root(disclosure.salts, leaves).hex() == fields["root"], "other fields")


def _same_fields(disclosure: Disclosure, fields: dict[str, Any]) -> bool:
    if not known_form(fields["form"]):
        return False
    try:
        _check_fields(disclosure, fields)
    except Malformed:
        return False
    return True


def capability(key: bytes, decision: str) -> str:
    """The last part of a receipt's address."""
    mac = hmac.digest(key, b"auditlog/receipt-capability@v1\x00" + decision.encode(), "sha256")
    return base64.urlsafe_b64encode(mac[:16]).rstrip(b"=").decode()
