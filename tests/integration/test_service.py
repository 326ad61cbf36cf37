"""The whole service over real HTTP: enrol, post, read, prove, receive, restart. Nothing is faked."""

from __future__ import annotations

import base64
import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from auditlog.core.batch import BATCH_MEDIA_TYPE, encode_batch
from auditlog.core.capability import receipt_capability
from auditlog.core.checkpoint import open_checkpoint
from auditlog.core.entry import format_time, parse_time
from auditlog.core.keys import Ed25519Verifier
from auditlog.core.merkle import hash_leaf, root_hash, verify_consistency, verify_inclusion
from auditlog.core.receipt import parse_receipt
from auditlog.core.tiles import decode_bundle, paths_for_size
from auditlog.errors import RollbackError
from auditlog.service.settings import Settings
from tests.support.live_service import LiveService, create_logs, live_service, write_config
from tests.support.testlog import decision_body

VISIBILITIES = ("public", "hashes", "private")


@pytest.fixture(scope="module")
def vkeys() -> dict[str, str]:
    """Filled in by `service`."""
    return {}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, vkeys: dict[str, str]) -> Iterator[LiveService]:
    """One log of each visibility."""
    settings = Settings.load(
        write_config(tmp_path_factory.mktemp("service"), visibilities=VISIBILITIES), environ={}
    )
    vkeys.update(create_logs(settings))
    with live_service(settings) as running:
        yield running


def fill(service: LiveService, log: str, name: str, count: int) -> tuple[int, list[bytes], bytes, str]:
    """Enrol, post a start and `count` decisions; first index, entries, receipt key, producer id."""
    producer, key = service.enrol(log, name)
    entries = [producer.start(), *(producer.decide(n) for n in range(count))]
    answer = service.post_batch(log, producer, entries)
    assert answer.status == 200, answer.body
    assert (answer.json["count"], answer.json["skipped"]) == (count + 1, 0)
    service.await_published(log, answer.json["tree_size"])
    return answer.json["first_index"], entries, key, producer.producer.hex()


def test_an_acknowledged_batch_is_readable_and_proven(service: LiveService, vkeys: dict[str, str]) -> None:
    """The entries are there, byte for byte; proofs and tiles lead to the signed root."""
    first, entries, _, _ = fill(service, "public", "reader", 300)
    note = service.get("/logs/public/checkpoint").body.decode()
    checkpoint, _ = open_checkpoint(
        note, [Ed25519Verifier.from_vkey(vkeys["public"])], "log.example.org/public"
    )
    size = checkpoint.tree_size
    tiles = {path: service.get(f"/logs/public/{path}").body for path in paths_for_size(size)}
    stored = [entry for path, data in tiles.items() if "entries" in path for entry in decode_bundle(data)]
    assert stored[first : first + 301] == entries
    assert root_hash([hash_leaf(entry) for entry in stored]) == checkpoint.root_hash
    assert service.get(f"/logs/public/entries/{first + 7}").body == entries[7]
    found = service.get(f"/logs/public/proofs/inclusion?index={first + 7}&size={size}").json["hashes"]
    proof = [base64.b64decode(each) for each in found]
    verify_inclusion(hash_leaf(entries[7]), first + 7, size, proof, checkpoint.root_hash)
    found = service.get(f"/logs/public/proofs/consistency?from=5&to={size}").json["hashes"]
    old_root = root_hash([hash_leaf(entry) for entry in stored[:5]])
    verify_consistency(5, size, [base64.b64decode(each) for each in found], old_root, checkpoint.root_hash)


def test_the_folder_and_the_service_say_the_same(service: LiveService) -> None:
    """Whatever lies in the public folder of a log is what the read path serves, to the byte."""
    fill(service, "hashes", "folder", 20)
    public_dir = service.settings.paths(service.settings.logs[1]).public_dir
    size = int((public_dir / "checkpoint").read_text().split("\n")[1])
    for path in ("checkpoint", *paths_for_size(size, entries=False)):
        assert service.get(f"/logs/hashes/{path}").body == (public_dir / path).read_bytes()
    assert not (public_dir / "tile" / "entries").exists()
    for path in paths_for_size(size):
        if "entries" in path:
            assert service.get(f"/logs/hashes/{path}").status == 401
            assert service.get(f"/logs/hashes/{path}", token="read").status == 200


