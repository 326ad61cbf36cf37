"""Promises: kept for the callers they were given to, and answered with what the log holds in their place.

Spec: `auditlog/spec/promise.md` and `api.md`, "Promises". A promise is evidence against its producer, so one
whose signature is right is kept, whatever else is kept already: two that contradict each other are flagged,
and both are shown. A look-up puts everything into one published checkpoint, each part with its proof, so
that the asker needs no second answer. Must never: judge a promise broken (whoever asks does), or show
anything that is not published. Notes are attacker-controlled.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from auditlog.core.checkpoint import Checkpoint
from auditlog.core.entry import parse_entry, parse_time
from auditlog.core.merkle import verify_inclusion
from auditlog.core.note import split_note
from auditlog.core.promise import Promise, open_promise, parse_promise_text
from auditlog.core.signed import check_one
from auditlog.errors import InclusionError, MalformedError, NotFoundError, NotYetPublished, StorageError
from auditlog.log.index import Index
from auditlog.log.live import Live
from auditlog.log.lives import keys_of
from auditlog.log.publisher import Publisher
from auditlog.log.reader import Reader
from auditlog.log.recover import open_own
from auditlog.storage.records import KeptPromise, PromiseRow

logger = logging.getLogger("auditlog.log")

MAX_OF_ONE_CALL = 16
"""Promises kept under one decision id: what a liar can make us keep is bounded."""
_LONGEST_DUE_S = 30 * 86400
"""A merge-by further ahead counts as this: else one promise for the year 9999 would be kept till then."""
_SWEEP_EVERY_S = 3600.0
_SHOWN = 8
_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Proven:
    """An entry with its inclusion proof into the checkpoint of the answer."""

    index: int
    entry: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class LookUp:
    """What the log holds about one promise, all of it in the tree of `checkpoint` (a signed note)."""

    checkpoint: str
    producer: Proven
    rotations: tuple[Proven, ...]
    """Every change of keys: with the enrolment, all keys that may have signed the promise."""
    entry: Proven | None
    """Whatever stands at the promised number: the promised entry, or another."""
    next: Proven | None
    """The entry with the next number, else the first of the producer's following life."""
    gaps: tuple[Proven, ...]
    notices: tuple[Proven, ...]
    """`declared_lost` notices that cover the number."""
    base: Proven | None = None
    """What `next` follows, where that is the start of another life: shows whether it leaves this one out."""
    life: Proven | None = None
    """The first entry of the promised life."""


