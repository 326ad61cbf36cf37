"""Admission refuses what cannot be true, says what it expected and found, and leaves the chain as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from auditlog.core.entry import encode_entry, parse_entry
from auditlog.core.head import Head, sign_head
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.core.note import Ed25519Signer
from auditlog.core.scalars import ZERO_HASH_HEX
from auditlog.errors import (
    AuthenticationError,
    ChainConflictError,
    MalformedError,
    NotFoundError,
    Pushback,
    SubmissionRefused,
    TooLargeError,
)
from auditlog.log import Batch
from tests.support.testlog import FakeProducer, TestBench


@pytest.fixture
def bench() -> TestBench:
    """A log with nothing in it but genesis."""
    bench = TestBench()
    bench.create()
    return bench


@pytest.fixture
def producer(bench: TestBench) -> FakeProducer:
    """A producer whose instance entry and five decisions are in the log."""
    producer = bench.started("a")
    bench.send(producer, [producer.decide(n) for n in range(5)])
    return producer


def submit(bench: TestBench, batch: Batch) -> Any:
    """Submit and commit."""
    assert bench.log is not None
    return bench.wait(bench.log.submit(batch))


def signed(
    producer: FakeProducer, entries: list[bytes], signer: Ed25519Signer | None = None, **changes: Any
) -> Batch:
    """A batch whose head may say something else than is true."""
    leaf_hashes = [hash_leaf(entry) for entry in entries]
    first = parse_entry(entries[0])
    members: dict[str, Any] = {
        "origin": first.origin,
        "producer": producer.producer.hex(),
        "instance": first.instance,
        "first_seq": first.seq,
        "seq": first.seq + len(entries) - 1,
        "leaf_hash": leaf_hashes[-1],
        "root": root_hash(leaf_hashes),
    }
    return Batch(sign_head(Head(**(members | changes)), signer or producer.signer), entries)


def altered(entry: bytes, **changes: Any) -> bytes:
    """The entry with some members changed."""
    return encode_entry(replace(parse_entry(entry), **changes))


class TestBatchesAreTrueInThemselves:
    """What can be refused without looking at the log."""

    def test_a_stranger_is_not_found(self, bench: TestBench) -> None:
        """A producer that never enrolled is told so."""
        stranger = FakeProducer("stranger")
        stranger.enrolled(bytes(32))
        with pytest.raises(NotFoundError, match="enrolled"):
            submit(bench, stranger.batch([stranger.start()]))

    def test_another_key_is_refused(self, bench: TestBench, producer: FakeProducer) -> None:
        """A head that another key signed is not the producer's, even under the same key name."""
        thief = Ed25519Signer.from_seed(producer.signer.name, b"\x07" * 32)
        with pytest.raises(AuthenticationError):
            submit(bench, signed(producer, [producer.decide(9)], thief))

    @pytest.mark.parametrize("note", ["", "text\n", "auditlog/head@v1\n\n", "\x00" * 50])
    def test_a_head_that_is_none_is_malformed(
        self, bench: TestBench, producer: FakeProducer, note: str
    ) -> None:
        """Whatever is not a head is refused as malformed."""
        with pytest.raises(MalformedError):
            submit(bench, Batch(note, [producer.decide(9)]))

    @pytest.mark.parametrize(
        "changes", [{"root": bytes(32)}, {"leaf_hash": bytes(32)}, {"seq": 7}, {"first_seq": 5}]
    )
    def test_a_head_over_other_entries_is_refused(
        self, bench: TestBench, producer: FakeProducer, changes: dict[str, Any]
    ) -> None:
        """Root, last hash and numbers of the head are those of the entries."""
        with pytest.raises(MalformedError):
            submit(bench, signed(producer, [producer.decide(9)], **changes))

    @pytest.mark.parametrize(
        "changes",
        [
            {"origin": "another.example/log"},
            {"producer": "12" * 32},
            {"instance": "34" * 16},
            {"kind": "producer", "producer": "log", "instance": "log"},
            {"kind": "instance"},
        ],
    )
    def test_an_entry_of_somebody_else_is_refused(
        self, bench: TestBench, producer: FakeProducer, changes: dict[str, Any]
    ) -> None:
        """Origin, producer, instance and kind must be this producer's to write."""
        entry = altered(producer.decide(9), **changes)
        batch = signed(producer, [entry], origin=producer.origin, instance=producer.instance)
        with pytest.raises(MalformedError):
            submit(bench, batch)

    def test_kinds_of_the_log_are_refused(self, bench: TestBench, producer: FakeProducer) -> None:
        """A producer cannot write an anchor, whatever envelope it uses."""
        entry = producer.decide(9).replace(b'"kind":"decision"', b'"kind":"anchor"')
        with pytest.raises(MalformedError, match="kind"):
            submit(bench, signed_raw(producer, entry))

    def test_bytes_that_are_not_canonical_are_refused(self, bench: TestBench, producer: FakeProducer) -> None:
        """White space in an entry is enough."""
        with pytest.raises(MalformedError, match="canonical"):
            submit(bench, signed_raw(producer, producer.decide(9).replace(b'"v":1', b'"v": 1')))

    def test_an_entry_over_the_limit_is_too_large(self, bench: TestBench, producer: FakeProducer) -> None:
        """65,535 bytes are the most a bundle can frame."""
        entry = producer.decide(9)
        with pytest.raises(TooLargeError, match="65535"):
            submit(bench, signed_raw(producer, entry + b" " * (65_536 - len(entry))))

    def test_entries_that_do_not_follow_each_other_are_refused(
        self, bench: TestBench, producer: FakeProducer
    ) -> None:
        """Inside a batch every entry names the one before it."""
        one, two = producer.decide(9), producer.decide(10)
        wrong = altered(two, prev=ZERO_HASH_HEX)
        with pytest.raises(ChainConflictError) as caught:
            submit(bench, signed(producer, [one, wrong]))
        assert caught.value.expected["leaf_hash"] == hash_leaf(one).hex()
        assert caught.value.found["leaf_hash"] == ZERO_HASH_HEX

    def test_an_instance_needs_its_own_note(self, bench: TestBench, producer: FakeProducer) -> None:
        """A start without the producer's signature over this very place of the chain is refused."""
        start = producer.start()
        body = parse_entry(start).body
        moved = body["note"].replace(producer.instance, "ab" * 16)
        for note in ("", 5, moved, body["note"].replace("auditlog/instance", "auditlog/instanse")):
            with pytest.raises((MalformedError, AuthenticationError)):
                submit(bench, signed(producer, [altered(start, body=body | {"note": note})]))
        assert submit(bench, producer.batch([start])).count == 1

    def test_odd_records_are_taken(self, bench: TestBench, producer: FakeProducer) -> None:
        """Unknown kinds, unregistered models and strange bodies never block a chain."""
        odd = [
            producer.seal("weather", {"rain": "yes"}),
            producer.seal("decision", {}),
            producer.seal("decision", {"id": 5, "model": ["?"]}),
            producer.decide(3, model="unregistered"),
        ]
        accepted = submit(bench, producer.batch(odd))
        assert accepted.count == 4
        assert bench.log is not None
        bench.log.index.follow()
        assert bench.log.index.flags(accepted.first_index) == ["unknown_kind"]
        assert "unregistered_model" in bench.log.index.flags(accepted.first_index + 3)


