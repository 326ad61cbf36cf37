"""Promises and outcomes over real HTTP, on SQLite and on PostgreSQL; nothing is faked."""

from __future__ import annotations

import base64
import itertools
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auditlog.core.checkpoint import open_checkpoint
from auditlog.core.keys import Ed25519Verifier
from auditlog.core.merkle import hash_leaf, verify_inclusion
from auditlog.core.promise import Promise, sign_promise
from auditlog.service.settings import Settings
from tests.support.live_service import Answer, LiveService, create_logs, live_service, write_config
from tests.support.postgres import PostgresServer
from tests.support.testlog import FakeProducer, decision_body

_names = itertools.count()
LOG = "private"
DECISION = decision_body(1)["id"]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """One private log, and a devnet."""
    return created(request, tmp_path_factory.mktemp("promises"))


def created(request: pytest.FixtureRequest, folder: Path) -> Settings:
    """A private log of the kind of the test's parameter."""
    more: dict[str, Any] = {}
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        (folder / "database_url").write_text(server.database(f"promises_{next(_names)}") + "\n")
        more["database_url_file"] = "database_url"
    config = write_config(folder, visibilities=(LOG,), anchoring="devnet", **more)
    settings = Settings.load(config, environ={})
    create_logs(settings)
    return settings


@pytest.fixture(params=["sqlite", "postgres"])
def own_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """The same for one test alone."""
    return created(request, tmp_path)


@pytest.fixture(scope="module")
def service(settings: Settings) -> Iterator[LiveService]:
    """The service of that log."""
    with live_service(settings) as running:
        yield running


def promise_of(by: FakeProducer, entry: bytes, /, **changes: Any) -> str:
    """A promise of a sealed entry."""
    said = json.loads(entry)
    members: dict[str, Any] = {key: said[key] for key in ("origin", "producer", "instance", "seq", "time")}
    members |= {
        "leaf_hash": hash_leaf(entry),
        "model": "unregistered",
        "request": bytes(32),
        "response": bytes(32),
        "merge_by": "2100-01-01T00:00:00.000000Z",
    }
    return sign_promise(Promise(**(members | changes)), by.signer)


def post(service: LiveService, path: str, body: object, *, token: str | None = "submit") -> Answer:
    """A JSON body."""
    return service.request("POST", f"/logs/{LOG}/{path}", token=token, body=json.dumps(body).encode())


def started(service: LiveService) -> tuple[FakeProducer, list[bytes]]:
    """A new producer whose start and decision are published, and these two entries."""
    producer, _ = service.enrol(LOG, f"host-{next(_names)}")
    entries = [producer.start(), producer.decide(1)]
    answer = service.post_batch(LOG, producer, entries)
    assert answer.status == 200, answer.body
    service.await_published(LOG, answer.json["tree_size"])
    return producer, entries


def look_up(service: LiveService, note: str) -> Answer:
    """Ask with a promise; 202 while the index follows."""
    for _ in range(200):
        answer = service.request(
            "POST", f"/logs/{LOG}/promises/lookup", body=note.encode(), media_type="text/plain"
        )
        if answer.status != 202:
            break
    return answer


def test_a_promise_handed_over_is_fetched_without_a_token(service: LiveService) -> None:
    """The note comes back byte for byte; a second, contradicting one is shown beside it."""
    producer, entries = started(service)
    decision = f"id-{next(_names)}"
    path = f"/logs/{LOG}/promises/{decision}"
    assert service.get(path).status == 404
    note, other = promise_of(producer, entries[1]), promise_of(producer, entries[1], leaf_hash=bytes(32))
    body = {"promises": [{"id": decision, "promise": note}]}
    assert post(service, "promises", body, token=None).status == 401
    assert post(service, "promises", body, token="read").status == 403
    assert [post(service, "promises", body).json for _ in range(2)] == [{"kept": 1}] * 2
    found = service.get(path)
    assert found.body.decode() == note
    assert found.headers["content-type"] == "text/plain; charset=utf-8"
    assert "audit-promises-conflict" not in found.headers
    post(service, "promises", {"promises": [{"id": decision, "promise": other}]})
    found = service.get(f"{path}?n=1")
    assert (found.body.decode(), found.headers["audit-promises"]) == (other, "2")
    assert found.headers["audit-promises-conflict"] == "true"
    assert service.get(f"{path}?n=2").status == 404
    assert service.get(f"{path}?producer={producer.producer.hex()}").body.decode() == note
    assert service.get(f"{path}?producer={'0' * 64}").status == 404
    metrics = service.get("/metrics").body.decode()
    assert f'auditlog_promises_total{{log="{LOG}",state="conflicting"}}' in metrics


