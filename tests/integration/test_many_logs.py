"""Hundreds of logs in one service: a bounded number of threads, and no log starves another."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.note import Ed25519Signer
from auditlog.errors import Pushback
from auditlog.log import LogConfig, Stores, create_log
from auditlog.log.log import Log
from auditlog.log.witness_threads import ASKERS, GATHERERS, WitnessThreads
from auditlog.service.admission import Gate
from auditlog.service.settings import Settings
from auditlog.service.tokens import token_sha256
from auditlog.storage.memory import MemoryState, MemoryStore
from tests.support.clock import ManualClock
from tests.support.live_service import TOKENS, create_logs, live_service
from tests.support.testlog import SECRET, FakeProducer, ManualWorkers

MOST_THREADS = 40


def settings_of(folder: Path, logs: int) -> Settings:
    """So many logs, every one with a witness that is not there."""
    witness = CosignatureSigner.from_seed("witness.example", bytes(32)).vkey
    asked = {"vkey": witness, "url": "http://127.0.0.1:9"}
    return Settings.build(
        {
            "service": {"data_dir": "data", "high_water_dir": "guard"},
            "anchoring": {"mode": "off"},
            "tokens": [
                {"name": scope, "scopes": [scope], "sha256": token_sha256(token).hex()}
                for scope, token in TOKENS.items()
            ],
            "logs": [
                {
                    "name": f"log-{n}",
                    "origin": f"log.example.org/log-{n}",
                    "visibility": "public",
                    "publish_interval_s": 0.2,
                    "witnesses": [asked],
                    "witness_guard": "off",
                    "witness_timeout_s": 0.5,
                }
                for n in range(logs)
            ],
        },
        base=folder,
    )


@pytest.mark.parametrize("logs", [30, pytest.param(200, marks=pytest.mark.long)])
def test_many_logs_share_a_few_threads(tmp_path: Path, logs: int) -> None:
    """Each takes an entry and publishes it; threads do not grow with the logs, witnesses and all."""
    settings = settings_of(tmp_path, logs)
    create_logs(settings)
    before = threading.active_count()
    most = 0
    with live_service(settings) as service:
        for each in settings.logs:
            producer, _ = service.enrol(each.name, "host")
            answer = service.post_batch(each.name, producer, [producer.start(), producer.decide(1)])
            assert answer.status == 200
            most = max(most, threading.active_count())
        for each in settings.logs:
            service.await_published(each.name, 4)
            most = max(most, threading.active_count())
    assert most - before < MOST_THREADS


def a_log(name: str, workers: ManualWorkers) -> tuple[Log, FakeProducer]:
    """A log in memory, and a producer that has started in it."""
    origin = f"log.example.org/{name}"
    clock = ManualClock()
    log = create_log(
        LogConfig(origin=origin, receipt_secret=SECRET, allow_unguarded=True, max_commit_entries=10),
        Stores(MemoryStore(), MemoryStore(), MemoryStore(), MemoryState()),
        Ed25519Signer.from_seed(origin, bytes(32)),
        clock,
        engine=workers,
    )
    producer = FakeProducer("host", origin, clock)
    enrolled = log.enrol("host", producer.signer.vkey, producer.note)
    workers.run()
    producer.enrolled(enrolled.result(timeout=0).producer)
    log.submit(producer.batch([producer.start()]))
    workers.run()
    return log, producer


def test_a_flooded_log_goes_behind_the_others_in_line() -> None:
    """After each commit it is the others' turn: a batch elsewhere waits for one commit of the flood."""
    workers = ManualWorkers()
    flooded, loud = a_log("flooded", workers)
    quiet, host = a_log("quiet", workers)
    flood = [flooded.submit(loud.batch([loud.decide(n * 10 + k) for k in range(10)])) for n in range(50)]
    taken = quiet.submit(host.batch([host.decide(1)]))
    steps = 0
    while not taken.done():
        workers.steps.pop(0)()
        steps += 1
    assert steps == 2
    assert sum(each.done() for each in flood) == 1
    workers.run()
    assert all(each.result(timeout=0).count == 10 for each in flood)


def test_one_log_leaves_room_for_the_others() -> None:
    """Over its share a log is pushed back while others get in; one that holds nothing always may begin."""
    gate = Gate(budget_bytes=100)
    try:
        with gate.room_for(30, "loud", 50), gate.room_for(20, "loud", 50):
            with pytest.raises(Pushback, match="for one log"), gate.room_for(1, "loud", 50):
                pass
            with gate.room_for(50, "quiet", 50):
                assert gate.waiting_bytes == 100
                with pytest.raises(Pushback), gate.room_for(1, "third", 50):
                    pass
        assert gate.waiting_bytes == 0
        with gate.room_for(80, "loud", 50):
            assert gate.waiting_bytes == 80
    finally:
        gate.close()


def test_logs_whose_witnesses_hang_take_turns() -> None:
    """However many gatherings are asked for, so many run at once, and all run in the end."""
    threads = WitnessThreads()
    free, running, ran = threading.Event(), threading.Semaphore(0), threading.Semaphore(0)

    def hang(_: Any = None) -> None:
        running.release()
        free.wait(60)
        ran.release()

    for _ in range(50):
        threads.gather(hang)
        threads.ask(hang, None)
    for _ in range(GATHERERS + ASKERS):
        assert running.acquire(timeout=60)
    assert not running.acquire(blocking=False)
    free.set()
    for _ in range(100):
        assert ran.acquire(timeout=60)
    threads.close()
    assert threads.ask(hang, None).cancelled()
