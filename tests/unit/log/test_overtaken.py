"""Another process commits while a start or a recovery reads: what memory takes over is of one commit."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from auditlog.errors import Pushback
from auditlog.log import Log
from auditlog.log.admission import Accepted, Batch
from auditlog.storage.records import ChainHead
from auditlog.storage.sql.snapshot import SqlSnapshot
from tests.support.disk_log import DiskLog
from tests.support.testlog import FakeProducer, ManualWorkers, TestBench

READS = 6
"""Of the state, in a recovery: the row, heads, producers, and three of their lives."""


def committed(log: Log, done: Future[Any]) -> Any:
    """What came of it."""
    log.run_pending()
    return done.result(timeout=0)


def overtake_at(bench: TestBench, at: int, commit: Callable[[], object]) -> None:
    """At this read of the state something else happens first, once."""
    reads = 0

    def before() -> None:
        nonlocal reads
        reads += 1
        if reads == at:
            bench.state.reads = None
            commit()

    bench.state.reads = before


def check_honest(log: Log, batch: Batch) -> None:
    """What another committed is acknowledged once this one's tree has it, never before. (As new, if this one
    tried the very same commit.)
    """
    try:
        accepted = committed(log, log.submit(batch))
    except Pushback:
        accepted = committed(log, log.submit(batch))
    assert isinstance(accepted, Accepted)
    assert accepted.first_index < accepted.tree_size <= log.tree_size
    assert (accepted.count + accepted.skipped, log.fault) == (len(batch.entries), None)


@pytest.mark.parametrize("starts", [False, True], ids=["recovers", "starts"])
@pytest.mark.parametrize("at", range(1, READS + 1))
def test_tree_and_chains_are_of_one_commit(at: int, starts: bool) -> None:
    """It takes over one commit, begins nothing anew and never halts, wherever in its reads the other came."""
    bench = TestBench()
    first = bench.create()
    producer = bench.started("host")
    size = first.tree_size
    batch = producer.batch([producer.decide(1), producer.decide(2)])
    second = None if starts else bench.restart()
    if second is not None:
        committed(first, first.append_own("notice", {"what": "restored"}))
        size += 1
        refused = second.append_own("notice", {"what": "late"})
    overtake_at(bench, at, lambda: committed(first, first.submit(batch)))
    if second is None:
        second = bench.restart()
    else:
        with pytest.raises(Pushback):
            committed(second, refused)
    assert bench.state.reads is None, "the other process came"
    assert second.fault is None
    assert second.tree_size == (size + 2 if at == 1 else size)
    assert (second.head(producer.producer) == first.head(producer.producer)) == (at == 1)
    check_honest(second, batch)
    assert second.tree_size == first.tree_size == size + 2


def test_it_is_so_on_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows read after another connection's commit are still those of the commit that was read first."""
    here, there = DiskLog(tmp_path), DiskLog(tmp_path)
    try:
        first = here.create(ManualWorkers())
        producer = FakeProducer("host")
        done = first.enrol("host", producer.signer.vkey, producer.note)
        producer.enrolled(committed(first, done).producer)
        committed(first, first.submit(producer.batch([producer.start()])))
        size, batch = first.tree_size, producer.batch([producer.decide(1)])
        read = SqlSnapshot.heads

        def overtaken(snapshot: SqlSnapshot) -> dict[bytes, ChainHead]:
            monkeypatch.undo()
            committed(first, first.submit(batch))
            return read(snapshot)

        monkeypatch.setattr(SqlSnapshot, "heads", overtaken)
        second = there.open(ManualWorkers())
        assert (second.tree_size, first.tree_size) == (size, size + 1)
        check_honest(second, batch)
    finally:
        for each in (here, there):
            each.close()
