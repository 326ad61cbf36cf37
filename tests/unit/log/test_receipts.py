"""Receipts hold what they must, prove it into the published checkpoint, and wait for what is to come."""

from __future__ import annotations

import hashlib

import pytest

from auditlog.core.anchor import DevnetAnchor, sign_devnet_anchor
from auditlog.core.checkpoint import open_checkpoint
from auditlog.core.cose import parse_cose_receipt, verify_cose_receipt
from auditlog.core.entry import parse_entry
from auditlog.core.head import open_head, verify_head_path
from auditlog.core.merkle import hash_leaf, verify_inclusion
from auditlog.core.note import Ed25519Signer
from auditlog.core.receipt import Receipt, parse_receipt
from auditlog.errors import AnchorError, NotFoundError, NotYetPublished
from auditlog.storage.records import AnchorRecord
from tests.support.rotated_world import coverage
from tests.support.testlog import ORIGIN, FakeProducer, TestBench

FINGERPRINT = {"name": "m", "fingerprint": {"method": "files-sha256@v1", "root": "ab" * 32, "files": 3}}


@pytest.fixture
def bench() -> TestBench:
    """A log with genesis."""
    bench = TestBench(visibility="hashes")
    bench.create()
    return bench


def issued(bench: TestBench, index: int) -> Receipt:
    """A receipt, with every proof in it checked."""
    assert bench.log is not None
    receipt = parse_receipt(bench.log.receipts.issue(index))
    checkpoint, _ = open_checkpoint(receipt.proof.checkpoint, [bench.signer.verifier], ORIGIN)
    assert receipt.proof.index == index
    size, root = checkpoint.tree_size, checkpoint.root_hash
    verify_inclusion(hash_leaf(receipt.entry), index, size, list(receipt.proof.hashes), root)
    for item in receipt.related:
        verify_inclusion(hash_leaf(item.entry), item.index, size, list(item.proof), root)
    for anchor in receipt.anchors:
        anchored, _ = open_checkpoint(anchor.checkpoint, [bench.signer.verifier], ORIGIN)
        verify_inclusion(
            hash_leaf(receipt.entry), index, anchored.tree_size, list(anchor.proof), anchored.root_hash
        )
    return receipt


def kinds(receipt: Receipt) -> list[str]:
    """Kinds of the related entries, in order."""
    return [parse_entry(item.entry).kind for item in receipt.related]


def check_head(receipt: Receipt, producer: FakeProducer) -> int:
    """The head in the receipt is the producer's and holds the entry; return how many entries it covers."""
    assert receipt.head is not None
    head = open_head(receipt.head.note, producer.signer.verifier)
    entry = parse_entry(receipt.entry)
    verify_head_path(head, seq=entry.seq, leaf_hash=hash_leaf(receipt.entry), path=list(receipt.head.path))
    return head.size


def test_a_decision_comes_with_producer_instance_and_model(bench: TestBench) -> None:
    """Related entries are those the decision stands on, each proven into the same checkpoint."""
    producer = bench.started("a")
    model = producer.seal("model", FINGERPRINT)
    bench.send(producer, [model])
    decisions = [producer.decide(n, model=hashlib.sha256(b"\x00" + model).hexdigest()) for n in range(7)]
    first = bench.send(producer, decisions).first_index
    bench.publish()
    for place in range(7):
        receipt = issued(bench, first + place)
        assert receipt.entry == decisions[place]
        assert kinds(receipt) == ["producer", "instance", "model"]
        assert check_head(receipt, producer) == 7


def test_a_cose_receipt_is_signed_over_what_is_published(bench: TestBench) -> None:
    """The log's key signs the root of a published checkpoint, and only once there is a path to it."""
    assert bench.log is not None
    bench.publish()
    with pytest.raises(NotYetPublished, match="two entries"):
        bench.log.receipts.issue_cose(0)
    producer = bench.started("a")
    index = bench.send(producer, [producer.decide(1)]).first_index
    with pytest.raises(NotYetPublished):
        bench.log.receipts.issue_cose(index)
    bench.publish()
    receipt = issued(bench, index)
    found = parse_cose_receipt(bench.log.receipts.issue_cose(index))
    checkpoint, _ = open_checkpoint(found.proof.checkpoint, [bench.signer.verifier], ORIGIN)
    verify_cose_receipt(found, checkpoint, bench.signer.verifier)
    assert found.proof == receipt.proof


