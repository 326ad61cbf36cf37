"""Steps 7 to 9: what the entry is, which entries it
stands on, and that its producer signed it at that number.

Spec: auditlog/spec/verification.md, "Step 8" and the table. Every byte here is attacker-controlled until step
6 or a signature has bound it. Promises: a related entry that this entry does not refer to is a failure, so
that nothing rides along unexamined. Must never: use a related entry before its own inclusion in the same
checkpoint was verified.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auditlog.core.bodies import MODEL_WORDS, check_body
from auditlog.core.checkpoint import Checkpoint
from auditlog.core.entry import Entry, parse_entry
from auditlog.core.head import Head, open_head, verify_head_path
from auditlog.core.merkle import hash_leaf, verify_inclusion
from auditlog.core.note import Ed25519Verifier
from auditlog.core.receipt import ReceiptHead, Related
from auditlog.core.scalars import is_hash_hex
from auditlog.core.signed import open_one
from auditlog.core.statements import (
    InstanceStatement,
    open_rotation,
    parse_instance_text,
    parse_producer_text,
    producer_key_name,
)
from auditlog.errors import InclusionError, MalformedError, SignatureError, VerificationError
from auditlog.verify.familiar import Familiar
from auditlog.verify.run import Checked, not_checked
from auditlog.verify.steps_keys import follow_rotations, key_at, take_rotations


@dataclass(frozen=True, slots=True)
class Content:
    """The entry, parsed. `unknown` are pointers of members this version does not understand."""

    entry: Entry
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """An entry that is proven to be in the log at this index."""

    entry: Entry
    leaf_hash: bytes
    index: int


@dataclass(frozen=True, slots=True)
class Producer:
    """The enrolled writer of the entry: its name and the key it enrolled with."""

    placed: Placed
    name: str
    key: Ed25519Verifier


@dataclass(frozen=True, slots=True)
class Standing:
    """The entries this one stands on. All None for an entry of the log itself."""

    producer: Producer | None
    instance: Placed | None
    model: Placed | None
    rotations: tuple[Placed, ...] = ()
    keys: tuple[Ed25519Verifier, ...] = ()
    """Of the producer, by its rotations: the enrolled one first. Empty without the producer's entry."""
    ending: Placed | None = None
    """Of a decision that says `pending`: the coverage entry that ended the wait for its model."""

    @property
    def key(self) -> Ed25519Verifier | None:
        """The key in force for the entry."""
        return self.keys[-1] if self.keys else None


def read_content(data: bytes, origin: str) -> Checked[Content]:
    """(7) Parse the entry; its origin must be the log's. An unknown kind is in the log all the same."""
    entry = parse_entry(data)
    if entry.origin != origin:
        raise VerificationError(f"expected an entry of origin {origin}, found {entry.origin}")
    if not entry.understood:
        content = Content(entry, tuple(sorted(entry.body)))
        detail = f"kind {entry.kind}, version {entry.v}: in the log, but not understood by this version"
        return not_checked(content, detail, is_required=True)
    unknown = tuple(check_body(entry.kind, entry.body))
    more = f"; {len(unknown)} member(s) not understood" if unknown else ""
    return Checked(Content(entry, unknown), f"{entry.kind} of {origin}, sealed {entry.time}{more}")


def check_related(
    entry: Entry, index: int, related: Sequence[Related], checkpoint: Checkpoint, familiar: Familiar
) -> Checked[Standing]:
    """(8) Verify each related entry and find out what it is to this one."""
    left = [_place(item, checkpoint, familiar) for item in related]
    producer = _take_producer(left, entry, familiar)
    rotations = take_rotations(left, entry, index)
    keys = () if producer is None else follow_rotations(producer.key, rotations)
    instance = _take_instance(left, entry)
    model = _take_model(left, entry)
    ending = None if model is not None else _take_ending(left, entry)
    if left:
        raise VerificationError(
            "expected only entries that this one refers to, "
            f"found entry {left[0].index} of kind {left[0].entry.kind}"
        )
    standing = Standing(producer, instance, model, rotations, keys, ending)
    _check_notes(entry, standing, familiar)
    missing = missing_entries(entry, standing)
    if missing:
        return not_checked(standing, f"the receipt lacks its {' and '.join(missing)} entry", is_required=True)
    if entry.by_log:
        return Checked(standing, "written by the log itself: there is nothing it stands on")
    named = (("producer", producer), ("instance", instance), ("model", model), ("coverage", ending))
    found = [name for name, item in named if item]
    found += ["rotation"] * len(rotations)
    return Checked(
        standing, f"{', '.join(found)}: each in the same checkpoint of {checkpoint.tree_size} entries"
    )


def _place(item: Related, checkpoint: Checkpoint, familiar: Familiar) -> Placed:
    """Inclusion first, then parse: nothing of a related entry is believed before."""
    leaf_hash = hash_leaf(item.entry)
    try:
        verify_inclusion(leaf_hash, item.index, checkpoint.tree_size, list(item.proof), checkpoint.root_hash)
    except InclusionError as error:
        raise InclusionError(f"related entry {item.index}: {error}") from error
    entry = familiar.recall(("entry", leaf_hash), len(item.entry), lambda: _read(item.entry))
    if entry.origin != checkpoint.origin:
        raise VerificationError(
            f"related entry {item.index}: expected origin {checkpoint.origin}, found another"
        )
    return Placed(entry, leaf_hash, item.index)


