"""Check a disclosure against what an entry says (spec/commitment.md, "Checking a disclosure").

The member given is the entry's own, from `body.request`, `body.response` or `body.facts`, after `check_body`:
{"commitment": hex, "fields"?: {"root": hex, "size": n, "form": word}}. Everything in the disclosure is
attacker-controlled. A check returns what it showed or raises `DisclosureError`; it never half-succeeds.
"""

from __future__ import annotations

import hmac
from typing import Any, Final, Literal

from auditlog.core.commitment import SALT_BYTES, commit_with_salt, leaf_hashes
from auditlog.core.content import field_text, is_known_form
from auditlog.core.disclosure import FieldDisclosure, WholeDisclosure
from auditlog.core.jsonfields import scan_fields
from auditlog.core.merkle import hash_leaf, root_hash, verify_inclusion
from auditlog.errors import DisclosureError, InclusionError

SAME_TEXT: Final = "same text, other transport bytes"

FieldsResult = Literal["matched", "no_fields", "unknown_form"]
"""What opening a whole body showed of the field root: it is of this body; the entry has none; not checked."""


def verify_field(disclosure: FieldDisclosure, member: dict[str, Any]) -> None:
    """Check that the value is in the field tree the entry commits to.

    Proven by this: the entry commits to a tree with this pointer, value and place. That the tree is the
    body's tree is only stated until the whole body is shown.

    Raises:
        DisclosureError: the entry has no field root for this body, or the leaf is not at that place in it.
    """
    fields = member.get("fields")
    if fields is None:
        raise DisclosureError(
            f"disclosure of {disclosure.body}: expected a field root in the entry, found none"
        )
    pointer = disclosure.pointer.encode("utf-8")
    leaf = disclosure.salt + len(pointer).to_bytes(2, "big") + pointer + disclosure.value
    try:
        verify_inclusion(
            hash_leaf(leaf),
            disclosure.index,
            fields["size"],
            list(disclosure.path),
            bytes.fromhex(fields["root"]),
        )
    except InclusionError as err:
        raise DisclosureError(
            f"disclosure of {disclosure.body}: expected a leaf of the entry's field root, found another value"
        ) from err


def verify_whole(disclosure: WholeDisclosure, member: dict[str, Any]) -> FieldsResult:
    """Check that the bytes are those committed to, and that the field root is the root of their fields.

    Raises:
        DisclosureError: other bytes (`SAME_TEXT` in the message if they say the same), a number of salts the
        entry does not call for, or a field root of other fields.
    """
    fields = member.get("fields")
    size = 0 if fields is None else fields["size"]
    if len(disclosure.salts) != SALT_BYTES * (size + 1):
        raise DisclosureError(
            f"disclosure of {disclosure.body}: expected {size + 1} salts, "
            f"found {len(disclosure.salts) // SALT_BYTES}"
        )
    found = commit_with_salt(disclosure.salts[:SALT_BYTES], disclosure.body, disclosure.data)
    if not hmac.compare_digest(found, bytes.fromhex(member["commitment"])):
        found_bytes = f"others ({SAME_TEXT})" if _says_the_same(disclosure, fields) else "others"
        raise DisclosureError(
            f"disclosure of {disclosure.body}: expected the bytes committed to, found {found_bytes}"
        )
    if fields is None:
        return "no_fields"
    if not is_known_form(fields["form"]):
        return "unknown_form"
    _verify_fields(disclosure, fields)
    return "matched"


def _says_the_same(disclosure: WholeDisclosure, fields: dict[str, Any] | None) -> bool:
    """Whether other bytes have the fields of the entry all the same: a coding undone, a stream cut
    otherwise. Only told: the field root is the producer's word, so it cannot make the disclosure hold.
    """
    if fields is None or not is_known_form(fields["form"]):
        return False
    try:
        _verify_fields(disclosure, fields)
    except DisclosureError:
        return False
    return True


def _verify_fields(disclosure: WholeDisclosure, fields: dict[str, Any]) -> None:
    text = field_text(disclosure.data, fields["form"])
    leaves = None if text is None else scan_fields(text)
    if leaves is None or len(leaves) != fields["size"]:
        raise DisclosureError(
            f"disclosure of {disclosure.body}: expected {fields['size']} fields, "
            f"found {len(leaves) if leaves is not None else 'a body without fields'}"
        )
    if root_hash(leaf_hashes(disclosure.salts, leaves)) != bytes.fromhex(fields["root"]):
        raise DisclosureError(
            f"disclosure of {disclosure.body}: expected the fields of these bytes, found others"
        )
