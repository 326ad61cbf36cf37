"""The chains of one log in memory: who is enrolled, and where each chain ends, committed and pending.

Spec: design section 5, "Producer chain", and section 6: below the head an equal prefix is skipped, 409 with
both hashes on conflict; above it 409 with what was expected. The pending tip is the committed one plus what
is in the pool. Guarded by the log's lock. Must never: let a number be used for two entries, or a producer
write after its end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from auditlog.core.head import Head
from auditlog.core.note import Ed25519Verifier
from auditlog.errors import ChainConflictError, NotFoundError, ProducerRetired
from auditlog.log.admission import CheckedBatch
from auditlog.log.lives import Lives, last_of, lives_of
from auditlog.storage.ports import Snapshot
from auditlog.storage.records import LOG_CHAIN, ChainHead, ProducerRecord

LeafAt = Callable[[bytes, str, int], tuple[bytes, int] | None]
"""(producer, instance, seq) -> (leaf hash, index) of that entry in the log or the pool."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a batch goes: its first `skipped` entries are known, the last known of them at `known_index`."""

    skipped: int
    known_index: int


@dataclass(slots=True)
class CommittedChains:
    """All chains of one commit, read before anything in memory changes: a store that fails changes nothing.

    Of the same snapshot as the tree: heads of one commit on the tree of another would acknowledge what was
    never applied, and doubt honest keys.
    """

    heads: dict[bytes, ChainHead]
    """With that of the log's own chain."""
    producers: list[ProducerRecord]
    lives: Lives

    @classmethod
    def read(cls, snapshot: Snapshot) -> Self:
        """Those of a committed state."""
        heads = snapshot.heads()
        heads[LOG_CHAIN] = snapshot.committed.own_head
        return cls(heads, snapshot.producers(), lives_of(snapshot))


