"""Worlds and scenarios for the fault campaign: a log with its senders, and what they do, attempt by attempt.

A scenario is a generator of attempts, each of which its client repeats until it is acknowledged. What is sent
is sealed once, before the first attempt, as a real sender keeps it. A world is made once and copied for every
case: the copy has stores, guard, clock, producers and acknowledgements of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from typing import Any

from auditlog.core.note import Ed25519Signer
from auditlog.log.log import Log
from auditlog.storage.records import AnchorRecord
from tests.support.contract import root_of, size_of
from tests.support.testlog import FakeProducer, TestBench, next_key, rotation_body

Attempt = Callable[[], Any]
Scenario = Callable[["World"], Iterator[Attempt]]


@dataclass
class World:
    """One log with its producers."""

    bench: TestBench
    producers: dict[str, FakeProducer]

    def copy(self) -> World:
        """Another world that is in the same state, not yet started."""
        old = self.bench
        bench = TestBench(visibility=old.visibility, settings=dict(old.settings))
        bench.signer = Ed25519Signer.from_seed(old.signer.name, bytes(32))
        for mine, theirs in zip(_stores(bench), _stores(old), strict=True):
            mine.objects = dict(theirs.objects)
        bench.state.restore(old.state.saved())
        bench.outside.note, bench.clock = old.outside.note, copy(old.clock)
        bench.acknowledged = dict(old.acknowledged)
        bench.contract.committed = list(old.contract.committed)
        bench.contract.shown = list(old.contract.shown)
        producers = {name: copy(each) for name, each in self.producers.items()}
        for each in producers.values():
            each.clock = bench.clock
        return World(bench, producers)

    @property
    def log(self) -> Log:
        """The running log: another one after each start."""
        assert self.bench.log is not None
        return self.bench.log

    def send(self, producer: FakeProducer, entries: list[bytes]) -> Any:
        """One attempt to send."""
        return self.bench.send(producer, entries)

    def own(self, kind: str, body: dict[str, Any]) -> Any:
        """One attempt to append an entry of the log's own."""
        return self.bench.wait(self.log.append_own(kind, body))


def _stores(bench: TestBench) -> list[Any]:
    return [bench.public, bench.private, bench.staging]


def begun(visibility: str, entries: int = 245, **settings: Any) -> World:
    """A published log with a producer that has written so much (245: the next batch fills a tile), and one
    for a second process.
    """
    bench = TestBench(visibility=visibility, settings=settings)
    bench.create()
    producers = {name: bench.started(name) for name in ("a", "z")}
    first = producers["a"]
    for start in range(0, entries, 4096):
        bench.send(first, [first.decide(n) for n in range(start, min(start + 4096, entries))])
    bench.publish()
    return World(bench, producers)


def several(visibility: str) -> World:
    """A small log with three producers."""
    world = begun(visibility, 20)
    world.producers |= {name: world.bench.started(name) for name in ("b", "c")}
    world.bench.publish()
    return world


def grouping(visibility: str) -> World:
    """The same, with a group commit that takes ten entries at most: several commits for one wave."""
    world = several(visibility)
    world.bench.settings = {"max_commit_entries": 10}
    return world


def edge(world: World) -> Iterator[Attempt]:
    """Cross the edge of a tile, an entry of the log's own, then past it."""
    a = world.producers["a"]
    first = [a.decide(n) for n in range(300, 320)]
    yield lambda: world.send(a, first)
    yield lambda: world.own("notice", {"what": "restored"})
    yield world.bench.publish
    second = [a.decide(n) for n in range(400, 420)]
    yield lambda: world.send(a, second)
    yield world.bench.publish


def enrolment(world: World) -> Iterator[Attempt]:
    """Two more producers enrol, start and write."""
    made = []
    for name in ("x", "y"):
        yield lambda name=name: made.append(world.bench.enrol(name))
        producer = made[-1]
        batch = [producer.start(), producer.decide(1), producer.decide(2)]
        yield lambda producer=producer, batch=batch: world.send(producer, batch)
    yield world.bench.publish