def _read(data: bytes) -> Entry:
    entry = parse_entry(data)
    if entry.understood:
        check_body(entry.kind, entry.body)
    return entry


def _take(left: list[Placed], kind: str, leaf_hash: str | None = None) -> Placed | None:
    """Remove and return the first entry of that kind (and leaf hash); a second stays, and fails step 8."""
    for place, item in enumerate(left):
        if item.entry.kind == kind and item.entry.v == 1 and leaf_hash in (None, item.leaf_hash.hex()):
            return left.pop(place)
    return None


def _take_producer(left: list[Placed], entry: Entry, familiar: Familiar) -> Producer | None:
    placed = None if entry.by_log else _take(left, "producer", entry.producer)
    if placed is None:
        return None
    # The origin is that of both entries: what is enrolled follows from the producer's entry alone.
    key = familiar.recall(("producer", placed.leaf_hash), 0, lambda: _enrolled_key(placed.entry))
    return Producer(placed, placed.entry.body["name"], key)


def _enrolled_key(entry: Entry) -> Ed25519Verifier:
    body = entry.body
    key = Ed25519Verifier.from_vkey(body["vkey"])
    expected = producer_key_name(entry.origin, body["name"])
    if key.name != expected:
        raise VerificationError(f"producer entry: expected a key named {expected}, found another name")
    stated = parse_producer_text(open_one(body["note"], key))
    if stated != (entry.origin, body["name"]):
        raise SignatureError(
            "producer entry: expected its note to enrol this name in this log, found another"
        )
    return key


def _take_instance(left: list[Placed], entry: Entry) -> Placed | None:
    """Find the start of the entry's run."""
    if entry.by_log or entry.kind == "instance":
        return None
    placed = _take(left, "instance")
    if placed is None:
        return None
    start = placed.entry
    if (start.producer, start.instance) != (entry.producer, entry.instance):
        raise VerificationError(
            "instance entry: expected the producer and instance of this entry, found others"
        )
    return placed


def _check_notes(entry: Entry, standing: Standing, familiar: Familiar) -> None:
    """What the producer signed about itself, each with the key in force there; without the producer's entry
    none is known.
    """
    if not standing.keys:
        return
    if entry.kind == "rotation" and entry.understood:
        open_rotation(entry.body, origin=entry.origin, producer=entry.producer, keys=standing.keys)
    if entry.kind == "instance" and entry.understood:
        _check_instance_note(entry, standing.keys[-1])
    if standing.instance is not None:
        start = standing.instance
        key = key_at(standing.keys, standing.rotations, start.index)
        what = ("start", start.leaf_hash, key.vkey)
        familiar.recall(what, 0, lambda: _check_instance_note(start.entry, key))


def _check_instance_note(start: Entry, key: Ed25519Verifier) -> None:
    """The start of a process is signed: a thief of the log's key alone cannot begin an instance."""
    if start.seq != 0:
        raise VerificationError(f"instance entry: expected number 0, found {start.seq}")
    try:
        stated = parse_instance_text(open_one(start.body["note"], key))
    except (SignatureError, MalformedError) as error:
        raise type(error)(f"instance entry: {error}") from error
    if stated != InstanceStatement(start.origin, start.producer, start.instance, start.prev):
        raise SignatureError(
            "instance entry: expected its note to start this instance, found another statement"
        )


def _take_model(left: list[Placed], entry: Entry) -> Placed | None:
    if entry.kind != "decision" or not entry.understood:
        return None
    named = entry.body["model"]
    if named not in MODEL_WORDS:
        return _take(left, "model", named)
    return _take(left, "model") if named == "pending" else None


def _take_ending(left: list[Placed], entry: Entry) -> Placed | None:
    """The coverage entry after which no model entry resolves a `pending` one."""
    if entry.kind != "decision" or not entry.understood or entry.body["model"] != "pending":
        return None
    found = _take(left, "coverage")
    if found is not None and found.entry.body["model"] != "unregistered":
        raise VerificationError("coverage entry: expected one without a model, found one that names it")
    return found


def missing_entries(entry: Entry, standing: Standing) -> list[str]:
    """Kinds of the entries this one refers to that the receipt lacks."""
    missing = []
    if not entry.by_log and standing.producer is None:
        missing.append("producer")
    is_start = entry.kind == "instance" and entry.understood  # of a later version: nobody can check its note
    if not entry.by_log and standing.instance is None and not is_start:
        missing.append("instance")
    is_decision = entry.kind == "decision" and entry.understood
    if is_decision and standing.model is None and is_hash_hex(entry.body["model"]):
        missing.append("model")  # a word names no entry
    return missing


def check_head(
    entry: Entry, leaf_hash: bytes, head: ReceiptHead | None, key: Ed25519Verifier | None
) -> Checked[Head | None]:
    """(9) The producer's own signature, with the key in force, over the batch this entry was sent in."""
    if entry.by_log:
        if head is not None:
            raise VerificationError("expected no head beside an entry of the log itself, found one")
        return Checked(None, "written by the log itself: covered by the log's signature")
    if head is None:
        return not_checked(None, "the receipt has no head", is_required=True)
    if key is None:
        return not_checked(None, "without the producer's entry its key is not known", is_required=True)
    opened = open_head(head.note, key)
    verify_head_path(opened, seq=entry.seq, leaf_hash=leaf_hash, path=list(head.path))
    detail = f"signed by {key.name}; covers numbers {opened.first_seq} to {opened.seq}"
    return Checked(opened, detail)
