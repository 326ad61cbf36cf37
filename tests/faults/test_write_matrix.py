"""Every write of the engine x {refused, stored but reported as failed, torn} x {reload}, then a full audit.

The scenario crosses the edge of a tile, enrols, appends an entry of the log's own, publishes and indexes, so
that every kind of write is met. Whatever fails, the sender sends again until it is acknowledged. Afterwards
the root is rebuilt from the bundles, all chains are walked, and nothing acknowledged may be missing.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from auditlog.errors import LogHalted, NotFoundError, ProducerRetired, Pushback
from auditlog.log.lives import read_lives
from auditlog.storage.memory import Fault
from tests.support.faulty_store import Killed, NthWrite
from tests.support.held import held
from tests.support.testlog import FakeProducer, TestBench, next_key, rotation_body

FAULTS = [Fault.REFUSED, Fault.STORED, Fault.TORN]


def prepared(visibility: str = "hashes") -> tuple[TestBench, FakeProducer]:
    """A log with 250 entries: the next batch fills the first tile."""
    bench = TestBench(visibility=visibility, fault=None)
    bench.create()
    producer = bench.started("a")
    bench.send(producer, [producer.decide(n) for n in range(247)])
    bench.publish()
    assert bench.log is not None
    assert bench.log.tree_size == 250
    return bench, producer


def insist(bench: TestBench, attempt: Callable[[], Any], *, reload: bool) -> Any:
    """Do what a client does: send again until it is acknowledged. A halted log is restarted, as an operator
    does.
    """
    for _ in range(10):
        try:
            return attempt()
        except Pushback:
            if reload:
                bench.restart()
        except LogHalted:
            bench.fault = None
            bench.restart()
    raise AssertionError("never acknowledged")


def scenario(bench: TestBench, producer: FakeProducer, *, reload: bool = False) -> None:
    """Every kind of write, by clients that do not give up."""
    first = [producer.decide(n) for n in range(300, 320)]
    insist(bench, lambda: bench.send(producer, first), reload=reload)
    insist(bench, lambda: bench.wait(bench.log.append_own("notice", {"what": "restored"})), reload=reload)
    bench.publish()
    second = [producer.decide(n) for n in range(400, 420)]
    insist(bench, lambda: bench.send(producer, second), reload=reload)
    bench.publish()


def finish(bench: TestBench) -> list[bytes]:
    """Faults over: start again, publish, index, and check everything."""
    bench.fault = None
    log = bench.restart()
    bench.publish()
    log.index.follow()
    entries = bench.audit()
    assert log.published_size == log.tree_size == len(entries)
    assert log.index.size == len(entries)
    assert log.receipts.issue(len(entries) - 1)
    bench.wait(log.append_own("notice", {"what": "restored"}))
    assert len(bench.staging.objects) == 1, "the next commit sweeps every superseded staged object"
    return entries


def writes_of_scenario() -> list[str]:
    """The operations the scenario makes when nothing fails."""
    bench, producer = prepared()
    counting = NthWrite()
    bench.fault = counting
    scenario(bench, producer)
    assert len(finish(bench)) == 250 + 41
    return counting.seen


WRITES = writes_of_scenario()


def test_the_scenario_meets_every_kind_of_write() -> None:
    """The matrix below is about all of the engine's writes, not some."""
    assert set(WRITES) == {
        "staging.put_new",
        "staging.delete",
        "state.commit",
        "public.put_new",
        "public.replace",
        "public.delete",
        "private.put_new",
        "private.delete",
        "outside.record",
        "state.add_index_rows",
    }


