"""The fault matrix in memory: every case by name, made from a scenario's own writes and reads, and run.

    matrix/<scenario>/<visibility>/<kind>/<mode>/<reload or go-on>/<number of the write>

Other parts: `pair` (two writes), `late` (a commit that arrives after k more writes), `second` (another
process), `restore` (an old backup), `read` (a read refused, or one bit flipped on the way), `flip` (one bit
of one stored object). A case is the same every time; the seed only says which are run.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

from tests.support.fault_hooks import CLOCKS, DEATHS, MODES, OUTAGES, WRITE_KINDS, Injection, ReadFault
from tests.support.fault_restore import BACKUP_KINDS, flips_of, run_flipped, run_restored
from tests.support.fault_run import drive, finish, run_faulty
from tests.support.fault_scenarios import SCENARIOS
from tests.support.fault_second import SECOND_KINDS, Second
from tests.support.fault_world import World

VISIBILITIES = ("public", "hashes", "private")
_WAYS = ("go-on", "reload")


@cache
def world_of(scenario: str, visibility: str) -> World:
    """The prepared world of a scenario, to be copied. Kept: making one costs more than many a case in it."""
    return SCENARIOS[scenario][0](visibility)


@cache
def counted(scenario: str, visibility: str) -> tuple[tuple[str, ...], int]:
    """The writes, by operation, and the number of object reads of a run in which nothing fails."""
    world = world_of(scenario, visibility).copy()
    world.bench.restart()
    reads = _read_hook(world, ReadFault(-1, "none"))
    injection = Injection(world, -1, "none")
    world.bench.fault = injection
    drive(world, SCENARIOS[scenario][1], reload=False, mend=injection.mend)
    return tuple(injection.seen), reads.seen


def _read_hook(world: World, fault: ReadFault) -> ReadFault:
    for store in (world.bench.public, world.bench.private, world.bench.staging):
        store.reads = fault
    return fault


def cases(seed: int) -> dict[str, list[str]]:
    """Names of all cases, by part, each part in an order that the seed decides."""
    found: dict[str, list[str]] = {}
    for scenario in SCENARIOS:
        for visibility in VISIBILITIES:
            for name in _cases_of(scenario, visibility):
                found.setdefault(name.partition("/")[0], []).append(name)
    chance = random.Random(seed)
    for names in found.values():
        chance.shuffle(names)
    found["pair"] = list(_pairs(chance, 3000))
    return found


def _cases_of(scenario: str, visibility: str) -> Iterator[str]:
    writes, reads = counted(scenario, visibility)
    place = f"{scenario}/{visibility}"
    for at, operation in enumerate(writes):
        for way in _WAYS:
            for kind in WRITE_KINDS:
                yield from (f"matrix/{place}/{kind}/{mode}/{way}/{at}" for mode in MODES)
            yield from (f"matrix/{place}/{kind}/lasting/{way}/{at}" for kind in OUTAGES)
        yield from (f"matrix/{place}/{kind}/once/reload/{at}" for kind in DEATHS)
        yield from (f"matrix/{place}/{kind}/once/go-on/{at}" for kind in CLOCKS)
        yield from (f"second/{place}/{kind}/{at}" for kind in SECOND_KINDS)
        yield from (f"restore/{place}/{kind}/{at}" for kind in BACKUP_KINDS)
        if operation == "state.commit":
            yield from (f"late/{place}/{way}/{at}/{by}" for by in range(1, 13) for way in _WAYS)
    for at in range(reads):
        yield from (f"read/{place}/{kind}/{at}" for kind in ("read-refused", "read-flipped"))
    yield from (f"flip/{place}/{n}" for n, _ in enumerate(flips_of(world_of(scenario, visibility), 1)))


def _pairs(chance: random.Random, count: int) -> Iterator[str]:
    """Two faults in one run, drawn; each pair once."""
    kinds = (*WRITE_KINDS, *DEATHS)
    seen: set[str] = set()
    while len(seen) < count:
        scenario, visibility = chance.choice(list(SCENARIOS)), chance.choice(VISIBILITIES)
        writes = len(counted(scenario, visibility)[0])
        first = chance.randrange(writes - 1)
        second = min(writes - 1, first + 1 + int(chance.expovariate(0.2)))
        name = (
            f"pair/{scenario}/{visibility}/{chance.choice(kinds)}/{first}/{chance.choice(kinds)}/{second}"
            f"/{chance.choice(_WAYS)}"
        )
        if first < second and name not in seen:
            seen.add(name)
            yield name


def run_case(name: str) -> int:
    """Run one case by its name. Returns how often its fault struck.

    Raises:
        Exception: a loss, a failed audit, or anything else that must not be.
    """
    part, scenario, visibility, *rest = name.split("/")
    world = world_of(scenario, visibility).copy()
    steps = SCENARIOS[scenario][1]
    if part == "restore":
        return run_restored(world, steps, rest[0], int(rest[1]))
    if part == "read":
        return _run_read(world, scenario, ReadFault(int(rest[1]), rest[0]))
    if part == "flip":
        where, path, bit = list(flips_of(world, 1))[int(rest[0])]
        return run_flipped(world, where, path, bit)
    injection, reload = _injection(world, part, rest)
    return run_faulty(world, steps, injection, reload=reload)


def _injection(world: World, part: str, rest: list[str]) -> tuple[Injection, bool]:
    """What a case injects into the writes, and whether its clients have the process started again."""
    if part == "matrix":
        kind, mode, way, at = rest
        return Injection(world, int(at), kind, mode), way == "reload"
    if part == "pair":
        kind, at, then, later, way = rest
        return Injection(world, int(at), kind, then=Injection(world, int(later), then)), way == "reload"
    if part == "late":
        way, at, by = rest
        return Injection(world, int(at), "late", late_by=int(by)), way == "reload"
    kind, at = rest
    return Injection(world, int(at), "other", other=Second(world, kind).strike), False


def _run_read(world: World, scenario: str, fault: ReadFault) -> int:
    world.bench.restart()
    _read_hook(world, fault)

    def mend() -> None:
        fault.at = -1

    drive(world, SCENARIOS[scenario][1], reload=False, mend=mend)
    for store in (world.bench.public, world.bench.private, world.bench.staging):
        store.reads = None
    finish(world)
    return fault.hits
