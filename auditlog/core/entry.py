"""The entry: the exact bytes that are one leaf of the log (spec/entry.md).

    {"body":{...},"instance":I,"kind":K,"origin":O,"prev":P,"producer":R,"seq":N,"time":T,"v":1}

One canonical JSON object of these nine members, at most 65,535 bytes. The envelope is for ever: `v` and
`kind` say how to read `body`, and an unknown `v` or `kind` leaves the envelope readable. Leaf hash =
SHA-256(0x00 || bytes).

Promises: `parse_entry` is total and strict, and `encode_entry(parse_entry(b)) == b`.
Must never: judge a body (core.bodies does) or a chain (admission does).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from auditlog.core import canonical
from auditlog.core.scalars import (
    MAX_SEQ,
    ZERO_HASH_HEX,
    check_origin,
    format_time,
    is_hash_hex,
    is_instance_hex,
    parse_time,
)
from auditlog.errors import MalformedError, TooLargeError

__all__ = [
    "ENTRY_VERSION",
    "KINDS",
    "LOG_KINDS",
    "LOG_WRITER",
    "MAX_ENTRY_BYTES",
    "PRODUCER_KINDS",
    "RESERVED_KINDS",
    "SHARED_KINDS",
    "ZERO_HASH_HEX",
    "Entry",
    "encode_entry",
    "format_time",
    "may_write",
    "parse_entry",
    "parse_time",
]

MAX_ENTRY_BYTES = 65_535
"""The entry bundle gives an entry's length in two bytes (C2SP tlog-tiles)."""

ENTRY_VERSION = 1
LOG_WRITER = "log"
"""`producer` and `instance` of the log's own entries."""

LOG_KINDS = frozenset({"genesis", "producer", "successor", "anchor"})
"""Written by the log alone; refused from a producer."""

PRODUCER_KINDS = frozenset(
    {"instance", "model", "decision", "outcome", "gap", "heartbeat", "coverage", "rotation"}
)
"""Written by producers alone."""

SHARED_KINDS = frozenset({"retirement", "notice"})
"""Written by a producer or by the log."""

RESERVED_KINDS = frozenset({"weights", "grant", "revocation", "erasure", "review", "report"})
"""Names kept for later; until then not understood."""

KINDS = LOG_KINDS | PRODUCER_KINDS | SHARED_KINDS

_MEMBERS = frozenset({"v", "kind", "origin", "producer", "instance", "seq", "prev", "time", "body"})
_KIND = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One record of the log, decoded. Hashes are lower-case hex, `time` is the instant of sealing."""

    kind: str
    origin: str
    producer: str
    """Leaf hash of the writer's `producer` entry, or "log"."""
    instance: str
    """32 hex digits minted at the start of the writing process, or "log"."""
    seq: int
    prev: str
    """Leaf hash of the writer's previous entry; zeros for genesis."""
    time: str
    body: dict[str, Any]
    v: int = ENTRY_VERSION

    @property
    def understood(self) -> bool:
        """Whether this code knows how to read `body`. If not, inclusion can be proven and content cannot."""
        return self.v == ENTRY_VERSION and self.kind in KINDS

    @property
    def by_log(self) -> bool:
        """Whether the log itself wrote the entry."""
        return self.producer == LOG_WRITER


def encode_entry(entry: Entry) -> bytes:
    """Write the bytes that go into the log.

    Raises:
        MalformedError: a member that the envelope does not allow.
        TooLargeError: over 65,535 bytes. Checked here, before a number is given, so that no number is lost
        to it.
    """
    _check_envelope(entry)
    data = canonical.encode(
        {
            "body": entry.body,
            "instance": entry.instance,
            "kind": entry.kind,
            "origin": entry.origin,
            "prev": entry.prev,
            "producer": entry.producer,
            "seq": entry.seq,
            "time": entry.time,
            "v": entry.v,
        }
    )
    if len(data) > MAX_ENTRY_BYTES:
        raise TooLargeError(f"entry: expected at most {MAX_ENTRY_BYTES} bytes, found {len(data)}")
    return data


def parse_entry(data: bytes) -> Entry:
    """Read an entry: attacker-controlled bytes in. Unknown
    kinds and versions are kept, see `Entry.understood`.

    Raises:
        MalformedError: too long, not canonical JSON, a missing or unknown envelope member, or one of a wrong
        form.
    """
    value = canonical.parse(data, max_bytes=MAX_ENTRY_BYTES)
    if type(value) is not dict:
        raise MalformedError("entry: expected an object, found another JSON value")
    if value.keys() != _MEMBERS:
        raise MalformedError(
            f"entry: expected exactly the members {sorted(_MEMBERS)}, "
            f"found {sorted(_MEMBERS - value.keys())} missing and {len(value.keys() - _MEMBERS)} unknown"
        )
    entry = Entry(**value)
    _check_envelope(entry)
    return entry


def may_write(kind: str, *, log: bool) -> bool:
    """Whether this writer (the log, or a producer) may write this kind. Unknown kinds are a producer's."""
    if log:
        return kind in LOG_KINDS or kind in SHARED_KINDS
    return kind not in LOG_KINDS


def _check_envelope(entry: Entry) -> None:
    """Check every member but the inside of `body`; types
    first, since the members may come from a stranger.
    """
    if type(entry.v) is not int or not 1 <= entry.v <= MAX_SEQ:
        raise MalformedError("entry: expected v to be a positive integer, found something else")
    if type(entry.kind) is not str or _KIND.fullmatch(entry.kind) is None:
        raise MalformedError("entry: expected kind to be 1 to 64 of a-z 0-9 _, found something else")
    if type(entry.origin) is not str:
        raise MalformedError("entry: expected origin to be a string, found something else")
    check_origin(entry.origin)
    if type(entry.seq) is not int or not 0 <= entry.seq <= MAX_SEQ:
        raise MalformedError("entry: expected seq to be an integer from 0 to 2^53-1, found something else")
    if not is_hash_hex(entry.prev):
        raise MalformedError("entry: expected prev to be 64 lower-case hex digits, found something else")
    if type(entry.time) is not str:
        raise MalformedError("entry: expected time to be a string, found something else")
    parse_time(entry.time)
    if type(entry.body) is not dict:
        raise MalformedError("entry: expected body to be an object, found something else")
    _check_writer(entry)


def _check_writer(entry: Entry) -> None:
    by_log = entry.producer == LOG_WRITER
    if by_log:
        if entry.instance != LOG_WRITER:
            raise MalformedError("entry: expected instance 'log' beside producer 'log', found another")
    elif not is_hash_hex(entry.producer) or not is_instance_hex(entry.instance):
        raise MalformedError(
            "entry: expected producer of 64 and instance of 32 lower-case hex digits, or 'log' twice"
        )
    if not may_write(entry.kind, log=by_log):
        writer = "the log" if by_log else "a producer"
        raise MalformedError(f"entry: expected a kind that {writer} may write, found {entry.kind!r}")
    if (entry.kind == "genesis") != (by_log and entry.seq == 0):
        raise MalformedError(
            "entry: expected genesis, and only genesis, as the log's number 0, found otherwise"
        )
    if entry.kind == "genesis" and entry.prev != ZERO_HASH_HEX:
        raise MalformedError("entry: expected prev of 64 zeros in genesis, found another")