def test_whoever_holds_a_promise_gets_its_entry_and_proof(service: LiveService) -> None:
    """Of a private log, without a token, everything into one checkpoint."""
    producer, entries = started(service)
    answer = look_up(service, promise_of(producer, entries[1]))
    assert answer.status == 200, answer.body
    found = answer.json
    info = service.get(f"/logs/{LOG}").json
    checkpoint, _ = open_checkpoint(found["checkpoint"], [Ed25519Verifier.from_vkey(info["vkey"])])
    for part in (found["producer"], found["entry"]):
        entry = base64.b64decode(part["entry"])
        proof = [base64.b64decode(each) for each in part["proof"]]
        verify_inclusion(hash_leaf(entry), part["index"], checkpoint.tree_size, proof, checkpoint.root_hash)
    assert base64.b64decode(found["entry"]["entry"]) == entries[1]
    assert (found["next"], found["gaps"], found["notices"], found["rotations"]) == (None, [], [], [])
    missing = look_up(service, promise_of(producer, entries[1], seq=7)).json
    assert missing["entry"] is None


def test_what_is_no_promise_of_this_log_is_refused(service: LiveService) -> None:
    """With the status that says why; sizes are bounded as they arrive."""
    producer, entries = started(service)
    stranger = FakeProducer("stranger", origin=f"log.example.org/{LOG}")
    stranger.enrolled(producer.producer)
    good = promise_of(producer, entries[1])
    for status, note in (
        (422, "nothing"),
        (422, good + "x"),
        (422, promise_of(stranger, entries[1])),
        (422, promise_of(producer, entries[1], origin="another.example/log")),
        (404, promise_of(producer, entries[1], producer="0" * 64)),
        (413, "x" * 5000),
    ):
        assert look_up(service, note).status == status, note
        posted = post(service, "promises", {"promises": [{"id": "x", "promise": note}]})
        assert posted.status == (422 if status == 413 else status)
    for body in ({"promises": []}, {"promises": [{"id": "a b", "promise": good}]}, {"other": 1}):
        assert post(service, "promises", body).status == 422
    big = {"promises": [{"id": "x", "promise": "x" * 4000}] * 200}
    assert post(service, "promises", big).status == 413


def outcome(service: LiveService, body: object, key: str | None = None) -> Answer:
    """Post an outcome, with an idempotency key."""

    if key is None:
        return post(service, "outcomes", body)
    asked = urllib.request.Request(
        f"{service.url}/logs/{LOG}/outcomes", data=json.dumps(body).encode(), method="POST"
    )
    asked.add_header("Authorization", "Bearer alt_submit-token-of-the-tests")
    asked.add_header("Content-Type", "application/json")
    asked.add_header("Idempotency-Key", key)
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return Answer(answer.status, answer.read(), {})
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read(), {})


