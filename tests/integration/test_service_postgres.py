"""The whole service on PostgreSQL, as deploy/compose runs it: a real recorder, devnet anchors, a restart,
two services at once.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from auditlog.cli.main import run
from auditlog.core.checkpoint import Checkpoint, open_checkpoint
from auditlog.core.keys import Ed25519Verifier
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.errors import ConfigurationError
from auditlog.service.settings import Settings
from tests.support.live_service import LiveService, create_logs, live_service, write_config
from tests.support.postgres import PostgresServer
from tests.support.recording import WAIT_S, receipt_at, record, recording, with_host_token
from tests.support.testlog import FakeProducer

_names = itertools.count()
LOG = "hashes"


@pytest.fixture
def settings(postgres: PostgresServer, tmp_path: Path) -> Settings:
    """One log in a database of its own, named in a secret file, and a devnet."""
    (tmp_path / "database_url").write_text(postgres.database(f"service_{next(_names)}") + "\n")
    config = write_config(tmp_path, anchoring="devnet", database_url_file="database_url")
    settings = with_host_token(Settings.load(config, environ={}))
    create_logs(settings)
    return settings


def entries_of(service: LiveService) -> list[bytes]:
    """Everything published."""
    size = service.get(f"/logs/{LOG}").json["size"]
    return [service.get(f"/logs/{LOG}/entries/{index}", token="read").body for index in range(size)]


def decisions_of(entries: list[bytes]) -> list[str]:
    """Ids of the decisions among entries, in order."""
    found = [json.loads(entry) for entry in entries]
    return [entry["body"]["id"] for entry in found if entry["kind"] == "decision"]


def anchored_receipt_at(url: str) -> bytes:
    """The receipt, once it carries a devnet anchor."""
    deadline = time.monotonic() + WAIT_S
    while not json.loads(receipt := receipt_at(url))["anchors"]:
        assert time.monotonic() < deadline, "anchored in time"
        time.sleep(0.05)
    return receipt


def test_recorded_decisions_are_receipts_that_verify_across_a_restart(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Enrol, record, restart, record: every receipt verifies with what `trust pin` read from the service."""
    trust = tmp_path / "trust.json"
    made = []
    for life in range(2):
        with live_service(settings) as service:
            with recording(service, tmp_path / "host") as recorder:
                made += [record(recorder, 10 * life + number) for number in range(10)]
            urls = [f"{service.url}/logs/{url.split('/logs/')[1]}" for _, url in made]
            receipts = [anchored_receipt_at(url) for url in urls]
            if life == 0:
                pin = ["trust", "pin", f"{service.url}/logs/{LOG}", "--require", "devnet"]
                assert run([*pin, "--out", str(trust)]) == 0
            assert decisions_of(entries_of(service)) == [id_ for id_, _ in made]
    capsys.readouterr()
    for (id_, _), receipt in zip(made, receipts, strict=True):
        (tmp_path / "receipt.json").write_bytes(receipt)
        code = run(["verify", str(tmp_path / "receipt.json"), "--trust", str(trust)])
        said = capsys.readouterr()
        assert code == 0, said.out + said.err
        assert id_ in said.out
    assert not (settings.service.data_dir / "auditlog.sqlite").exists()


def post_until_taken(service: LiveService, producer: FakeProducer, entries: list[bytes]) -> None:
    """Send, and send again as long as the service says that nothing was accepted; it never halts."""
    deadline = time.monotonic() + WAIT_S
    while (answer := service.post_batch(LOG, producer, entries)).status == 503:
        assert answer.json["type"].rpartition(":")[2] == "pushback", answer.body
        assert time.monotonic() < deadline, "accepted in time"
        time.sleep(0.01)
    assert answer.status == 200, answer.body


def wait_until_ready(service: LiveService) -> None:
    """It signs, or will by itself."""
    deadline = time.monotonic() + WAIT_S
    while service.get("/ready").status != 200:
        assert time.monotonic() < deadline, "ready in time"
        time.sleep(0.05)


def with_lease(settings: Settings, name: str) -> Settings:
    """The same service, which asks for another lease."""
    return settings.model_copy(update={"ingest": settings.ingest.model_copy(update={"lease": name})})


def test_a_second_service_refuses_to_start_and_says_what_to_do(settings: Settings) -> None:
    """It signs nothing and names who runs; once that one has stopped it starts at once."""
    with live_service(settings) as one:
        with (
            pytest.raises(
                ConfigurationError, match=rf":{os.getpid()}:.*stop that one first.*ingest"
            ) as refused,
            live_service(settings),
        ):
            pass
        assert "Nothing was signed" in str(refused.value)
        producer, _ = one.enrol(LOG, "host")
        assert one.post_batch(LOG, producer, [producer.start()]).status == 200
    with live_service(settings) as two:
        assert two.post_batch(LOG, producer, [producer.decide(1)]).status == 200


def test_two_holders_of_the_lease_do_not_fork(settings: Settings) -> None:
    """Both sequence at once, each with the lease as it believes; one tree holds all entries once, and every
    checkpoint that either showed. Who is told of a failure sends again.
    """
    shown: list[Checkpoint] = []
    with live_service(settings) as one, live_service(with_lease(settings, "other")) as two:
        verifier = Ed25519Verifier.from_vkey(one.get(f"/logs/{LOG}").json["vkey"])

        def work(service: LiveService, name: str) -> list[bytes]:
            producer, _ = enrol_until_taken(service, name)
            sent = []
            for number in range(12):
                entries = [producer.start()] if number == 0 else []
                entries += [producer.decide(number)]
                post_until_taken(service, producer, entries)
                sent += entries
                note = service.get(f"/logs/{LOG}/checkpoint").body.decode()
                shown.append(open_checkpoint(note, [verifier], f"log.example.org/{LOG}")[0])
            return sent

        with ThreadPoolExecutor(2) as pool:
            sent = list(pool.map(work, (one, two), ("host-one", "host-two")))
        for service in (one, two):
            wait_until_ready(service)
    with live_service(settings) as again:
        entries = entries_of(again)
    for each in sent:
        assert [entry for entry in entries if entry in each] == each, "all of it, once, in order"
    leaves = [hash_leaf(entry) for entry in entries]
    for checkpoint in shown:
        assert checkpoint.tree_size <= len(leaves)
        assert root_hash(leaves[: checkpoint.tree_size]) == checkpoint.root_hash


def enrol_until_taken(service: LiveService, name: str) -> tuple[FakeProducer, bytes]:
    """Enrol, again as long as nothing was accepted."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            return service.enrol(LOG, name)
        except AssertionError:
            assert time.monotonic() < deadline, "enrolled in time"
            time.sleep(0.01)