@pytest.mark.parametrize("reload", [False, True], ids=["go-on", "reload"])
@pytest.mark.parametrize("fault", FAULTS, ids=[fault.value for fault in FAULTS])
@pytest.mark.parametrize("number", range(len(WRITES)), ids=[f"{n}-{name}" for n, name in enumerate(WRITES)])
def test_one_write_fails(number: int, fault: Fault, reload: bool) -> None:
    """After any single failed write nothing acknowledged is missing and nothing is there twice."""
    bench, producer = prepared()
    bench.fault = NthWrite(number, fault)
    scenario(bench, producer, reload=reload)
    assert bench.fault is None or bench.fault.hit is not None
    entries = finish(bench)
    decisions = [entry for entry in entries if b'"kind":"decision"' in entry]
    assert len(decisions) == len(set(decisions)) == 287


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.value for fault in FAULTS])
@pytest.mark.parametrize("number", range(len(WRITES)), ids=[f"{n}-{name}" for n, name in enumerate(WRITES)])
def test_all_writes_fail_from_one_on(number: int, fault: Fault) -> None:
    """A disk breaks and stays broken: the log refuses or halts, and comes back whole once it is mended."""
    bench, producer = prepared()
    bench.fault = NthWrite(number, fault, lasting=True)
    batch = [producer.decide(n) for n in range(300, 320)]
    try:
        bench.send(producer, batch)
        bench.publish()
        bench.send(producer, [producer.decide(n) for n in range(400, 420)])
        bench.publish()
    except (Pushback, LogHalted):
        pass
    finish(bench)


@pytest.mark.parametrize("number", range(len(WRITES)), ids=[f"{n}-{name}" for n, name in enumerate(WRITES)])
def test_killed_at_a_write(number: int) -> None:
    """The process dies right before any write: the next start is whole, and the senders finish their work."""
    bench, producer = prepared()
    bench.fault = NthWrite(number, kill=True)
    batches = [[producer.decide(n) for n in range(300, 320)], [producer.decide(n) for n in range(400, 420)]]
    try:
        for batch in batches:
            bench.send(producer, batch)
            bench.publish()
    except Killed:
        bench.fault = None
        bench.restart()
        for batch in batches:
            bench.send(producer, batch)
    assert len(finish(bench)) == 250 + 40


@pytest.mark.parametrize("visibility", ["public", "private"])
@pytest.mark.parametrize("fault", FAULTS, ids=[fault.value for fault in FAULTS])
def test_other_visibilities_recover_alike(visibility: str, fault: Fault) -> None:
    """Where tiles and bundles lie does not change what a failed write does."""
    for number in range(0, len(WRITES), 3):
        bench, producer = prepared(visibility)
        bench.fault = NthWrite(number, fault)
        scenario(bench, producer)
        finish(bench)


def test_a_commit_that_arrives_late_is_taken_over() -> None:
    """A commit reported as failed that lands after the log went on: its entries are in, the log goes on from
    it.
    """
    bench, producer = prepared()
    entries = [producer.decide(n) for n in range(300, 310)]
    held: list[Any] = []
    commit = bench.state.commit

    def lost(change: Any) -> None:
        held.append(change)
        bench.state.commit = commit  # type: ignore[method-assign]
        raise Pushback("expected an answer, found a broken connection")

    bench.state.commit = lost  # type: ignore[method-assign]
    with pytest.raises(Pushback):
        bench.send(producer, entries)
    bench.state.commit(held[0])
    more = [*entries, producer.decide(311)]
    accepted = insist(bench, lambda: bench.send(producer, more), reload=False)
    assert (accepted.count, accepted.skipped) == (1, 10)
    assert len(finish(bench)) == 261


def test_unpublished_sizes_are_never_shown() -> None:
    """However many commits lie in an interval, only published sizes (1, 250, 255) have partial tiles."""
    bench, producer = prepared("public")
    for n in range(5):
        bench.send(producer, [producer.decide(1000 + n)])
    bench.publish()
    widths = {path.rpartition("/")[2] for path in bench.public.list("tile/0/000.p/")}
    assert widths == {"1", "250", "255"}


