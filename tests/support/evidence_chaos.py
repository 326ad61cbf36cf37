"""Worlds of a log and two producers where anything may be written, and evidence of anything in them.

Unlike changed files, everything here is in the tree and proven: what is tried is the judgement, not the
proofs. An honest world writes what entry.md demands and declares its losses; then nothing may be proven.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from auditlog.core.entry import parse_entry
from auditlog.core.scalars import encode_base64
from tests.support import format_world as fixed
from tests.support.evidence_world import LATER_S, START_S, EvidenceWorld, gap_body

Value = dict[str, Any]
_SHAPES = (
    ("CONFLICT", ("entry",)),
    ("SKIPPED", ("successor",)),
    ("SKIPPED", ("gap",)),
    ("SKIPPED", ("start", "base")),
    ("SKIPPED", ("start", "base", "life")),
    ("DECLARED_LOST", ("notice",)),
    ("LATE", ()),
    ("ABSENT", ()),
)
_CHANGES: tuple[dict[str, Any], ...] = ({}, {}, {}, {"seq": 5}, {"model": "pending"}, {"instance": "1" * 32})


class Chaos:
    """One world, the promises given in it, and the checkpoints that were signed."""

    def __init__(self, rng: random.Random, *, honest: bool) -> None:
        self.rng, self.honest = rng, honest
        self.world = EvidenceWorld()
        self.promises = [self.world.promise(self.world.entries[4])]
        self.rotations: list[int] = []
        self.sizes: list[tuple[int, tuple[int | None, ...]]] = []
        self._life_start = [len(self.world.entries) - 5]
        self.other = self.world.another_producer()
        steps = (self._decide, self._decide, self._restart, self._rotate, self._publish, self._say, self._gap)
        cheats = (self._drop, self._drop, self._crash, self._branch, self._lose, self._stranger, self._swap)
        cheats += (self._hold,)
        for _ in range(rng.randint(4, 12)):
            rng.choice(steps if honest else steps + cheats)()
        self._publish()
        self.sizes.append((len(self.world.entries), (LATER_S, LATER_S)))

    def _promise(self, data: bytes, **changes: Any) -> None:
        key = (
            self.rng.choice([self.world.producer_key, self.world.key]) if not self.honest else self.world.key
        )
        self.promises.append(self.world.promise(data, key, **changes))

    def _decide(self) -> None:
        changes = {} if self.honest else self.rng.choice(_CHANGES)
        self._promise(self.world.entries[self.world.decide(5 + len(self.promises))], **changes)

    def _restart(self) -> None:
        self.world.life = self.world.begin(self.world.life.prev)

    def _rotate(self) -> None:
        self.rotations.append(self.world.rotate())

    def _publish(self) -> None:
        choices = [START_S + 10] if self.honest else [START_S + 60, START_S + 61, LATER_S]
        times = tuple(self.rng.choice(choices) for _ in range(2))
        self.sizes.append((len(self.world.entries), times))

    def _say(self) -> None:
        self.world.log.add(self.world, "notice", {"what": "restored"})

    def _gap(self) -> None:
        """A loss inside the running life, which covers no number."""
        self.world.gap(self.world.life.instance, self.world.life.seq - 1)

    def _drop(self) -> None:
        leave = self.rng.choice([self.world.left_out, self.world.withheld])
        self._promise(leave(5 + len(self.promises)))

    def _crash(self) -> None:
        """A restart with a gap that may cover what was promised."""
        lost = self.world.life
        self._restart()
        after = self.rng.randint(-1, lost.seq + 1)
        instance = self.rng.choice([lost.instance, lost.instance, "1" * 32])
        envelope = self.rng.choice([{}, {}, {}, {"v": 2}])
        self.world.odd("gap", gap_body(instance, after), **envelope)

    def _branch(self) -> None:
        """A life on any entry."""
        before = self.world.life
        self.world.life = self.world.begin(self.world.leaf(self.rng.randrange(len(self.world.entries))).hex())
        if self.rng.random() < 0.3:
            self.world.life = before

    def _lose(self) -> None:
        self.world.lost(after_seq=self.rng.randint(-1, self.world.life.seq))

    def _hold(self) -> None:
        """An entry that comes into the log behind a checkpoint it should have been under."""
        held = self.world.withheld(5 + len(self.promises))
        self._promise(held)
        self._publish()
        self.world.entries.append(held)

    def _stranger(self) -> None:
        """Another producer writes into the same instance, or one of its own."""
        chain = self.other
        chain.seq, chain.instance = (
            self.rng.randint(0, 8),
            self.rng.choice([self.world.life.instance, "1" * 32]),
        )
        kind, body = self.rng.choice(
            [
                ("decision", self.world.body(9)),
                ("gap", gap_body(self.world.life.instance, 3)),
                ("notice", {"what": "stopped"}),
                ("instance", {"note": "none", "software": "none"}),
            ]
        )
        chain.add(self.world, kind, body)

    def _swap(self) -> None:
        """The newest entry goes to another place, where nothing expects it."""
        entries = self.world.entries
        entries.insert(self.rng.randint(self._life_start[0], len(entries) - 1), entries.pop())
        ids = [fixed.hash_leaf(data).hex() for data in entries]
        self.world.at["producer"] = ids.index(self.world.producer)
        self.rotations = [place for place, data in enumerate(entries) if parse_entry(data).kind == "rotation"]

    def files(self, count: int) -> Iterator[Value]:
        """Evidence of any verdict, with any entries of this world in its places."""
        rng, world = self.rng, self.world
        for _ in range(count):
            if rng.random() < 0.1:
                yield self._fork()
                continue
            verdict, names = rng.choice(_SHAPES)
            promise = rng.choice(self.promises)
            own: Value = {name: self._likely(name, promise) for name in names}
            if "start" in own:
                own |= self._likely_start()
            if verdict == "LATE":
                own = self._late(promise)
            if verdict == "ABSENT":
                own = {"leaves": world.tiles()}
            value = world.evidence(verdict, promise, tuple(self._shown()), **own)
            value["checkpoint"] = world.signed(None, *rng.choice(self.sizes)[1])
            yield value

    def _likely(self, name: str, promise: str) -> int:
        """A place: mostly of an entry that a careless judge could take for what it should be."""
        _, _, _, instance, number, leaf, *_ = promise.split("\n")
        fits = []
        for place, data in enumerate(self.world.entries):
            entry = parse_entry(data)
            near = entry.seq - int(number)
            like = {
                "entry": near == 0 or encode_base64(fixed.hash_leaf(data)) == leaf,
                "successor": near == 1,
                "gap": entry.kind == "gap",
                "notice": entry.kind == "notice",
                "life": entry.instance == instance,
            }
            if like.get(name, False):
                fits.append(place)
        anywhere = range(len(self.world.entries))
        return self.rng.choice(fits if fits and self.rng.random() < 0.8 else anywhere)

    def _likely_start(self) -> Value:
        """A start and the entry it stands on, which blind choice would seldom find."""
        ids = [fixed.hash_leaf(data).hex() for data in self.world.entries]
        read = [parse_entry(data) for data in self.world.entries]
        starts = [place for place, entry in enumerate(read) if entry.kind == "instance" and entry.prev in ids]
        start = self.rng.choice(starts)
        return {"start": start, "base": ids.index(read[start].prev)}

    def _shown(self) -> list[int]:
        return self.rotations if self.rng.random() < 0.8 else self.rotations[: self.rng.randint(0, 3)]

    def _late(self, promise: str) -> Value:
        ids = [encode_base64(fixed.hash_leaf(data)) for data in self.world.entries]
        promised = promise.split("\n")[5]
        at = ids.index(promised) if promised in ids else self.rng.randrange(len(ids))
        size, times = self.rng.choice(self.sizes)
        placed = {name: item for name, item in self.world.placed(at).items() if name != "entry"}
        joined = {"checkpoint": self.world.signed(size, *times), "proof": self.world.consistency(size)}
        return {"leaf": placed, "earlier": joined}

    def _fork(self) -> Value:
        size, times = self.rng.choice(self.sizes)
        root = encode_base64(fixed.root_hash(self.world.hashes()[:size]))
        note = self.world.signed(size, *times)
        if not self.honest and self.rng.random() < 0.5:
            second = EvidenceWorld()
            second.fill(size)
            note = second.signed(self.rng.choice([size, size, 3]), *times)
        joined = {"checkpoint": note, "root": root, "proof": self.world.consistency(size)}
        names = {"v": "auditlog/evidence@v1", "verdict": "FORK"}
        return {**names, "checkpoint": self.world.signed(), "earlier": joined}