def signed_raw(producer: FakeProducer, entry: bytes) -> Batch:
    """A head over one entry that may not even parse."""
    leaf_hash = hash_leaf(entry)
    head = Head(
        origin=producer.origin,
        producer=producer.producer.hex(),
        instance=producer.instance,
        first_seq=producer.seq,
        seq=producer.seq,
        leaf_hash=leaf_hash,
        root=root_hash([leaf_hash]),
    )
    return Batch(sign_head(head, producer.signer), [entry])


class TestBatchesFollowTheChain:
    """What is refused or skipped because of what the log holds."""

    def test_the_same_batch_again_is_skipped(self, bench: TestBench, producer: FakeProducer) -> None:
        """Sending again gives the same answer and adds nothing."""
        assert bench.log is not None
        batch = producer.batch([producer.decide(n) for n in range(10, 15)])
        first = submit(bench, batch)
        again = submit(bench, batch)
        assert (first.count, again.count, again.skipped) == (5, 0, 5)
        assert again.first_index == first.first_index + 4
        assert bench.log.tree_size == first.tree_size == again.tree_size

    def test_a_known_beginning_is_skipped(self, bench: TestBench, producer: FakeProducer) -> None:
        """A batch that overlaps what is there adds only the rest."""
        entries = [producer.decide(n) for n in range(10, 20)]
        submit(bench, producer.batch(entries[:4]))
        accepted = submit(bench, producer.batch(entries))
        assert (accepted.count, accepted.skipped) == (6, 4)
        bench.publish()
        bench.audit()

    def test_a_beginning_still_in_the_pool_is_skipped(self, bench: TestBench, producer: FakeProducer) -> None:
        """Overlap is judged against what is admitted, and acknowledged after the commit only."""
        assert bench.log is not None
        entries = [producer.decide(n) for n in range(10, 20)]
        one = bench.log.submit(producer.batch(entries[:4]))
        same = bench.log.submit(producer.batch(entries[:4]))
        below = bench.log.submit(producer.batch(entries[:2]))
        two = bench.log.submit(producer.batch(entries))
        assert not any(future.done() for future in (one, same, below, two))
        bench.settle()
        found = [(future.result().count, future.result().skipped) for future in (one, same, below, two)]
        assert found == [(4, 0), (0, 4), (0, 2), (6, 4)]

    def test_an_old_batch_of_a_former_instance_is_skipped(
        self, bench: TestBench, producer: FakeProducer
    ) -> None:
        """A spool sent again after a restart of the host is known, entry for entry."""
        old = producer.batch([producer.decide(n) for n in range(10, 15)])
        submit(bench, old)
        submit(bench, producer.batch([producer.start(), producer.decide(20)]))
        assert submit(bench, old).skipped == 5

    def test_a_gap_is_refused_with_both_sides(self, bench: TestBench, producer: FakeProducer) -> None:
        """A batch above the head is told which entry it should have followed."""
        known = (producer.seq, producer.prev.hex())
        producer.decide(10)
        with pytest.raises(ChainConflictError) as caught:
            submit(bench, producer.batch([producer.decide(11)]))
        assert (caught.value.expected["seq"], caught.value.expected["leaf_hash"]) == known
        assert caught.value.found["seq"] == known[0] + 1

    @pytest.mark.parametrize("overlap", [0, 3])
    def test_another_history_is_a_conflict(
        self, bench: TestBench, producer: FakeProducer, overlap: int
    ) -> None:
        """Other entries under numbers that are taken are refused, at the tip and below it."""
        seq, prev = producer.seq, producer.prev
        submit(bench, producer.batch([producer.decide(n) for n in range(10, 15)]))
        producer.seq, producer.prev = seq, prev
        other = [producer.decide(n) for n in range(50, 55 - overlap)]
        with pytest.raises(ChainConflictError) as caught:
            submit(bench, producer.batch(other))
        assert caught.value.expected["leaf_hash"] != caught.value.found["leaf_hash"]
        assert caught.value.expected["seq"] == caught.value.found["seq"] == seq + 5 - overlap

    def test_a_new_instance_follows_the_old_one(self, bench: TestBench, producer: FakeProducer) -> None:
        """A start names the last entry of the instance before; numbers begin again at 0."""
        assert submit(bench, producer.batch([producer.start(), producer.decide(1)])).count == 2
        producer.prev = producer.producer
        with pytest.raises(ChainConflictError):
            submit(bench, producer.batch([producer.start()]))

    def test_a_first_batch_follows_the_enrolment(self, bench: TestBench) -> None:
        """A producer's first entry names its enrolment, and nothing else will do."""
        producer = bench.enrol("b")
        producer.prev = bytes(32)
        with pytest.raises(ChainConflictError) as caught:
            submit(bench, producer.batch([producer.start()]))
        assert caught.value.expected["leaf_hash"] == producer.producer.hex()

    def test_a_refused_batch_changes_nothing(self, bench: TestBench, producer: FakeProducer) -> None:
        """After a conflict the right entry still goes in."""
        right = producer.decide(10)
        with pytest.raises(ChainConflictError):
            submit(bench, producer.batch([producer.decide(11)]))
        assert submit(bench, producer.batch([right])).count == 1

    def test_producers_do_not_disturb_each_other(self, bench: TestBench) -> None:
        """Many chains in one commit each keep their own order."""
        assert bench.log is not None
        producers = [bench.started(f"host-{n}") for n in range(4)]
        futures = [
            bench.log.submit(one.batch([one.decide(n) for n in range(3)]))
            for _ in range(5)
            for one in producers
        ]
        bench.settle()
        assert sum(future.result().count for future in futures) == 60
        bench.publish()
        bench.audit()


