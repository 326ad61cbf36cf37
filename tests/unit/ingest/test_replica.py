"""A replica checks as the log does, publishes, and acknowledges what the committed head shows."""

from __future__ import annotations

import asyncio

import pytest

from auditlog.core.keys import Ed25519Signer
from auditlog.errors import (
    AuthenticationError,
    ChainConflictError,
    LogQuiesced,
    LogReadOnly,
    LogRetired,
    MalformedError,
    NotFoundError,
    NotYetCommitted,
    ProducerRetired,
    Pushback,
)
from auditlog.ingest import replica as replica_module
from auditlog.ingest.replica import Replica
from auditlog.log.admission import Accepted, Batch
from tests.support.fed_log import FedLog, with_fed_log
from tests.support.testlog import FakeProducer, next_key, rotation_body


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a replica knows is looked up each time."""
    monkeypatch.setattr(replica_module, "KNOWN_S", 0.0)
    monkeypatch.setattr(replica_module, "_AGAIN_S", 0.0)


async def posted(replica: Replica, batch: Batch) -> Accepted:
    """What the route does."""
    examined = await asyncio.to_thread(replica.examine, batch)
    return await replica.deliver(examined)


def test_a_batch_is_acknowledged_with_its_indices() -> None:
    """New, again, and with more behind it: the same members as from the log itself."""

    async def work(fed: FedLog) -> None:
        producer = fed.bench.enrol("host")
        size = fed.bench.log.tree_size  # type: ignore[union-attr]
        entries = [producer.start(), producer.decide(1)]
        first = await posted(fed.replica, producer.batch(entries))
        assert first == Accepted(size, 2, 0, size + 2)
        published = fed.broker._positions
        again = await posted(fed.replica, producer.batch(entries))
        assert again == Accepted(size + 1, 0, 2, size + 2)
        assert fed.broker._positions == published, "what is committed is not published again"
        entries.append(producer.decide(2))
        longer = await posted(fed.replica, producer.batch(entries))
        assert longer == Accepted(size + 2, 1, 2, size + 3)
        with pytest.raises(NotYetCommitted):
            # Cut otherwise than it was sent: comparable as soon as its tile is published.
            await posted(fed.new_replica(wait_s=0.05), producer.batch(entries[:1]))
        fed.bench.publish()
        old = await posted(fed.replica, producer.batch(entries[:1]))
        assert (old.first_index, old.count, old.skipped) == (size, 0, 1)

    with_fed_log(work)


def test_another_replica_acknowledges_what_the_first_one_took() -> None:
    """They share nothing but the database and the broker."""

    async def work(fed: FedLog) -> None:
        producer = fed.bench.enrol("host")
        entries = [producer.start(), producer.decide(1)]
        other = fed.new_replica()
        batch = producer.batch(entries)
        found = await asyncio.gather(posted(fed.replica, batch), posted(other, batch))
        assert {each.tree_size for each in found} == {found[0].tree_size}
        assert (await posted(other, batch)).skipped == 2

    with_fed_log(work)


def test_without_a_sequencer_nothing_is_promised() -> None:
    """The batch is in the broker, and the answer says no more than that."""

    async def work(fed: FedLog) -> None:
        producer = fed.bench.enrol("host")
        with pytest.raises(NotYetCommitted):
            await posted(fed.new_replica(wait_s=0.05), producer.batch([producer.start()]))
        assert len(fed.broker.kept["test"]) == 1

    with_fed_log(work, is_fed=False)


def test_a_full_broker_is_pushback() -> None:
    """Nothing was accepted, and the caller is told when to come again."""

    async def work(fed: FedLog) -> None:
        producer = fed.bench.enrol("host")
        fed.broker.room = 0
        with pytest.raises(Pushback) as full:
            await posted(fed.replica, producer.batch([producer.start()]))
        assert full.value.retry_after_s == 2

    with_fed_log(work, is_fed=False)


def test_what_contradicts_the_chain_is_refused_before_it_is_published() -> None:
    """A fork at the head, below it and across it are 409; what may follow something on its way is not."""

    async def work(fed: FedLog) -> None:
        producer = fed.bench.started("host")
        fed.bench.send(producer, [producer.decide(1)])
        fed.bench.publish()
        kept = producer.seq, producer.prev
        for seq in (0, 1):
            producer.seq, producer.prev = seq, b"\1" * 32
            with pytest.raises(ChainConflictError):
                await posted(fed.replica, producer.batch([producer.decide(9)]))
        producer.seq, producer.prev = kept
        assert not fed.broker.kept["test"]
        first, second = [producer.decide(2)], [producer.decide(3)]
        with pytest.raises(NotYetCommitted):
            await posted(fed.new_replica(wait_s=0.01), producer.batch(second))
        fed.bench.send(producer, first)
        fed.bench.send(producer, second)
        assert (await posted(fed.replica, producer.batch(second))).skipped == 1

    with_fed_log(work, is_fed=False)


def test_who_is_not_enrolled_or_did_not_sign_is_refused() -> None:
    """The checks are those of the log."""

    async def work(fed: FedLog) -> None:
        producer, stranger = fed.bench.enrol("host"), FakeProducer("stranger")
        stranger.enrolled(b"\7" * 32)
        with pytest.raises(NotFoundError):
            await posted(fed.replica, stranger.batch([stranger.start()]))
        with pytest.raises(MalformedError):
            await posted(fed.replica, Batch("no head", [b"{}"]))
        entries = [producer.start()]
        producer.signer = next_key(producer)
        with pytest.raises(AuthenticationError):
            await posted(fed.replica, producer.batch(entries))
        assert not fed.broker.kept["test"]

    with_fed_log(work)


def test_a_rotation_an_end_and_a_standing_are_heard_of() -> None:
    """The next batch is by the next key, nothing follows an end, and a quiesced log takes nothing new."""

    async def work(fed: FedLog) -> None:
        producer = fed.bench.enrol("host")
        log = fed.bench.log
        assert log is not None
        following = next_key(producer)
        first = [producer.start(), producer.seal("rotation", rotation_body(producer, following))]
        batch = producer.batch(first)
        assert (await posted(fed.replica, batch)).count == 2
        producer.signer = following
        assert (await posted(fed.replica, producer.batch([producer.decide(1)]))).count == 1
        assert (await posted(fed.replica, batch)).skipped == 2, "judged by the key of its time"
        assert fed.replica.producer_state(producer.producer).vkey == following.vkey
        retired = log.retire(producer.producer)
        await asyncio.wait_for(asyncio.wrap_future(retired), 20)
        with pytest.raises(ProducerRetired):
            await posted(fed.replica, producer.batch([producer.decide(2)]))
        assert (await posted(fed.replica, batch)).skipped == 2
        assert fed.replica.producer_state(producer.producer).retired_at is not None

    with_fed_log(work)


@pytest.mark.parametrize(("standing", "refusal"), [("quiesced", LogQuiesced), ("read-only", LogReadOnly)])
def test_a_log_that_takes_nothing_new_says_so_at_the_replica(standing: str, refusal: type[Exception]) -> None:
    """Quiesced is pushback, read-only a refusal; what is in already is acknowledged all the same."""

    async def work(fed: FedLog) -> None:
        producer = fed.bench.enrol("host")
        entries = [producer.start()]
        await posted(fed.replica, producer.batch(entries))
        await asyncio.to_thread(fed.bench.state.set_standing, "open", standing)
        with pytest.raises(refusal):
            await posted(fed.replica, producer.batch([producer.decide(1)]))
        assert (await posted(fed.replica, producer.batch(entries))).skipped == 1

    with_fed_log(work, is_fed=True)


def test_an_ended_log_is_refused_at_the_replica_with_where_it_goes_on() -> None:
    """The refusal names the successor, as the log's own does."""
    following = Ed25519Signer.from_seed("next.example.org/log", b"n" * 32).vkey

    async def work(fed: FedLog) -> None:
        producer = fed.bench.enrol("host")
        entries = [producer.start()]
        await posted(fed.replica, producer.batch(entries))
        log = fed.bench.log
        assert log is not None
        await asyncio.to_thread(log.end, following)
        await asyncio.to_thread(fed.bench.publish)
        replica = fed.new_replica()
        with pytest.raises(LogRetired) as refused:
            await posted(replica, producer.batch([producer.decide(1)]))
        assert refused.value.expected == {"origin": "next.example.org/log", "vkey": following}
        assert (await posted(replica, producer.batch(entries))).skipped == 1

    with_fed_log(work)
