"""What the log answers when a producer enrols, and how it is checked and kept (entry.md, "Producer chain").

The answer comes from the log, which nobody needs to trust: the `producer` entry in it must name our key, our
name and the origin we asked, and its leaf hash is the producer id that every later entry carries.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from auditlog.core.entry import parse_entry
from auditlog.core.merkle import hash_leaf
from auditlog.core.note import Ed25519Signer, sign_note
from auditlog.core.statements import producer_text
from auditlog.errors import MalformedError

LAST_S = 253_402_300_799
"""The last second of the year 9999: no token is good for longer."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A producer known to its log. `producer` is the leaf hash of `entry` in hex, `receipt_key` 32 bytes."""

    origin: str
    name: str
    producer: str
    index: int
    entry: bytes
    receipt_key: bytes = field(repr=False)
    key_in_force: str | None = None
    """The vkey that took the enrolled one's place, once the log has the rotation; None: none did."""
    rotations: int = 0
    """How many rotations of this producer the log has."""
    max_merge_delay_s: int | None = None
    """The longest the log may take to show an entry, as it said at enrolment; None: it did not say."""
    token_expires_s: int | None = None
    """Until when, in Unix seconds, the token that asked is good, as the log said; None: it did not say."""
    token_mark: str | None = None
    """Which token that was (`token_mark`): another one that took its place since has an end of its own."""

    @property
    def leaf_hash(self) -> bytes:
        """The `prev` of the producer's first entry: the leaf hash of its enrolment."""
        return bytes.fromhex(self.producer)

    @property
    def vkey_in_force(self) -> str:
        """The key that signs heads and starts now, as far as the log has answered. Raises MalformedError."""
        return self.key_in_force or self.vkey

    @property
    def vkey(self) -> str:
        """The key that was enrolled. Raises MalformedError if the entry is not one."""
        return str(parse_entry(self.entry).body.get("vkey"))


def enrolment_note(signer: Ed25519Signer, *, origin: str, name: str) -> str:
    """The signed note by which a producer asks to be enrolled. The same key and name give the same note."""
    return sign_note(producer_text(origin, name), [signer])


def check_enrolment(answer: dict[str, Any], *, signer: Ed25519Signer, origin: str, name: str) -> Enrolment:
    """Check the log's answer against what was asked: attacker-controlled.

    Raises:
        MalformedError: a member is missing, or the entry is not the enrolment of this key under this name.
    """
    entry_bytes = _base64(answer.get("entry"), "entry")
    entry = parse_entry(entry_bytes)
    producer = hash_leaf(entry_bytes).hex()
    index = answer.get("index")
    if answer.get("producer") != producer:
        raise MalformedError("enrolment: expected the leaf hash of its entry as producer id, found another")
    if type(index) is not int or index < 0:
        raise MalformedError("enrolment: expected an index, found something else")
    if entry.kind != "producer" or not entry.by_log or entry.origin != origin:
        raise MalformedError(f"enrolment: expected a producer entry of {origin}, found another entry")
    if entry.body.get("name") != name or entry.body.get("vkey") != signer.vkey:
        raise MalformedError("enrolment: expected our own name and key in the entry, found others")
    receipt_key = _base64(answer.get("receipt_key"), "receipt_key")
    if len(receipt_key) != 32:
        raise MalformedError(f"enrolment: expected a receipt key of 32 bytes, found {len(receipt_key)}")
    delay_s = _delay_s(answer.get("max_merge_delay_s"))
    return Enrolment(
        origin,
        name,
        producer,
        index,
        entry_bytes,
        receipt_key,
        max_merge_delay_s=delay_s,
        token_expires_s=_instant_s(answer.get("token_expires")),
    )


def encode_enrolment(enrolment: Enrolment) -> bytes:
    """The form kept in the slot (holds the receipt key: owner only)."""
    members = {
        "v": 1,
        "origin": enrolment.origin,
        "name": enrolment.name,
        "producer": enrolment.producer,
        "index": enrolment.index,
        "entry": base64.b64encode(enrolment.entry).decode(),
        "receipt_key": base64.b64encode(enrolment.receipt_key).decode(),
        "max_merge_delay_s": enrolment.max_merge_delay_s,
        "key_in_force": enrolment.key_in_force,
        "rotations": enrolment.rotations,
        "token_expires_s": enrolment.token_expires_s,
        "token_mark": enrolment.token_mark,
    }
    return json.dumps(members, indent=1).encode() + b"\n"


def decode_enrolment(content: bytes) -> Enrolment:
    """Read what `encode_enrolment` wrote.

    Raises:
        MalformedError: something else, for example a file of another version or an edited one.
    """
    try:
        members = json.loads(content)
        found = Enrolment(
            origin=str(members["origin"]),
            name=str(members["name"]),
            producer=str(members["producer"]),
            index=int(members["index"]),
            entry=_base64(members["entry"], "entry"),
            receipt_key=_base64(members["receipt_key"], "receipt_key"),
            key_in_force=None if members.get("key_in_force") is None else str(members["key_in_force"]),
            rotations=int(members.get("rotations", members.get("key_in_force") is not None)),
            max_merge_delay_s=_delay_s(members.get("max_merge_delay_s")),
            token_expires_s=_unix_s(members.get("token_expires_s")),
            token_mark=None if members.get("token_mark") is None else str(members["token_mark"]),
        )
        version = members["v"]
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedError("enrolment file: expected our own version, found something else") from error
    if version != 1 or hash_leaf(found.entry).hex() != found.producer or len(found.receipt_key) != 32:
        raise MalformedError("enrolment file: expected the leaf hash of its entry, found another id")
    return found


def token_mark(token: str | None) -> str:
    """What tells one token from another, and does not give it away: 8 bytes of a hash, in hex."""
    return hashlib.sha256(b"auditlog/token-mark\0" + (token or "").encode("utf-8", "replace")).hexdigest()[
        :16
    ]


def _instant_s(text: object) -> int | None:
    """An RFC 3339 time as the service writes it, in Unix seconds; what is odd counts as not said."""
    try:
        instant = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return None if instant.tzinfo is None else _unix_s(int(instant.timestamp()))


def _unix_s(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= LAST_S else None


def _delay_s(value: object) -> int | None:
    """Seconds as the log says them, bounded by ten years: what is odd counts as not said."""
    return value if type(value) is int and 0 <= value <= 10 * 366 * 86_400 else None


def _base64(text: object, name: str) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError(f"enrolment: expected base64 as {name}, found something else") from error