class TestThePoolIsBounded:
    """Overload is pushed back before it is taken."""

    def test_too_many_entries_are_pushed_back(self) -> None:
        """Above the limit nothing is accepted, and the sender may try again."""
        bench = TestBench(settings={"max_pool_entries": 10})
        log = bench.create()
        producer = bench.started("a")
        waiting = log.submit(producer.batch([producer.decide(n) for n in range(8)]))
        late = producer.batch([producer.decide(n) for n in range(8, 12)])
        with pytest.raises(Pushback, match="pool"):
            log.submit(late)
        bench.settle()
        assert waiting.result().count == 8
        assert submit(bench, late).count == 4

    def test_too_many_bytes_are_pushed_back(self) -> None:
        """The pool is bounded in bytes too."""
        bench = TestBench(settings={"max_pool_bytes": 4_000})
        log = bench.create()
        producer = bench.started("a")
        log.submit(producer.batch([producer.decide(n) for n in range(4)]))
        with pytest.raises(Pushback):
            log.submit(producer.batch([producer.decide(n) for n in range(4, 8)]))

    def test_an_index_too_far_behind_pushes_back(self) -> None:
        """When look-ups cannot keep up, the log waits for them."""
        bench = TestBench(settings={"max_index_lag": 5})
        log = bench.create()
        producer = bench.started("a")
        log.submit(producer.batch([producer.decide(n) for n in range(9)]))
        log.run_pending()
        with pytest.raises(Pushback, match="index"):
            log.submit(producer.batch([producer.decide(10)]))
        log.index.follow()
        assert log.index.lag == 0


