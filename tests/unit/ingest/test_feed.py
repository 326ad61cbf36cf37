"""What a broker may do to batches, repeat them, delay them, mix them up, spoil them, harms no log."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from auditlog.errors import BrokerError
from auditlog.ingest import feed as feed_module
from auditlog.storage.memory import Fault
from tests.support.fed_log import FedLog, fed_log, framed, with_fed_log
from tests.support.held import held
from tests.support.memory_broker import MemoryBroker, keeps_the_contract
from tests.support.testlog import FakeProducer, TestBench


def test_the_broker_in_memory_keeps_the_contract() -> None:
    """What the tests here stand on is what the port promises."""

    async def run() -> None:
        broker = MemoryBroker()
        await broker.start(["test"])
        await keeps_the_contract(broker, "test")

    asyncio.run(run())


def test_a_batch_is_done_after_its_commit_and_not_before() -> None:
    """As long as the engine has not committed, the broker keeps it."""

    async def work(fed: FedLog) -> None:
        producer = fed.bench.enrol("host")
        fed.is_pumping = False
        await fed.publish(producer, [producer.start()])
        await fed.until(lambda: bool(fed.bench.workers.steps))
        assert len(fed.broker.kept["test"]) == 1
        fed.is_pumping = True
        await fed.until(lambda: not fed.broker.kept["test"])
        assert fed.outcomes == {"committed": 1}

    with_fed_log(work)


@pytest.mark.parametrize("seed", range(4))
def test_any_order_and_any_number_of_deliveries_gives_whole_chains(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three hosts' batches, mixed up and doubled, then sent again as their hosts do: each is in once."""
    monkeypatch.setattr(feed_module, "PREDECESSOR_WAIT_S", 0.05)
    choose = random.Random(seed)

    async def work(fed: FedLog) -> None:
        producers = [fed.bench.enrol(f"host-{number}") for number in range(3)]
        chains = [
            [[producer.start()], *([producer.decide(n), producer.decide(-n)] for n in range(1, 9))]
            for producer in producers
        ]
        sent = [(at, entries) for at, chain in enumerate(chains) for entries in chain]
        sent += choose.sample(sent, 10)
        choose.shuffle(sent)
        for at, entries in sent:
            await fed.publish(producers[at], entries)
        for producer, chain in zip(producers, chains, strict=True):
            for entries in chain:
                while held(fed.bench.state).heads.get(producer.producer) is None or not reached(
                    fed, producer, entries
                ):
                    await fed.publish(producer, entries)
                    await asyncio.sleep(0.03)
        await fed.until(lambda: not fed.broker.kept["test"])
        found = committed(fed.bench)
        wanted = [entry for chain in chains for entries in chain for entry in entries]
        assert sorted(found) == sorted(wanted)

    with_fed_log(work)


def reached(fed: FedLog, producer: FakeProducer, entries: list[bytes]) -> bool:
    """Whether the log has the last of these."""
    return entries[-1] in committed(fed.bench)


def committed(bench: TestBench) -> list[bytes]:
    """The entries of producers in the committed tree."""
    assert bench.log is not None
    entries = bench.log.reader.entries(0, bench.log.tree_size)
    return [entry for entry in entries if b'"producer":"log"' not in entry]


