"""A disk that breaks for a while: the running log halts, tries again with growing delays, and goes on.

What only time can mend ends by itself. Stores that come back older, or with other bytes than were signed,
stop the engine for good.
"""

from __future__ import annotations

import pytest

from auditlog.errors import ChainConflictError, LogHalted, NotFoundError, Pushback
from auditlog.storage.memory import Fault
from tests.faults.test_write_matrix import FAULTS, WRITES, prepared
from tests.support.faulty_store import NthWrite, flip_bit
from tests.support.testlog import FakeProducer, TestBench


def halted(fault: Fault = Fault.STORED) -> tuple[TestBench, FakeProducer, list[bytes]]:
    """A log whose guard's disk is full: a commit is in the database, acknowledged to nobody."""
    bench, producer = prepared()
    bench.fault = lambda operation, path: fault if operation == "outside.record" else None
    batch = [producer.decide(n) for n in range(300, 320)]
    with pytest.raises(LogHalted):
        bench.send(producer, batch)
    return bench, producer, batch


def delays(bench: TestBench) -> list[float]:
    """What is planned for later, longest first: a halted log plans nothing but its own return."""
    return sorted((delay for delay, _ in bench.workers.planned), reverse=True)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.value for fault in FAULTS])
@pytest.mark.parametrize("number", range(len(WRITES)), ids=[f"{n}-{name}" for n, name in enumerate(WRITES)])
def test_a_disk_that_breaks_for_a_while_needs_no_restart(number: int, fault: Fault) -> None:
    """Every write fails from one on; once they work again the same process takes everything, once."""
    bench, producer = prepared()
    log = bench.log
    assert log is not None
    bench.fault = NthWrite(number, fault, lasting=True)
    batches = [[producer.decide(n) for n in range(300, 320)], [producer.decide(n) for n in range(400, 420)]]
    for batch in batches:
        for _ in range(3):
            try:
                bench.send(producer, batch)
            except (Pushback, LogHalted, ChainConflictError):  # the second, sent before the first is in
                bench.publish()
            else:
                break
        bench.publish()
    bench.fault = None
    for _ in range(3):
        bench.publish()
    assert log.fault is None
    for batch in batches:
        bench.send(producer, batch)
    bench.publish()
    entries = bench.audit()
    assert len(entries) == log.published_size == 250 + 40
    assert sum(b'"kind":"decision"' in entry for entry in entries) == 287
    bench.restart()
    assert len(bench.audit()) == 290


def test_the_log_says_that_it_is_halted_and_tries_ever_more_rarely() -> None:
    """Each failed attempt doubles the wait, up to a minute; the log stays halted meanwhile."""
    bench, producer, batch = halted()
    log = bench.log
    assert log is not None
    seen = []
    for _ in range(9):
        assert log.fault is not None
        seen.append(delays(bench)[0])
        with pytest.raises(LogHalted):
            log.submit(producer.batch(batch))
        bench.publish()
    assert seen == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    bench.fault = None
    bench.publish()
    assert log.fault is None
    accepted = bench.send(producer, batch)
    assert (accepted.count, accepted.skipped) == (0, 20), "what was committed is not committed twice"


def test_stores_that_come_back_older_stop_the_log_for_good() -> None:
    """The disk returns as a snapshot from before the last acknowledged batch: nothing is signed on it."""
    bench, producer = prepared()
    log = bench.log
    assert log is not None
    state, staged = bench.state.saved(), dict(bench.staging.objects)
    bench.send(producer, [producer.decide(n) for n in range(300, 310)])
    bench.fault = lambda operation, path: Fault.REFUSED if operation == "outside.record" else None
    with pytest.raises(LogHalted):
        bench.send(producer, [producer.decide(310)])
    bench.fault = None
    bench.state.restore(state)
    bench.staging.objects = staged
    bench.publish()
    assert log.fault is not None
    assert "at least 260 entries in our stores, found 250" in log.fault
    assert delays(bench) == []


def test_a_guard_that_has_seen_more_stops_the_log_for_good() -> None:
    """The guards of a start are asked before a halted log goes on."""
    other, theirs = prepared()
    other.send(theirs, [theirs.decide(n) for n in range(500, 600)])
    bench, _, _ = halted(Fault.REFUSED)
    bench.fault = None
    bench.outside.note = other.outside.note
    bench.publish()
    assert bench.log is not None
    assert bench.log.fault is not None
    assert "memory source" in bench.log.fault
    assert delays(bench) == []


def test_damage_stops_the_log_for_good() -> None:
    """Other bytes than were signed are no failure that passes."""
    bench, producer, batch = halted()
    (name,) = (name for name in bench.staging.objects if name.split("-")[1] == "270")
    flip_bit(bench.staging, name, 70_001)
    bench.fault = None
    bench.publish()
    bench.publish()
    assert bench.log is not None
    assert bench.log.fault is not None
    assert "staged object" in bench.log.fault
    assert delays(bench) == []
    with pytest.raises(LogHalted):
        bench.send(producer, batch)


def test_a_defect_stops_the_log_for_good() -> None:
    """What nobody foresaw is not tried again."""
    bench, producer = prepared()

    def broken(change: object) -> None:
        raise RuntimeError("a defect")

    bench.state.commit = broken  # type: ignore[method-assign,assignment]
    assert bench.log is not None
    done = bench.log.submit(producer.batch([producer.decide(300)]))
    with pytest.raises(RuntimeError):
        bench.settle()
    assert isinstance(done.exception(timeout=0), LogHalted)
    bench.publish()
    assert bench.log.fault is not None
    assert delays(bench) == []


def test_closing_a_halted_log_ends_its_attempts() -> None:
    """A planned attempt that comes after the close does nothing."""
    bench, _, _ = halted()
    log = bench.log
    assert log is not None
    bench.fault = None
    log.close()
    bench.publish()
    assert log.fault == "expected a running log, found a closed one"
    with pytest.raises(NotFoundError):
        log.reader.entry(270)
