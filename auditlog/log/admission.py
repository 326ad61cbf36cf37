"""Admission: what may become an entry, and nothing more (design section 5, "Producer chain").

It refuses only what cannot be true: a signature that is not the producer's, another origin, bytes that are
not a canonical entry, a kind this writer may not write, a number or a `prev` that does not follow.
Everything else is recorded and flagged, so that one odd record never blocks a chain.

This half knows nothing of the log's state: it checks a batch against its own head and producer. The other
half, against the pending tip, is `auditlog.log.chains`. Everything here is attacker-controlled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from auditlog.core.entry import LOG_KINDS, MAX_ENTRY_BYTES, Entry
from auditlog.core.head import Head, open_head, parse_head_text
from auditlog.core.merkle import root_hash
from auditlog.core.note import Ed25519Verifier, NoteVerifier, split_note
from auditlog.core.signed import open_one
from auditlog.core.statements import instance_text, producer_key_name, producer_text
from auditlog.errors import (
    AuthenticationError,
    ChainConflictError,
    MalformedError,
    SignatureError,
    TooLargeError,
)
from auditlog.log.envelope import Envelope, read_envelope


@dataclass(frozen=True, slots=True)
class Batch:
    """What a producer posts: the head note and the entries it covers, in order."""

    head_note: str
    entries: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class CheckedBatch:
    """A batch that is true in itself: signed, canonical, chained. `prev` is what it follows, in hex."""

    producer: bytes
    head: Head
    head_note: str
    entries: Sequence[bytes]
    leaf_hashes: list[bytes]
    prev: str
    decides: bool
    """Whether one of the entries is a decision."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A batch is in the log: `count` new entries from `first_index` on, `skipped` were there before.

    With count 0, `first_index` is where the last of the skipped entries lies.
    """

    first_index: int
    count: int
    skipped: int
    tree_size: int


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A producer is in the log: its id (leaf hash of `entry`) and where."""

    producer: bytes
    index: int
    entry: bytes


@dataclass(frozen=True, slots=True)
class Sequenced:
    """An entry of the log's own is in the log."""

    index: int
    leaf_hash: bytes


def producer_of(batch: Batch) -> bytes:
    """Who the batch says it is from; nothing is verified yet.

    Raises:
        MalformedError: the head is not a note, or not a head.
    """
    return bytes.fromhex(parse_head_text(split_note(batch.head_note)[0]).producer)


def check_batch(batch: Batch, origin: str, verifier: NoteVerifier) -> CheckedBatch:
    """Check all of a batch that can be checked without the log.

    Raises:
        AuthenticationError: the head is not signed by the producer.
        TooLargeError: an entry is over 65,535 bytes.
        MalformedError: anything else that cannot be true.
        ChainConflictError: an entry does not follow the one before it in the same batch.
    """
    try:
        head = open_head(batch.head_note, verifier)
    except SignatureError as error:
        raise AuthenticationError(
            f"head: expected the producer's signature, found: {error}", known=True
        ) from error
    entries = batch.entries
    if head.origin != origin:
        raise MalformedError(f"head: expected the origin {origin}, found {head.origin}")
    if len(entries) != head.size:
        raise MalformedError(f"batch: expected the {head.size} entries its head covers, found {len(entries)}")
    if (longest := max(map(len, entries))) > MAX_ENTRY_BYTES:
        raise TooLargeError(f"entry: expected at most {MAX_ENTRY_BYTES} bytes, found {longest}")
    leaf_hashes = [sha256(b"\x00" + entry).digest() for entry in entries]
    if root_hash(leaf_hashes) != head.root or leaf_hashes[-1] != head.leaf_hash:
        raise MalformedError("batch: expected the entries its head signs, found others")
    return _check_entries(batch, head, leaf_hashes, verifier)


def _check_entries(
    batch: Batch, head: Head, leaf_hashes: list[bytes], verifier: NoteVerifier
) -> CheckedBatch:
    first = read_envelope(batch.entries[0])
    prev, decides, seq = first.prev, False, head.first_seq
    for data, leaf_hash in zip(batch.entries, leaf_hashes, strict=True):
        entry = read_envelope(data)
        if entry.seq != seq or entry.prev != prev:
            raise ChainConflictError(
                "batch: expected each entry to follow the one before it, found one that does not",
                expected={"instance": head.instance, "seq": seq, "leaf_hash": prev},
                found={"instance": entry.instance, "seq": entry.seq, "leaf_hash": entry.prev},
            )
        if entry.origin != head.origin or entry.producer != head.producer or entry.instance != head.instance:
            raise MalformedError("entry: expected origin, producer and instance of the head, found others")
        if entry.kind in LOG_KINDS:
            raise MalformedError(f"entry: expected a kind that a producer may write, found {entry.kind}")
        if (entry.kind == "instance") != (seq == 0):
            raise MalformedError(
                "entry: expected an instance entry as number 0 and only there, found otherwise"
            )
        decides = decides or entry.kind == "decision"
        prev = leaf_hash.hex()
        seq += 1
    if head.first_seq == 0:
        _check_instance_note(first, verifier)
    return CheckedBatch(
        producer=bytes.fromhex(head.producer),
        head=head,
        head_note=batch.head_note,
        entries=batch.entries,
        leaf_hashes=leaf_hashes,
        prev=first.prev,
        decides=decides,
    )


def _check_instance_note(entry: Envelope | Entry, verifier: NoteVerifier) -> None:
    """The producer must have signed this start, in this place of its chain."""
    note = entry.body.get("note")
    if type(note) is not str:
        raise MalformedError("instance: expected a note by the producer, found none")
    try:
        text = open_one(note, verifier)
    except SignatureError as error:
        raise AuthenticationError(
            f"instance: expected the producer's signature, found: {error}", known=True
        ) from error
    if text != instance_text(entry.origin, entry.producer, entry.instance, entry.prev):
        raise MalformedError("instance: expected a note about this very start, found another")


def check_enrolment(*, origin: str, name: str, vkey: str, note: str) -> Ed25519Verifier:
    """Check that the key has the producer's name and signed the enrolment; return it.

    Raises:
        MalformedError: name, key or note out of form, or a note about something else.
        AuthenticationError: the note is not signed by that key.
    """
    verifier = Ed25519Verifier.from_vkey(vkey)
    wanted = producer_key_name(origin, name)
    if verifier.name != wanted:
        raise MalformedError(f"producer: expected a key named {wanted}, found one named {verifier.name}")
    try:
        text = open_one(note, verifier)
    except SignatureError as error:
        raise AuthenticationError(
            f"producer: expected the key's own signature, found: {error}", known=True
        ) from error
    if text != producer_text(origin, name):
        raise MalformedError("producer: expected a note about this origin and name, found another")
    return verifier