def test_a_receipt_by_capability(service: LiveService) -> None:
    """Whoever holds the address gets a receipt of exactly that entry, even of a private log."""
    first, entries, key, producer = fill(service, "private", "receipts", 3)
    decision = decision_body(1)["id"]
    base = f"/logs/private/receipts/{producer[:16]}/{decision}"
    for _ in range(200):
        answer = service.get(f"{base}/{receipt_capability(key, decision)}")
        if answer.status != 202:
            break
    assert answer.status == 200
    receipt = parse_receipt(answer.body)
    assert receipt.entry == entries[2]
    assert receipt.proof.index == first + 2
    assert answer.body == service.get(f"/logs/private/receipts/{first + 2}", token="read").body
    assert service.get(f"{base}/{receipt_capability(key, 'other')}").status == 404
    for milliseconds, status in ((time.time_ns() // 10**6, 202), (0, 410)):
        unknown = f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7000-8000-000000000000"
        waiting = service.get(
            f"/logs/private/receipts/{producer[:16]}/{unknown}/{receipt_capability(key, unknown)}"
        )
        assert waiting.status == status
    assert waiting.json["type"] == "urn:auditlog:problem:never_arrived"


def test_a_lost_decision_is_told_once_its_gap_is_in_the_log(service: LiveService) -> None:
    """Its address does not answer 202 for ever: 410 names the entry that declares the loss."""
    producer, key = service.enrol("private", "loser")
    lost = decision_body(7)["id"]
    at_us = parse_time(decision_body(7)["start"])
    gap = {"from": format_time(at_us - 5_000_000), "to": format_time(at_us + 5_000_000), "count": 3}
    entries = [producer.start()]
    earlier = {"instance": "0" * 32, "after_seq": -1, **gap}
    entries += [producer.seal("gap", earlier), producer.decide(8)]
    answer = service.post_batch("private", producer, entries)
    service.await_published("private", answer.json["tree_size"])
    address = f"/logs/private/receipts/{producer.producer.hex()[:16]}/{lost}/{receipt_capability(key, lost)}"
    for _ in range(200):  # the index follows the log
        told = service.get(address)
        if told.status != 202:
            break
    assert (told.status, told.json["type"]) == (410, "urn:auditlog:problem:declared_lost")
    assert told.json["found"] == {"index": answer.json["first_index"] + 1, "count": 3}


def test_look_ups_find_what_was_posted(service: LiveService) -> None:
    """By leaf hash, by decision and by place in the chain."""
    first, entries, _, producer = fill(service, "public", "lookups", 2)
    instance = json.loads(entries[1])["instance"]
    for query in (
        f"leaf={hash_leaf(entries[1]).hex()}",
        f"decision={decision_body(0)['id']}&producer={producer}",
        f"producer={producer}&instance={instance}&seq=1",
    ):
        for _ in range(200):  # the index follows the log
            found = service.get(f"/logs/public/search?{query}").json["entries"]
            if found:
                break
        assert [(each["index"], each["leaf_hash"]) for each in found] == [
            (first + 1, hash_leaf(entries[1]).hex())
        ]
        assert "unregistered_model" in found[0]["flags"]


def test_sending_again_changes_nothing(service: LiveService) -> None:
    """The same batch twice is skipped the second time; an enrolment twice is one enrolment."""
    producer, _ = service.enrol("public", "again")
    assert service.enrol("public", "again")[0].producer == producer.producer
    entries = [producer.start(), producer.decide(0)]
    first = service.post_batch("public", producer, entries)
    second = service.post_batch("public", producer, entries)
    assert (first.json["count"], second.json["count"], second.json["skipped"]) == (2, 0, 2)
    head = service.get(f"/logs/public/producers/{producer.producer.hex()}/head", token="submit").json
    assert head["leaf_hash"] == hash_leaf(entries[1]).hex()
    assert head["seq"] == 1


def test_bad_submissions_are_refused_in_kind(service: LiveService) -> None:
    """Each fault has its 4xx with what was expected and found; none is a 500, and the chain goes on."""
    producer, _ = service.enrol("hashes", "faulty")
    head = service.get(f"/logs/hashes/producers/{producer.producer.hex()}/head", token="submit").json
    assert (head["instance"], head["leaf_hash"]) == (None, producer.producer.hex())
    start, one, two = producer.start(), producer.decide(1), producer.decide(2)
    gap = service.post_batch("hashes", producer, [two])
    assert (gap.status, gap.json["type"]) == (409, "urn:auditlog:problem:chain_conflict")
    assert gap.json["expected"].keys() == {"instance", "seq", "leaf_hash"} == gap.json["found"].keys()
    good = producer.batch([start, one])
    stranger, _ = service.enrol("hashes", "stranger")
    forged = stranger.batch([start, one])
    faults = {
        "entry changed": encode_batch(good.head_note, [start, one.replace(b"chat", b"chap")]),
        "entry missing": encode_batch(good.head_note, [start]),
        "no note": encode_batch("hello", [start, one]),
        "not JSON": encode_batch(good.head_note, [b"\xff", one]),
        "another key": encode_batch(forged.head_note, [start, one]),
        "cut": encode_batch(good.head_note, [start, one])[:-1],
    }
    for what, body in faults.items():
        answer = service.request(
            "POST", "/logs/hashes/batches", token="submit", body=body, media_type=BATCH_MEDIA_TYPE
        )
        assert 400 <= answer.status < 500, (what, answer.body)
        assert answer.headers["content-type"] == "application/problem+json"
        assert "expected" in answer.json["detail"], what
    assert service.post_batch("public", stranger, [stranger.start()]).status in {404, 409, 422}
    assert service.post_batch("hashes", producer, [start, one, two]).status == 200
    conflicting = producer.batch([start])
    assert service.post_batch("hashes", producer, list(conflicting.entries)).json["skipped"] == 1


NASTY = ("%00", "%FF%FE", "..%2F..%2Fetc", "%E2%80%AE", "a" * 3000, "-1", "1e9", "'--", "{log}", "%25s")


@pytest.mark.parametrize("text", NASTY)
def test_no_path_or_query_makes_a_500(service: LiveService, text: str) -> None:
    """Whatever stands where a name, a number or an id belongs, the answer is a 4xx problem."""
    hexes = "0" * 64
    for path in (
        f"/{text}",
        f"/logs/{text}",
        f"/logs/public/{text}",
        f"/logs/public/tile/{text}",
        f"/logs/public/tile/0/{text}",
        f"/logs/public/entries/{text}",
        f"/logs/public/search?decision={text}",
        f"/logs/public/search?producer={hexes}&instance={text}&seq={text}",
        f"/logs/public/proofs/inclusion?index={text}&size={text}",
        f"/logs/public/producers/{text}/head",
        f"/logs/public/receipts/{text}",
        f"/logs/public/receipts/{text}/{text}/{text}",
    ):
        answer = service.get(path, token="read")
        if answer.status == 200:
            assert answer.json["entries"] == [], path
        else:
            assert 400 <= answer.status < 500, (path, answer.status, answer.body)
            assert answer.headers["content-type"] == "application/problem+json", (path, answer.body)


def test_a_refusal_reaches_a_sender_that_is_still_sending(service: LiveService) -> None:
    """A body far over the limit, and a good one without a token, get their answer, not a broken pipe."""
    for token, size, status in (("submit", 20 << 20, 413), ("read", 4 << 20, 403), (None, 4 << 20, 401)):
        answer = service.request(
            "POST", "/logs/public/batches", token=token, body=bytes(size), media_type=BATCH_MEDIA_TYPE
        )
        assert answer.status == status


def test_restart_keeps_everything(tmp_path: Path) -> None:
    """After a stop and a start the log goes on: same checkpoint, same chain, same receipt keys."""
    settings = Settings.load(write_config(tmp_path), environ={})
    create_logs(settings)
    with live_service(settings) as service:
        producer, key = service.enrol("hashes", "host-0")
        assert service.post_batch("hashes", producer, [producer.start(), producer.decide(0)]).status == 200
    with live_service(settings) as service:
        assert service.get("/ready").status == 200
        assert service.enrol("hashes", "host-0")[1] == key
        answer = service.post_batch("hashes", producer, [producer.decide(1)])
        assert (answer.status, answer.json["count"]) == (200, 1)
        service.await_published("hashes", answer.json["tree_size"])
        assert service.get(f"/logs/hashes/receipts/{answer.json['first_index']}", token="read").status == 200


def test_an_older_copy_of_the_stores_is_refused(tmp_path: Path) -> None:
    """A high-water file that has seen more keeps the only log, and so the service, from starting."""
    settings = Settings.load(write_config(tmp_path), environ={})
    create_logs(settings)
    guard = tmp_path / "guard" / "hashes"
    with live_service(settings) as service:
        producer, _ = service.enrol("hashes", "host-0")
        service.post_batch("hashes", producer, [producer.start()])
    newest = guard.read_bytes()
    shutil.copytree(tmp_path / "data", tmp_path / "backup")
    with live_service(settings) as service:
        service.post_batch("hashes", producer, [producer.decide(0)])
    assert guard.read_bytes() != newest
    shutil.rmtree(tmp_path / "data")
    shutil.copytree(tmp_path / "backup", tmp_path / "data")
    with pytest.raises(RollbackError), live_service(settings):
        pass


def test_a_log_made_over_http_works_and_stays(tmp_path: Path) -> None:
    """POST /logs gives a log that takes entries at once and is there after a restart."""
    settings = Settings.load(write_config(tmp_path), environ={})
    create_logs(settings)
    new = {
        "name": "made",
        "origin": "log.example.org/made",
        "visibility": "public",
        "allow_unguarded_start": True,
    }
    body = json.dumps(new).encode()
    with live_service(settings) as service:
        answer = service.request("POST", "/logs", token="admin", body=body)
        assert answer.status == 201, answer.body
        vkey = answer.json["vkey"]
        producer, _ = service.enrol("made", "host-0")
        assert service.post_batch("made", producer, [producer.start()]).status == 200
        key_file = settings.service.data_dir / "logs" / "made" / "log.key"
        assert key_file.stat().st_mode & 0o077 == 0
    with live_service(settings) as service:
        assert service.get("/logs/made").json["vkey"] == vkey
        assert service.post_batch("made", producer, [producer.decide(0)]).json["count"] == 1


def test_tokens_minted_over_http_survive_a_restart(tmp_path: Path) -> None:
    """They are kept as hashes in the database, and nowhere in clear."""
    settings = Settings.load(write_config(tmp_path), environ={})
    create_logs(settings)
    with live_service(settings) as service:
        body = json.dumps({"name": "reader", "scopes": ["read"]}).encode()
        secret = service.request("POST", "/tokens", token="admin", body=body).json["token"]
    for file in (tmp_path / "data").rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes()
    with live_service(settings) as service:
        assert service.get("/logs/hashes/entries/0", token=secret).status == 200
        assert service.request("DELETE", "/tokens/reader", token="admin").status == 204
        assert service.get("/logs/hashes/entries/0", token=secret).status == 401


def test_anchored_on_the_devnet_in_a_receipt(tmp_path: Path) -> None:
    """The worker anchors after a decision, and receipts then carry the anchor."""
    settings = Settings.load(write_config(tmp_path, anchoring="devnet"), environ={})
    create_logs(settings)
    with live_service(settings) as service:
        producer, _ = service.enrol("hashes", "host-0")
        answer = service.post_batch("hashes", producer, [producer.start(), producer.decide(0)])
        service.await_published("hashes", answer.json["tree_size"])
        deadline = time.monotonic() + 60
        anchors: list[object] = []
        while not anchors and time.monotonic() < deadline:
            receipt = service.get(f"/logs/hashes/receipts/{answer.json['first_index'] + 1}", token="read")
            anchors = json.loads(receipt.body)["anchors"] if receipt.status == 200 else []
            time.sleep(0.05)
        assert len(anchors) == 1
        assert 'outcome="ok"' in service.get("/metrics").body.decode()


def test_concurrent_producers_do_not_disturb_each_other(service: LiveService) -> None:
    """Eight producers at once: every batch acknowledged once, every index used once."""

    def work(n: int) -> list[tuple[int, int]]:
        producer, _ = service.enrol("public", f"worker-{n}")
        places = []
        for k in range(5):
            entries = [producer.start()] if k == 0 else []
            entries += [producer.decide(100 * n + k)]
            answer = service.post_batch("public", producer, entries)
            assert answer.status == 200, answer.body
            places.append((answer.json["first_index"], len(entries)))
        return places

    with ThreadPoolExecutor(8) as pool:
        places = [place for found in pool.map(work, range(8)) for place in found]
    used = [index for first, count in places for index in range(first, first + count)]
    assert len(used) == len(set(used)) == 8 * 6
