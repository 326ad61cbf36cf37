"""The index follows the log, tells its lag, and is rebuilt by one call to the same rows."""

from __future__ import annotations

from copy import deepcopy

import pytest

from auditlog.core.merkle import hash_leaf
from auditlog.log.indexing import index_rows
from auditlog.storage.memory import Fault
from tests.support.testlog import TestBench, decision_body


@pytest.fixture
def bench() -> TestBench:
    """A log with genesis."""
    bench = TestBench()
    bench.create()
    return bench


def test_decisions_are_found_by_id(bench: TestBench) -> None:
    """All decisions of an id are told, of one producer if asked."""
    assert bench.log is not None
    one, two = bench.started("a"), bench.started("b")
    index = bench.send(one, [one.decide(5), one.decide(6)]).first_index
    again = bench.send(two, [two.decide(5)]).first_index
    wanted = decision_body(5)["id"]
    assert bench.log.index.by_decision(wanted) == [index, again]
    assert bench.log.index.by_decision(wanted, two.producer) == [again]
    assert bench.log.index.by_decision("never") == []


def test_entries_are_found_by_leaf_hash_and_by_number(bench: TestBench) -> None:
    """Any entry is found by its leaf hash, and exactly by its place in its chain."""
    assert bench.log is not None
    producer = bench.started("a")
    entries = [producer.decide(n) for n in range(5)]
    index = bench.send(producer, entries).first_index
    assert bench.log.index.by_leaf(hash_leaf(entries[3])) == [index + 3]
    assert bench.log.index.by_leaf(bytes(32)) == []
    assert bench.log.index.by_chain(producer.producer, producer.instance, 4) == [index + 3]
    assert bench.log.index.by_chain(producer.producer, producer.instance, 6) == []
    assert bench.log.index.by_chain(b"log", "log", 1) == [1]


def test_the_lag_is_told_and_made_up(bench: TestBench) -> None:
    """A commit does not wait for the index; the index catches up by itself."""
    assert bench.log is not None
    bench.log.append_own("notice", {"what": "restored"})
    bench.log.run_pending()
    assert (bench.log.index.lag, bench.log.status().index_lag) == (1, 1)
    bench.settle()
    assert bench.log.index.lag == 0


def test_small_commits_that_follow_each_other_are_indexed_together() -> None:
    """After a rest the index follows at once; then once in its interval, and takes what came meanwhile."""
    bench = TestBench(settings={"index_interval_s": 0.5})
    log, producer = bench.create(), bench.started("a")
    bench.publish()
    bench.clock.advance(1.0)
    for number in range(3):
        bench.send(producer, [producer.decide(number)])
        assert log.index.lag == number
    moved: list[str] = []
    bench.fault = lambda operation, _: moved.append(operation)
    bench.publish()
    assert (log.index.lag, moved.count("state.add_index_rows")) == (0, 1)


def test_what_was_just_committed_is_not_read_again(bench: TestBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Full blocks go from their commit to the index by way of memory; the rows are those of a rebuild."""
    assert bench.log is not None
    producer = bench.started("a")
    read: list[str] = []
    get = bench.public.get
    monkeypatch.setattr(bench.public, "get", lambda path: read.append(path) or get(path))
    bench.send(producer, [producer.decide(number) for number in range(600)])
    assert bench.log.index.lag == 0
    assert [path for path in read if path.startswith("tile/")] == []
    held = deepcopy(bench.state._index)
    bench.restart().index.rebuild()
    assert [path for path in read if path.startswith("tile/entries/")] != []
    held.facets.sort()
    bench.state._index.facets.sort()
    assert bench.state._index == held


def test_a_long_way_is_gone_in_chunks(bench: TestBench) -> None:
    """Many entries are indexed in several transactions, without a hole."""
    assert bench.log is not None
    for number in range(9000):
        bench.log.append_own("notice", {"what": "restored", "detail": str(number)})
    bench.settle()
    assert bench.log.index.size == 9001
    assert bench.log.index.by_leaf(bench.log.reader.leaf_hash(8999)) == [8999]


def test_an_index_that_fails_goes_on_later(bench: TestBench) -> None:
    """A refused write delays look-ups, and nothing else; a write that did happen is not done twice."""
    assert bench.log is not None
    producer = bench.started("a")
    for fault in (Fault.REFUSED, Fault.STORED):
        hits: list[str] = []

        def once(operation: str, path: str, fault: Fault = fault, hits: list[str] = hits) -> Fault | None:
            if operation == "state.add_index_rows" and not hits:
                hits.append(path)
                return fault
            return None

        bench.fault = once
        bench.send(producer, [producer.decide(1)])
        assert bench.log.index.lag == (1 if fault is Fault.REFUSED else 0)
        bench.publish()
        assert bench.log.index.lag == 0
    assert len(bench.log.index.by_decision(decision_body(1)["id"])) == 2


def test_rebuilding_gives_the_same_rows(bench: TestBench) -> None:
    """Dropping the index and building it again from the entries changes no answer."""
    assert bench.log is not None
    producer = bench.started("a")
    bench.send(producer, [producer.decide(n) for n in range(50)])
    before = deepcopy(bench.state._index)
    bench.log.index.rebuild()
    assert bench.state._index == before
    assert bench.log.index.size == bench.log.tree_size


def test_odd_entries_are_flagged(bench: TestBench) -> None:
    """Unknown kinds, unregistered models and ids of another time are marked for people."""
    producer = bench.started("a")
    late = decision_body(1) | {"start": "2026-01-02T00:00:00.000000Z", "model": "ab" * 32}
    exact = decision_body(2) | {"model": "ab" * 32}
    entries = [
        producer.seal("weather", {}),
        producer.decide(1),
        producer.seal("decision", late),
        producer.seal("decision", exact),
        producer.seal("decision", exact | {"id": "not-a-uuid"}),
    ]
    entries += [producer.seal("decision", exact | {"id": odd}) for odd in ("", 5, "nul\x00", "x" * 201)]
    rows = index_rows(10, entries, [hash_leaf(entry) for entry in entries])
    assert rows.flags[-4:] == [(index, "id_form") for index in range(15, 19)]
    del rows.flags[-4:]
    assert rows.flags == [(10, "unknown_kind"), (11, "unregistered_model"), (12, "id_time"), (14, "id_time")]
    assert [index for index, id_ in enumerate(rows.decisions, 10) if id_ is not None] == [11, 12, 13, 14]


def test_repeated_and_wrongly_dated_ids_are_flagged_and_counted(bench: TestBench) -> None:
    """Whoever wrote the id first: the later entry is flagged, and metrics can tell how many there are."""
    assert bench.log is not None
    one, two = bench.started("a"), bench.started("b")
    bench.send(one, [one.decide(5)])
    again = bench.send(two, [two.decide(5), two.decide(6)]).first_index
    late = decision_body(7)
    late["start"] = late["start"].replace("00:00:00.000", "00:00:00.002")
    dated = bench.send(one, [one.seal("decision", late)]).first_index
    index = bench.log.index
    assert index.flags(again - 1) == ["unregistered_model"]
    assert index.flags(again) == ["id_repeated", "unregistered_model"]
    assert index.flags(again + 1) == ["unregistered_model"]
    assert index.flags(dated) == ["id_time", "unregistered_model"]
    assert index.flagged == {"id_repeated": 1, "id_time": 1, "unregistered_model": 4}
    index.rebuild()
    assert index.flags(again) == ["id_repeated", "unregistered_model"]
