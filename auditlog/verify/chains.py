"""Producer chains: are the entries of a log, in their order, what honest writers could have written?

Spec: `auditlog/spec/entry.md`, "Producer chain". Rules checked, for every entry whose envelope can be read:

    the log    one number sequence from genesis on, each entry naming the leaf hash of the one before; genesis
               lists the key that signs the log; an anchor is of this log, and of a tree it had by then
    producer   enrolled by a `producer` entry with a statement by the enrolled key; its id is that entry's
               leaf hash
    instance   begins with number 0 and a statement by the producer's key, names the producer's last entry (or
               the enrolment), never comes back once another has begun
    others     the next number of the producer's current instance, naming the leaf hash of the one before
    lives      a rotation by both keys; nothing after a retirement, which names the last entry; heartbeats
               that count the decisions there are (`auditlog.verify.lives`)

Entries that are not of this project are counted, not judged, unless the log began as one of ours. All entry
bytes are attacker-controlled; nothing here raises on them. No I/O.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, MutableMapping, Sequence
from itertools import islice
from typing import Any, Final

from auditlog.core.bodies import check_body
from auditlog.core.entry import ZERO_HASH_HEX, Entry, parse_entry
from auditlog.core.head import Head, parse_head_text
from auditlog.core.merkle import root_hash
from auditlog.core.note import Ed25519Verifier, split_note
from auditlog.core.signed import open_one
from auditlog.core.statements import instance_text, producer_key_name, producer_text
from auditlog.errors import EvidenceError, MalformedError
from auditlog.verify.anchor_claims import AnchorClaims, Anchored
from auditlog.verify.lives import Complain, Complaint, Declared, ProducerLife, places_of, rest_of
from auditlog.verify.plain_entries import read_plain
from auditlog.verify.plain_runs import Run

LeafHashes = Callable[[range], list[bytes]]
"""Leaf hashes of neighbouring indices."""

MAX_COVERED: Final = 16_384
"""Entries under one embedded head that are hashed again: a stranger may embed any head in every heartbeat."""


class ChainChecker:
    """Takes the entries of one log in order and complains about those that cannot be honest."""

    def __init__(
        self,
        origin: str,
        complain: Complain,
        *,
        vkey: str,
        heads_of: Container[tuple[str, str]] | None = None,
        producers: MutableMapping[str, ProducerLife] | None = None,
    ) -> None:
        """`vkey` is the key that signs the log; `heads_of` are the (producer, instance) that `check_head` is
        asked about; `producers` is where their lives are kept, for one who follows a log for months.
        """
        self._origin = origin
        self._vkey = vkey
        self._complain = complain
        self._heads_of = heads_of
        self._places: dict[tuple[str, str], list[list[int]]] = {}
        self._producers: MutableMapping[str, ProducerLife] = {} if producers is None else producers
        self._log_seq = -1
        self._log_hash = ZERO_HASH_HEX
        self._log_index = -1
        self.began_after = -1
        """The newest entry, before it, of the producer of the instance that began last."""
        self.enrolled = 0
        """Producers enrolled."""
        self._anchors = AnchorClaims(origin, complain)
        self.ours = False
        """Whether the log began with a genesis entry of its own origin."""
        self.kinds: Counter[str] = Counter()
        """Entries of this project by kind, unknown kinds among them."""
        self.other = 0
        """Entries that are not of this project."""
        self.not_understood = 0
        """Entries with a readable envelope whose kind or version this code does not know."""
        self.odd_bodies = 0
        """Entries of a known kind whose body has another shape: recorded as they came, by design."""
        self.declared = Declared()
        """What the writers declared: gaps, losses, rotations, ends."""

    @property
    def anchored(self) -> list[Anchored]:
        """What the anchors seen say of the tree, smallest size first: for the caller to compare with it."""
        return self._anchors.in_order()

    @property
    def producers(self) -> int:
        """Producers enrolled."""
        return self.enrolled

    def forget_anchored(self) -> None:
        """Forget what the anchors say, once it was compared with the tree."""
        self._anchors.forget()

    def anchored_again(self, claims: Iterable[Sequence[Any]]) -> None:
        """Take back what was not compared before a halt."""
        self._anchors.put_back(claims)

    def standing(self) -> dict[str, Any]:
        """Where this stands between two entries, `producers` aside, in JSON values: for `resume`."""
        members = ("_log_seq", "_log_hash", "_log_index", "enrolled", "ours")
        counts = ("other", "not_understood", "odd_bodies")
        found = {name: getattr(self, name) for name in (*members, *counts)}
        return found | {"kinds": dict(self.kinds), "declared": self.declared.to_json()}

    def resume(self, standing: dict[str, Any]) -> None:
        """Go on where another stood, with the same `producers`."""
        for name, value in standing.items():
            setattr(self, name, value)
        self.kinds, self.declared = Counter(standing["kinds"]), Declared(**standing["declared"])

    def take(self, index: int, leaf_hash: bytes, data: bytes) -> Entry | None:
        """Check the next entry. Never raises on any bytes.

        Returns:
            The entry, if it is one of this log, whatever was complained about. The body of a decision or an
            outcome may be cut to what `auditlog.verify.plain_entries` reads.
        """
        entry = read_plain(data, self._origin)
        if entry is not None:
            self.take_plain(index, leaf_hash, entry)
            return entry
        try:
            entry = parse_entry(data)
        except MalformedError as error:
            self._not_ours(Complaint("entry_malformed", index, f"entry {index}: {error}"))
            return None
        if index == 0 and entry.kind == "genesis" and entry.origin == self._origin:
            self._begin(entry)
        if entry.origin != self._origin:
            text = f"entry {index}: expected the origin {self._origin}, found another"
            self._not_ours(Complaint("foreign_entry", index, text))
            return None
        is_read = self._count(entry)
        if entry.by_log:
            self._take_log(index, leaf_hash.hex(), entry)
            if is_read:
                self._take_own(index, entry)
        else:
            self._take_producer(index, leaf_hash.hex(), entry, is_read=is_read)
        return entry

    def take_plain(self, index: int, leaf_hash: bytes, entry: Entry) -> None:
        """The next entry, where `read_plain` has read it already."""
        self.kinds[entry.kind] += 1
        self._take_producer(index, leaf_hash.hex(), entry, is_read=True)

    def take_run(self, run: Run) -> None:
        """The next entries of one producer at once, complaining as `take` of each would; entries of others
        may stand between them and be taken later.
        """
        (seq, index, _), *_ = run.places
        entry = Entry(
            kind=run.kind, origin=self._origin, producer=run.producer, instance=run.instance, seq=seq,
            prev=run.prev, time=run.time, body={},
        )  # fmt: skip
        self.kinds[run.kind] += run.count()
        self._take_producer(index, run.last, entry, is_read=True)
        producer = self._producers.get(run.producer)
        others = islice(run.indices(), 1, None)
        if producer is None:
            for other in others:
                self._unknown(other, entry)
            return
        if producer.retired_at is not None:
            for other in others:
                self._after_end(other, producer, entry)
        producer.go_on(run)
        if self._heads_of is not None and (run.producer, run.instance) in self._heads_of:
            self._keep(run.producer, run.instance, rest_of(run.places))

    def _begin(self, genesis: Entry) -> None:
        self.ours = True
        listed = genesis.body.get("vkeys")
        if not isinstance(listed, list) or self._vkey not in listed:
            text = f"entry 0: expected the key that signs the log among its keys ({self._vkey}), found none"
            self._complain(Complaint("foreign_entry", 0, text))

    def _not_ours(self, problem: Complaint) -> None:
        self.other += 1
        if self.ours:
            self._complain(problem)

    def _count(self, entry: Entry) -> bool:
        """Whether the body, too, is one this code understands."""
        self.kinds[entry.kind] += 1
        if not entry.understood:
            self.not_understood += 1
            return False
        try:
            check_body(entry.kind, entry.body)
        except MalformedError:
            self.odd_bodies += 1
            return False
        return True

    def _take_log(self, index: int, leaf_hash: str, entry: Entry) -> None:
        if (entry.seq, entry.prev) != (self._log_seq + 1, self._log_hash):
            text = (
                f"entry {index}: expected the log's number {self._log_seq + 1} after {self._log_hash[:16]}, "
                f"found {entry.seq} after {entry.prev[:16]}"
            )
            self._complain(_out_of_line(index, text, self._log_index, twice=entry.seq == self._log_seq))
        # Going on from what is there names each break once instead of every entry after it.
        self._log_seq, self._log_hash, self._log_index = entry.seq, leaf_hash, index
        if entry.kind == "producer":
            self._enrol(index, leaf_hash, entry)

    def _take_own(self, index: int, entry: Entry) -> None:
        """What the log says with a body that is understood."""
        body = entry.body
        if entry.kind == "anchor":
            self._anchors.take(index, body)
        elif entry.kind == "retirement":
            life = self._producers.get(body.get("producer", ""))
            if life is None:
                text = f"entry {index}: expected the retirement of an enrolled producer, found none"
                self._complain(Complaint("unknown_producer", index, text))
            else:
                life.retire(index, body, self.declared, self._complain)
        elif entry.kind == "notice" and body["what"] == "declared_lost":
            self.declared.declared_lost += 1
            if body["detail"]["producer"] not in self._producers:
                text = f"entry {index}: expected the loss of an enrolled producer, found none"
                self._complain(Complaint("unknown_producer", index, text))

    def _enrol(self, index: int, leaf_hash: str, entry: Entry) -> None:
        name, vkey, note = (entry.body.get(member) for member in ("name", "vkey", "note"))
        if not isinstance(name, str) or not isinstance(vkey, str) or not isinstance(note, str):
            text = f"entry {index}: expected an enrolment with name, vkey and note, found another"
            self._complain(Complaint("forged_enrolment", index, text))
            return
        try:
            verifier = Ed25519Verifier.from_vkey(vkey)
            expected = (producer_key_name(self._origin, name), producer_text(self._origin, name))
            if (verifier.name, open_one(note, verifier)) != expected:
                raise MalformedError("expected a statement over this origin and name, found another")
        except EvidenceError as error:
            self._complain(Complaint("forged_enrolment", index, f"entry {index}: enrolment: {error}"))
            return
        self.enrolled += 1
        self._producers[leaf_hash] = ProducerLife(
            leaf_hash, name, [verifier], leaf_hash, index=index, enrolled_at=index
        )

    def _take_producer(self, index: int, leaf_hash: str, entry: Entry, *, is_read: bool) -> None:
        producer = self._producers.get(entry.producer)
        if producer is None:
            self._unknown(index, entry)
            return
        if producer.retired_at is not None:
            self._after_end(index, producer, entry)
        if entry.instance != producer.instance:
            self.began_after = producer.index
            self._begin_instance(index, producer, entry)
        elif entry.seq != producer.seq + 1 or entry.kind == "instance":
            text = f"entry {index}: expected number {producer.seq + 1} of {producer.name}, found {entry.seq}"
            twins = producer.places(entry.seq, entry.seq)
            other = twins[0][0] if twins else producer.index
            self._complain(_out_of_line(index, text, other, twice=bool(twins)))
        if entry.prev != producer.leaf_hash:
            text = (
                f"entry {index}: expected to follow {producer.leaf_hash[:16]} of {producer.name}, "
                f"found {entry.prev[:16]}"
            )
            self._complain(Complaint("broken_chain", index, text, producer.index))
        if is_read and entry.kind not in _WITHOUT_CONTENT:
            producer.take_content(index, entry, self.declared, self._complain)
        elif entry.kind == "rotation" and entry.understood:
            text = f"entry {index}: expected a rotation of {producer.name}, found a body that is none"
            self._complain(Complaint("wrong_key", index, text))
        producer.follow(index, entry, leaf_hash)
        if self._heads_of is not None and (entry.producer, entry.instance) in self._heads_of:
            self._keep(entry.producer, entry.instance, [[entry.seq, index, 1]])

    def _unknown(self, index: int, entry: Entry) -> None:
        text = f"entry {index}: expected an enrolled producer, found {entry.producer[:16]}"
        self._complain(Complaint("unknown_producer", index, text))

    def _after_end(self, index: int, producer: ProducerLife, entry: Entry) -> None:
        text = (
            f"entry {index}: expected nothing by {producer.name} after its retirement at "
            f"{producer.retired_at}, found a {entry.kind}"
        )
        self._complain(Complaint("after_retirement", index, text, producer.retired_at))

    def _begin_instance(self, index: int, producer: ProducerLife, entry: Entry) -> None:
        if entry.instance in producer.past:
            text = f"entry {index}: expected the current instance of {producer.name}, found a past one"
            self._complain(Complaint("broken_chain", index, text, producer.index))
            return
        if entry.kind != "instance" or entry.seq != 0:
            text = f"entry {index}: expected a new instance to begin with number 0, found {entry.seq}"
            self._complain(Complaint("broken_chain", index, text, producer.index))
            return
        expected = instance_text(self._origin, entry.producer, entry.instance, entry.prev)
        try:
            note = entry.body.get("note")
            if not isinstance(note, str) or open_one(note, producer.key) != expected:
                raise MalformedError("expected a statement over this instance, found another")
        except EvidenceError as error:
            self._complain(Complaint("wrong_key", index, f"entry {index}: instance: {error}"))

    def _keep(self, producer: str, instance: str, places: list[list[int]]) -> None:
        kept = self._places.setdefault((producer, instance), [])
        for seq, index, count in places:
            # After a break in the numbers the positions would lie; heads over them then fail, as they should.
            if seq != (kept[-1][0] + kept[-1][2] if kept else 0):
                return
            if kept and index == kept[-1][1] + kept[-1][2]:
                kept[-1][2] += count
            else:
                kept.append([seq, index, count])

    def check_head(self, note: str, leaf_hashes: LeafHashes, complain: Callable[[str], None]) -> bool:
        """Check a producer's signed head against the entries taken, after the last; needs its instance among
        `heads_of`. `leaf_hashes` gives those of some indices; what it raises goes through.

        Returns:
            Whether the head is one by a producer of this log. If it is and the log lacks what it covers,
            complains.
        """
        try:
            head = parse_head_text(split_note(note)[0])
            producer = self._producers.get(head.producer)
            if producer is None or head.origin != self._origin:
                return False
            producer.opens(note, head.instance, head.first_seq, head.seq)
        except EvidenceError as error:
            complain(str(error))
            return True
        kept = self._places.get((head.producer, head.instance), [])
        places = places_of(kept, head.first_seq, head.seq)
        if places is None:
            count = sum(place[2] for place in kept)
            complain(f"expected the {_signed(producer, head)}, found {count} of that instance")
        elif not is_covered(head, [found for place in places for found in leaf_hashes(place)]):
            complain(f"expected the {_signed(producer, head)}, found others")
        return True

    def check_embedded_head(
        self, index: int, heartbeat: Entry, leaf_hashes: LeafHashes, complain: Complain
    ) -> bool:
        """Check the head in a heartbeat that was taken last, by the few runs of its life that are remembered.

        Returns:
            Whether there was a head and it could be checked. `leaf_hashes` gives those of some indices; what
            it raises goes through.
        """
        note, producer = heartbeat.body.get("head"), self._producers.get(heartbeat.producer)
        if not isinstance(note, str) or producer is None:
            return False
        try:
            head = parse_head_text(split_note(note)[0])
            if (head.origin, head.producer) != (self._origin, producer.id):
                raise MalformedError("head: expected one of this producer and log, found another")
            producer.opens(note, head.instance, head.first_seq, head.seq)
        except EvidenceError as error:
            complain(Complaint("broken_head", index, f"entry {index}: {error}"))
            return True
        if head.instance != producer.instance or head.size > MAX_COVERED:
            return False
        places = producer.places(head.first_seq, head.seq)
        if places is None and head.seq < heartbeat.seq:
            return False
        if places is None or not is_covered(
            head, [found for place in places for found in leaf_hashes(place)]
        ):
            text = f"entry {index}: expected the {_signed(producer, head)}, found others"
            complain(Complaint("broken_head", index, text, places[-1][-1] if places else None))
        return True


_WITHOUT_CONTENT = frozenset({"decision", "outcome", "model", "coverage", "instance", "notice"})
"""Kinds that `ProducerLife.take_content` has nothing to say about."""


def is_covered(head: Head, hashes: list[bytes]) -> bool:
    """Whether these leaf hashes are those that a head was signed over."""
    return hashes[-1] == head.leaf_hash and root_hash(hashes) == head.root


def _signed(producer: ProducerLife, head: Head) -> str:
    return f"entries {head.first_seq} to {head.seq} that {producer.name} signed"


def _out_of_line(index: int, text: str, other: int, *, twice: bool) -> Complaint:
    return Complaint("duplicate_number" if twice else "broken_chain", index, text, other)
