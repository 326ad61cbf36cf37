"""Verdicts on promises against a real service: by asking it, for a log whose entries are not public."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auditlog.cli.main import run
from auditlog.core.entry import format_time, parse_entry
from auditlog.core.merkle import hash_leaf
from auditlog.core.promise import Promise, sign_promise
from auditlog.service.settings import Settings
from tests.support.live_service import TOKENS, LiveService, create_logs, live_service, write_config
from tests.support.testlog import FakeProducer

LOG = "hashes"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A service with one log whose entries need a token."""
    folder = tmp_path_factory.mktemp("service")
    settings = Settings.load(write_config(folder, visibilities=(LOG,)), environ={})
    create_logs(settings)
    with live_service(settings) as running:
        yield running


def promise_of(producer: FakeProducer, entry: bytes, path: Path, **changed: Any) -> Path:
    """The promise of an entry that was sealed, in a file."""
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


def told(capsys: pytest.CaptureFixture[str]) -> Any:
    """The JSON a command printed; the service in this process may have logged around it."""
    text = capsys.readouterr().out
    return json.JSONDecoder().raw_decode(text[text.index("{\n") :])[0]


def check(
    capsys: pytest.CaptureFixture[str], service: LiveService, promise: Path, *more: object
) -> tuple[int, Any]:
    """`auditlog promise check` at the service, trusting what it says of itself."""
    arguments = ["promise", "check", promise, "--log", f"{service.url}/logs/{LOG}", "--json", *more]
    code = run([str(argument) for argument in arguments])
    return code, told(capsys)


def posted(service: LiveService, producer: FakeProducer, *entries: bytes) -> None:
    """Post a batch and wait until it is published."""
    answer = service.post_batch(LOG, producer, entries)
    assert answer.status == 200, answer.body
    service.await_published(LOG, answer.json["tree_size"])


def test_kept_dropped_and_skipped_promises(
    service: LiveService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the log; CONFLICT; SKIPPED by its successor's life: each by asking, each with evidence."""
    producer, _ = service.enrol(LOG, "gpu-0")
    start, kept = producer.start(), producer.decide(1)
    honest = promise_of(producer, kept, tmp_path / "kept")
    posted(service, producer, start, kept)
    code, report = check(capsys, service, honest)
    assert (code, report["verdict"]) == (0, "in the log")
    assert report["reservations"][-1].startswith("the trust file came from the operator")

    seq, prev = producer.seq, producer.prev
    dropped = promise_of(producer, producer.decide(2), tmp_path / "dropped")
    producer.seq, producer.prev = seq, prev
    posted(service, producer, producer.decide(3))
    code, report = check(capsys, service, dropped, "--evidence", tmp_path / "conflict")
    assert (code, report["cause"]) == (1, "CONFLICT")

    prev = producer.prev
    skipped = promise_of(producer, producer.decide(4), tmp_path / "skipped")
    producer.prev = prev
    posted(service, producer, producer.start(), producer.decide(5))
    code, report = check(capsys, service, skipped, "--evidence", tmp_path / "restart")
    assert (code, report["cause"]) == (1, "SKIPPED")
    trust = tmp_path / "trust.json"
    assert run(["trust", "pin", f"{service.url}/logs/{LOG}", "--out", str(trust)]) == 0
    for name in ("conflict", "restart"):
        assert run(["promise", "evidence", str(tmp_path / name), "--trust", str(trust)]) == 0


def test_absence_needs_a_date_and_entries_a_token(
    service: LiveService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a quorum nothing dates the log: exit 3; completeness reads with a token."""
    producer, _ = service.enrol(LOG, "gpu-1")
    posted(service, producer, producer.start(), producer.decide(1))
    seq, prev = producer.seq, producer.prev
    missing = promise_of(producer, producer.decide(2), tmp_path / "missing")
    producer.seq, producer.prev = seq, prev
    code, report = check(capsys, service, missing, "--keep", tmp_path / "kept")
    assert (code, report["verdict"]) == (3, "not checked")
    assert list((tmp_path / "kept").iterdir())
    where = ["--log", f"{service.url}/logs/{LOG}", "--json"]
    (tmp_path / "token").write_text(TOKENS["read"])
    assert run(["completeness", *where]) == 2  # without a token not even the first entry, which names the key
    capsys.readouterr()
    assert run(["completeness", *where, "--token-file", str(tmp_path / "token")]) == 3
    report = told(capsys)
    assert report["read_whole"]
    assert {each["kind"] for each in report["findings"] if each["weight"] == "incomplete"} == {
        "no_heartbeats"
    }


def test_the_commands_run_as_programs(service: LiveService, tmp_path: Path) -> None:
    """A file that is no promise is one line and exit 2, from a process of its own."""
    (tmp_path / "nothing").write_text("nothing")
    command = [sys.executable, "-m", "auditlog.cli.main", "promise", "check", str(tmp_path / "nothing")]
    done = subprocess.run(
        [*command, "--log", service.url], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("auditlog: expected a promise in")
