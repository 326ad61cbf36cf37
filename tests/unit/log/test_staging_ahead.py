"""The next group is staged while one is committed: same order, same outcome, nobody left waiting."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

import pytest

from auditlog.errors import Pushback
from auditlog.log.log import Log
from auditlog.storage.memory import Fault
from tests.support.testlog import FakeProducer, TestBench

_PATIENCE_S = 30.0


class _Held:
    """A bench whose next commit waits until `let_go`, and then ends as it is told."""

    def __init__(self) -> None:
        self.bench = TestBench()
        self.bench.create()
        self.one, self.two = self.bench.started("one"), self.bench.started("two")
        self._reached, self._may_go = threading.Event(), threading.Event()
        self._ends: Fault | None = None
        self._is_held = True
        self.bench.fault = self._fault

    @property
    def log(self) -> Log:
        assert self.bench.log is not None
        return self.bench.log

    def _fault(self, operation: str, _path: str) -> Fault | None:
        if operation != "state.commit" or not self._is_held:
            return None
        self._is_held = False
        self._reached.set()
        assert self._may_go.wait(_PATIENCE_S)
        return self._ends

    def stage_two(self, count: int = 1) -> tuple[Future[Any], Future[Any], list[threading.Thread]]:
        """One group of so many entries in its commit, another staged on it, each on a thread of its own."""
        self.batches = [each.batch([each.decide(n) for n in range(count)]) for each in (self.one, self.two)]
        first = self.log.submit(self.batches[0])
        threads = [threading.Thread(target=self.log.run_pending)]
        threads[0].start()
        assert self._reached.wait(_PATIENCE_S)
        known = set(self.bench.staging.list())
        second = self.log.submit(self.batches[1])
        threads.append(threading.Thread(target=self.bench.settle))
        threads[1].start()
        ahead = threading.Event()
        while set(self.bench.staging.list()) == known:
            ahead.wait(0.001)
        return first, second, threads

    def let_go(self, ends: Fault | None, threads: list[threading.Thread]) -> None:
        self._ends = ends
        self._may_go.set()
        for thread in threads:
            thread.join(_PATIENCE_S)
            assert not thread.is_alive()


def _send_again(held: _Held, producer: FakeProducer) -> None:
    head = held.log.head(producer.producer)
    assert head is not None
    producer.seq, producer.prev = head.seq, head.leaf_hash
    assert held.bench.send(producer, [producer.decide(2)]).count == 1


@pytest.mark.timeout(60)
def test_both_groups_are_committed_in_their_order() -> None:
    """What was staged ahead is committed right behind what it was staged on, and nothing staged remains."""
    held = _Held()
    size = held.log.tree_size
    first, second, threads = held.stage_two()
    assert not first.done()
    assert not second.done()
    held.let_go(None, threads)
    assert (first.result(0).first_index, second.result(0).first_index) == (size, size + 1)
    assert len(held.bench.staging.list()) == 1
    held.bench.publish()
    held.bench.audit()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("ends", [Fault.REFUSED, Fault.STORED])
def test_what_builds_on_a_commit_in_doubt_is_given_back(ends: Fault) -> None:
    """The first is answered by what the stores hold; the second, staged on it, is sent again and gets in."""
    held = _Held()
    first, second, threads = held.stage_two()
    held.let_go(ends, threads)
    if ends is Fault.STORED:
        assert first.result(0).count == 1
    else:
        with pytest.raises(Pushback):
            first.result(0)
    with pytest.raises(Pushback):
        second.result(0)
    for producer in (held.one, held.two):
        _send_again(held, producer)
    held.bench.publish()
    held.bench.audit()
    assert len(held.bench.staging.list()) == 1


@pytest.mark.timeout(60)
@pytest.mark.parametrize("dies", [False, True])
def test_the_same_entries_sent_again_as_one_group_leave_no_hole(dies: bool) -> None:
    """What was staged ahead leads to the same tree as that group, and holds the later part of it only: where
    applying the group fails, or its process dies before, recovery takes the one that holds all.
    """
    held = _Held()
    _, _, threads = held.stage_two(300)
    held.let_go(Fault.REFUSED, threads)
    sent = [held.log.submit(batch) for batch in held.batches]
    fails = iter([Fault.REFUSED] if not dies else [Fault.REFUSED] * 1000)
    held.bench.fault = lambda operation, _: (
        next(fails, None) if operation.endswith(".put_new") and (operation != "staging.put_new") else None
    )
    held.bench.settle()
    held.bench.fault = None
    if dies:
        held.bench.restart()
    else:
        assert [each.result(0).count for each in sent] == [300, 300]
    held.bench.publish()
    assert len(held.bench.audit()) >= 600


@pytest.mark.timeout(60)
def test_little_waits_for_more() -> None:
    """While a larger group is committed, a smaller one is left in the pool, and is committed after it."""
    held = _Held()
    entries = [held.one.decide(n) for n in range(2)]
    first = held.log.submit(held.one.batch(entries))
    committing = threading.Thread(target=held.log.run_pending)
    committing.start()
    assert held._reached.wait(_PATIENCE_S)
    known = held.bench.staging.list()
    second = held.log.submit(held.two.batch([held.two.decide(1)]))
    held.bench.settle()
    assert held.bench.staging.list() == known
    held.let_go(None, [committing])
    assert first.result(0).count == 2
    assert second.result(0).count == 1
