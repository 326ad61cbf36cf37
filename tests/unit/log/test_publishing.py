"""Publication: at most one checkpoint an interval, the newest, with every tile it implies there before it."""

from __future__ import annotations

import threading

import pytest

from auditlog.core.checkpoint import open_checkpoint
from auditlog.core.tiles import paths_for_size
from auditlog.errors import LogHalted, NotFoundError
from auditlog.storage.memory import Fault
from tests.support.faulty_store import flip_bit
from tests.support.testlog import ORIGIN, TestBench


def notice(bench: TestBench) -> None:
    """One more committed entry."""
    assert bench.log is not None
    bench.wait(bench.log.append_own("notice", {"what": "restored"}))


@pytest.fixture
def bench() -> TestBench:
    """A log whose genesis is published."""
    bench = TestBench(visibility="public")
    bench.create()
    return bench


def test_commits_of_one_interval_share_a_checkpoint(bench: TestBench) -> None:
    """However many commits, one publication is planned, and it shows the newest."""
    assert bench.log is not None
    for _ in range(5):
        notice(bench)
    assert bench.log.published_size == 1
    assert [delay for delay, _ in bench.workers.planned] == [1.0]
    bench.publish()
    assert bench.log.published_size == 6


def test_after_a_pause_publication_is_at_once(bench: TestBench) -> None:
    """The interval is a limit on the rate, not a delay."""
    assert bench.log is not None
    bench.clock.advance(10.0)
    notice(bench)
    assert bench.log.published_size == 2


def test_what_is_published_is_the_committed_note(bench: TestBench) -> None:
    """The published checkpoint is the committed one, signed by the log, byte for byte."""
    assert bench.log is not None
    notice(bench)
    bench.publish()
    committed = bench.state.read()
    assert committed is not None
    assert bench.log.published() == committed.note == bench.public.objects["checkpoint"].decode()
    checkpoint, _ = open_checkpoint(committed.note, [bench.signer.verifier], ORIGIN)
    assert checkpoint.tree_size == 2


def test_the_checkpoint_comes_last(bench: TestBench) -> None:
    """When the checkpoint is replaced, every tile of its size is there already."""
    seen: list[bool] = []

    def watch(operation: str, path: str) -> Fault | None:
        if operation == "public.replace":
            seen.append(set(paths_for_size(301)) <= set(bench.public.objects))
        return None

    assert bench.log is not None
    for number in range(300):
        bench.log.append_own("notice", {"what": "restored", "detail": str(number)})
    bench.fault = watch
    bench.settle()
    bench.publish()
    assert seen == [True]


def test_superseded_partial_tiles_go_when_their_tile_is_full(bench: TestBench) -> None:
    """Partial tiles pile up only inside the tile that is growing."""
    assert bench.log is not None
    for size in (100, 200, 300):
        for number in range(bench.log.tree_size, size):
            bench.log.append_own("notice", {"what": "restored", "detail": str(number)})
        bench.settle()
        bench.publish()
    assert bench.public.list("tile/0/000") == ["tile/0/000"]
    assert bench.public.list("tile/entries/000") == ["tile/entries/000"]
    assert bench.public.list("tile/0/001") == ["tile/0/001.p/44"]


def test_a_failed_publication_is_tried_again(bench: TestBench) -> None:
    """A store that refuses for a while delays the checkpoint, and nothing else."""
    assert bench.log is not None
    notice(bench)
    bench.fault = lambda operation, path: Fault.REFUSED if operation == "public.replace" else None
    bench.publish()
    assert (bench.log.published_size, bench.log.fault) == (1, None)
    bench.fault = None
    bench.publish()
    assert bench.log.published_size == 2


def test_a_torn_checkpoint_is_published_again(bench: TestBench) -> None:
    """A checkpoint file that a crash cut in half does not stop the next start."""
    notice(bench)
    bench.publish()
    bench.public.objects["checkpoint"] = bench.public.objects["checkpoint"][:30]
    log = bench.restart()
    bench.publish()
    assert log.published_size == 2
    bench.audit()


