"""Reading: tiles, entries and proofs agree with a naive tree at every size; a damaged store is told."""

from __future__ import annotations

import hashlib

import pytest

from auditlog.core.merkle import prove_consistency, prove_inclusion, root_hash
from auditlog.core.tiles import decode_bundle
from auditlog.errors import NotFoundError, StorageError
from auditlog.log import Log
from tests.support.testlog import TestBench


def grown(size: int, visibility: str = "public") -> tuple[TestBench, Log, list[bytes]]:
    """A published log of that size with its leaf hashes."""
    bench = TestBench(visibility=visibility)
    log = bench.create()
    for number in range(1, size):
        log.append_own("notice", {"what": "restored", "detail": str(number)})
    log.run_pending()
    bench.settle()
    bench.publish()
    entries = log.reader.entries(0, size)
    return bench, log, [hashlib.sha256(b"\x00" + entry).digest() for entry in entries]


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 600])
def test_proofs_are_those_of_the_naive_tree(size: int) -> None:
    """Roots, inclusion and consistency proofs from tiles equal those from all leaves."""
    _, log, leaves = grown(size)
    assert log.reader.leaf_hashes(0, size) == leaves
    for old in sorted({0, 1, size // 3, 255, 256, size - 1, size}):
        if old <= size:
            assert log.reader.root_at(old) == root_hash(leaves[:old])
            assert log.reader.consistency(old, size) == prove_consistency(leaves, old)
    for index in sorted({0, size // 2, size - 1}):
        assert log.reader.inclusion(index, size) == prove_inclusion(leaves, index)


@pytest.mark.parametrize("visibility", ["public", "hashes", "private"])
def test_every_visibility_reads_alike(visibility: str) -> None:
    """Where the bundles lie does not matter to a reader inside."""
    bench, log, leaves = grown(300, visibility)
    assert decode_bundle(log.reader.bundle(0)) == log.reader.entries(0, 256)
    assert decode_bundle(log.reader.bundle(1, 44)) == log.reader.entries(256, 300)
    assert log.reader.tile(0, 0) == b"".join(leaves[:256])
    assert log.reader.tile(0, 1, 10) == b"".join(leaves[256:266])
    assert log.reader.tile(1, 0, 1) == root_hash(leaves[:256])
    assert len(bench.audit()) == 300


def test_what_is_not_in_the_tree_is_not_found() -> None:
    """Beyond the tree there is nothing, and a question about it is an answerable one."""
    _, log, _ = grown(300)
    reader = log.reader
    for ask in (
        lambda: reader.entry(300),
        lambda: reader.entry(-1),
        lambda: reader.entries(290, 301),
        lambda: reader.leaf_hash(300),
        lambda: reader.leaf_hashes(0, 301),
        lambda: reader.tile(0, 1, 45),
        lambda: reader.tile(0, 2, 1),
        lambda: reader.tile(5, 0, 1),
        lambda: reader.bundle(1, 45),
        lambda: reader.bundle(2, 1),
        lambda: reader.inclusion(300, 300),
        lambda: reader.inclusion(0, 301),
        lambda: reader.consistency(301, 302),
        lambda: reader.consistency(5, 4),
        lambda: reader.root_at(301),
    ):
        with pytest.raises(NotFoundError):
            ask()


def test_a_tile_that_is_gone_is_told() -> None:
    """A missing or short file is a storage error, not a wrong answer."""
    bench, _, _ = grown(600)
    log = bench.restart()
    del bench.public.objects["tile/0/000"]
    with pytest.raises(StorageError, match="tile/0/000"):
        log.reader.inclusion(5, 600)
    bench.public.objects["tile/entries/000"] = b""
    with pytest.raises(StorageError, match="256 entries"):
        log.reader.entry(5)


def test_the_unpublished_right_edge_can_be_read() -> None:
    """Committed entries are there for the engine before the world sees them."""
    bench, log, _ = grown(250)
    log.append_own("notice", {"what": "restored"})
    log.run_pending()
    assert (log.tree_size, log.published_size) == (251, 250)
    assert b'"kind":"notice"' in log.reader.entry(250)
    assert bench.public.get("tile/0/000.p/251") is None