def test_an_outcome_from_any_service_is_in_the_log_and_found(
    service: LiveService, settings: Settings
) -> None:
    """200 is after the commit; the private index answers readers only; no fact is on disk in clear."""
    started(service)
    body = {
        "decision": DECISION,
        "item": "instances/17",
        "facts": {"subject": "subject-in-clear", "score": 0.5, "reason_codes": ["R1", "R2"]},
    }
    assert post(service, "outcomes", body, token="read").status == 403
    done = outcome(service, body, "key-1")
    assert done.status == 200, done.body
    assert outcome(service, body, "key-1").json == done.json
    assert outcome(service, {**body, "facts": {"a": 1}}, "key-1").json["type"].endswith(":refused")
    entry = service.get(f"/logs/{LOG}/entries/{done.json['index']}", token="read")
    for _ in range(200):
        if entry.status == 200:
            break
        entry = service.get(f"/logs/{LOG}/entries/{done.json['index']}", token="read")
    assert hash_leaf(entry.body).hex() == done.json["leaf_hash"]
    assert entry.json["body"]["item"] == "instances/17"
    for name, value in (("subject", "subject-in-clear"), ("score", "0.5"), ("reason_codes", "R2")):
        query = f"/logs/{LOG}/decisions?name={name}&value={value}"
        assert service.get(query).status == 401
        assert service.get(query, token="submit").status == 403
        found = service.get(query, token="read").json["decisions"]
        assert [(each["decision"], each["item"]) for each in found] == [(DECISION, "instances/17")]
    assert service.get(f"/logs/{LOG}/decisions?name=Subject&value=x", token="read").status == 422
    data = settings.service.data_dir
    for path in (each for each in data.rglob("*") if each.is_file()):
        assert b"subject-in-clear" not in path.read_bytes(), path


def test_an_outcome_of_an_unknown_decision_is_recorded_and_told(service: LiveService) -> None:
    """It may be on its way; the answer says so, and a metric counts it."""
    unknown = decision_body(99)["id"]
    assert post(service, "outcomes", {"decision": unknown, "facts": {"a": 1}}).json["decision_known"] is False
    assert f'known="no",log="{LOG}"' in service.get("/metrics").body.decode()


@pytest.mark.parametrize(
    "change",
    [
        {"decision": "abc"},
        {"decision": "0198c0de-0000-4000-8000-000000000000"},
        {"item": "instances"},
        {"item": "/17"},
        {"item": "a/../b/1"},
        {"facts": {}},
        {"facts": {"A": 1}},
        {"facts": {"x" * 70: 1}},
        {"facts": {f"f{n}": n for n in range(257)}},
        {"facts": {"a": "x" * 50_000}},
        {"facts": []},
        {"more": 1},
    ],
)
def test_odd_outcomes_are_refused(service: LiveService, change: dict[str, Any]) -> None:
    """Names, sizes, items and ids are checked before anything is written."""
    answer = post(service, "outcomes", {"decision": DECISION, "facts": {"a": 1}, **change})
    assert answer.status == 422, answer.body


def test_nobody_else_enrols_as_the_outcomes_producer(service: LiveService) -> None:
    """Its name is the service's own."""
    producer = FakeProducer("outcomes", origin=f"log.example.org/{LOG}")
    wanted = {"name": "outcomes", "vkey": producer.signer.vkey, "note": producer.note}
    assert post(service, "producers", wanted, token="enrol").status == 400


def test_the_newest_final_block_is_told_to_anyone(service: LiveService) -> None:
    """Of a devnet its newest; the same for a few seconds."""
    found = service.get(f"/logs/{LOG}/blocks/finalized")
    assert found.status == 200, found.body
    assert found.json["number"] >= 1
    assert len(found.json["hash"]) == 66
    assert found.json["chain_id"] == 131277322940537


def test_all_of_it_is_there_after_a_restart(own_settings: Settings) -> None:
    """The next service on the same stores finds promises and outcomes, and goes on with the chain."""
    with live_service(own_settings) as service:
        producer, entries = started(service)
        note = promise_of(producer, entries[1])
        post(service, "promises", {"promises": [{"id": "kept", "promise": note}]})
        first = post(service, "outcomes", {"decision": DECISION, "facts": {"subject": "again"}})
    with live_service(own_settings) as second:
        assert second.get(f"/logs/{LOG}/promises/kept").body.decode() == note
        found = second.get(f"/logs/{LOG}/decisions?name=subject&value=again", token="read").json
        assert [each["index"] for each in found["decisions"]] == [first.json["index"]]
        assert second.post_batch(LOG, producer, [producer.decide(2)]).status == 200
