"""Logs of dishonest operators with anything in them, and evidence of anything about them: true or not.

What two readings of evidence.md are compared on. Reproducible from the random numbers given.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator

from auditlog.core.entry import Entry, parse_entry
from auditlog.errors import EvidenceError
from tests.support import format_world as fixed
from tests.support.claims_world import ClaimWorld, Value
from tests.support.evidence_world import LATER_S

_RULES = (
    "entry_malformed",
    "foreign_entry",
    "duplicate_number",
    "broken_chain",
    "forged_enrolment",
    "unknown_producer",
    "wrong_key",
    "after_retirement",
    "counter_mismatch",
    "anchor_foreign",
)
_NOTICES = ("gap", "coverage_changed", "model_changed")


class ClaimsChaos:
    """One world, and claims about it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.world = ClaimWorld()
        self.other = self.world.another_producer()
        self.number = 5
        for _ in range(rng.randint(4, 14)):
            try:
                rng.choice(_STEPS)(self)
            except (ValueError, KeyError, EvidenceError):
                continue  # an entry that is none stands where a step wanted to read one

    def decide(self) -> None:
        """A decision, or one that nobody follows."""
        before = copy.copy(self.world.life)
        self.world.decide(self.number)
        self.number += 1
        if self.rng.random() < 0.2:
            self.world.life = before
        if self.rng.random() < 0.1:
            self.world.entries.pop()

    def beat(self) -> None:
        """A heartbeat that is right, or not."""
        changes = self.rng.choice([{}, {}, {"started": 3}, {"finished": 9}, {"deferred": 10}])
        self.world.beat(self.rng.randint(3, 7), **changes)

    def shift(self) -> None:
        """The running life jumps in its numbers, or forgets what it follows."""
        life = self.world.life
        life.seq = max(0, life.seq + self.rng.choice([-2, -1, 1, 60]))
        if self.rng.random() < 0.5:
            life.prev = self.world.leaf(self.rng.randrange(len(self.world.entries))).hex()

    def begin(self) -> None:
        """A life on any entry; maybe by a stranger's key, maybe not gone on with."""
        world, before = self.world, self.world.life
        own = world.key
        if self.rng.random() < 0.3:
            world.key = fixed.signer("x.example")
        on = (
            before.prev
            if self.rng.random() < 0.6
            else world.leaf(self.rng.randrange(len(world.entries))).hex()
        )
        world.life = world.begin(on)
        world.key = own
        if self.rng.random() < 0.2:
            world.life = before

    def rotate(self) -> None:
        """A change of key, maybe by somebody else."""
        own = self.world.key
        if self.rng.random() < 0.3:
            self.world.key = fixed.signer("x.example")
        self.world.rotate()
        if self.rng.random() < 0.5:
            self.world.key = own

    def end(self) -> None:
        """An end, in any form."""
        changes = self.rng.choice([{}, {}, {"last": 1}, {"producer": self.other.producer}])
        self.world.end(by_log=self.rng.random() < 0.5, **changes)

    def anchor(self) -> None:
        """The log's entry about an anchor."""
        changes = self.rng.choice(
            [{}, {"root": "0" * 64}, {"log_id": "0" * 64}, {"size": 999}, {"size": "five"}]
        )
        self.world.anchor_entry(5, **changes)

    def declare(self) -> None:
        """Coverage, models, gaps."""
        world = self.world
        self.rng.choice(
            [
                lambda: world.cover(mode=self.rng.choice(["fail_open", "fail_closed"])),
                lambda: world.model(self.rng.choice([b"one", b"two"])),
                lambda: world.gap(world.life.instance, 2),
                lambda: self.other.add(world, "coverage", {"anything": 1}),
            ]
        )()

    def odd(self) -> None:
        """An envelope that says otherwise."""
        changes = self.rng.choice(
            [{"v": 2}, {"origin": "other.example/log"}, {"producer": "ab" * 32}, {"seq": 0}]
        )
        kind = self.rng.choice(["decision", "instance", "rotation", "retirement", "heartbeat"])
        self.world.odd(kind, {"anything": 1}, **changes)

    def raw(self) -> None:
        """No entry, or one again."""
        self.world.raw(self.rng.choice([b"", b"{}", self.rng.choice(self.world.entries)]))

    def swap(self) -> None:
        """Another order."""
        entries = self.world.entries
        at = self.rng.randrange(1, len(entries))
        entries.insert(at, entries.pop())
        self.world.at["producer"] = [fixed.hash_leaf(data).hex() for data in entries].index(
            self.world.producer
        )

    def claims(self, count: int) -> Iterator[Value]:
        """Evidence of everything, with any entries of this world in its places."""
        makers = (self._entries, self._entries, self._entries, self._head, self._notice, self._anchored)
        for _ in range(count):
            yield self.rng.choice(makers)()

    def _some(self, most: int) -> list[int]:
        size = len(self.world.entries)
        if self.rng.random() < 0.4:
            start = self.rng.choice([1, 2, self.rng.randrange(size)])
            return list(range(start, self.rng.randint(start, size - 1) + 1))
        return sorted(self.rng.sample(range(size), self.rng.randint(1, min(most, size))))

    def _entries(self) -> Value:
        alarm = self.rng.choice(_RULES)
        own: Value = {}
        if alarm in ("broken_chain", "unknown_producer") and self.rng.random() < 0.4:
            own["leaves"] = self.world.tiles()
        found = self._likely(alarm) if not own and self.rng.random() < 0.8 else []
        return self.world.claim(alarm, *(found or self._some(1 if own else 3)), **own)

    def _likely(self, alarm: str) -> list[int]:
        """Entries that the rule could be about, which blind choice would seldom find; maybe none."""
        if alarm == "entry_malformed":
            return self._one(lambda entry: entry is None)
        if alarm == "foreign_entry":
            return self._one(lambda entry: entry is not None and entry.origin != fixed.ORIGIN)
        if alarm == "anchor_foreign":
            return self._one(lambda entry: entry is not None and entry.kind == "anchor")
        if alarm == "unknown_producer":
            return self._one(lambda entry: entry is not None and entry.producer == "ab" * 32)
        if alarm == "after_retirement":
            end = self._one(lambda entry: entry is not None and entry.kind == "retirement")
            later = range(end[0] + 1, len(self.world.entries)) if end else ()
            return [*end, self.rng.choice(later)] if later else []
        if alarm == "wrong_key":
            return self._chain()
        return self._pair() if alarm in ("duplicate_number", "broken_chain") else []

    def _pair(self) -> list[int]:
        """Two entries of one life, near each other in its numbers."""
        read = [(at, entry) for at, entry in enumerate(self._read()) if entry is not None]
        at, one = self.rng.choice(read)
        near = [
            place
            for place, entry in read
            if place != at and entry.producer == one.producer and abs(entry.seq - one.seq) <= 1
        ]
        return sorted([at, self.rng.choice(near)]) if near else []

    def _chain(self) -> list[int]:
        """The producer's entries up to a start or a change of key."""
        mine = {
            at: entry.kind
            for at, entry in enumerate(self._read())
            if entry and entry.producer == self.world.producer
        }
        ends = [at for at, kind in mine.items() if kind in ("instance", "rotation")]
        last = self.rng.choice(ends) if ends else 0
        return sorted({self.world.at["producer"], *(at for at in mine if at <= last)})

    def _one(self, is_like: Callable[[Entry | None], bool]) -> list[int]:
        found = [at for at, entry in enumerate(self._read()) if is_like(entry)]
        return [self.rng.choice(found)] if found else []

    def _read(self) -> list[Entry | None]:
        return [_parsed(data) for data in self.world.entries]

    def _head(self) -> Value:
        found = self._some(3)
        changes = self.rng.choice([{}, {"root": bytes(32)}, {"leaf_hash": bytes(32)}])
        try:
            note = self.world.signed_head(self._some(3) if self.rng.random() < 0.3 else found, **changes)
        except (ValueError, KeyError, EvidenceError):
            note = ClaimWorld().signed_head([3, 4], **changes)
        return self.world.headed(note, *found)

    def _notice(self) -> Value:
        if self.rng.random() < 0.4:
            size = self.rng.randrange(1, len(self.world.entries))
            times = self.rng.choice([(LATER_S, LATER_S), (LATER_S, None), (1, 1)])
            joined = {"checkpoint": self.world.signed(size, *times), "proof": self.world.consistency(size)}
            return self.world.noticed("backdated", *self._some(1), earlier=joined)
        alarm = self.rng.choice(_NOTICES)
        kinds = {"gap": "gap", "coverage_changed": "coverage", "model_changed": "model"}
        fits = [at for at, entry in enumerate(self._read()) if entry and entry.kind == kinds[alarm]]
        count = 1 if alarm == "gap" else 2
        found = sorted(self.rng.sample(fits, count)) if len(fits) >= count else self._some(2)
        return self.world.noticed(alarm, *found)

    def _anchored(self) -> Value:
        if self.rng.random() < 0.5:
            entry = self.rng.randrange(len(self.world.entries))
            return self.world.anchored(5, genesis=0, entry=entry)
        changes = self.rng.choice([{}, {"root": bytes(32)}, {"origin": "other.example/log"}])
        shown = {
            "type": self.rng.choice(["devnet@v0", "evm@v1"]),
            "evidence": self.world.anchor_note(5, **changes),
        }
        return self.world.anchored(5, anchor=shown)


def _parsed(data: bytes) -> Entry | None:
    try:
        return parse_entry(data)
    except EvidenceError:
        return None


_STEPS = (
    *(ClaimsChaos.decide,) * 4,
    *(ClaimsChaos.beat,) * 3,
    ClaimsChaos.shift,
    *(ClaimsChaos.begin, ClaimsChaos.rotate) * 2,
    ClaimsChaos.end,
    *(ClaimsChaos.anchor, ClaimsChaos.declare) * 2,
    ClaimsChaos.odd,
    ClaimsChaos.raw,
    ClaimsChaos.swap,
)
