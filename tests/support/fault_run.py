"""Run one scenario under one fault to its end, as clients and an operator do, and audit everything after it.

Clients repeat what was not acknowledged. A halted log is given time to come back by itself, then the store is
mended, then the process is started again. At the end: the root rebuilt from the bundles by other code, tiles,
chains, every acknowledged entry, every note ever committed or shown of this one history, heads and lives in
the database as the entries say, and no rule of the storage contract broken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from auditlog.core.entry import parse_entry
from auditlog.core.merkle import root_hash
from auditlog.errors import AuditLogError, ChainConflictError, LogHalted, Pushback, StorageError
from auditlog.log.lives import read_lives
from tests.support.contract import root_of, size_of
from tests.support.fault_hooks import Injection
from tests.support.fault_world import Attempt, Scenario, World
from tests.support.faulty_store import Killed
from tests.support.held import held

PATIENCE = 14
_MENDED_AFTER = 4


class Loss(AssertionError):
    """Something acknowledged is missing, or something else is not as it must be."""


def drive(world: World, scenario: Scenario, *, reload: bool, mend: Callable[[], None]) -> None:
    """Every attempt of the scenario until it is acknowledged."""
    for attempt in scenario(world):
        _insist(world, attempt, reload=reload, mend=mend)


def _insist(world: World, attempt: Attempt, *, reload: bool, mend: Callable[[], None]) -> None:
    for tried in range(PATIENCE):
        if tried == _MENDED_AFTER:
            mend()
        try:
            attempt()
            return
        except Killed:
            start_again(world, mend)
        except (Pushback, LogHalted, StorageError, ChainConflictError, TimeoutError) as error:
            if reload or tried > PATIENCE // 2:
                start_again(world, mend)
            elif isinstance(error, LogHalted | TimeoutError):
                _publish(world, mend)
    raise Loss(f"never acknowledged after {PATIENCE} attempts")


def _publish(world: World, mend: Callable[[], None]) -> None:
    try:
        world.bench.publish()
    except Killed:
        start_again(world, mend)


def start_again(world: World, mend: Callable[[], None]) -> None:
    """Start until it goes well: a start can fail and die like anything else, and is then repeated."""
    for tried in range(PATIENCE):
        if tried == _MENDED_AFTER:
            mend()
        try:
            world.bench.restart()
        except (AuditLogError, Killed):
            continue
        return
    raise Loss(f"no start in {PATIENCE} attempts")


def finish(world: World) -> list[bytes]:
    """Faults over: one more start, publish, index, and the whole audit. Returns the entries."""
    bench = world.bench
    bench.fault = None
    log = bench.restart()
    bench.publish()
    log.index.follow()
    entries = bench.audit()
    _expect(log.published_size == log.tree_size == len(entries), "everything committed is published")
    _expect(log.index.size == len(entries), "the index has caught up")
    _expect(bool(log.receipts.issue(len(entries) - 1)), "the newest entry has a receipt")
    bench.wait(log.append_own("notice", {"what": "restored"}))
    _expect(len(bench.staging.objects) == 1, "the next commit swept every superseded staged object")
    _expect(not bench.contract.broken, f"the storage contract was kept: {bench.contract.broken}")
    check_history(world, entries)
    check_state(world, entries)
    return entries


def check_history(world: World, entries: list[bytes]) -> None:
    """Every note that was ever committed or shown is of this one history: none was signed over another."""
    leaf_hashes = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries]
    roots: dict[int, bytes] = {}
    contract = world.bench.contract
    for note in {*contract.committed, *contract.shown}:
        size = size_of(note)
        if 0 < size <= len(entries):
            if size not in roots:
                roots[size] = root_hash(leaf_hashes[:size])
            _expect(roots[size] == root_of(note), f"the note of size {size} is of this history")
    sizes = [size_of(note) for note in contract.committed]
    _expect(sizes == sorted(set(sizes)), "each size was committed once, in order")


def check_state(world: World, entries: list[bytes]) -> None:
    """What the database says of producers is what the entries say; nothing is in the log twice."""
    state = held(world.bench.state)
    tips: dict[str, tuple[str, int, int]] = {}
    decisions = [_decision_of(entry) for entry in entries]
    counted = [each for each in decisions if each is not None]
    _expect(len(counted) == len(set(counted)), "no decision is in the log twice")
    for index, data in enumerate(entries):
        entry = parsed(data)
        tips[entry.producer] = (entry.instance, entry.seq, index)
    for producer, head in state.heads.items():
        _expect(
            tips.get(producer.hex()) == (head.instance, head.seq, head.index), "a head is that of the entries"
        )
    found = read_lives(entries)
    each = state.producers
    _expect(
        [record for one in each for record in found.rotations(one.producer)] == state.rotations,
        "every change of key is that of the entries",
    )
    ended = {one.producer: found.retirement(one.producer) for one in each}
    _expect(
        {record.producer: record for record in state.retirements}
        == {producer: record for producer, record in ended.items() if record is not None},
        "every end is that of the entries",
    )


def _decision_of(data: bytes) -> str | None:
    entry = parsed(data)
    return str(entry.body["id"]) + entry.producer if entry.kind == "decision" else None


def parsed(data: bytes) -> Any:
    """An entry, read once for all the audits that look at it."""
    held = _PARSED.get(data)
    if held is None:
        if len(_PARSED) > 50_000:
            _PARSED.clear()
        held = _PARSED[data] = parse_entry(data)
    return held


_PARSED: dict[bytes, Any] = {}


def run_faulty(world: World, scenario: Scenario, injection: Injection, *, reload: bool) -> int:
    """One case: the scenario under this injection, then the audit. Returns how often it struck."""
    bench = world.bench
    bench.restart()
    bench.fault = injection
    drive(world, scenario, reload=reload, mend=injection.mend)
    injection.mend()
    finish(world)
    return injection.hits + (injection.then.hits if injection.then is not None else 0)


def _expect(is_so: bool, what: str) -> None:
    if not is_so:
        raise Loss(f"expected that {what}")
