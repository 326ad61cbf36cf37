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
DURABILITIES = ("local", "log")
ROUTE_RECORDS = ("values", "record", "skip", "model")
OTHER_ROUTES = ("record", "skip")
ENDINGS = ("ok", "error", "client_disconnected", "aborted")
VALUES = ("kept", "not_kept")
MODEL_WORDS = ("pending", "unregistered")
NOTICES = ("stopped", "unguarded_start", "restored", "disabled", "declared_lost")
ANCHOR_TYPES = ("devnet@v0", "evm@v1")
FINGERPRINT_METHODS = ("files-sha256@v1",)

HEARTBEAT_COUNTS = (
    "started",
    "finished",
    "failed",
    "in_flight",
    "refused",
    "deferred",
    "lost",
    "late_hangups",
    "recorded",
)
"""Naturals of a `heartbeat`, all counted from the start of the instance, but `in_flight`, which is now."""

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


def _in_order(inner: Shape) -> Shape:
    """An object whose `from` is not after its `to`. One spelling per instant, so text order is time order."""

    def shape(value: Any, name: str, unknown: list[str]) -> None:
        inner(value, name, unknown)
        if value["from"] > value["to"]:
            raise MalformedError("body members from and to: expected from not after to, found it after")

    return shape


def _spoken_notice(value: Any, name: str, unknown: list[str]) -> None:
    """What `detail` says depends on `what`; of words without a form of their own it is any value."""
    _NOTICE(value, name, unknown)
    detail = _NOTICE_DETAILS.get(value["what"])
    if detail is not None:
        members({"detail": detail})({"detail": value["detail"]} if "detail" in value else {}, name, unknown)


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
        "redacted": shapes.list_of(shapes.word_of(*BODY_NAMES)),
    },
)

_GAP = _in_order(
    members(
        {
            "instance": shapes.instance_hex,
            "after_seq": _after_seq,
            "from": shapes.time,
            "to": shapes.time,
            "count": shapes.integer_or("unknown"),
        },
        {"at_most": shapes.integer()},
    )
)

_HEARTBEAT = members(
    {
        "interval_s": shapes.integer(least=1),
        **dict.fromkeys(HEARTBEAT_COUNTS, shapes.integer()),
        "spool": members(dict.fromkeys(("entries", "bytes", "oldest_ms"), shapes.integer())),
    },
    {
        "head": shapes.text,
        "block": members({"chain_id": shapes.integer(), "number": shapes.integer(), "hash": shapes.hash_0x}),
        "engine": shapes.decimals_by_name,
    },
)

_ROUTE = members(
    {"method": shapes.label, "path": shapes.text, "record": shapes.word_of(*ROUTE_RECORDS)},
    {"operation": shapes.word},
)

_COVERAGE = members(
    {
        "mode": shapes.word_of(*MODES),
        "durability": shapes.word_of(*DURABILITIES),
        "routes": shapes.list_of(_ROUTE),
        "ports": shapes.list_of(shapes.integer()),
        "workers": shapes.integer(),
        "version": shapes.text,
        "model": shapes.hash_or(*MODEL_WORDS),
        "wait_ms": shapes.integer(),
        "heartbeat_s": shapes.integer(),
        "others": shapes.word_of(*OTHER_ROUTES),
    }
)

_LAST = members({"instance": shapes.label, "seq": shapes.integer(), "leaf_hash": shapes.hash_hex})

_NOTICE = members({"what": shapes.word_of(*NOTICES)}, {"detail": shapes.anything})

_NOTICE_DETAILS: dict[str, Shape] = {
    "declared_lost": _in_order(
        members(
            {
                "producer": shapes.hash_hex,
                "instance": shapes.instance_hex,
                "after_seq": _after_seq,
                "from": shapes.time,
                "to": shapes.time,
            }
        )
    ),
    "disabled": _in_order(members({"from": shapes.time, "to": shapes.time, "starts": shapes.integer()})),
}

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
    "gap": _GAP,
    "heartbeat": _HEARTBEAT,
    "coverage": _COVERAGE,
    "rotation": members({"vkey": shapes.text, "notes": shapes.list_of(shapes.text, least=2, most=2)}),
    "retirement": members({"last": _LAST}, {"producer": shapes.hash_hex}),
    "notice": _spoken_notice,
}