class Promises:
    """The promises of one log. Safe to use from any thread."""

    def __init__(self, live: Live, reader: Reader, publisher: Publisher, index: Index) -> None:
        self._live = live
        self._reader = reader
        self._publisher = publisher
        self._index = index
        self._swept: float | None = None
        self.kept = 0
        """Promises kept by this object, those sent again included: for metrics."""
        self.conflicting = 0
        """Of these, new ones that contradict an earlier one."""

    def keep(self, given: Sequence[tuple[str, str]]) -> int:
        """Keep (decision id, note) pairs durably; all or none. Sending again is harmless.

        Returns how many of them are kept now: all.

        Raises:
            MalformedError: a note is no promise, or of another log. SignatureError: not its producer's.
            NotFoundError: nobody enrolled with that id. StorageError: a store failed; send again.
        """
        now_us = self._live.clock.unix_us()
        rows = [self._row(id_, note, now_us) for id_, note in given]
        for id_ in {row.id for row in rows}:
            if len(self._live.stores.state.promises_of(id_)) >= MAX_OF_ONE_CALL:
                raise MalformedError(f"promise: expected at most {MAX_OF_ONE_CALL} of one call, found more")
        conflicts = self._live.stores.state.add_promises(rows)
        self.kept += len(rows)
        self.conflicting += sum(conflicts)
        for row, is_odd in zip(rows, conflicts, strict=True):
            if is_odd:
                # Not an error of the sender's request: this is evidence, and now it is kept.
                logger.error("contradicting promises of producer %s, id %s", row.producer.hex(), row.id)
        self._sweep(now_us)
        return len(rows)

    def _row(self, id_: str, note: str, now_us: int) -> PromiseRow:
        promise = self._open(note)
        due_us = min(parse_time(promise.merge_by), now_us + _LONGEST_DUE_S * _US)
        until_us = max(due_us, now_us) + self._live.config.keep_promises_s * _US
        producer = bytes.fromhex(promise.producer)
        return PromiseRow(
            id_, producer, promise.instance, promise.seq, promise.leaf_hash, note, now_us, until_us
        )

    def _open(self, note: str) -> Promise:
        """Check that a producer of this log signed it."""
        said = parse_promise_text(check_one(note))
        if said.origin != self._live.config.origin:
            raise MalformedError(
                f"promise: expected the origin {self._live.config.origin}, found {said.origin}"
            )
        producer, chains = bytes.fromhex(said.producer), self._live.chains
        with self._live.lock:
            keys = keys_of(chains.producer(producer), chains.lives.rotations(producer))
        # Any key this producer ever had: whoever holds the newest one could otherwise unsay every older
        # promise by writing a change of keys into the place where the promised entry should be.
        key_id = split_note(note)[1][0].key_id
        return open_promise(note, next((key for key in keys if key.key_id == key_id), keys[-1]))

    def _sweep(self, now_us: int) -> None:
        """Forget what was due long ago, now and then. A failure only means that the next one has more."""
        now = self._live.clock.monotonic()
        if self._swept is not None and now - self._swept < _SWEEP_EVERY_S:
            return
        self._swept = now
        try:
            if gone := self._live.stores.state.forget_promises(now_us):
                logger.info("forgot %d promises that were due long ago", gone)
        except StorageError as error:
            logger.warning("could not forget old promises: %s", error)

    def of(self, id_: str, producer: bytes | None = None) -> list[KeptPromise]:
        """Every promise kept under an id, oldest first; of one producer, if given. Raises: StorageError."""
        found = self._live.stores.state.promises_of(id_)
        return [each for each in found if producer in {None, each.producer}]

    def look_up(self, note: str) -> LookUp:
        """Answer a promise with what is in its place, whatever the log's visibility.

        Raises:
            MalformedError, SignatureError: no promise by a producer of this log.
            NotFoundError: nobody enrolled with that id.
            NotYetPublished: no published checkpoint holds the enrolment yet, or the index is behind it.
            StorageError: a store failed, or holds damage that shows in a proof.
        """
        promise = self._open(note)
        producer = bytes.fromhex(promise.producer)
        try:
            published = self._publisher.published()
        except NotFoundError as error:
            raise NotYetPublished(str(error)) from error
        checkpoint = open_own(published, self._live.signer.verifier)
        size = checkpoint.tree_size
        with self._live.lock:
            enrolled = self._live.chains.producer(producer).index
        if enrolled >= size or self._index.size < size:
            raise NotYetPublished(f"expected the enrolment and an index of {size} entries, found less")
        places = _Places(self._live, self._index, producer, promise)
        following = next(iter(self._all(places.next(), checkpoint)), None)
        return LookUp(
            checkpoint=published,
            producer=self._proven(enrolled, checkpoint),
            rotations=self._all(places.rotations(), checkpoint),
            entry=next(iter(self._all(places.own(), checkpoint)), None),
            next=following,
            gaps=self._all(places.gaps(), checkpoint),
            notices=self._all(places.notices(), checkpoint),
            base=next(iter(self._all(places.base(following), checkpoint)), None),
            life=next(iter(self._all(places.life(), checkpoint)), None),
        )

    def _all(self, indices: Sequence[int], checkpoint: Checkpoint) -> tuple[Proven, ...]:
        return tuple(self._proven(i, checkpoint) for i in indices if i < checkpoint.tree_size)

    def _proven(self, index: int, checkpoint: Checkpoint) -> Proven:
        data = self._reader.entry(index)
        path = self._reader.inclusion(index, checkpoint.tree_size)
        try:
            leaf_hash = sha256(b"\x00" + data).digest()
            verify_inclusion(leaf_hash, index, checkpoint.tree_size, path, checkpoint.root_hash)
        except InclusionError as error:
            raise StorageError(f"expected tiles that prove entry {index}, found damage: {error}") from error
        return Proven(index, data, tuple(path))


class _Places:
    """Where what a look-up shows lies: indices, published or not."""

    def __init__(self, live: Live, index: Index, producer: bytes, promise: Promise) -> None:
        self._live = live
        self._index = index
        self._producer = producer
        self._instance = promise.instance
        self._seq = promise.seq

    def own(self) -> list[int]:
        return self._index.by_chain(self._producer, self._instance, self._seq)

    def next(self) -> list[int]:
        found = self._index.by_chain(self._producer, self._instance, self._seq + 1)
        if found:
            return found
        state = self._live.stores.state
        last = state.last_run(self._producer, self._instance)
        if last is None:
            # Nothing of that life is here, so nothing says which life followed it.
            return []
        life = state.life_after(self._producer, last.first_index + last.seq - last.first_seq)
        return [] if life is None else [life.first_index]

    def base(self, following: Proven | None) -> list[int]:
        start = None if following is None else parse_entry(following.entry)
        if start is None or start.instance == self._instance:
            return []
        return self._index.by_leaf(bytes.fromhex(start.prev))

    def life(self) -> list[int]:
        return self._index.by_chain(self._producer, self._instance, 0)

    def gaps(self) -> list[int]:
        found = self._index.gaps_covering(self._producer, self._instance, self._seq, _SHOWN)
        return [reach.index for reach in found]

    def notices(self) -> list[int]:
        with self._live.lock:
            losses = self._live.chains.lives.losses(self._producer)
        covering = (each for each in losses if each.instance == self._instance)
        return [each.index for each in covering if each.after_seq < self._seq][:_SHOWN]

    def rotations(self) -> list[int]:
        with self._live.lock:
            return [each.index for each in self._live.chains.lives.rotations(self._producer)]