def test_before_the_first_publication_there_is_none() -> None:
    """A log that could not publish yet says so."""
    bench = TestBench(fault=lambda operation, path: Fault.REFUSED if operation == "public.replace" else None)
    log = bench.create()
    with pytest.raises(NotFoundError, match="found none yet"):
        log.published()


def test_waiting_for_publication(bench: TestBench) -> None:
    """A waiter gets the checkpoint that covers its entry, or is told that it took too long."""
    log = bench.log
    assert log is not None
    with pytest.raises(TimeoutError, match="entry 1"):
        log.await_published(1, timeout_s=0.01)
    found: list[str] = []
    waiter = threading.Thread(target=lambda: found.append(log.await_published(1, timeout_s=30)))
    waiter.start()
    notice(bench)
    bench.publish()
    waiter.join(timeout=30)
    assert found == [log.published()]


def test_waiters_hear_that_the_engine_stopped(bench: TestBench) -> None:
    """Nobody waits for a checkpoint that will not come."""
    log = bench.log
    assert log is not None
    log.close()
    with pytest.raises(LogHalted, match="closed"):
        log.await_published(5, timeout_s=30)


def test_closing_publishes_what_was_admitted(bench: TestBench) -> None:
    """A log that is closed in order leaves everything committed, published and indexed."""
    log = bench.log
    assert log is not None
    pending = [log.append_own("notice", {"what": "stopped"}) for _ in range(3)]
    log.close()
    log.close()
    assert [future.result(timeout=0).index for future in pending] == [1, 2, 3]
    assert (log.tree_size, log.published_size, log.index.size) == (4, 4, 4)
    with pytest.raises(LogHalted):
        log.append_own("notice", {"what": "stopped"})
    assert len(bench.audit()) == 4


@pytest.mark.parametrize("path", ["tile/0/000.p/2", "tile/entries/000.p/2"])
def test_a_damaged_partial_tile_is_repaired_and_published(
    bench: TestBench, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It follows from the committed tree: wrong bytes in its place do not hold back a checkpoint."""
    assert bench.log is not None
    notice(bench)
    bench.publish()
    right = bench.public.objects[path]
    bench.public.objects["checkpoint"] = b"torn, so that this size is published again"
    flip_bit(bench.public, path, 77)
    with caplog.at_level("WARNING", logger="auditlog.log"):
        log = bench.restart()
        bench.publish()
    assert log.published_size == 2
    assert bench.public.objects[path] == right
    assert f"repaired {path}" in caplog.text
    bench.audit()


def test_a_start_repairs_the_partial_tiles_of_the_published_size(bench: TestBench) -> None:
    """Damage that came after the publication does not wait for the next one."""
    notice(bench)
    bench.publish()
    flip_bit(bench.public, "tile/0/000.p/2", 5)
    bench.restart()
    bench.audit()


def test_the_lag_of_publication_is_told(bench: TestBench) -> None:
    """From the oldest commit that nobody sees to now; 0 when all is published."""
    log = bench.log
    assert log is not None
    bench.clock.advance(100.0)
    assert log.publication_lag_s == 0.0
    bench.fault = lambda operation, path: Fault.REFUSED if operation == "public.replace" else None
    notice(bench)
    bench.clock.advance(40.0)
    notice(bench)
    bench.publish()
    assert log.publication_lag_s == 41.0
    bench.fault = None
    bench.publish()
    assert log.publication_lag_s == 0.0


def test_a_checkpoint_of_a_larger_tree_stays(bench: TestBench) -> None:
    """Another process on the same log was faster: the world is never shown a smaller tree than before."""
    assert bench.log is not None
    notice(bench)
    older = bench.log
    planned = bench.workers.planned
    bench.restart()
    notice(bench)
    bench.publish()
    larger = bench.public.objects["checkpoint"]
    for _, step in planned:
        step()
    assert older.published_size == 2
    assert bench.public.objects["checkpoint"] == larger
