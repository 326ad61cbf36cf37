"""The life of a producer in the log: keys that change, ends, losses; one order, durable, and no way back."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from auditlog.core.entry import parse_entry
from auditlog.core.head import open_head
from auditlog.core.note import Ed25519Signer, Ed25519Verifier
from auditlog.core.receipt import parse_receipt
from auditlog.errors import (
    AuthenticationError,
    MalformedError,
    NotFoundError,
    ProducerRetired,
    Pushback,
    StorageError,
)
from auditlog.log.lives import read_lives
from auditlog.storage.memory import Fault
from auditlog.verify.fsck import fsck
from tests.support.held import held
from tests.support.memory_source import MemorySource
from tests.support.testlog import FakeProducer, TestBench, next_key, rotation_body


@pytest.fixture
def bench() -> TestBench:
    """A log with nothing in it but genesis."""
    bench = TestBench()
    bench.create()
    return bench


@pytest.fixture
def producer(bench: TestBench) -> FakeProducer:
    """A producer whose instance entry and three decisions are in the log."""
    producer = bench.started("a")
    bench.send(producer, [producer.decide(n) for n in range(3)])
    return producer


def rotate(bench: TestBench, producer: FakeProducer, turn: int = 1) -> Ed25519Signer:
    """Send a rotation; from here on the producer signs with the new key."""
    following = next_key(producer, turn)
    bench.send(
        producer, [producer.decide(50 + turn), producer.seal("rotation", rotation_body(producer, following))]
    )
    producer.signer = following
    return following


def retirement_body(producer: FakeProducer) -> dict[str, Any]:
    """The end of a producer in its own words."""
    last = {"instance": producer.instance, "seq": producer.seq, "leaf_hash": producer.prev.hex()}
    return {"last": last, "producer": producer.producer.hex()}


def state_in_memory(bench: TestBench, producer: FakeProducer) -> Any:
    """Where the producer stands."""
    assert bench.log is not None
    return bench.log.producer_state(producer.producer)


def check_rebuilt(bench: TestBench) -> None:
    """What the state store holds is what the entries of the log say."""
    bench.publish()
    lives = read_lives(bench.audit())
    state = held(bench.state)
    for record in state.producers:
        ours = [each for each in state.rotations if each.producer == record.producer]
        assert lives.rotations(record.producer) == ours
        ended = [each for each in state.retirements if each.producer == record.producer]
        assert [lives.retirement(record.producer)] == (ended or [None])
        lost = [each for each in state.declared_losses if each.producer == record.producer]
        assert lives.losses(record.producer) == lost


class TestRotation:
    """From a rotation on, the new key signs."""

    def test_the_new_key_is_in_force_and_the_old_one_is_not(
        self, bench: TestBench, producer: FakeProducer
    ) -> None:
        """Heads and starts are signed by the new key; whoever stole the old one is refused."""
        old = producer.signer
        rotate(bench, producer)
        bench.send(producer, [producer.decide(60)])
        bench.send(producer, [producer.start(), producer.decide(61)])
        thief = producer.decide(62)
        new, producer.signer = producer.signer, old
        with pytest.raises(AuthenticationError):
            bench.send(producer, [thief])
        producer.signer = new
        bench.send(producer, [thief])
        assert state_in_memory(bench, producer).vkey == new.vkey
        check_rebuilt(bench)

    def test_a_start_signed_by_the_old_key_is_refused(self, bench: TestBench, producer: FakeProducer) -> None:
        """The note of an instance is by the key in force as well, not only the head."""
        old = producer.signer
        new = rotate(bench, producer)
        producer.signer = old
        start = producer.start()
        producer.signer = new
        with pytest.raises(AuthenticationError):
            bench.send(producer, [start])

    def test_it_holds_after_a_crash(self, bench: TestBench, producer: FakeProducer) -> None:
        """A restart knows the key in force, and the keys before it."""
        rotate(bench, producer)
        rotate(bench, producer, turn=2)
        bench.restart()
        assert state_in_memory(bench, producer).rotations == 2
        bench.send(producer, [producer.decide(60)])
        check_rebuilt(bench)

    @pytest.mark.parametrize("restarts", [False, True])
    def test_the_same_batch_again_is_skipped(
        self, bench: TestBench, producer: FakeProducer, restarts: bool
    ) -> None:
        """A lost 200: the batch with the rotation comes again, signed by the key of its time."""
        following = next_key(producer)
        batch = producer.batch(
            [producer.decide(9), producer.seal("rotation", rotation_body(producer, following))]
        )
        assert bench.log is not None
        bench.wait(bench.log.submit(batch))
        if restarts:
            bench.restart()
        again = bench.wait(bench.log.submit(batch))
        assert (again.count, again.skipped) == (0, 2)

    def test_a_pending_rotation_counts_at_once(self, bench: TestBench, producer: FakeProducer) -> None:
        """What is admitted behind a rotation that waits for its commit is judged by the new key."""
        old, following = producer.signer, next_key(producer)
        assert bench.log is not None
        first = bench.log.submit(
            producer.batch([producer.seal("rotation", rotation_body(producer, following))])
        )
        entry = producer.decide(9)
        with pytest.raises(AuthenticationError):
            bench.log.submit(producer.batch([entry]))
        producer.signer = following
        second = bench.log.submit(producer.batch([entry]))
        assert bench.wait(first).count == bench.wait(second).count == 1
        assert old.vkey != following.vkey

    def test_a_rotation_that_was_given_back_changes_nothing(
        self, bench: TestBench, producer: FakeProducer
    ) -> None:
        """A failed staging takes the rotation back: the old key goes on."""
        following = next_key(producer)
        batch = producer.batch([producer.seal("rotation", rotation_body(producer, following))])
        bench.fault = lambda operation, _: Fault.REFUSED if operation == "staging.put_new" else None
        assert bench.log is not None
        with pytest.raises(Pushback):
            bench.wait(bench.log.submit(batch))
        bench.fault = None
        assert state_in_memory(bench, producer).rotations == 0
        assert bench.wait(bench.log.submit(batch)).count == 1
        producer.signer = following
        bench.send(producer, [producer.decide(9)])
        check_rebuilt(bench)

    def test_it_is_the_last_of_its_batch(self, bench: TestBench, producer: FakeProducer) -> None:
        """What follows is under another key, so another head."""
        following = next_key(producer)
        entries = [producer.seal("rotation", rotation_body(producer, following)), producer.decide(9)]
        with pytest.raises(MalformedError, match="last entry"):
            bench.send(producer, entries)

    def test_both_keys_must_sign(self, bench: TestBench, producer: FakeProducer) -> None:
        """A rotation by a stranger, to a key nobody holds, or back to an old key is refused."""
        thief = Ed25519Signer.from_seed(producer.signer.name, b"\x07" * 32)
        tip = producer.seq, producer.prev
        following = next_key(producer)
        by_thief = rotation_body(producer, following, old=thief)
        not_held = rotation_body(producer, following)
        not_held["notes"][1] = not_held["notes"][0]
        back = rotation_body(producer, producer.signer)
        elsewhere = rotation_body(producer, Ed25519Signer.from_seed("log.example.org/other", bytes(32)))
        for body in (by_thief, not_held, back, elsewhere, {"vkey": "x"}, {"vkey": "x", "notes": ["", ""]}):
            producer.seq, producer.prev = tip
            with pytest.raises((AuthenticationError, MalformedError)):
                bench.send(producer, [producer.seal("rotation", body)])
        producer.seq, producer.prev = tip
        bench.send(producer, [producer.decide(9)])

    def test_a_receipt_carries_the_rotations_before_its_entry(
        self, bench: TestBench, producer: FakeProducer
    ) -> None:
        """With them a reader follows the keys to the one that signed the head."""
        rotate(bench, producer)
        rotate(bench, producer, turn=2)
        done = bench.send(producer, [producer.decide(60)])
        bench.publish()
        assert bench.log is not None
        receipt = parse_receipt(bench.log.receipts.issue(done.first_index))
        kinds = [parse_entry(each.entry).kind for each in receipt.related]
        assert kinds == ["producer", "rotation", "rotation", "instance"]
        key = parse_entry(receipt.related[2].entry).body["vkey"]
        assert receipt.head is not None
        assert open_head(receipt.head.note, Ed25519Verifier.from_vkey(key)).seq == producer.seq
        own = parse_receipt(bench.log.receipts.issue(receipt.related[1].index))
        assert [parse_entry(each.entry).kind for each in own.related] == ["producer", "instance"]


class TestRetirement:
    """After its end nothing of a producer enters the log."""

    def test_the_log_ends_a_producer_at_its_last_number(
        self, bench: TestBench, producer: FakeProducer
    ) -> None:
        """The entry names the newest number; later batches hear it, and so does a new enrolment."""
        tip = producer.prev
        assert bench.log is not None
        retired = bench.wait(bench.log.retire(producer.producer))
        entry = parse_entry(bench.log.reader.entry(retired.index))
        last = {"instance": producer.instance, "seq": 3, "leaf_hash": tip.hex()}
        assert (entry.kind, entry.body) == ("retirement", {"producer": producer.producer.hex(), "last": last})
        for entries in ([producer.decide(9)], [producer.start()]):
            with pytest.raises(ProducerRetired) as refusal:
                bench.send(producer, entries)
            assert refusal.value.expected == last
        with pytest.raises(ProducerRetired):
            bench.log.enrol("a", producer.signer.vkey, producer.note)
        check_rebuilt(bench)

    def test_pending_batches_are_before_it(self, bench: TestBench, producer: FakeProducer) -> None:
        """A batch admitted before the retirement is in, though neither is committed yet."""
        assert bench.log is not None
        sent = bench.log.submit(producer.batch([producer.decide(9)]))
        ended = bench.log.retire(producer.producer)
        late = producer.decide(10)
        with pytest.raises(ProducerRetired):
            bench.log.submit(producer.batch([late]))
        assert bench.wait(sent).count == 1
        assert bench.wait(ended).last.seq == 4
        check_rebuilt(bench)

    def test_what_is_in_already_is_acknowledged_again(self, bench: TestBench, producer: FakeProducer) -> None:
        """A lost 200 from before the end: the same bytes are skipped; with something new behind, refused."""
        assert bench.log is not None
        entries = [producer.decide(9), producer.decide(10)]
        batch = producer.batch(entries)
        bench.wait(bench.log.submit(batch))
        bench.wait(bench.log.retire(producer.producer))
        assert bench.wait(bench.log.submit(batch)).skipped == 2
        with pytest.raises(ProducerRetired):
            bench.log.submit(producer.batch([*entries, producer.decide(11)]))

    def test_it_holds_after_a_crash_and_is_said_once(self, bench: TestBench, producer: FakeProducer) -> None:
        """Asked for again, at once or after a restart, the answer is the first one."""
        assert bench.log is not None
        first, second = bench.log.retire(producer.producer), bench.log.retire(producer.producer)
        answer = bench.wait(first)
        assert bench.wait(second) == answer
        size = bench.log.tree_size
        bench.restart()
        assert bench.wait(bench.log.retire(producer.producer)) == answer
        assert bench.log.tree_size == size
        with pytest.raises(ProducerRetired):
            bench.send(producer, [producer.decide(9)])

    def test_a_producer_ends_itself(self, bench: TestBench, producer: FakeProducer) -> None:
        """Its last entry says so; the log says the same when asked."""
        bench.send(producer, [producer.decide(9), producer.seal("retirement", retirement_body(producer))])
        with pytest.raises(ProducerRetired) as refusal:
            bench.send(producer, [producer.decide(10)])
        assert refusal.value.expected["seq"] == 5
        assert bench.log is not None
        size = bench.log.tree_size
        assert bench.wait(bench.log.retire(producer.producer)).last.seq == 5
        assert bench.log.tree_size == size
        check_rebuilt(bench)

    def test_its_end_is_the_last_of_its_batch_and_true(
        self, bench: TestBench, producer: FakeProducer
    ) -> None:
        """Nothing behind it, its own name, and the entry before it."""
        tip = producer.seq, producer.prev
        good = retirement_body(producer)
        wrong = [
            good | {"last": good["last"] | {"seq": 1}},
            good | {"producer": "ab" * 32},
            {"producer": good["producer"]},
        ]
        for body in wrong:
            producer.seq, producer.prev = tip
            with pytest.raises(MalformedError):
                bench.send(producer, [producer.seal("retirement", body)])
        producer.seq, producer.prev = tip
        with pytest.raises(MalformedError, match="last entry"):
            bench.send(producer, [producer.seal("retirement", good), producer.decide(9)])

    def test_a_producer_that_never_wrote_is_ended_by_its_id(self, bench: TestBench) -> None:
        """There is no number to name, so the id stands for it."""
        silent = bench.enrol("silent")
        assert bench.log is not None
        retired = bench.wait(bench.log.retire(silent.producer))
        entry = parse_entry(bench.log.reader.entry(retired.index))
        assert entry.body["last"] == {"instance": "none", "seq": 0, "leaf_hash": silent.producer.hex()}
        with pytest.raises(ProducerRetired):
            bench.send(silent, [silent.start()])
        check_rebuilt(bench)

    def test_nobody_unknown_is_ended(self, bench: TestBench) -> None:
        """An id that never enrolled is not found; a bare entry cannot end anybody."""
        assert bench.log is not None
        for end in (bench.log.retire, bench.log.declare_lost):
            with pytest.raises(NotFoundError):
                end(bytes(32))
        with pytest.raises(MalformedError):
            bench.log.append_own(
                "retirement", {"last": {"instance": "none", "seq": 0, "leaf_hash": "0" * 64}}
            )

    def test_a_retirement_that_was_given_back_ends_nobody(
        self, bench: TestBench, producer: FakeProducer
    ) -> None:
        """A failed staging takes it back; the producer goes on until it is asked for again."""
        assert bench.log is not None
        bench.fault = lambda operation, _: Fault.REFUSED if operation == "staging.put_new" else None
        with pytest.raises(Pushback):
            bench.wait(bench.log.retire(producer.producer))
        bench.fault = None
        bench.send(producer, [producer.decide(9)])
        bench.wait(bench.log.retire(producer.producer))
        check_rebuilt(bench)

    def test_senders_and_an_end_at_once_leave_no_window(self) -> None:
        """Whatever was acknowledged is numbered up to `last`, and nothing above it is in the log."""
        from auditlog.log.engine import Engine

        bench = TestBench()
        bench.create()
        producer = bench.started("racer")
        batches = [producer.batch([producer.decide(n)]) for n in range(40)]
        assert bench.log is not None
        log, engine = bench.log, Engine()
        log._workers = engine
        acknowledged: list[int] = []
        gate = threading.Barrier(2)

        def send() -> None:
            gate.wait()
            for number, batch in enumerate(batches, 1):
                try:
                    log.submit(batch).result(timeout=30)
                except ProducerRetired:
                    return
                acknowledged.append(number)

        thread = threading.Thread(target=send)
        thread.start()
        gate.wait()
        retired = log.retire(producer.producer).result(timeout=30)
        thread.join()
        assert retired.last is not None
        assert retired.last.seq == len(acknowledged)
        log.close()
        engine.close()


class TestDeclaredLost:
    """A host that is gone: what it held is declared, and it cannot come back."""

    def test_the_notice_and_the_end_stand_together(self, bench: TestBench, producer: FakeProducer) -> None:
        """Numbers above the last one accepted are lost; the retirement follows at once."""
        assert bench.log is not None
        lost = bench.wait(bench.log.declare_lost(producer.producer))
        assert lost.loss is not None
        assert (lost.loss.instance, lost.loss.after_seq) == (producer.instance, 3)
        assert lost.loss.from_us <= lost.loss.to_us == bench.clock.unix_us()
        notice = parse_entry(bench.log.reader.entry(lost.loss.index))
        assert notice.body["what"] == "declared_lost"
        assert parse_entry(bench.log.reader.entry(lost.loss.index + 1)).kind == "retirement"
        assert lost.retired.index == lost.loss.index + 1
        with pytest.raises(ProducerRetired):
            bench.send(producer, [producer.decide(9)])
        check_rebuilt(bench)

    def test_it_is_said_once(self, bench: TestBench, producer: FakeProducer) -> None:
        """Asked for again, also after a crash, nothing is added."""
        assert bench.log is not None
        answer = bench.wait(bench.log.declare_lost(producer.producer))
        size = bench.log.tree_size
        assert bench.wait(bench.log.declare_lost(producer.producer)) == answer
        bench.restart()
        assert bench.wait(bench.log.declare_lost(producer.producer)) == answer
        assert bench.log.tree_size == size

    def test_a_start_nobody_heard_of_is_named(self, bench: TestBench, producer: FakeProducer) -> None:
        """All of an instance the log never met is lost, also when the producer has ended already."""
        assert bench.log is not None
        bench.wait(bench.log.retire(producer.producer))
        lost = bench.wait(bench.log.declare_lost(producer.producer, "ab" * 16))
        assert (lost.loss.instance, lost.loss.after_seq) == ("ab" * 16, -1)
        assert [each.index for each in state_in_memory(bench, producer).losses] == [lost.loss.index]
        with pytest.raises(MalformedError):
            bench.log.declare_lost(producer.producer, "nonsense")
        check_rebuilt(bench)

    def test_a_producer_that_never_wrote_only_ends(self, bench: TestBench) -> None:
        """Without a life there is nothing to declare."""
        silent = bench.enrol("silent")
        assert bench.log is not None
        assert bench.wait(bench.log.declare_lost(silent.producer)).loss is None
        assert state_in_memory(bench, silent).retired_at is not None

    def test_a_store_that_fails_tells_the_caller(self, bench: TestBench, producer: FakeProducer) -> None:
        """Given back: neither the loss nor the end is known, and both can be asked for again."""
        assert bench.log is not None
        bench.fault = lambda operation, _: Fault.REFUSED if operation == "staging.put_new" else None
        with pytest.raises((Pushback, StorageError)):
            bench.wait(bench.log.declare_lost(producer.producer))
        bench.fault = None
        assert state_in_memory(bench, producer).losses == ()
        assert bench.wait(bench.log.declare_lost(producer.producer)).loss is not None
        check_rebuilt(bench)


def test_a_reader_of_the_whole_log_follows_every_key(bench: TestBench, producer: FakeProducer) -> None:
    """fsck, which shares no code with the engine, agrees with what admission let in."""
    rotate(bench, producer)
    bench.send(producer, [producer.decide(60)])
    rotate(bench, producer, turn=2)
    bench.send(producer, [producer.start(), producer.decide(61)])
    other = bench.started("b")
    assert bench.log is not None
    bench.wait(bench.log.declare_lost(other.producer))
    bench.send(producer, [producer.seal("retirement", retirement_body(producer))])
    bench.publish()
    report = fsck(MemorySource(bench.public.objects), bench.log.vkey)
    assert report.exit_code == 0, report