def test_an_unregistered_model_is_not_looked_for(bench: TestBench) -> None:
    """A decision without a model entry comes with producer and instance."""
    producer = bench.started("a")
    index = bench.send(producer, [producer.decide(1)]).first_index
    bench.publish()
    assert kinds(issued(bench, index)) == ["producer", "instance"]


def test_a_model_nobody_registered_is_left_out(bench: TestBench) -> None:
    """A decision that names a leaf hash not in the log still has its receipt."""
    producer = bench.started("a")
    index = bench.send(producer, [producer.decide(1, model="cd" * 32)]).first_index
    bench.publish()
    assert kinds(issued(bench, index)) == ["producer", "instance"]


def test_a_pending_model_is_waited_for(bench: TestBench) -> None:
    """The receipt waits for the next model entry of that instance, and then carries it."""
    assert bench.log is not None
    producer = bench.started("a")
    index = bench.send(producer, [producer.decide(1, model="pending"), producer.decide(2)]).first_index
    bench.publish()
    with pytest.raises(NotYetPublished, match="model") as caught:
        bench.log.receipts.issue(index)
    assert caught.value.retry_after_s > 0
    other = bench.started("b")
    bench.send(other, [other.seal("model", FINGERPRINT)])
    bench.send(producer, [producer.seal("model", FINGERPRINT), producer.seal("model", FINGERPRINT)])
    with pytest.raises(NotYetPublished):
        bench.log.receipts.issue(index)
    bench.publish()
    receipt = issued(bench, index)
    assert kinds(receipt) == ["producer", "instance", "model"]
    assert parse_entry(receipt.related[2].entry).producer == producer.producer.hex()
    assert parse_entry(receipt.related[2].entry).seq == 3


def test_a_pending_model_that_will_not_come_is_not_waited_for(bench: TestBench) -> None:
    """A coverage entry without a model ends the wait, and no later model entry is taken for the decision's.

    One that names a model, one of another instance or a malformed one ends nothing.
    """
    assert bench.log is not None
    producer, other = bench.started("a"), bench.started("b")
    said = coverage(model="unregistered")
    bench.send(producer, [producer.seal("coverage", said)])
    index = bench.send(producer, [producer.decide(1, model="pending")]).first_index
    bench.send(other, [other.seal("coverage", said)])
    odd = [producer.seal("coverage", each) for each in (coverage(), {"model": "unregistered"})]
    bench.send(producer, odd)
    bench.publish()
    with pytest.raises(NotYetPublished, match="model"):
        bench.log.receipts.issue(index)
    bench.send(producer, [producer.seal("coverage", said), producer.seal("model", FINGERPRINT)])
    later = bench.send(producer, [producer.decide(2, model="pending")]).first_index
    bench.send(producer, [producer.seal("model", FINGERPRINT), producer.seal("coverage", said)])
    bench.publish()
    receipt = issued(bench, index)
    assert kinds(receipt) == ["producer", "instance", "coverage"]
    assert parse_entry(receipt.related[2].entry).seq == 5
    assert kinds(issued(bench, later)) == ["producer", "instance", "model"]


def test_a_pending_model_is_waited_for_ten_minutes(bench: TestBench) -> None:
    """After that the receipt says what is known: pending."""
    assert bench.log is not None
    producer = bench.started("a")
    index = bench.send(producer, [producer.decide(1, model="pending")]).first_index
    bench.publish()
    bench.clock.advance(598)
    with pytest.raises(NotYetPublished):
        bench.log.receipts.issue(index)
    bench.clock.advance(2)
    assert kinds(issued(bench, index)) == ["producer", "instance"]


def test_entries_of_a_producer_that_are_no_decisions(bench: TestBench) -> None:
    """A start is its own instance; the rest come with producer and instance."""
    producer = bench.started("a")
    bench.send(producer, [producer.seal("model", FINGERPRINT)])
    bench.publish()
    assert kinds(issued(bench, 2)) == ["producer"]
    assert kinds(issued(bench, 3)) == ["producer", "instance"]


def test_entries_of_the_log_stand_alone(bench: TestBench) -> None:
    """Genesis and enrolments have neither head nor related entries."""
    bench.enrol("a")
    bench.publish()
    for index in (0, 1):
        receipt = issued(bench, index)
        assert (receipt.head, receipt.related, receipt.anchors) == (None, (), ())