def rotation(world: World) -> Iterator[Attempt]:
    """A key changes in the middle of a batch, twice."""
    a = world.producers["a"]
    for turn in (1, 2):
        following = next_key(a, turn)
        turning = [a.decide(500 + turn), a.seal("rotation", rotation_body(a, following))]
        yield lambda turning=turning: world.send(a, turning)
        a.signer = following
        after = [a.decide(510 + turn)]
        yield lambda after=after: world.send(a, after)
    yield world.bench.publish


def endings(world: World) -> Iterator[Attempt]:
    """A host is declared lost, another one retires, a third starts a new life."""
    b, c, a = (world.producers[name] for name in ("b", "c", "a"))

    yield lambda: world.bench.wait(world.log.declare_lost(b.producer))
    yield lambda: world.bench.wait(world.log.retire(c.producer))
    again = [a.start(), a.decide(700)]
    yield lambda: world.send(a, again)
    yield world.bench.publish


def own_entries(world: World) -> Iterator[Attempt]:
    """Notices and an anchor: the log's own chain, and the outbox."""
    for _ in range(3):
        yield lambda: world.own("notice", {"what": "restored"})
        yield world.bench.publish
    bench, read = world.bench, []
    yield lambda: read.append(bench.state.read())
    committed = read[0]
    root, size = root_of(committed.note), size_of(committed.note)
    anchor = AnchorRecord("test", size, root, committed.note, "evidence")
    yield lambda: bench.state.add_anchor(anchor)
    yield lambda: world.own("notice", {"what": "restored"})


def publication(world: World) -> Iterator[Attempt]:
    """Many commits within an interval, published now and then, over the edge of a tile."""
    a = world.producers["a"]
    for n in range(4):
        for m in range(2):
            batch = [a.decide(1000 + 10 * n + m), a.decide(1005 + 10 * n + m)]
            yield lambda batch=batch: world.send(a, batch)
        yield world.bench.publish


def groups(world: World) -> Iterator[Attempt]:
    """A wave from three producers and the log itself, repeated in part, committed in groups."""
    names = ("a", "b", "c")
    for wave in range(2):
        batches = {
            name: [world.producers[name].decide(3000 + 100 * wave + n) for n in range(6)] for name in names
        }
        yield lambda batches=batches: _wave(world, batches)
        yield world.bench.publish


def _wave(world: World, batches: dict[str, list[bytes]]) -> None:
    """Everybody submits before the first commit; some a beginning first, and then the whole."""
    log, bench = world.log, world.bench
    futures = [log.submit(world.producers["a"].batch(batches["a"][:3]))]
    futures += [log.submit(world.producers[name].batch(entries)) for name, entries in batches.items()]
    for future in futures:
        bench.wait(future)
    for entries in batches.values():
        for entry in entries:
            bench.acknowledged[len(bench.acknowledged)] = entry


def repeats(world: World) -> Iterator[Attempt]:
    """What was sent before is sent again with something new behind it, and wholly again."""
    a = world.producers["a"]
    sent = [a.decide(n) for n in range(800, 804)]
    yield lambda: world.send(a, sent[:2])
    yield lambda: world.send(a, sent)
    yield lambda: world.send(a, sent)
    yield lambda: world.send(a, sent[1:3])
    yield world.bench.publish


def starts(world: World) -> Iterator[Attempt]:
    """A start after each commit, published or not: recovery is where the writes fail."""
    a = world.producers["a"]
    for n in range(3):
        batch = [a.decide(900 + 10 * n + m) for m in range(6)]
        yield lambda batch=batch: world.send(a, batch)
        yield world.bench.restart
    yield world.bench.publish


def indexing(world: World) -> Iterator[Attempt]:
    """The index is dropped and built again while the log grows."""
    a = world.producers["a"]

    batch = [a.decide(n) for n in range(600, 610)]
    yield lambda: world.send(a, batch)
    yield lambda: world.log.index.rebuild()  # noqa: PLW0108  the log of that moment
    more = [a.decide(n) for n in range(610, 620)]
    yield lambda: world.send(a, more)
    yield lambda: world.log.index.follow()  # noqa: PLW0108
    yield world.bench.publish


def wide(world: World) -> Iterator[Attempt]:
    """One batch over the edges of two tiles: several full tiles and bundles in one commit."""
    a = world.producers["a"]
    batch = [a.decide(n) for n in range(2000, 2530)]
    yield lambda: world.send(a, batch)
    yield world.bench.publish