class TestEnrolment:
    """Who may write at all."""

    def test_the_same_enrolment_again_is_the_same(self, bench: TestBench) -> None:
        """Name, key and note again give the entry that is there, also while it is pending."""
        assert bench.log is not None
        one = FakeProducer("a")
        first = bench.log.enrol("a", one.signer.vkey, one.note)
        pending = bench.log.enrol("a", one.signer.vkey, one.note)
        bench.settle()
        later = bench.wait(bench.log.enrol("a", one.signer.vkey, one.note))
        assert first.result() == pending.result() == later
        assert hash_leaf(later.entry) == later.producer
        assert [record.name for record in bench.log.producers()] == ["a"]

    def test_a_taken_name_is_refused(self, bench: TestBench) -> None:
        """Another key cannot enrol under a name that is taken, committed or pending."""
        assert bench.log is not None
        one = FakeProducer("a")
        other = FakeProducer("a")
        other.signer = Ed25519Signer.from_seed(one.signer.name, b"\x09" * 32)
        bench.log.enrol("a", one.signer.vkey, one.note)
        for _ in range(2):
            with pytest.raises(SubmissionRefused, match="new name"):
                bench.log.enrol("a", other.signer.vkey, other.note)
            bench.settle()

    def test_an_enrolment_must_be_signed_by_its_own_key(self, bench: TestBench) -> None:
        """Key name, signature and text are all about this origin and this name."""
        assert bench.log is not None
        one, two = FakeProducer("a"), FakeProducer("b")
        elsewhere = FakeProducer("a", origin="elsewhere.example/log")
        for name, vkey, note in (
            ("a", two.signer.vkey, one.note),
            ("b", one.signer.vkey, one.note),
            ("a", one.signer.vkey, two.note),
            ("a", elsewhere.signer.vkey, elsewhere.note),
            ("a", "not a key", one.note),
            ("a/../b", one.signer.vkey, one.note),
            ("a", one.signer.vkey, "no note"),
        ):
            with pytest.raises((MalformedError, AuthenticationError)):
                bench.log.enrol(name, vkey, note)
        assert bench.log.producers() == []

    def test_heads_are_told(self, bench: TestBench, producer: FakeProducer) -> None:
        """The head is the newest committed entry; an idle producer has none, a stranger is unknown."""
        assert bench.log is not None
        head = bench.log.head(producer.producer)
        assert head is not None
        assert (head.instance, head.seq, head.leaf_hash) == (producer.instance, producer.seq, producer.prev)
        assert bench.log.reader.leaf_hash(head.index) == head.leaf_hash
        assert bench.log.head(bench.enrol("idle").producer) is None
        with pytest.raises(NotFoundError):
            bench.log.head(bytes(32))

    def test_receipt_keys_differ_and_stay(self, bench: TestBench) -> None:
        """Each producer has its own key, the same after a restart."""
        assert bench.log is not None
        one, two = bench.enrol("a"), bench.enrol("b")
        key = bench.log.receipt_key(one.producer)
        assert len(key) == 32
        assert key != bench.log.receipt_key(two.producer)
        assert bench.restart().receipt_key(one.producer) == key
