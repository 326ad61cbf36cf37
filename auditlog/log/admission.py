"""Admission: what may become an entry, and nothing more (design section 5, "Producer chain").

It refuses only what cannot be true: a signature that is not the producer's, another origin, bytes that are
not a canonical entry, a kind this writer may not write, a number or a `prev` that does not follow.
Everything else is recorded and flagged, so that one odd record never blocks a chain.

This half knows nothing of the log's state: it checks a batch against its own head and producer. The other
half, against the pending tip, is `auditlog.log.chains`. Everything here is attacker-controlled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from auditlog.core.bodies import check_body
from auditlog.core.entry import ENTRY_VERSION, LOG_KINDS, MAX_ENTRY_BYTES, Entry
from auditlog.core.head import ClaimedHead, Head, check_claimed, read_claimed
from auditlog.core.merkle import root_hash
from auditlog.core.note import Ed25519Verifier, NoteVerifier
from auditlog.core.signed import open_one
from auditlog.core.statements import instance_text, open_rotation, producer_key_name, producer_text
from auditlog.errors import (
    AuthenticationError,
    ChainConflictError,
    MalformedError,
    SignatureError,
    TooLargeError,
)
from auditlog.log.envelope import Envelope
from auditlog.log.reading import Decision, Read, read_all, read_decisions

_LAST_KINDS = frozenset({"rotation", "retirement"})
"""What ends a batch: behind it another key signs, or nobody."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a producer posts: the head note and the entries it covers, in order."""

    head_note: str
    entries: Sequence[bytes]
    framed: bytes | None = None
    """The framing it came in, where it did: what another process that checks it is given."""


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
    next_vkey: str | None = None
    """The key in force after the last entry, if that is a rotation."""
    retires: bool = False
    """Whether the last entry ends the producer."""


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


Check = Callable[[Batch, ClaimedHead, str, Sequence[Ed25519Verifier]], CheckedBatch]
"""`check_batch`, here or in a process of its own (`auditlog.log.processes`)."""


def claimed_head(batch: Batch) -> ClaimedHead:
    """What the batch says it is, and from whom; nothing is verified yet.

    Raises:
        MalformedError: the head is not a note with one signature, or not a head.
    """
    return read_claimed(batch.head_note)


def check_batch(
    batch: Batch, claimed: ClaimedHead, origin: str, keys: Sequence[Ed25519Verifier]
) -> CheckedBatch:
    """Check all of a batch that can be checked without the log.

    `claimed` is its `claimed_head`; `keys` are the producer's in their order, the last one in force where
    the batch lies.

    Raises:
        AuthenticationError: the head is not signed by the producer.
        TooLargeError: an entry is over 65,535 bytes.
        MalformedError: anything else that cannot be true.
        ChainConflictError: an entry does not follow the one before it in the same batch.
    """
    try:
        head = check_claimed(claimed, keys[-1])
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
    return _check_entries(batch, head, leaf_hashes, keys)


def _check_entries(
    batch: Batch, head: Head, leaf_hashes: list[bytes], keys: Sequence[Ed25519Verifier]
) -> CheckedBatch:
    prev = _prev_of_decisions(batch.entries, head, leaf_hashes) if head.first_seq else None
    if prev is not None:
        return _checked(batch, head, leaf_hashes, prev, decides=True)
    entries = read_all(batch.entries)
    first = entries[0]
    prevs = [first.prev, *[leaf_hash.hex() for leaf_hash in leaf_hashes[:-1]]]
    last = _check_one_by_one(head, entries, prevs)
    if head.first_seq == 0:
        _check_instance_note(first, keys[-1])
    return _checked(
        batch,
        head,
        leaf_hashes,
        first.prev,
        decides=any(entry.kind == "decision" for entry in entries),
        next_vkey=_check_rotation(last, keys) if last is not None and last.kind == "rotation" else None,
        retires=last is not None and _check_retirement(last),
    )


def _checked(
    batch: Batch,
    head: Head,
    leaf_hashes: list[bytes],
    prev: str,
    *,
    decides: bool,
    next_vkey: str | None = None,
    retires: bool = False,
) -> CheckedBatch:
    return CheckedBatch(
        producer=bytes.fromhex(head.producer),
        head=head,
        head_note=batch.head_note,
        entries=batch.entries,
        leaf_hashes=leaf_hashes,
        prev=prev,
        decides=decides,
        next_vkey=next_vkey,
        retires=retires,
    )


def _prev_of_decisions(entries: Sequence[bytes], head: Head, leaf_hashes: list[bytes]) -> str | None:
    """What a batch of nothing but decisions follows; None if it has to be looked at one by one.

    Each must follow the one before it and name origin, producer and instance of the head. Some are read at a
    time and none is kept, so that all of it happens in the processor's cache.
    """
    before: str | None = None
    for at, decisions in read_decisions(entries):
        if decisions is None:
            return None
        end, first_seq = at + len(decisions), head.first_seq + at
        prevs = [
            decisions[0].prev if at == 0 else leaf_hashes[at - 1].hex(),
            *[leaf_hash.hex() for leaf_hash in leaf_hashes[at : end - 1]],
        ]
        if at == 0:
            before = prevs[0]
        if (
            [entry.prev for entry in decisions] != prevs
            or [entry.seq for entry in decisions] != list(range(first_seq, first_seq + len(decisions)))
            or {entry.origin for entry in decisions} != {head.origin}
            or {entry.producer for entry in decisions} != {head.producer}
            or {entry.instance for entry in decisions} != {head.instance}
        ):
            return None
    return before


def _check_one_by_one(head: Head, entries: Sequence[Read], prevs: list[str]) -> Envelope | Entry | None:
    """Check that each follows the one before it and is of the head; return what ends the batch."""
    last: Envelope | Entry | None = None
    for seq, (entry, prev) in enumerate(zip(entries, prevs, strict=True), head.first_seq):
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
        if entry.kind in _LAST_KINDS and entry.v == ENTRY_VERSION and not isinstance(entry, Decision):
            if seq != head.seq:
                raise MalformedError(f"batch: expected {entry.kind} as its last entry, found more behind it")
            last = entry
    return last


def _check_rotation(entry: Envelope | Entry, keys: Sequence[Ed25519Verifier]) -> str:
    """The next key, which both it and the key in force must have signed for."""
    check_body("rotation", entry.body)
    try:
        following = open_rotation(entry.body, origin=entry.origin, producer=entry.producer, keys=keys)
    except SignatureError as error:
        raise AuthenticationError(f"{error}", known=True) from error
    return following.vkey


def _check_retirement(entry: Envelope | Entry) -> bool:
    """An end names the entry before it; otherwise the log would hold two last numbers."""
    if entry.kind != "retirement":
        return False
    check_body("retirement", entry.body)
    last: dict[str, object] = {"instance": entry.instance, "seq": entry.seq - 1, "leaf_hash": entry.prev}
    body: dict[str, Any] = entry.body
    named = {name: body["last"][name] for name in last}
    if named != last or entry.body.get("producer", entry.producer) != entry.producer:
        raise MalformedError("retirement: expected the entry before it and its own writer, found others")
    return True


def _check_instance_note(entry: Read, verifier: NoteVerifier) -> None:
    """The producer must have signed this start, in this place of its chain."""
    note = None if isinstance(entry, Decision) else entry.body.get("note")
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
