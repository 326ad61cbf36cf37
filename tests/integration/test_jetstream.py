"""Two replicas, two sequencer candidates, three NATS servers and a PostgreSQL, under load, each killed.

No acknowledged entry is lost or there twice, every index that was told is true, and another sequencer goes on
within 10 s. Everything is a process of its own and real.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from dataclasses import replace
from pathlib import Path

import nats as client
import pytest

from auditlog.errors import ConfigurationError, Pushback
from auditlog.ingest.jetstream import JetStreamBroker
from auditlog.ingest.streams import MADE_AGAIN, JetStreamSettings
from auditlog.service.settings import Settings
from tests.support.live_service import live_service
from tests.support.log_audit import check_chains
from tests.support.memory_broker import keeps_the_contract
from tests.support.nats_cluster import NatsCluster
from tests.support.postgres import PostgresServer
from tests.support.replicated import LOG, WAIT_S, Load, Replicated, Sender, replicated

HAND_OVER_S = 10.0
BUSY = 3
"""Beside other tests on two cores a process takes long to start; the long test holds the time itself."""


def told(text: str) -> None:
    """A figure for whoever reads the run."""
    sys.stdout.write(f"{text}\n")


def hand_over_s(load: Load, moment: float) -> float:
    """The longest time without an acknowledgement from a moment on, until it all goes on."""
    load.first_after(moment)
    load.await_more(50)
    return load.longest_gap(moment, time.monotonic())


def check(whole: Replicated, load: Load) -> list[bytes]:
    """Everything acknowledged is in the published log once, where it was said to be, in whole chains."""
    acknowledged = [entry for sender in load.senders for entry in sender.acknowledged]
    until = time.monotonic() + WAIT_S
    while not set(acknowledged) <= set(entries := whole.entries()):
        assert time.monotonic() < until, (
            f"{len(set(acknowledged) - set(entries))} acknowledged entries missing"
        )
        time.sleep(0.1)
    assert len(set(entries)) == len(entries), "no entry twice"
    check_chains(entries)
    for sender in load.senders:
        for entry, index in sender.indices.items():
            assert entries[index] == entry
    return entries


def test_a_batch_goes_through_the_broker_and_everything_else_is_passed_on(
    nats: NatsCluster, postgres: PostgresServer, tmp_path: Path
) -> None:
    """Enrolment, indices, repeats, conflicts, heads, tiles and receipts, all by way of a replica; then, under
    load, the stream is deleted, and made again by whoever misses it, the sequencer is killed, and the other
    one told to stop: it goes on soon each time, and nothing acknowledged is lost or there twice.
    """
    with replicated(tmp_path, nats, postgres, "through") as whole:
        sender = Sender(whole, "host", size=4)
        sender.enrol()
        first = [sender.producer.start(), sender.producer.decide(1)]
        answer = sender.send(first)
        assert (answer["count"], answer["skipped"]) == (2, 0)
        assert answer["tree_size"] >= answer["first_index"] + 2
        again = sender.send(first)
        assert (again["count"], again["skipped"], again["first_index"]) == (0, 2, answer["first_index"] + 1)
        longer = [*first, sender.producer.decide(2)]
        assert sender.send(longer)["first_index"] == answer["first_index"] + 2
        api = whole.api[0].service
        forged = sender.producer
        kept = forged.seq, forged.prev
        forged.seq, forged.prev = 0, b"\1" * 32
        conflict = api.post_batch(LOG, forged, [forged.decide(9)])
        assert (conflict.status, conflict.json["found"]["seq"]) == (409, 1)
        forged.seq, forged.prev = kept
        head = api.get(f"/logs/{LOG}/producers/{forged.producer.hex()}/head", token="submit").json
        assert (head["seq"], head["leaf_hash"]) == (2, forged.prev.hex())
        assert api.get(f"/logs/{LOG}").json["origin"] == f"log.example.org/{LOG}"
        assert api.get(f"/logs/{LOG}/tile/0/999").status == 404
        assert "auditlog_http_requests" in api.get("/metrics").body.decode()
        assert api.get("/openapi.json").status == 200
        load = Load(whole, 2)
        load.await_more(50)
        moment = time.monotonic()
        lose_stream(whole)
        lost_s = hand_over_s(load, moment)
        assert [each.status() for each in whole.api] == [200, 200]
        assert sum(each.errors.read_text().count(MADE_AGAIN) for each in whole.members) == 1
        holder = whole.await_holder()
        moment = time.monotonic()
        holder.kill()
        killed_s = hand_over_s(load, moment)
        holder.start()
        whole.await_standby()
        holder = whole.await_holder()
        moment = time.monotonic()
        assert holder.stop() == 0
        stopped_s = hand_over_s(load, moment)
        load.stop()
        told(f"hand-over {killed_s:.1f} s after kill -9, {stopped_s:.1f} s after SIGTERM")
        told(f"{lost_s:.1f} s without an acknowledgement after the stream was deleted")
        assert max(killed_s, stopped_s, lost_s) < BUSY * HAND_OVER_S
        check(whole, load)


def test_jetstream_keeps_the_contract_and_a_full_stream_refuses(nats: NatsCluster) -> None:
    """The port on real servers; what does not fit is pushback; a stream set up otherwise is refused."""

    async def run() -> None:
        small = JetStreamSettings(
            servers=nats.servers, monitors=nats.monitors, prefix="contract", max_stream_bytes=1 << 20
        )
        broker = JetStreamBroker(small)
        await broker.start(["full", "main"])
        try:
            await keeps_the_contract(broker, "main")
            found = await asyncio.gather(
                *(broker.publish("full", bytes(100_000)) for _ in range(20)), return_exceptions=True
            )
            assert 5 < sum(isinstance(each, int) for each in found) < 12
            assert {type(each) for each in found} == {int, Pushback}
            await broker.publish("main", b"another log has room")
        finally:
            await broker.close()
        other = JetStreamBroker(replace(small, replicas=1))
        try:
            with pytest.raises(ConfigurationError, match="num_replicas"):
                await other.start(["main"])
        finally:
            await other.close()

    asyncio.run(run())


def test_a_server_that_does_not_sync_is_refused(postgres: PostgresServer, tmp_path: Path) -> None:
    """Neither role starts on a NATS that confirms before it syncs, and each says what to set."""
    lax = NatsCluster(1, sync="sync_interval: 2m")
    try:
        lax.start()
        whole = Replicated(tmp_path, lax, postgres, "lax")
        for role in ("api", "sequencer"):
            settings = Settings.load(whole.api[0].config, {"AUDITLOG_SERVE_ROLE": role})
            with pytest.raises(ConfigurationError, match="sync_interval: always"), live_service(settings):
                pass
    finally:
        lax.stop()


@pytest.mark.long
@pytest.mark.xdist_group("nats")
@pytest.mark.parametrize("seed", range(3))
def test_every_part_is_killed_under_load(
    nats: NatsCluster, postgres: PostgresServer, tmp_path: Path, seed: int
) -> None:
    """The stream's leader, the stream, the sequencer, the database and a replica, in an order of the seed."""
    choose = random.Random(seed)
    with replicated(tmp_path, nats, postgres, f"killed{seed}") as whole:
        load = Load(whole, 6)
        load.await_more(200)
        kills = [kill_leader, kill_sequencer, kill_database, kill_replica, lose_stream] * 2
        choose.shuffle(kills)
        for kill in kills:
            moment = time.monotonic()
            name = kill(whole)
            gap_s = load.first_after(moment)
            told(f"{name}: first commit after {gap_s:.1f} s")
            if kill in {kill_sequencer, kill_replica}:
                assert gap_s < HAND_OVER_S
            load.await_more(100)
            whole.await_standby()
        load.stop()
        entries = check(whole, load)
        told(f"{load.count} entries acknowledged, {len(entries)} in the log, 0 lost, 0 twice")


def kill_leader(whole: Replicated) -> str:
    """The NATS server that leads the stream dies, and comes back."""
    leader = whole.nats.stream_leader(whole.stream)
    assert leader is not None
    whole.nats.kill(leader)
    time.sleep(1.0)
    whole.nats.start_one(leader)
    return "leader of the stream"


def lose_stream(whole: Replicated) -> str:
    """The stream is deleted with all that it holds, as if the disks of all NATS servers were wiped."""

    async def delete() -> None:
        connection = await client.connect(whole.nats.servers)
        await connection.jetstream().delete_stream(whole.stream)
        await connection.close()

    asyncio.run(delete())
    return "stream"


def kill_sequencer(whole: Replicated) -> str:
    """Whoever sequences dies; it is started again to stand by."""
    holder = whole.await_holder()
    holder.kill()
    holder.start()
    return "sequencer"


def kill_database(whole: Replicated) -> str:
    """PostgreSQL and all its sessions die, and it comes back."""
    whole.postgres.kill()
    time.sleep(1.0)
    whole.postgres.serve()
    return "database"


def kill_replica(whole: Replicated) -> str:
    """One replica dies, and comes back."""
    replica = whole.api[0]
    replica.kill()
    replica.start()
    replica.await_status(200)
    return "replica"
