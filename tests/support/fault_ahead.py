"""A scenario with two groups in flight: one is staged while the one before it is in its commit.

In the engine two threads do that. Here one does, so that every case is the same every time: at the commit of
the first group the next one is taken and staged, and has its turn when the first has ended. What is sent
again comes in other groups than before, which lead to the same trees from other sizes.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from auditlog.log.preparing import Group
from auditlog.storage.memory import Fault
from tests.support.fault_world import Attempt, World, begun

_GROUPINGS = ((1, 1), (2, 1), (3, 0), (1, 2), (2, 0))
"""How many of the batches are committed, and how many more staged ahead of it: by attempt."""


def crowded(visibility: str) -> World:
    """A log just before the edge of a tile, with three producers."""
    world = begun(visibility, 240)
    world.producers |= {name: world.bench.started(name) for name in ("b", "c")}
    world.bench.publish()
    return world


def ahead(world: World) -> Iterator[Attempt]:
    """Three senders whose batches cross the edges of tiles, twice."""
    for wave in range(2):
        senders = [world.producers[name] for name in ("a", "b", "c")]
        batches = [
            (each, [each.decide(5000 + 1000 * wave + n) for n in range(count)])
            for each, count in zip(senders, (130, 90, 150), strict=True)
        ]
        tried = iter(range(100))
        yield lambda batches=batches, tried=tried: _Wave(world, batches).send(next(tried))
        yield world.bench.publish


class _Wave:
    """One attempt to send some batches in overlapping groups."""

    def __init__(self, world: World, batches: list[tuple[Any, list[bytes]]]) -> None:
        self._world = world
        self._batches = batches
        self._futures: list[Future[Any]] = []
        self._behind: list[Group] = []
        self._ahead = 0

    def send(self, attempt: int) -> None:
        """Until all are acknowledged; raises what the first of them was told."""
        first, self._ahead = _GROUPINGS[attempt % len(_GROUPINGS)]
        bench = self._world.bench
        fault = bench.fault
        bench.fault = lambda operation, path: self._at(operation, path, fault)
        try:
            self._submit(first)
            bench.settle()
            self._take_turns()
        finally:
            bench.fault = fault
        self._submit(len(self._batches))
        for future in self._futures:
            bench.wait(future)
        for _, entries in self._batches:
            for entry in entries:
                bench.acknowledged[len(bench.acknowledged)] = entry

    def _submit(self, count: int) -> None:
        done = len(self._futures)
        for producer, entries in self._batches[done : done + count]:
            self._futures.append(self._world.log.submit(producer.batch(entries)))

    def _at(self, operation: str, path: str, fault: Any) -> Fault | None:
        """Where another thread would stage the next group: its own writes come through here as well."""
        sequencer = self._world.log._sequencer
        if operation == "state.commit" and self._ahead and sequencer._turn.locked():
            count, self._ahead = self._ahead, 0
            self._submit(count)
            group = sequencer._prepare()
            if group is not None:
                self._behind.append(group)
        found: Fault | None = fault(operation, path) if fault else None
        return found

    def _take_turns(self) -> None:
        sequencer = self._world.log._sequencer
        while self._behind:
            sequencer._turn.acquire()
            sequencer._take_turn(self._behind.pop(0))
        self._world.bench.settle()
