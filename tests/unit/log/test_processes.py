"""Batches checked in processes beside the service: the same findings, and nothing is lost with a process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from auditlog.core.batch import encode_batch
from auditlog.core.note import Ed25519Verifier
from auditlog.errors import AuditLogError
from auditlog.log.admission import Batch, CheckedBatch, check_batch, claimed_head
from auditlog.log.processes import Processes
from tests.support.testlog import ORIGIN, FakeProducer

LARGE = 600
"""Padding that makes a batch of 60 worth a process."""


@pytest.fixture
def producer() -> FakeProducer:
    """A producer whose number 0 was made already."""
    producer = FakeProducer("host")
    producer.enrolled(b"\x07" * 32)
    producer.start()
    return producer


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Two processes that have started."""
    found = Processes(2, patience_s=2)
    found.check(*question(large(FakeProducer("first"))))
    wait_until(lambda: found.running == 2)
    yield found
    found.close()


def wait_until(happens: Callable[[], bool]) -> None:
    """Wait for something that other threads bring about."""
    until = time.monotonic() + 30
    while not happens():
        assert time.monotonic() < until
        time.sleep(0.01)


def framed(batch: Batch) -> Batch:
    """The batch as it comes over the network."""
    return replace(batch, framed=encode_batch(batch.head_note, batch.entries))


def large(producer: FakeProducer) -> Batch:
    """A batch from a producer's start that is worth a process."""
    producer.enrolled(b"\x07" * 32)
    return framed(producer.batch([producer.start(), *(producer.decide(n, pad=LARGE) for n in range(60))]))


def question(batch: Batch, *keys: Ed25519Verifier) -> tuple[Any, ...]:
    """The arguments of a check."""
    name = "first" if not keys else ""
    return batch, claimed_head(batch), ORIGIN, keys or (FakeProducer(name).signer.verifier,)


def same(processes: Processes, asked: tuple[Any, ...]) -> CheckedBatch:
    """Check both ways; the result, which must be one."""
    found = processes.check(*asked)
    assert found == check_batch(*asked)
    assert processes.answered > 0
    return found


def test_a_process_finds_what_the_caller_would(processes: Processes, producer: FakeProducer) -> None:
    """Decisions, a start, other kinds, a change of key and an end: findings are equal, member for member."""
    key = producer.signer.verifier
    decisions = [producer.decide(n, pad=LARGE) for n in range(60)]
    assert same(processes, question(framed(producer.batch(decisions)), key)).decides
    gap = producer.seal("coverage", {"model": "unregistered"})
    more = [producer.decide(n, pad=LARGE) for n in range(60)]
    assert same(processes, question(framed(producer.batch([gap, *more])), key)).prev
    last = {"instance": producer.instance, "seq": producer.seq, "leaf_hash": producer.prev.hex()}
    many = [producer.decide(n, pad=LARGE) for n in range(60)]
    last |= {"seq": producer.seq, "leaf_hash": producer.prev.hex()}
    end = producer.seal("retirement", {"producer": producer.producer.hex(), "last": last, "reason": "over"})
    batch = framed(producer.batch([*many, end]))
    assert same(processes, question(batch, key)).retires


@pytest.mark.parametrize("spoilt", ["signature", "entry", "order", "framing"])
def test_refusals_are_those_of_the_caller(processes: Processes, producer: FakeProducer, spoilt: str) -> None:
    """Whatever is wrong with a batch, the error is the one that `check_batch` raises."""
    entries = [producer.decide(n, pad=LARGE) for n in range(60)]
    batch, key = producer.batch(entries), producer.signer.verifier
    if spoilt == "signature":
        key = FakeProducer("another").signer.verifier
    elif spoilt == "entry":
        batch = Batch(batch.head_note, [*entries[:-1], entries[-1].replace(b"chat", b"chap")])
    elif spoilt == "order":
        batch = Batch(batch.head_note, [entries[1], entries[0], *entries[2:]])
    batch = framed(batch)
    if spoilt == "framing":
        batch = replace(batch, framed=b"\xff" * len(batch.framed or b""), entries=entries[:-1])
    asked = question(batch, key)
    with pytest.raises(AuditLogError) as here:
        check_batch(*asked)
    with pytest.raises(type(here.value)) as there:
        processes.check(*asked)
    assert str(there.value) == str(here.value)
    assert vars(there.value) == vars(here.value)
    assert processes.restarts == 0


def test_a_small_batch_starts_nothing(producer: FakeProducer) -> None:
    """What is checked sooner than it is handed over is checked at once."""
    processes = Processes(1)
    processes.check(*question(framed(producer.batch([producer.decide(1)])), producer.signer.verifier))
    assert (processes.running, processes.answered) == (0, 0)
    processes.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_dies_or_hangs_costs_nothing(
    processes: Processes, producer: FakeProducer, how: signal.Signals
) -> None:
    """The batch is checked by its caller, and another process takes the place."""
    pids = processes.pids()
    for pid in pids:
        os.kill(pid, how)
    key = producer.signer.verifier
    for _ in range(2):
        batch = framed(producer.batch([producer.decide(n, pad=LARGE) for n in range(60)]))
        asked = question(batch, key)
        assert processes.check(*asked) == check_batch(*asked)
    assert processes.restarts == 2
    asked = question(framed(producer.batch([producer.decide(n, pad=LARGE) for n in range(60)])), key)
    # A batch that comes later starts new ones: not more often than once a second.
    wait_until(lambda: processes.check(*asked).decides and processes.running == 2)
    before = processes.answered
    same(processes, asked)
    assert processes.answered == before + 1
    assert not set(pids) & set(processes.pids())


def test_none_is_left_behind(processes: Processes) -> None:
    """After `close` every process has ended, and a batch is checked all the same."""
    pids = processes.pids()
    processes.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    asked = question(large(FakeProducer("first")))
    assert processes.check(*asked) == check_batch(*asked)