def test_nothing_is_published_before_its_commit() -> None:
    """A log whose database refuses shows nothing new to the world."""
    bench, producer = prepared()
    before = dict(bench.public.objects)
    bench.fault = lambda operation, path: Fault.REFUSED if operation == "state.commit" else None
    with pytest.raises((Pushback, LogHalted)):
        bench.send(producer, [producer.decide(300)])
    bench.publish()
    assert bench.public.objects == before


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100))
def test_ten_thousand_faults(seed: int) -> None:
    """A hundred faults at random in each of a hundred runs, several producers, restarts in between."""
    chance = random.Random(seed)
    bench = TestBench(visibility=chance.choice(["public", "hashes", "private"]))
    bench.create()
    producers = [bench.started(f"host-{n}") for n in range(3)]
    faults = 0

    def sometimes(operation: str, path: str) -> Fault | None:
        nonlocal faults
        if faults < 100 and chance.random() < 0.3:
            faults += 1
            return chance.choice(FAULTS)
        return None

    number = 0
    while faults < 100:
        bench.fault = sometimes
        producer = chance.choice(producers)
        batch = [producer.decide(number + n) for n in range(chance.randrange(1, 120))]
        number += len(batch)
        for _ in range(1000):
            try:
                bench.send(producer, batch)
                break
            except Pushback:
                continue
            except LogHalted:
                bench.fault = None
                bench.restart()
                bench.fault = sometimes
        if chance.random() < 0.3:
            bench.publish()
    entries = finish(bench)
    assert sum(b'"kind":"decision"' in entry for entry in entries) == number
    with pytest.raises(NotFoundError):
        bench.log.reader.entry(len(entries) + 1)  # type: ignore[union-attr]


def begun() -> tuple[TestBench, FakeProducer]:
    """A small log: what is written of lives does not depend on tiles."""
    bench = TestBench(visibility="hashes")
    bench.create()
    producer = bench.started("a")
    bench.publish()
    return bench, producer


def lives(bench: TestBench, producer: FakeProducer, *, reload: bool = False) -> None:
    """A key that changes, an end, a host declared lost, by clients that do not give up."""
    following = next_key(producer)
    turning = [producer.decide(500), producer.seal("rotation", rotation_body(producer, following))]
    insist(bench, lambda: bench.send(producer, turning), reload=reload)
    producer.signer = following
    after = [producer.decide(501)]
    insist(bench, lambda: bench.send(producer, after), reload=reload)
    assert bench.log is not None
    other = insist(bench, lambda: bench.started("b"), reload=reload)
    insist(bench, lambda: bench.wait(bench.log.declare_lost(other.producer)), reload=reload)
    insist(bench, lambda: bench.wait(bench.log.retire(producer.producer)), reload=reload)
    bench.publish()


def writes_of_lives() -> int:
    """How many writes that takes when nothing fails."""
    bench, producer = begun()
    counting = NthWrite()
    bench.fault = counting
    lives(bench, producer)
    finish(bench)
    return len(counting.seen)


@pytest.mark.parametrize("reload", [False, True], ids=["go-on", "reload"])
@pytest.mark.parametrize("fault", FAULTS, ids=[fault.value for fault in FAULTS])
@pytest.mark.parametrize("number", range(writes_of_lives()))
def test_one_write_fails_while_producers_change(number: int, fault: Fault, reload: bool) -> None:
    """Keys, ends and losses are exactly as durable as their entries: the state is what the log says."""
    bench, producer = begun()
    bench.fault = NthWrite(number, fault)
    lives(bench, producer, reload=reload)
    entries = finish(bench)
    found, state = read_lives(entries), held(bench.state)
    records = [record for each in state.producers for record in found.rotations(each.producer)]
    assert records == state.rotations
    assert len(records) == 1
    assert [found.retirement(each.producer) for each in state.retirements] == state.retirements
    assert len(state.retirements) == 2
    assert [loss for each in state.producers for loss in found.losses(each.producer)] == state.declared_losses
    assert len(state.declared_losses) == 1
    with pytest.raises(ProducerRetired):
        bench.send(producer, [producer.decide(502)])
