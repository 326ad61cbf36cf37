"""The lives of producers: which key is in force at which place of the log, and who has ended.

Spec: `auditlog/spec/entry.md`, "Keys of a producer" and "Ends and losses". A record is known from the moment
its entry has its place in the order, so admission never sees a window between an entry and what it changes;
if that entry is given back to its sender, `forget_from` takes the record back. The records are part of the
same commit as the entries (`storage.records.Commit`), and a pure function of the log (`read_lives`). Guarded
by the log's lock. Must never: bring a producer back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from auditlog.core.bodies import check_body
from auditlog.core.entry import Entry, parse_entry, parse_time
from auditlog.core.keys import Ed25519Verifier
from auditlog.core.merkle import hash_leaf
from auditlog.core.statements import open_rotation
from auditlog.errors import EvidenceError
from auditlog.storage.ports import Snapshot
from auditlog.storage.records import ChainHead, LossRecord, ProducerRecord, RetirementRecord, RotationRecord

NEVER_WROTE = "none"
"""The instance in `last` of a producer that wrote nothing."""


@dataclass(slots=True)
class Lives:
    """Rotations, retirements and declared losses of one log, each producer's in order of the log."""

    _rotations: dict[bytes, list[RotationRecord]] = field(default_factory=dict)
    _retirements: dict[bytes, RetirementRecord] = field(default_factory=dict)
    _losses: dict[bytes, list[LossRecord]] = field(default_factory=dict)

    def add(self, record: RotationRecord | RetirementRecord | LossRecord) -> None:
        """Take over a record, in order of the log."""
        if isinstance(record, RotationRecord):
            self._rotations.setdefault(record.producer, []).append(record)
        elif isinstance(record, LossRecord):
            self._losses.setdefault(record.producer, []).append(record)
        else:
            self._retirements.setdefault(record.producer, record)

    def forget_from(self, size: int) -> None:
        """Take back what entries at `size` and above said: they were given back to their senders."""
        for rotations in self._rotations.values():
            rotations[:] = [each for each in rotations if each.index < size]
        for losses in self._losses.values():
            losses[:] = [each for each in losses if each.index < size]
        for record in [each for each in self._retirements.values() if each.index >= size]:
            del self._retirements[record.producer]

    def rotations(self, producer: bytes, below: int | None = None) -> list[RotationRecord]:
        """The producer's changes of key; only those at an index below `below`, if given."""
        found = self._rotations.get(producer, [])
        return [each for each in found if below is None or each.index < below]

    def retirement(self, producer: bytes) -> RetirementRecord | None:
        """How the producer ended; None while it lives."""
        return self._retirements.get(producer)

    def losses(self, producer: bytes) -> list[LossRecord]:
        """What was declared lost with the producer's host."""
        return list(self._losses.get(producer, []))


def lives_of(snapshot: Snapshot) -> Lives:
    """Those of a committed state."""
    lives = Lives()
    for records in (snapshot.rotations(), snapshot.retirements(), snapshot.declared_losses()):
        for record in records:
            lives.add(record)
    return lives


def last_of(producer: bytes, head: ChainHead | None) -> dict[str, object]:
    """The `last` of a retirement: the newest entry of a producer, its id if it never wrote."""
    if head is None:
        return {"instance": NEVER_WROTE, "seq": 0, "leaf_hash": producer.hex()}
    return {"instance": head.instance, "seq": head.seq, "leaf_hash": head.leaf_hash.hex()}


def read_lives(entries: Iterable[bytes]) -> Lives:
    """What the entries of a whole log, in its order, say of producers' lives: what the state must hold.

    Bodies that admission would refuse change nothing.
    """
    lives = Lives()
    enrolled: dict[str, ProducerRecord] = {}
    for index, data in enumerate(entries):
        entry = parse_entry(data)
        if entry.kind == "producer":
            leaf_hash = hash_leaf(data)
            body = entry.body
            record = ProducerRecord(leaf_hash, body["name"], body["vkey"], body["note"], index)
            enrolled[leaf_hash.hex()] = record
        elif entry.kind in {"rotation", "retirement", "notice"} and entry.understood:
            try:
                check_body(entry.kind, entry.body)
                _read(lives, enrolled, entry, index)
            except EvidenceError:
                continue
    return lives


def _read(lives: Lives, enrolled: dict[str, ProducerRecord], entry: Entry, index: int) -> None:
    if entry.kind == "rotation":
        record = enrolled[entry.producer]
        keys = keys_of(record, lives.rotations(record.producer))
        following = open_rotation(entry.body, origin=entry.origin, producer=entry.producer, keys=keys)
        lives.add(RotationRecord(record.producer, index, following.vkey))
    elif entry.kind == "retirement":
        whose = entry.body.get("producer") if entry.by_log else entry.producer
        if whose is not None:
            lives.add(RetirementRecord(bytes.fromhex(whose), index))
    elif entry.by_log and entry.body["what"] == "declared_lost":
        lives.add(loss_of(entry.body["detail"], index))


def loss_of(detail: dict[str, str | int], index: int) -> LossRecord:
    """The record of a `declared_lost` notice with this detail, of the right shape."""
    return LossRecord(
        producer=bytes.fromhex(str(detail["producer"])),
        index=index,
        instance=str(detail["instance"]),
        after_seq=int(detail["after_seq"]),
        from_us=parse_time(str(detail["from"])),
        to_us=parse_time(str(detail["to"])),
    )


def keys_of(record: ProducerRecord, rotations: Iterable[RotationRecord]) -> list[Ed25519Verifier]:
    """A producer's keys in their order: the enrolled one first, the one in force last."""
    return [Ed25519Verifier.from_vkey(vkey) for vkey in (record.vkey, *(each.vkey for each in rotations))]
