"""Retention of a log: what may go, in which order it goes, and what goes on afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from auditlog.core.receipt import parse_receipt
from auditlog.core.retention import Policy, Retention, open_retention
from auditlog.errors import (
    CommitConflictError,
    ConfigurationError,
    EntryPruned,
    LogRetired,
    NotFoundError,
    StorageError,
)
from auditlog.log.log import Log
from auditlog.log.search import Query
from auditlog.storage.memory import Fault
from tests.support.clock import ManualClock
from tests.support.pruned_log import DAYS, MINIMUM, PASSED_S, aged_log
from tests.support.testlog import ORIGIN, TestBench

POLICY = {"retention": Policy(days=DAYS)}
_bench = aged_log


def _log(bench: TestBench) -> Log:
    assert bench.log is not None
    return bench.log


def _document(bench: TestBench) -> Retention:
    note = bench.public.objects["retention"]
    assert note.decode() == _log(bench).retention.document()
    return open_retention(note, bench.signer.verifier, ORIGIN)


def test_old_bundles_go_and_the_log_goes_on() -> None:
    """Below the minimum entries are gone, hashes, proofs and later receipts are not; a start finds it so."""
    bench, producer = _bench()
    log = _log(bench)
    plan = log.retention.plan()
    assert (plan.minimum, plan.target) == (0, MINIMUM)
    old_receipt = log.receipts.issue(10)
    done = log.retention.prune()
    assert (done.minimum, done.is_done) == (MINIMUM, True)
    assert done.deleted == 2
    assert _document(bench).minimum == MINIMUM
    held = {path for path in bench.public.objects if path.startswith("tile/entries/")}
    assert {path[:16] for path in held} == {"tile/entries/002"}
    for life in range(2):
        log = bench.restart() if life else log
        with pytest.raises(EntryPruned):
            log.receipts.issue(10)
        with pytest.raises(EntryPruned):
            log.reader.bundle(0)
        assert len(log.reader.inclusion(10, log.tree_size)) > 5
        assert log.reader.leaf_hash(10)
        receipt = parse_receipt(log.receipts.issue(log.tree_size - 1))
        assert [each.index for each in receipt.related] == [1, 2]
        bench.send(producer, [producer.decide(6000)])
    assert parse_receipt(old_receipt).proof.index == 10


def test_the_index_is_built_again_over_what_was_pruned() -> None:
    """Leaf hashes are found as before; what a search finds is what is still there."""
    bench, producer = _bench()
    log = _log(bench)
    log.retention.prune()
    leaf, last = log.reader.leaf_hash(10), producer.prev
    log.index.rebuild()
    assert log.index.by_leaf(leaf) == [10]
    assert log.index.by_leaf(last) == [log.tree_size - 1]
    page = log.search.page(Query(kind="decision"), size=log.tree_size, after=None, limit=1000)
    assert [hit.index for hit in page.hits][:1] == [MINIMUM]
    page = log.search.page(Query(), size=log.tree_size, after=None, limit=1000)
    assert page.hits


def test_nothing_goes_that_is_needed() -> None:
    """Without a policy, before the rule was public for so long, without an index, before its anchor."""
    bench, _ = _bench()
    log = _log(bench)
    assert log.retention.plan().bounds["staged"] >= MINIMUM
    young = TestBench(settings=POLICY)
    log = young.create()
    producer = young.started("host")
    young.send(producer, [producer.decide(n) for n in range(600)])
    young.publish()
    young.clock.advance(PASSED_S)
    # The first mark is that of the empty log: nothing else is known to be old.
    assert log.retention.prune().plan.target == 0
    young.clock.advance(PASSED_S)
    assert log.retention.plan().bounds["age"] > 512
    assert log.retention.plan().bounds["staged"] < 512
    anchored, _ = _bench(retention=Policy(days=35), awaits_anchors=True)
    assert _log(anchored).retention.prune().plan.bounds["anchored"] == 0
    assert _log(anchored).retention.plan().target == 0
    plain = TestBench()
    log = plain.create()
    with pytest.raises(ConfigurationError, match="policy"):
        log.retention.prune()
    with pytest.raises(NotFoundError):
        log.retention.document()
    assert "retention" not in plain.public.objects


def test_an_ended_log_signs_no_document() -> None:
    """Retired, its key signs nothing: what was pruned stays as it was told."""
    bench, _ = _bench()
    log = _log(bench)
    log.end(type(bench.signer).from_seed("next.example.org/log", b"n" * 32).vkey)
    with pytest.raises(LogRetired):
        log.retention.prune()


def test_a_changed_policy_begins_anew() -> None:
    """What was pruned under the old one stays; under the new one nothing goes until it was public as long."""
    bench, _ = _bench()
    _log(bench).retention.prune()
    bench.settings = {"retention": Policy(days=31)}
    log = bench.restart()
    bench.publish()
    found = log.retention.prune()
    assert (found.minimum, found.plan.target) == (MINIMUM, MINIMUM)
    assert (_document(bench).base, _document(bench).policy.days) == (MINIMUM, 31)


def _places() -> Iterator[tuple[str, Fault]]:
    for where in ("private.replace", "state.set_retention", "public.replace", "public.delete"):
        for fault in Fault:
            yield where, fault


@pytest.mark.parametrize(("where", "fault"), list(_places()))
def test_a_prune_that_fails_is_finished_by_the_next(where: str, fault: Fault) -> None:
    """Wherever it stops: nothing is gone that the durable, public minimum does not cover."""
    bench, producer = _bench()
    left = [1]

    def spoil(operation: str, path: str) -> Fault | None:
        if operation == where and left and not path.startswith(("checkpoint", "tile/0")):
            left.pop()
            return fault
        return None

    bench.fault = spoil
    with pytest.raises(StorageError):
        _log(bench).retention.prune()
    assert not left
    log = bench.restart()
    bench.publish()
    assert log.retention.prune().minimum == MINIMUM
    assert _document(bench).minimum == MINIMUM
    held = [path for path in bench.public.objects if path.startswith("tile/entries/")]
    assert {path[:16] for path in held} == {"tile/entries/002"}
    assert parse_receipt(log.receipts.issue(log.tree_size - 1)).related
    bench.send(producer, [producer.decide(7000)])


def test_a_step_takes_so_many_bundles() -> None:
    """A long way is gone in steps, each durable: a caller may stop between two."""
    bench, _ = _bench()
    log = _log(bench)
    seen: list[tuple[int, int]] = []
    first = log.retention.prune(bundles=1, progress=lambda done, of: seen.append((done, of)))
    assert (first.minimum, first.is_done, seen) == (256, False, [(1, 1)])
    assert log.retention.prune(bundles=1).is_done


def test_an_older_document_never_takes_the_place_of_a_newer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process prunes on while the first is about to publish: the first is told."""
    bench, _ = _bench()
    one, two = _log(bench), bench.restart()
    read = bench.public.get

    def overtake(path: str) -> bytes | None:
        if path == "retention":
            monkeypatch.undo()
            two.retention.prune(bundles=1)
        return read(path)

    one.retention.prune(bundles=1)
    monkeypatch.setattr(bench.public, "get", overtake)
    with pytest.raises(CommitConflictError):
        one.retention._publish(one.retention._row())
    assert _document(bench).minimum == MINIMUM == 512
    assert one.retention.prune().is_done


def test_a_clock_that_was_set_back_dates_nothing() -> None:
    """No mark is made before the newest one."""
    bench, _ = _bench()
    log = _log(bench)
    before = log.retention.document()
    assert isinstance(bench.clock, ManualClock)
    bench.clock.advance(-2 * PASSED_S)
    log.retention.begin()
    assert log.retention.document() == before
