"""What each kind of entry says: the members of `body` (spec/entry.md, "Bodies"; words in spec/registry.md).

`check_body` never decides whether an entry may enter the log: one odd
record must not block a chain. It tells a reader which members it may rely
on the meaning of, and which it can only repeat as stated, not understood.
"""

from __future__ import annotations

from typing import Any

from auditlog.core import bodyshapes as shapes
from auditlog.core.bodyshapes import Shape, members
from auditlog.core.jsonfields import MAX_LEAVES
from auditlog.errors import MalformedError

VISIBILITIES = ("public", "hashes", "private")
CAPTURE_HOPS = ("asgi", "proxy", "in_process")
MODES = ("fail_open", "fail_closed")
ENDINGS = ("ok", "error", "client_disconnected", "aborted")
VALUES = ("kept", "not_kept")
MODEL_WORDS = ("pending", "unregistered")
NOTICES = ("stopped", "unguarded_start", "restored", "disabled", "declared_lost")
ANCHOR_TYPES = ("devnet@v0", "evm@v1")
FINGERPRINT_METHODS = ("files-sha256@v1",)

BODY_NAMES = ("request", "response", "facts")
"""The names under which bytes are committed, in commitments and disclosures."""


def check_body(kind: str, body: dict[str, Any]) -> list[str]:
    """Return the pointers (`sampling/x`, without a leading slash) of members that are not understood.

    For a kind this code does not know, that is every member.

    Raises:
        MalformedError: a required member is missing, or a known member has a form it never has.
    """
    shape = _BODIES.get(kind)
    if shape is None:
        return sorted(body)
    unknown: list[str] = []
    shape(body, "", unknown)
    return unknown


def _fingerprint_method(value: Any, name: str, unknown: list[str]) -> None:
    shapes.label(value, name, unknown)
    if value not in FINGERPRINT_METHODS:
        unknown.append(name)


def _anchor_type(value: Any, name: str, unknown: list[str]) -> None:
    shapes.label(value, name, unknown)
    if value not in ANCHOR_TYPES:
        unknown.append(name)


def _after_seq(value: Any, name: str, _unknown: list[str]) -> None:
    if type(value) is not int or value < -1:
        raise shapes.refuse(name, "an integer of at least -1")


def _gap_order(value: Any, name: str, unknown: list[str]) -> None:
    _GAP_MEMBERS(value, name, unknown)
    # One spelling per instant, so text order is time order.
    if value["from"] > value["to"]:
        raise MalformedError("body members from and to: expected from not after to, found it after")


def _field_count(value: Any, name: str, _unknown: list[str]) -> None:
    if type(value) is not int or not 1 <= value <= MAX_LEAVES:
        raise shapes.refuse(name, f"an integer from 1 to {MAX_LEAVES}")


_FIELDS = members({"root": shapes.hash_hex, "size": _field_count, "form": shapes.label})
_COMMITTED = members({"commitment": shapes.hash_hex}, {"fields": _FIELDS})
_FINGERPRINT = members(
    {"method": _fingerprint_method, "root": shapes.hash_hex, "files": shapes.integer(least=1)}
)
_ADAPTER = members({"name": shapes.label, "fingerprint": _FINGERPRINT})

_DECISION = members(
    {
        "id": shapes.decision_id,
        "operation": shapes.word,
        "capture": shapes.word_of(*CAPTURE_HOPS),
        "mode": shapes.word_of(*MODES),
        "start": shapes.time,
        "duration_us": shapes.integer(),
        "ended": shapes.word_of(*ENDINGS),
        "model": shapes.hash_or(*MODEL_WORDS),
        "request": _COMMITTED,
        "response": _COMMITTED,
    },
    {
        "method": shapes.label,
        "route": shapes.text,
        "status": shapes.integer(),
        "content_encoding": shapes.label,
        "adapters": shapes.list_of(shapes.label),
        "sampling": shapes.texts_by_name,
        "defaults": shapes.texts_by_name,
        "facts": _COMMITTED,
        "values": shapes.word_of(*VALUES),
        "parent": shapes.label,
        "retry_of": shapes.label,
        "replayed_from": shapes.label,
    },
)

_GAP_MEMBERS = members(
    {
        "instance": shapes.instance_hex,
        "after_seq": _after_seq,
        "from": shapes.time,
        "to": shapes.time,
        "count": shapes.integer_or("unknown"),
    }
)

_ANCHOR = members(
    {
        "type": _anchor_type,
        "chain_id": shapes.integer(),
        "contract": shapes.address,
        "log_id": shapes.hash_hex,
        "size": shapes.integer(least=1),
        "root": shapes.hash_hex,
        "tx": shapes.hash_0x,
        "block_number": shapes.integer(),
        "block_hash": shapes.hash_0x,
        "block_time": shapes.time,
    }
)

_BODIES: dict[str, Shape] = {
    "genesis": members(
        {
            "vkeys": shapes.list_of(shapes.text, least=1),
            "visibility": shapes.word_of(*VISIBILITIES),
            "max_merge_delay_s": shapes.integer(least=1),
            "contact": shapes.text,
        }
    ),
    "producer": members({"name": shapes.label, "vkey": shapes.text, "note": shapes.text}),
    "successor": members({"origin": shapes.origin, "vkey": shapes.text}),
    "anchor": _ANCHOR,
    "instance": members({"note": shapes.text, "software": shapes.text}),
    "model": members(
        {"name": shapes.label, "fingerprint": _FINGERPRINT},
        {"adapters": shapes.list_of(_ADAPTER), "source": shapes.text},
    ),
    "decision": _DECISION,
    "outcome": members({"decision": shapes.decision_id, "facts": _COMMITTED}, {"item": shapes.label}),
    "gap": _gap_order,
    "heartbeat": members({}),
    "coverage": members({}),
    "rotation": members({"vkey": shapes.text, "notes": shapes.list_of(shapes.text, least=2)}),
    "retirement": members(
        {
            "last": members(
                {
                    "instance": shapes.label,
                    "seq": shapes.integer(),
                    "leaf_hash": shapes.hash_hex,
                }
            )
        }
    ),
    "notice": members({"what": shapes.word_of(*NOTICES)}, {"detail": shapes.anything}),
}
