"""What a replica shows of a log is what the published checkpoint implies, read from the stores alone."""

from __future__ import annotations

import itertools

import pytest

from auditlog.errors import NotFoundError, StorageError
from auditlog.ingest.published import Published
from auditlog.log.config import Layout, Visibility
from tests.support.testlog import ORIGIN, TestBench


@pytest.fixture
def bench() -> TestBench:
    """A log with some entries, published."""
    bench = TestBench()
    bench.create()
    producer = bench.started("host")
    for number in range(4):
        bench.send(producer, [producer.decide(number * 80 + n) for n in range(80)])
    bench.publish()
    return bench


def published(bench: TestBench) -> Published:
    """As a replica reads it; the clock moves with each look."""
    layout = Layout(bench.stores, Visibility(bench.visibility))
    return Published(layout, ORIGIN, itertools.count().__next__)


def test_tiles_bundles_and_hashes_are_those_of_the_log(bench: TestBench) -> None:
    """Full and partial ones, whole and cut, byte for byte."""
    log, shown = bench.log, published(bench)
    assert log is not None
    assert shown.note() == log.published()
    assert shown.size() == log.published_size == 323
    for index, width in ((0, 256), (0, 7), (1, 67), (1, 1)):
        assert shown.tile(0, index, width) == log.reader.tile(0, index, width)
        assert shown.bundle(index, width) == log.reader.bundle(index, width)
    assert shown.tile(1, 0, 1) == log.reader.tile(1, 0, 1)
    for index in (0, 255, 256, 322):
        assert shown.leaf_hash(index) == log.reader.leaf_hash(index)


def test_what_is_not_published_is_not_shown(bench: TestBench) -> None:
    """A commit is no publication; nothing beyond the checkpoint is read."""
    producer = bench.started("other")
    bench.send(producer, [producer.decide(1)])
    shown = published(bench)
    assert shown.size() == 323
    for ask in (lambda: shown.leaf_hash(323), lambda: shown.tile(0, 2), lambda: shown.bundle(2)):
        with pytest.raises(NotFoundError):
            ask()
    bench.publish()
    assert shown.size() == 326
    assert shown.leaf_hash(325)


def test_before_the_first_checkpoint_there_is_nothing() -> None:
    """Neither a note nor a tile."""
    shown = published(TestBench())
    assert shown.size() == 0
    with pytest.raises(NotFoundError):
        shown.note()


def test_a_bundle_that_a_store_lost_is_an_error(bench: TestBench) -> None:
    """Without a policy nothing goes on purpose."""
    bench.public.objects.pop("tile/entries/000")
    with pytest.raises(StorageError):
        published(bench).bundle(0)


def test_an_older_or_foreign_checkpoint_turns_nobody_back(bench: TestBench) -> None:
    """A store that lags shows an older one; bytes that are none are an error and not a checkpoint."""
    shown = published(bench)
    note = shown.note()
    bench.public.objects["checkpoint"] = note.replace("\n323\n", "\n300\n").encode()
    assert shown.note() == note
    bench.public.objects["checkpoint"] = b"garbage"
    with pytest.raises(StorageError):
        shown.note()
