"""Where the next record goes: a book gives it its place in the chain (README.md, "The life of a decision").

`SealedBook` seals entries once the producer is enrolled. `DraftBook` numbers records before that: the number
is final, only `producer`, `prev`, `time` and the model's leaf hash are filled in when the log has answered,
and a draft never leaves this host. Must never: use a number for something that was not made.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from auditlog.capture.chain import Chain, Sealed, Tip
from auditlog.capture.frames import Record
from auditlog.core import canonical
from auditlog.core.entry import MAX_ENTRY_BYTES, format_time
from auditlog.core.note import Ed25519Signer
from auditlog.errors import MalformedError, TooLargeError

DRAFT_MODEL = "draft:"
"""Before enrolment a model has no leaf hash: a draft names it by the number of its draft."""

_ENVELOPE_BYTES = 1024
"""Room for the envelope around a draft's body (the origin has at most 255 characters)."""


class Book(Protocol):
    """Gives places in the chain; `add` uses none if it raises."""

    instance: str

    @property
    def next_seq(self) -> int:
        """The number the next record gets."""

    def add(self, kind: str, body: dict[str, Any], time_us: int) -> tuple[Record, str]:
        """Make the next record; also returns the reference by which a decision names it as its model.

        Raises:
            TooLargeError, MalformedError: the body has no form as an entry.
        """


class SealedBook:
    """Entries of an enrolled producer."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.instance = chain.instance

    @property
    def next_seq(self) -> int:
        """See `Book.next_seq`."""
        return self._chain.next_seq

    def begin(self, signer: Ed25519Signer, software: str, time_us: int) -> Record:
        """The `instance` entry, number 0."""
        return to_record(self._chain.seal_instance(signer, software, time_us))

    def retirement_body(self) -> dict[str, Any]:
        """The end of this producer, as its next entry: it names the one before."""
        chain = self._chain
        return {"last": {"instance": chain.instance, "seq": chain.next_seq - 1, "leaf_hash": chain.prev}}

    def add(self, kind: str, body: dict[str, Any], time_us: int) -> tuple[Record, str]:
        """See `Book.add`; the reference is the leaf hash in hex."""
        sealed = self._chain.seal(kind, body, time_us)
        return to_record(sealed), sealed.leaf_hash.hex()


class DraftBook:
    """Records of a producer that the log does not know yet."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self._next_seq = 0

    @property
    def next_seq(self) -> int:
        """See `Book.next_seq`."""
        return self._next_seq

    def begin(self, software: str, time_us: int) -> Record:
        """The draft of the `instance` entry; its signature needs the producer id, so it comes at sealing."""
        return self.add("instance", {"software": software}, time_us)[0]

    def add(self, kind: str, body: dict[str, Any], time_us: int) -> tuple[Record, str]:
        """See `Book.add`; the reference is `draft:<number>`."""
        payload = canonical.encode({"kind": kind, "body": body})
        if len(payload) > MAX_ENTRY_BYTES - _ENVELOPE_BYTES:
            raise TooLargeError(f"draft: expected at most {MAX_ENTRY_BYTES} bytes, found {len(payload)}")
        record = Record(self.instance, self._next_seq, time_us, payload)
        self._next_seq += 1
        return record, f"{DRAFT_MODEL}{record.seq}"


def to_record(sealed: Sealed) -> Record:
    """A sealed entry as the spool keeps it."""
    return Record(sealed.instance, sealed.seq, sealed.time_us, sealed.entry)


def read_draft(record: Record) -> tuple[str, dict[str, Any]]:
    """Kind and body of a draft.

    Raises:
        MalformedError: not a draft that this version wrote.
    """
    try:
        members = json.loads(record.payload)
        kind, body = members["kind"], members["body"]
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedError("draft: expected kind and body, found something else") from error
    if type(kind) is not str or type(body) is not dict:
        raise MalformedError("draft: expected kind and body, found something else")
    return kind, body


def gap_body(
    after: Tip, *, count: int | None, from_us: int, to_us: int, at_most: int | None = None
) -> dict[str, Any]:
    """The body of a `gap` entry: what is missing after `after`; `count` None is unknown, then `at_most` may
    bound it.
    """
    body: dict[str, Any] = {
        "instance": after.instance,
        "after_seq": after.seq,
        "from": format_time(from_us),
        "to": format_time(max(from_us, to_us)),
        "count": "unknown" if count is None else count,
    }
    if count is None and at_most is not None:
        body["at_most"] = at_most
    return body
