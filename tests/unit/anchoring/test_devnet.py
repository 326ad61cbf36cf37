"""The devnet: the real contract in an EVM of our own, from any thread, and gone at the end."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from auditlog.anchoring.devnet import Devnet
from auditlog.anchoring.evm import NEVER_ANCHORED, ZERO_SLOT
from auditlog.anchoring.ledger import AnchorTx
from auditlog.errors import LedgerError
from tests.support.clock import ManualClock

LOG = hashlib.sha256(b"a log").digest()
ROOT = hashlib.sha256(b"root").digest()
ROOT_2 = hashlib.sha256(b"root 2").digest()
FUTURE_US = 4_000_000_000_000_000
"""Later than any real clock, since the EVM inside reads that one too."""


@pytest.fixture
def clock() -> ManualClock:
    """A clock that is ahead of the machine's."""
    return ManualClock(FUTURE_US)


@pytest.fixture
def devnet(clock: ManualClock) -> Devnet:
    """A fresh devnet."""
    return Devnet(clock)


def test_an_anchor_is_read_back_from_its_block(devnet: Devnet) -> None:
    """Submitted, mined and final in one go; what is confirmed is what the chain holds."""
    tx = devnet.submit(LOG, 7, ROOT, note="the checkpoint")
    anchored = devnet.confirm(tx)
    assert anchored is not None
    assert (anchored.chain_id, anchored.contract) == (131277322940537, devnet.contract)
    assert (anchored.log_id, anchored.size, anchored.root, anchored.tx) == (LOG, 7, ROOT, tx.tx)
    assert devnet.slot(LOG) == NEVER_ANCHORED.then(7, ROOT).slot()
    assert devnet.is_devnet


def test_checkpoints_extend_each_other(devnet: Devnet) -> None:
    """The second anchor opens the slot the first one left."""
    devnet.acknowledge(devnet.submit(LOG, 7, ROOT))
    assert devnet.confirm(devnet.submit(LOG, 9, ROOT_2)) is not None
    assert devnet.slot(LOG) == NEVER_ANCHORED.then(7, ROOT).then(9, ROOT_2).slot()


def test_the_same_checkpoint_is_sent_once(devnet: Devnet) -> None:
    """Submitting again, acknowledged or not, is the same transaction."""
    tx = devnet.submit(LOG, 7, ROOT)
    assert devnet.submit(LOG, 7, ROOT).tx == tx.tx
    devnet.acknowledge(tx)
    assert devnet.submit(LOG, 7, ROOT).tx == tx.tx


def test_an_anchor_is_pending_until_acknowledged(devnet: Devnet) -> None:
    """A turn cut short finds it again, marked final, and nothing newer goes out before."""
    tx = devnet.submit(LOG, 7, ROOT, note="the checkpoint")
    pending = devnet.pending(LOG)
    assert pending is not None
    assert (pending.tx, pending.is_final, pending.note) == (tx.tx, True, "the checkpoint")
    assert devnet.submit(LOG, 9, ROOT_2) == pending
    devnet.acknowledge(tx)
    assert devnet.pending(LOG) is None


@pytest.mark.parametrize("size", [7, 5])
def test_a_tree_that_does_not_grow_is_refused(devnet: Devnet, size: int) -> None:
    """Same size with another root, or smaller: a fork or a rollback."""
    devnet.acknowledge(devnet.submit(LOG, 7, ROOT))
    with pytest.raises(LedgerError, match=f"expected a tree size over 7, found {size}"):
        devnet.submit(LOG, size, ROOT_2)


def test_blocks_are_dated_by_the_clock_when_they_hold_an_anchor(devnet: Devnet, clock: ManualClock) -> None:
    """An anchor an hour after the last one does not claim to be an hour old."""
    first = devnet.confirm(devnet.submit(LOG, 7, ROOT))
    devnet.acknowledge(AnchorTx(LOG, 7, ROOT, b"", 0))
    clock.advance(3600)
    second = devnet.confirm(devnet.submit(LOG, 9, ROOT_2))
    assert first is not None
    assert second is not None
    assert first.block_time >= FUTURE_US // 1_000_000
    assert 3600 <= second.block_time - first.block_time <= 3610


def test_another_devnet_knows_nothing_of_the_first(devnet: Devnet, clock: ManualClock) -> None:
    """A restart is a new chain: empty slots, and an old transaction is named as such."""
    tx = devnet.submit(LOG, 7, ROOT)
    other = Devnet(clock)
    assert other.slot(LOG) == ZERO_SLOT
    assert other.pending(LOG) is None
    with pytest.raises(LedgerError, match="before a restart"):
        other.confirm(tx)


def test_a_handle_with_other_facts_is_refused(devnet: Devnet) -> None:
    """The transaction is there, but it anchors something else."""
    tx = devnet.submit(LOG, 7, ROOT)
    with pytest.raises(LedgerError, match="expected the anchor of size 7"):
        devnet.confirm(AnchorTx(LOG, 7, ROOT_2, tx.tx, 0))


def test_many_threads_may_use_one_devnet(devnet: Devnet) -> None:
    """eth-tester is not thread-safe; the devnet is."""

    def anchor(number: int) -> bytes:
        log_id = hashlib.sha256(str(number).encode()).digest()
        for size in (1, 2, 3):
            tx = devnet.submit(log_id, size, hashlib.sha256(bytes([size])).digest())
            assert devnet.confirm(tx) is not None
            devnet.acknowledge(tx)
        return devnet.slot(log_id)

    with ThreadPoolExecutor(4) as threads:
        slots = list(threads.map(anchor, range(8)))
    expected = NEVER_ANCHORED
    for size in (1, 2, 3):
        expected = expected.then(size, hashlib.sha256(bytes([size])).digest())
    assert slots == [expected.slot()] * 8


def test_the_newest_block_is_final(devnet: Devnet) -> None:
    """Everything on a devnet is final at once: the block of an anchor is told the moment it is mined."""
    before = devnet.finalized_block()
    anchored = devnet.confirm(devnet.submit(LOG, 7, ROOT))
    assert anchored is not None
    found = devnet.finalized_block()
    assert (found.chain_id, found.number, found.hash) == (
        devnet.chain_id,
        anchored.block_number,
        anchored.block_hash,
    )
    assert found.number > before.number
