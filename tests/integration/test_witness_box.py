"""The commands of a witness, its drop-box among them, as people run them: a real log, a real cheat."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from auditlog.cli.main import run
from auditlog.core.entry import format_time, parse_entry
from auditlog.core.merkle import hash_leaf
from auditlog.core.promise import Promise, sign_promise
from auditlog.service.settings import Settings
from tests.support.live_service import LiveService, create_logs, live_service, write_config
from tests.support.testlog import FakeProducer
from tests.support.witness_process import WitnessProcess
from tests.support.witness_world import LOG, request


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[WitnessProcess]:
    """A witness of a log that forks."""
    made = WitnessProcess(tmp_path / "w", LOG.vkey)
    yield made
    made.kill()


def told(capsys: pytest.CaptureFixture[str]) -> Any:
    """The JSON a command printed."""
    text = capsys.readouterr().out
    return json.JSONDecoder().raw_decode(text[text.index("{\n") :])[0]


def test_list_shows_what_was_cosigned_and_writes_what_convicts(
    witness: WitnessProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside the running process; two histories are exit code 1 and an evidence file for anyone."""
    witness.start()
    for old, size, branch, status in ((0, 60, 0, 200), (60, 60, 1, 422), (60, 90, 1, 422)):
        answer = httpx.post(f"{witness.url}/add-checkpoint", content=request(old, size, branch))
        assert answer.status_code == status
        capsys.readouterr()
        assert run(["witness", "list", str(witness.folder), "--json"]) == (status == 422)
        (log,) = told(capsys)["logs"]
        assert (log["origin"], log["tree_size"]) == (LOG.name, 60)
    folder = tmp_path / "found"
    assert run(["witness", "list", str(witness.folder), "--conflicts", str(folder)]) == 1
    assert "TWO HISTORIES" in capsys.readouterr().out
    evidence, growth = sorted(folder.iterdir())
    assert growth.read_text().startswith("old 60\n")
    trust = tmp_path / "trust.json"
    assert run(["trust", "pin", "--vkey", LOG.vkey, "--require", "nothing", "--out", str(trust)]) == 0
    assert run(["promise", "evidence", str(evidence), "--trust", str(trust)]) == 0
    assert witness.stop() == 0


def test_a_restored_folder_does_not_start_and_an_accepted_one_says_so(
    witness: WitnessProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3 and what to do; with the flag it serves, and `/health`, metrics and list show it."""
    store = witness.folder / "states" / "witness.sqlite"
    backup = store.read_bytes()
    witness.start()
    assert httpx.post(f"{witness.url}/add-checkpoint", content=request(0, 60, 0)).status_code == 200
    witness.kill()
    store.write_bytes(backup)
    capsys.readouterr()
    assert run(["witness", "serve", str(witness.folder)]) == 3
    assert "--accept-restored" in capsys.readouterr().err
    witness.start(arguments=("--accept-restored",))
    (restored,) = httpx.get(f"{witness.url}/health").json()["restored"]
    assert "1 behind" in restored["found"]
    assert "auditlog_witness_restored 1\n" in httpx.get(f"{witness.url}/metrics").text
    witness.kill()
    assert run(["witness", "list", str(witness.folder)]) == 0
    assert "RESTORED" in capsys.readouterr().out
    witness.start()
    assert len(httpx.get(f"{witness.url}/health").json()["restored"]) == 1


def promise_of(producer: FakeProducer, entry: bytes, path: Path) -> Path:
    """The promise of an entry that was sealed, in a file; due at once."""
    said = parse_entry(entry)
    commitments = {name: bytes.fromhex(said.body[name]["commitment"]) for name in ("request", "response")}
    promise = Promise(
        origin=said.origin,
        producer=said.producer,
        instance=said.instance,
        seq=said.seq,
        leaf_hash=hash_leaf(entry),
        model=said.body["model"],
        time=said.time,
        merge_by=format_time(producer.clock.unix_us() + 1),
        **commitments,
    )
    path.write_text(sign_promise(promise, producer.signer))
    return path


def settled(url: str, name: str, *, unless: str) -> str | None:
    """What became of a promise, once that is no longer `unless`."""
    for _ in range(300):
        answer = httpx.get(f"{url}/promises/{name}")
        state = answer.json()["state"] if answer.status_code == 200 else None
        if state != unless:
            return state
        time.sleep(0.05)
    return unless


@pytest.fixture
def service(tmp_path: Path) -> Iterator[LiveService]:
    """A service with one log whose entries need a token."""
    settings = Settings.load(write_config(tmp_path / "service", visibilities=("hashes",)), environ={})
    create_logs(settings)
    with live_service(settings) as running:
        yield running


def test_deposited_promises_are_held_against_their_log(
    service: LiveService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kept: forgotten. Its number given to another: published, with evidence that convinces a stranger. The
    log gone: unreachable, and no more.
    """
    url = f"{service.url}/logs/hashes"
    info = service.get("/logs/hashes").json
    witness = WitnessProcess(tmp_path / "w", f"{info['vkey']}={url}", options=("--promises",))
    config = witness.folder / "witness.toml"
    config.write_text(config.read_text().replace("[promises]", "[promises]\npoll_s = 0.1\ngrace_s = 0.1", 1))
    witness.start()
    producer, _ = service.enrol("hashes", "gpu-0")
    start, kept = producer.start(), producer.decide(1)
    seq, prev = producer.seq, producer.prev
    dropped = promise_of(producer, producer.decide(2), tmp_path / "dropped")
    producer.seq, producer.prev = seq, prev
    answer = service.post_batch("hashes", producer, [start, kept, producer.decide(3)])
    service.await_published("hashes", answer.json["tree_size"])
    files = [str(promise_of(producer, kept, tmp_path / "kept")), str(dropped)]
    capsys.readouterr()
    try:
        assert run(["witness", "deposit", witness.url, *files, "--json"]) == 0
        first, second = (each["promise"] for each in told(capsys)["deposits"])
        assert settled(witness.url, first, unless="waiting") is None
        assert settled(witness.url, second, unless="waiting") == "broken"
        (shown,) = httpx.get(f"{witness.url}/promises/broken").json()["broken"]
        assert (shown["promise"], shown["cause"]) == (second, "CONFLICT")
        evidence = tmp_path / "evidence.json"
        evidence.write_bytes(httpx.get(f"{witness.url}/{shown['evidence']}").content)
        trust = tmp_path / "trust.json"
        assert run(["trust", "pin", url, "--out", str(trust)]) == 0
        assert run(["promise", "evidence", str(evidence), "--trust", str(trust)]) == 0
        assert 'promises_judged_total{outcome="kept"} 1' in httpx.get(f"{witness.url}/metrics").text
        witness.kill()
        config.write_text(config.read_text().replace(url, "http://127.0.0.1:9"))
        witness.start()
        later = promise_of(producer, producer.decide(4), tmp_path / "later")
        assert run(["witness", "deposit", witness.url, str(later), "--json"]) == 0
        (third,) = (each["promise"] for each in told(capsys)["deposits"])
        assert settled(witness.url, third, unless="waiting") == "unreachable"
        assert len(httpx.get(f"{witness.url}/promises/broken").json()["broken"]) == 1
        assert httpx.get(f"{witness.url}/promises/withheld").json()["withheld"][0]["promise"] == third
    finally:
        witness.kill()
