"""The engine on real threads: many senders, several logs, one order each, and nobody left waiting."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from auditlog.errors import LogHalted
from auditlog.log import Engine
from auditlog.log.engine import Step
from tests.support.disk_log import DiskLog
from tests.support.log_audit import check_chains
from tests.support.testlog import FakeProducer


@pytest.mark.parametrize("logs", [1, 3])
def test_many_senders_on_several_logs(logs: int, tmp_path: Path) -> None:
    """Every batch of every sender is acknowledged once, and each log holds exactly its own."""
    engine = Engine(threads=2)
    disks = [DiskLog(tmp_path / f"log-{n}", publish_interval_s=0.01) for n in range(logs)]
    failures: list[BaseException] = []

    def send(disk: DiskLog, name: str) -> None:
        try:
            log = disk.log
            assert log is not None
            producer = FakeProducer(name)
            enrolled = log.enrol(name, producer.signer.vkey, producer.note).result(timeout=60)
            producer.enrolled(enrolled.producer)
            log.submit(producer.batch([producer.start()])).result(timeout=60)
            for number in range(10):
                batch = [producer.decide(number * 100 + n) for n in range(30)]
                assert log.submit(producer.batch(batch)).result(timeout=60).count == 30
        except BaseException as error:
            failures.append(error)
            raise

    for disk in disks:
        disk.create(engine)
    senders = [threading.Thread(target=send, args=(disk, f"host-{n}")) for disk in disks for n in range(3)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert failures == []
    for disk in disks:
        log = disk.log
        assert log is not None
        log.await_published(log.tree_size - 1, timeout_s=60)
        disk.close()
        assert (log.tree_size, log.published_size, log.index.size) == (1 + 3 * 302, 907, 907)
        check_chains(log.reader.entries(0, 907))
    engine.close()


def test_a_closed_log_refuses_and_leaves_nobody_waiting(tmp_path: Path) -> None:
    """Closing while batches come in answers every one of them, with a result or with a refusal."""
    disk = DiskLog(tmp_path)
    log = disk.create()
    futures = []
    try:
        for number in range(10_000):
            futures.append(log.append_own("notice", {"what": "stopped", "detail": str(number)}))
            if number == 50:
                closing = threading.Thread(target=disk.close)
                closing.start()
    except LogHalted:
        pass
    closing.join()
    assert len(futures) > 50
    for future in futures:
        assert future.done()
    assert sum(future.exception() is None for future in futures) == log.tree_size - 1


def test_planned_steps_run_in_time_order() -> None:
    """What is due earlier runs earlier, whatever was planned first."""
    engine = Engine(threads=1)
    ran: list[str] = []
    done = threading.Event()
    steps: list[tuple[float, Step]] = [
        (0.05, lambda: (ran.append("late"), done.set())),
        (0.01, lambda: ran.append("early")),
        (0.0, lambda: ran.append("now")),
    ]
    for delay, step in steps:
        engine.later(delay, step)
    assert done.wait(timeout=60)
    engine.close()
    assert ran == ["now", "early", "late"]


def test_a_step_that_fails_is_seen_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """An unforeseen error is logged, and the thread goes on."""
    engine = Engine(threads=1)
    done = threading.Event()

    def fail() -> None:
        raise RuntimeError("unforeseen")

    engine.soon(fail)
    engine.soon(done.set)
    assert done.wait(timeout=60)
    engine.close()
    engine.soon(fail)
    assert [record.message for record in caplog.records] == ["a step of the engine failed"]