class Chains:
    """Producers and chain heads of one log."""

    def __init__(self) -> None:
        self._producers: dict[bytes, ProducerRecord] = {}
        self._verifiers: dict[str, Ed25519Verifier] = {}
        self._by_name: dict[str, ProducerRecord] = {}
        self.committed: dict[bytes, ChainHead] = {}
        self.pending: dict[bytes, ChainHead] = {}
        self.lives = Lives()

    def load(self, found: CommittedChains | None) -> None:
        """Start from what was committed (None: nothing), and keep it; whatever was pending is forgotten."""
        found = found or CommittedChains({}, [], Lives())
        self.lives, self.committed = found.lives, found.heads
        self.pending = dict(self.committed)
        self._producers, self._by_name = {}, {}
        for record in found.producers:
            self.add_producer(record)

    def forget_pending(self, size: int) -> None:
        """What is not in the committed tree of `size` was given back to its senders."""
        self.pending = dict(self.committed)
        self.lives.forget_from(size)

    def add_producer(self, record: ProducerRecord) -> None:
        """Make a committed producer known."""
        self._producers[record.producer] = record
        self._by_name[record.name] = record

    def producer(self, producer: bytes) -> ProducerRecord:
        """Record of a committed producer.

        Raises:
            NotFoundError: nobody enrolled with this id.
        """
        record = self._producers.get(producer)
        if record is None:
            raise NotFoundError(f"expected an enrolled producer, found none with the id {producer.hex()}")
        return record

    def producers(self) -> list[ProducerRecord]:
        """Every committed producer, in order of enrolment."""
        return list(self._producers.values())

    def producer_named(self, name: str) -> ProducerRecord | None:
        """Record of the committed producer of this name."""
        return self._by_name.get(name)

    def keys(self, head: Head, leaf_at: LeafAt) -> list[Ed25519Verifier]:
        """The keys of a producer up to the one in force where the batch under this head lies or would lie.

        The enrolled one is first; the last must have signed the head. The head is attacker-controlled.

        Raises:
            NotFoundError: nobody enrolled with this id.
        """
        producer = bytes.fromhex(head.producer)
        vkeys = [self.producer(producer).vkey]
        rotations = self.lives.rotations(producer)
        if rotations:
            # A batch that was sent before is judged by the key of its time: its 200 may have been lost.
            below = self._index_of(head, producer, leaf_at)
            vkeys += [each.vkey for each in rotations if below is None or each.index < below]
        return [self._verifier(vkey) for vkey in vkeys]

    def _index_of(self, head: Head, producer: bytes, leaf_at: LeafAt) -> int | None:
        """Where the first number of a batch is in the log or the pool; None if it is new."""
        tip = self.pending.get(producer)
        if tip is None or (head.instance == tip.instance and head.first_seq > tip.seq):
            return None
        found = leaf_at(producer, head.instance, head.first_seq)
        return None if found is None else found[1]

    def _verifier(self, vkey: str) -> Ed25519Verifier:
        known = self._verifiers.get(vkey)
        if known is None:
            known = self._verifiers[vkey] = Ed25519Verifier.from_vkey(vkey)
        return known

    def retired(self, producer: bytes) -> ProducerRetired:
        """The refusal of whatever a retired producer still sends, with the last number accepted."""
        last = last_of(producer, self.pending.get(producer))
        return ProducerRetired(
            f"producer: expected one that has not ended, found one retired after number {last['seq']} of "
            f"instance {last['instance']}",
            last=last,
        )

    def place(self, batch: CheckedBatch, leaf_at: LeafAt) -> Placement:
        """Compare a batch with the pending tip of its chain. Of a producer that has ended, only what is there
        already has a place.

        Raises:
            ChainConflictError: it does not follow, or differs from what is there; nothing changed.
            ProducerRetired: it holds something new, and the producer has ended.
        """
        if self.lives.retirement(batch.producer) is None:
            return self._place(batch, leaf_at)
        try:
            placement = self._place(batch, leaf_at)
        except ChainConflictError:
            raise self.retired(batch.producer) from None
        if placement.skipped < batch.head.size:
            raise self.retired(batch.producer)
        return placement

    def _place(self, batch: CheckedBatch, leaf_at: LeafAt) -> Placement:
        head, tip = batch.head, self.pending.get(batch.producer)
        if tip is None or head.instance != tip.instance:
            return self._place_elsewhere(batch, tip, leaf_at)
        overlap = tip.seq + 1 - head.first_seq
        if overlap > head.size:
            return self._place_below(batch, tip, leaf_at)
        if overlap > 0:
            # Each entry holds the hash of the one before, so equal here is equal all the way down.
            if batch.leaf_hashes[overlap - 1] != tip.leaf_hash:
                raise _conflict(tip, tip.instance, tip.seq, batch.leaf_hashes[overlap - 1].hex())
            return Placement(overlap, tip.index)
        if overlap < 0 or batch.prev != tip.leaf_hash.hex():
            raise _conflict(tip, head.instance, head.first_seq - 1, batch.prev)
        return Placement(0, tip.index)

    def _place_elsewhere(self, batch: CheckedBatch, tip: ChainHead | None, leaf_at: LeafAt) -> Placement:
        """A batch of another instance: a new start, or an old spool sent again."""
        head = batch.head
        if tip is not None and leaf_at(batch.producer, head.instance, 0) is not None:
            return self._place_below(batch, tip, leaf_at)
        expected = tip.leaf_hash if tip is not None else batch.producer
        if head.first_seq != 0 or batch.prev != expected.hex():
            known = tip or ChainHead("", -1, batch.producer, self.producer(batch.producer).index)
            raise _conflict(known, head.instance, head.first_seq - 1, batch.prev)
        return Placement(0, tip.index if tip is not None else 0)

    def _place_below(self, batch: CheckedBatch, tip: ChainHead, leaf_at: LeafAt) -> Placement:
        """A batch that lies wholly before the tip must be there already, entry for entry."""
        head = batch.head
        found = leaf_at(batch.producer, head.instance, head.seq)
        if found is None:
            raise _conflict(tip, head.instance, head.seq, head.leaf_hash.hex())
        leaf_hash, index = found
        if leaf_hash != head.leaf_hash:
            known = ChainHead(head.instance, head.seq, leaf_hash, index)
            raise _conflict(known, head.instance, head.seq, head.leaf_hash.hex())
        return Placement(head.size, index)


def _conflict(known: ChainHead, instance: str, seq: int, leaf_hash: str) -> ChainConflictError:
    """Both sides name one entry: the newest the log holds, and the one the batch builds on or repeats."""
    expected: dict[str, Any] = {
        "instance": known.instance,
        "seq": known.seq,
        "leaf_hash": known.leaf_hash.hex(),
    }
    found: dict[str, Any] = {"instance": instance, "seq": seq, "leaf_hash": leaf_hash}
    return ChainConflictError(
        f"chain: expected to follow number {known.seq} of instance {known.instance or '(none yet)'} "
        f"with leaf hash {known.leaf_hash.hex()}, found number {seq} of {instance} with {leaf_hash}",
        expected=expected,
        found=found,
    )