def test_what_cannot_be_true_is_dropped_and_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage, a stranger, a forged head, a fork and a batch from nowhere: each counted."""
    monkeypatch.setattr(feed_module, "PREDECESSOR_WAIT_S", 0.05)

    async def work(fed: FedLog) -> None:
        producer, stranger = fed.bench.started("host"), FakeProducer("stranger")
        stranger.enrolled(b"\7" * 32)
        good = framed(producer, [producer.decide(1)])
        forged = bytearray(good)
        forged[200] ^= 1
        kept = producer.seq, producer.prev
        producer.seq, producer.prev = 0, b"\3" * 32
        fork = framed(producer, [producer.decide(2)])
        producer.seq = 7
        nowhere = framed(producer, [producer.decide(3)])
        producer.seq, producer.prev = kept
        for data in (
            b"",
            b"garbage",
            framed(stranger, [stranger.start()]),
            bytes(forged),
            fork,
            nowhere,
            good,
        ):
            await fed.broker.publish("test", data)
        await fed.until(lambda: not fed.broker.kept["test"])
        assert fed.outcomes["committed"] == 1
        assert fed.outcomes["chain_conflict"] == 2
        assert fed.outcomes["not_found"] == 1
        assert fed.outcomes["early"] > 0
        dropped = sum(
            fed.outcomes[code] for code in ("malformed", "authentication", "chain_conflict", "not_found")
        )
        assert dropped == 6

    with_fed_log(work)


def test_a_fault_of_our_own_code_costs_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception nobody foresaw drops the batch that brings it out, and none behind it."""

    async def work(fed: FedLog) -> None:
        producer = fed.bench.enrol("host")
        log = fed.bench.log
        assert log is not None
        submit = log.submit
        calls = iter([True, False])

        def once(batch: object) -> object:
            if next(calls, False):
                raise RuntimeError("a defect")
            return submit(batch)  # type: ignore[arg-type]

        monkeypatch.setattr(log, "submit", once)
        await fed.publish(producer, [producer.start()])
        await fed.until(lambda: fed.outcomes["malformed"] == 1)
        producer.seq, producer.prev = -1, producer.producer
        await fed.publish(producer, [producer.start()])
        await fed.until(lambda: not fed.broker.kept["test"])
        assert fed.outcomes["committed"] == 1

    with_fed_log(work)


def test_a_storage_failure_gives_the_batch_back_to_the_broker() -> None:
    """The commit fails and nothing was accepted: delivered again, it is committed."""

    async def work(fed: FedLog) -> None:
        producer = fed.bench.enrol("host")
        failures = iter([True])
        fed.bench.fault = lambda where, _: (
            Fault.REFUSED if where == "state.commit" and next(failures, False) else None
        )
        await fed.publish(producer, [producer.start()])
        await fed.until(lambda: not fed.broker.kept["test"])
        assert fed.outcomes["pushback"] >= 1
        assert fed.outcomes["committed"] == 1

    with_fed_log(work)


def test_a_feed_that_was_replaced_begins_anew() -> None:
    """Two feeds on one log take each other's consumer away; every batch is committed once all the same."""

    async def run() -> None:
        async with fed_log() as fed:
            with ThreadPoolExecutor(1) as threads:
                other = asyncio.create_task(fed.feed(threads).run())
                producer = fed.bench.enrol("host")
                await fed.publish(producer, [producer.start()])
                for number in range(5):
                    await fed.publish(producer, [producer.decide(number)])
                await fed.until(lambda: not fed.broker.kept["test"])
                other.cancel()
                await asyncio.gather(other, return_exceptions=True)
            assert len(committed(fed.bench)) == 6

    asyncio.run(run())


def test_a_queue_that_was_lost_is_made_again_and_what_it_held_is_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lost with a batch in it and with one that waits for its predecessor: sent again, each is in once."""
    monkeypatch.setattr(feed_module, "HALTED_S", 0.01)

    async def work(fed: FedLog) -> None:
        producer = fed.bench.enrol("host")
        first, second = framed(producer, [producer.start()]), framed(producer, [producer.decide(1)])
        await fed.broker.publish("test", second)
        await fed.until(lambda: fed.outcomes["early"] > 0)
        fed.broker.lose("test")
        await fed.broker.publish("test", second)
        await fed.broker.publish("test", first)
        await fed.until(lambda: not fed.broker.kept["test"])
        assert fed.outcomes["committed"] == 2
        assert fed.outcomes["chain_conflict"] == 0
        assert len(committed(fed.bench)) == 2

    with_fed_log(work)


def test_a_broker_that_is_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The feed outlives the broker."""
    monkeypatch.setattr(feed_module, "HALTED_S", 0.01)

    async def run() -> None:
        async with fed_log(is_fed=False) as fed:
            consume, failures = fed.broker.consume, iter([True, True])

            async def away(log: str) -> object:
                if next(failures, False):
                    raise BrokerError("expected a broker, found it away")
                return await consume(log)

            monkeypatch.setattr(fed.broker, "consume", away)
            with ThreadPoolExecutor(1) as threads:
                feed = asyncio.create_task(fed.feed(threads).run())
                producer = fed.bench.enrol("host")
                await fed.publish(producer, [producer.start()])
                await fed.until(lambda: not fed.broker.kept["test"])
                feed.cancel()
                await asyncio.gather(feed, return_exceptions=True)

    asyncio.run(run())