def test_a_batch_sent_in_parts_keeps_its_heads(bench: TestBench) -> None:
    """Each entry comes with the smallest head that covers it, over whatever runs its batch lies in."""
    producer = bench.started("a")
    entries = [producer.decide(n) for n in range(10)]
    first = bench.send(producer, entries[:4]).first_index
    other = bench.started("b")
    bench.send(other, [other.decide(99)])
    rest = bench.send(producer, entries).first_index
    bench.publish()
    assert check_head(issued(bench, first + 3), producer) == 4
    assert check_head(issued(bench, rest), producer) == 10
    assert check_head(issued(bench, rest + 5), producer) == 10


def test_only_published_entries_have_receipts(bench: TestBench) -> None:
    """Committed is not enough, and beyond the tree there is nothing."""
    assert bench.log is not None
    producer = bench.started("a")
    index = bench.send(producer, [producer.decide(1)]).first_index
    with pytest.raises(NotYetPublished, match="published"):
        bench.log.receipts.issue(index)
    with pytest.raises(NotFoundError):
        bench.log.receipts.issue(index + 1)
    bench.publish()
    issued(bench, index)


def anchored(bench: TestBench, key: Ed25519Signer) -> AnchorRecord:
    """The newest published checkpoint on a devnet."""
    assert bench.log is not None
    note = bench.log.published()
    checkpoint, _ = open_checkpoint(note, [bench.signer.verifier], ORIGIN)
    evidence = DevnetAnchor(
        origin=ORIGIN,
        chain_id=1337,
        contract=bytes(20),
        size=checkpoint.tree_size,
        root=checkpoint.root_hash,
        tx=bytes(32),
        block_number=checkpoint.tree_size,
        block_hash=bytes(32),
        block_time="2026-01-01T00:00:00.000000Z",
    )
    return AnchorRecord(
        "devnet@v0", checkpoint.tree_size, checkpoint.root_hash, note, sign_devnet_anchor(evidence, key)
    )


def test_a_receipt_carries_the_newest_anchor_that_holds_the_entry(bench: TestBench) -> None:
    """With its own proof into the anchored checkpoint; entries after it have none yet."""
    assert bench.log is not None
    key = Ed25519Signer.from_seed("devnet", bytes(32))
    producer = bench.started("a")
    sizes = []
    for number in range(3):
        bench.send(producer, [producer.decide(number)])
        bench.publish()
        bench.log.anchors.record(anchored(bench, key))
        sizes.append(bench.log.published_size)
    last = bench.send(producer, [producer.decide(9)]).first_index
    bench.publish()
    assert [record.tree_size for record in bench.log.anchors.all()] == sizes
    (anchor,) = issued(bench, 3).anchors
    assert open_checkpoint(anchor.checkpoint, [bench.signer.verifier])[0].tree_size == sizes[-1]
    assert issued(bench, last).anchors == ()


def test_an_anchor_of_something_else_is_refused(bench: TestBench) -> None:
    """Only checkpoints of this log are recorded, with their own size and root."""
    assert bench.log is not None
    key = Ed25519Signer.from_seed("devnet", bytes(32))
    good = anchored(bench, key)
    other = TestBench()
    other.signer = Ed25519Signer.from_seed(ORIGIN, b"\x05" * 32)
    other.create()
    for wrong in (
        AnchorRecord(good.type, good.tree_size + 1, good.root_hash, good.checkpoint, good.evidence),
        AnchorRecord(good.type, good.tree_size, bytes(32), good.checkpoint, good.evidence),
        AnchorRecord(good.type, good.tree_size, good.root_hash, "no note", good.evidence),
        anchored(other, key),
    ):
        with pytest.raises(AnchorError):
            bench.log.anchors.record(wrong)
    assert bench.log.anchors.newest() is None


def test_the_outbox_waits_for_decisions_only(bench: TestBench) -> None:
    """An anchor is due once a decision was committed, until an anchor covers it, over restarts too."""
    assert bench.log is not None
    key = Ed25519Signer.from_seed("devnet", bytes(32))
    producer = bench.started("a")
    assert bench.log.outbox.pending() == 0
    bench.send(producer, [producer.decide(1)])
    assert bench.log.outbox.pending() == 4
    log = bench.restart()
    assert log.outbox.pending() == 4
    bench.publish()
    log.anchors.record(anchored(bench, key))
    assert log.outbox.pending() == 0
    bench.wait(log.append_own("notice", {"what": "restored"}))
    assert log.outbox.pending() == 0
