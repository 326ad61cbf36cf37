"""An id that is not in the log: on its way, declared lost, or never to come; and looking again mends any of
them.
"""

from __future__ import annotations

from typing import Any

import pytest

from auditlog.core.entry import format_time
from auditlog.errors import DeclaredLost, NeverArrived, NotFoundError, NotYetPublished
from auditlog.storage.memory import Fault
from tests.support.testlog import FakeProducer, TestBench, decision_body

DAY_S = 24 * 3600


@pytest.fixture
def bench() -> TestBench:
    """A log with genesis."""
    bench = TestBench(visibility="hashes")
    bench.create()
    return bench


def id_at(us: int, number: int = 1) -> str:
    """A UUIDv7 of that time."""
    ms = us // 1000
    return f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7000-8000-{number:012x}"


def retry_s(bench: TestBench, producer: FakeProducer, decision: str) -> int:
    """It is said to be on its way: when to ask again."""
    assert bench.log is not None
    with pytest.raises(NotYetPublished) as told:
        bench.log.absence.explain(decision, producer.producer)
    return told.value.retry_after_s


def gap(bench: TestBench, producer: FakeProducer, from_s: float, to_s: float, **more: Any) -> bytes:
    """Declare a loss between two times from now."""
    now = bench.clock.unix_us()
    first, last = (format_time(now + round(s * 1_000_000)) for s in (from_s, to_s))
    body = {"instance": producer.instance, "after_seq": producer.seq, "from": first, "to": last, "count": 3}
    return producer.seal("gap", {**body, **more})


def test_the_wait_grows_with_age(bench: TestBench) -> None:
    """1, 2, 5 and 30 seconds; an id of the future is asked for soon."""
    producer = bench.started("a")
    now = bench.clock.unix_us()
    waits = [
        retry_s(bench, producer, id_at(now - age * 1_000_000)) for age in (-60, 0, 4, 6, 29, 31, 299, 301)
    ]
    assert waits == [1, 1, 1, 2, 2, 5, 5, 30]


def test_a_loss_in_a_gap_is_told_once_the_chain_has_gone_on(bench: TestBench) -> None:
    """Not while what ran beside the loss may still come, and not before the gap entry is public."""
    assert bench.log is not None
    producer = bench.started("a")
    lost = id_at(bench.clock.unix_us() - 5_000_000)
    first = bench.send(producer, [gap(bench, producer, -10, -1)]).first_index
    bench.publish()
    assert retry_s(bench, producer, lost) == 2
    bench.send(producer, [producer.decide(1)])
    with pytest.raises(
        DeclaredLost, match=rf"may be among those declared lost in entry {first} \(how many: 3\)"
    ) as told:
        bench.log.absence.explain(lost, producer.producer)
    assert told.value.found == {"index": first, "count": 3}
    other = bench.started("b")
    assert retry_s(bench, other, lost) == 2


def test_a_gap_that_is_not_published_is_not_named(bench: TestBench) -> None:
    """The world is told of nothing that it cannot look up."""
    assert bench.log is not None
    producer = bench.started("a")
    lost = id_at(bench.clock.unix_us() - 5_000_000)
    bench.fault = lambda operation, path: Fault.REFUSED if operation == "public.replace" else None
    bench.send(producer, [gap(bench, producer, -10, -1), producer.decide(1)])
    assert retry_s(bench, producer, lost) == 2
    bench.fault = None
    bench.publish()
    with pytest.raises(DeclaredLost):
        bench.log.absence.explain(lost, producer.producer)


def test_what_an_earlier_life_lost_is_told_at_once(bench: TestBench) -> None:
    """Nothing more comes from a process that died, nor what had begun a while before its last entry."""
    assert bench.log is not None
    producer = bench.started("a")
    dead = producer.instance
    begun = id_at(bench.clock.unix_us() - 60_000_000)
    entries = [producer.start(), gap(bench, producer, -10, 0, instance=dead, count="unknown")]
    bench.send(producer, entries)
    bench.publish()
    with pytest.raises(DeclaredLost, match="how many: unknown"):
        bench.log.absence.explain(begun, producer.producer)
    assert retry_s(bench, producer, id_at(bench.clock.unix_us() - 3_600_000_000)) == 30


def test_what_began_before_a_loss_is_told_when_it_can_no_longer_run(bench: TestBench) -> None:
    """A loss is noticed at the end of a call: for ten minutes its beginning says nothing, then it counts."""
    assert bench.log is not None
    producer = bench.started("a")
    begun = id_at(bench.clock.unix_us() - 60_000_000)
    bench.send(producer, [gap(bench, producer, -1, 0), producer.decide(1)])
    bench.publish()
    assert retry_s(bench, producer, begun) == 5
    bench.clock.advance(600)
    with pytest.raises(DeclaredLost):
        bench.log.absence.explain(begun, producer.producer)


def test_an_id_outside_of_every_gap_is_on_its_way(bench: TestBench) -> None:
    """A loss says nothing about what came after it."""
    producer = bench.started("a")
    bench.send(producer, [gap(bench, producer, -10, -5), producer.decide(1)])
    bench.publish()
    assert retry_s(bench, producer, id_at(bench.clock.unix_us() - 4_000_000)) == 1


def test_a_day_later_it_will_not_come_if_its_producer_went_on(bench: TestBench) -> None:
    """An idle or unreachable producer may still hold it; after thirty days nobody does."""
    assert bench.log is not None
    producer = bench.started("a")
    bench.clock.advance(1.0)
    missing = id_at(bench.clock.unix_us())
    bench.clock.advance(DAY_S + 1)
    assert retry_s(bench, producer, missing) == 30
    bench.send(producer, [producer.decide(1)])
    with pytest.raises(NeverArrived, match="within 24 hours"):
        bench.log.absence.explain(missing, producer.producer)
    silent = bench.enrol("silent")
    assert retry_s(bench, silent, missing) == 30
    bench.clock.advance(29 * DAY_S)
    with pytest.raises(NeverArrived, match="30 days"):
        bench.log.absence.explain(missing, silent.producer)


def test_no_decision_has_another_kind_of_id(bench: TestBench) -> None:
    """Without a time in it there is nothing to wait for."""
    assert bench.log is not None
    producer = bench.started("a")
    for wrong in ("", "not-an-id", id_at(0).upper().replace("7000", "4000"), id_at(0) + "0"):
        with pytest.raises(NotFoundError, match="UUIDv7"):
            bench.log.absence.explain(wrong, producer.producer)


def test_an_index_that_is_behind_calls_nothing_lost(bench: TestBench) -> None:
    """What is committed and not indexed yet is on its way, whatever gap it lies in."""
    assert bench.log is not None
    producer = bench.started("a")
    bench.send(producer, [gap(bench, producer, -10, 10)])
    bench.publish()
    wanted = decision_body(1)["id"]
    bench.log.submit(producer.batch([producer.decide(1)]))
    bench.log.run_pending()
    assert bench.log.index.lag == 1
    assert retry_s(bench, producer, wanted) == 1
    bench.settle()
    assert len(bench.log.index.by_decision(wanted)) == 1


def test_an_odd_gap_is_flagged_and_in_nobodys_way(bench: TestBench) -> None:
    """Admission lets any body pass: times that are none make a flag."""
    assert bench.log is not None
    producer = bench.started("a")
    odd = bench.send(producer, [producer.seal("gap", {"from": 5, "count": -1})]).first_index
    assert bench.log.index.flags(odd) == ["gap_form"]
