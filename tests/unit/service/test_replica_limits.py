"""What a replica asks of a batch before the broker has it: rates, and whether the log takes anything."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from auditlog.core.batch import encode_batch
from auditlog.core.keys import Ed25519Signer
from auditlog.service.opening import EngineOpener
from auditlog.service.replica import create_replica
from auditlog.service.settings import Settings
from tests.support.live_service import TOKENS, create_logs, write_config
from tests.support.memory_broker import MemoryBroker
from tests.support.testlog import FakeProducer

NEXT = Ed25519Signer.from_seed("next.example.org/log", b"n" * 32).vkey


def _made(folder: Path) -> tuple[Settings, FakeProducer]:
    """A log with one entry of a producer, and a rate of one entry a second."""
    settings = Settings.load(write_config(folder, visibilities=["public"]), {})
    limited = [log.model_copy(update={"max_entries_per_s": 1}) for log in settings.logs]
    ingest = settings.ingest.model_copy(update={"wait_s": 0.05})
    settings = settings.model_copy(update={"logs": limited, "ingest": ingest})
    create_logs(settings)
    return settings, FakeProducer("host", settings.logs[0].origin)


def _on_the_log(settings: Settings, producer: FakeProducer, *, ends: bool) -> bytes:
    """Enrol and begin; perhaps end the log. Returns the body of the first batch."""
    opener = EngineOpener(settings)
    opener.start()
    log = opener.open(settings.logs[0])
    producer.enrolled(log.enrol("host", producer.signer.vkey, producer.note).result(20).producer)
    batch = producer.batch([producer.start()])
    log.submit(batch).result(20)
    if ends:
        log.end(NEXT)
    log.close()
    opener.close()
    return encode_batch(batch.head_note, batch.entries)


async def _answers(settings: Settings, broker: MemoryBroker, bodies: list[bytes]) -> list[httpx.Response]:
    """What a replica says to these, one after the other."""
    app = create_replica(settings, broker=broker)
    headers = {
        "Authorization": f"Bearer {TOKENS['submit']}",
        "Content-Type": "application/vnd.auditlog.batch",
    }
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://replica", headers=headers
        ) as client:
            return [await client.post("/logs/public/batches", content=body) for body in bodies]


def test_a_replica_holds_a_log_to_its_rate(tmp_path: Path) -> None:
    """Its bucket is its own: over it 429, and the broker is not given the batch."""
    settings, producer = _made(tmp_path)
    _on_the_log(settings, producer, ends=False)
    batches = [producer.batch([producer.decide(n * 20 + m) for m in range(11)]) for n in range(2)]
    bodies = [encode_batch(each.head_note, each.entries) for each in batches]
    broker = MemoryBroker()
    first, second = asyncio.run(_answers(settings, broker, bodies))
    assert first.status_code == 202
    assert (second.status_code, second.json()["type"]) == (429, "urn:auditlog:problem:rate")
    assert int(second.headers["retry-after"]) >= 1
    assert len(broker.kept["public"]) == 1


def test_a_replica_whose_broker_takes_no_batch_is_not_ready(tmp_path: Path) -> None:
    """Ready until the broker cannot be reached, or has no queue and cannot make one; and again after that."""
    settings, producer = _made(tmp_path)
    _on_the_log(settings, producer, ends=False)
    broker = MemoryBroker()
    app = create_replica(settings, broker=broker)

    async def found() -> list[tuple[int, dict[str, str]]]:
        answers = []
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://replica") as client:
                for broker.is_connected, broker.can_make in ((True, True), (False, True), (True, False)):
                    broker.lose("public")
                    answer = await client.get("/ready")
                    answers.append((answer.status_code, answer.json()["logs"]))
                    broker.kept["public"] = {}
                answers.append(((await client.get("/ready")).status_code, {}))
        return answers

    away, refuses = {"public": "broker_away"}, {"public": "broker_refuses"}
    assert asyncio.run(found()) == [(200, {}), (503, away), (503, refuses), (200, {})]


def test_a_replica_names_where_an_ended_log_goes_on(tmp_path: Path) -> None:
    """What is there is acknowledged; what is new is refused as the log refuses it."""
    settings, producer = _made(tmp_path)
    held = _on_the_log(settings, producer, ends=True)
    new = producer.batch([producer.decide(1)])
    bodies = [held, encode_batch(new.head_note, new.entries)]
    again, refused = asyncio.run(_answers(settings, MemoryBroker(), bodies))
    assert (again.status_code, again.json()["skipped"]) == (200, 1)
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:auditlog:problem:log_retired")
    assert refused.json()["expected"] == {"origin": "next.example.org/log", "vkey": NEXT}
