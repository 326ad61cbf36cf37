"""A producer's life over HTTP: keys that change while it records, its end, and the slot that begins anew."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditlog.capture import Recorder
from auditlog.capture.backlog import read_backlog, read_note
from auditlog.capture.retiring import is_retired, list_undeclared
from auditlog.capture.rotation import ROTATE_REQUEST, request_rotation
from auditlog.cli.main import run
from auditlog.core.entry import Entry, parse_entry
from auditlog.core.tiles import decode_bundle
from auditlog.service.settings import Settings
from tests.support.live_service import TOKENS, LiveService, create_logs, live_service, write_config
from tests.support.recording import HOST_TOKEN, WAIT_S, record, recording, with_host_token


@pytest.fixture
def service(tmp_path: Path) -> Iterator[LiveService]:
    """A service with one log."""
    settings = with_host_token(Settings.load(write_config(tmp_path / "service"), {}))
    create_logs(settings)
    with live_service(settings) as running:
        yield running


@pytest.fixture
def environment(service: LiveService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the commands on the host read; returns the file with the operator's token."""
    monkeypatch.setenv("AUDITLOG_LOG", f"{service.url}/logs/hashes")
    monkeypatch.setenv("AUDITLOG_STATE", str(tmp_path / "state"))
    (tmp_path / "host.token").write_text(HOST_TOKEN)
    monkeypatch.setenv("AUDITLOG_TOKEN_FILE", str(tmp_path / "host.token"))
    (tmp_path / "admin.token").write_text(TOKENS["admin"])
    return tmp_path / "admin.token"


def wait_until(condition: Callable[[], bool]) -> None:
    """Until it holds; a test that hangs fails."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "in time"
        time.sleep(0.02)


def entries(service: LiveService) -> list[Entry]:
    """Every published entry of the log."""
    size = 1 + max(
        service.get(f"/logs/hashes/producers/{each['producer']}/head", token="read").json["index"]
        for each in listed(service)
    )
    service.await_published("hashes", size)
    size = service.get("/logs/hashes").json["size"]
    found: list[Entry] = []
    for index in range(-(-size // 256)):
        width = min(256, size - 256 * index)
        path = f"{index:03d}" + ("" if width == 256 else f".p/{width}")
        bundle = service.get(f"/logs/hashes/tile/entries/{path}", token="read")
        found += map(parse_entry, decode_bundle(bundle.body))
    return found


def kinds(service: LiveService, producer: str | None = None) -> list[str]:
    """Kinds of the producers' entries in order, without the layer's own reports."""
    hidden = {"heartbeat", "coverage"}
    found = [each for each in entries(service) if not each.by_log and each.kind not in hidden]
    return [each.kind for each in found if producer in {None, each.producer}]


def listed(service: LiveService) -> list[dict[str, Any]]:
    """The producers as the operator sees them."""
    found: list[dict[str, Any]] = service.get("/logs/hashes/producers", token="admin").json["producers"]
    return found


def drained(recorder: Recorder) -> None:
    """Until the log has all of it."""
    running = recorder.running
    assert running is not None
    wait_until(lambda: running.sender is not None and running.sender.is_drained)


def test_a_running_host_changes_its_key(service: LiveService, tmp_path: Path) -> None:
    """Picked up within a second; decisions go on, under the new key, and so does the next life."""
    state = tmp_path / "state"
    with recording(service, state) as recorder:
        record(recorder, 1)
        slot = state / "slots" / "host-0"
        before = (slot / "producer.key").read_text()
        request_rotation(slot)
        wait_until(lambda: (slot / "producer.key").read_text() != before)
        assert not (slot / ROTATE_REQUEST).exists()
        assert not (slot / "next.key").exists()
        _, url = record(recorder, 2)
    with recording(service, state) as recorder:
        record(recorder, 3)
        request_rotation(slot)
        wait_until(lambda: listed(service)[0]["rotations"] == 2)
        record(recorder, 4)
    assert kinds(service).count("rotation") == 2
    assert kinds(service).count("decision") == 4
    assert "gap" not in kinds(service)
    (producer,) = listed(service)
    assert (producer["state"], producer["name"]) == ("active", "host-0")
    assert url


def test_a_host_that_stands_still_changes_its_key(
    service: LiveService, tmp_path: Path, environment: Path
) -> None:
    """The command opens the slot as its next life, and the rotation is in the log when it ends."""
    state = tmp_path / "state"
    with recording(service, state) as recorder:
        record(recorder, 1)
    key = (state / "slots" / "host-0" / "producer.key").read_text()
    assert run(["producer", "rotate"]) == 0
    assert listed(service)[0]["rotations"] == 1
    assert (state / "slots" / "host-0" / "producer.key").read_text() != key
    with recording(service, state) as recorder:
        record(recorder, 2)
    assert "gap" not in kinds(service)
    assert listed(service)[0]["name"] == "host-0"


def test_a_rotation_waits_for_a_log_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 3, both keys kept; the next life sends the old part under the old key, the rest under the new."""
    config = write_config(tmp_path / "service")
    settings = with_host_token(Settings.load(config, {}))
    create_logs(settings)
    state = tmp_path / "state"
    with live_service(settings) as service, recording(service, state) as recorder:
        record(recorder, 1)
    monkeypatch.setenv("AUDITLOG_LOG", f"{service.url}/logs/hashes")
    monkeypatch.setenv("AUDITLOG_STATE", str(state))
    monkeypatch.setenv("AUDITLOG_TOKEN", HOST_TOKEN)
    slot = state / "slots" / "host-0"
    old = (slot / "producer.key").read_text()
    assert run(["producer", "rotate", "--slot", "host-0"]) == 3
    assert "waits for the log" in capsys.readouterr().out
    with live_service(settings) as service:
        with recording(service, state) as recorder:
            record(recorder, 2)
            drained(recorder)
            record(recorder, 3)
        assert listed(service)[0]["rotations"] == 1
        assert kinds(service).count("rotation") == 1
    assert (slot / "producer.key").read_text() != old
    assert not (slot / "next.key").exists()


def test_a_host_that_leaves_ends_its_producers(
    service: LiveService, tmp_path: Path, environment: Path
) -> None:
    """In use, the process ends it with its own end; standing still, the command does. Nothing is lost."""
    state = tmp_path / "state"
    with recording(service, state) as recorder:
        record(recorder, 1)
        assert run(["producer", "retire", "--all"]) == 0
        record(recorder, 2)
        assert listed(service)[0]["state"] == "active"
    assert listed(service)[0]["state"] == "retired"
    assert [*kinds(service)[-2:]] == ["notice", "retirement"]
    with recording(service, state) as recorder:
        record(recorder, 3)
    first, second = listed(service)
    assert first["name"] == "host-0"
    assert second["name"].startswith("host-0-")
    assert run(["producer", "retire", "--slot", "host-0"]) == 0
    assert [each["state"] for each in listed(service)] == ["retired", "retired"]
    assert kinds(service).count("decision") == 3
    assert "gap" not in kinds(service)
    assert run(["producer", "drain", "--wait", "0"]) == 0


def test_a_producer_that_the_log_ended_begins_anew(
    service: LiveService, tmp_path: Path, environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sender says so, no promise is given any more, and the next start declares what was not sent."""
    state = tmp_path / "state"
    admin = ["--log", f"{service.url}/logs/hashes", "--token-file", str(environment)]
    with recording(service, state) as recorder:
        record(recorder, 1)
        drained(recorder)
    slot = state / "slots" / "host-0"
    address = f"/logs/hashes/producers/{listed(service)[0]['producer']}/retirement"
    assert service.request("POST", address, token="admin").status == 200
    assert run(["producer", "retire", "host-0", *admin]) == 0  # ended already: nothing to warn of
    with recording(service, state, may_stop=True) as recorder:
        record(recorder, 2)
        running = recorder.running
        assert running is not None
        wait_until(lambda: running.sender is not None and running.sender.state == "retired")
        record(recorder, 3)
        assert running.writer is not None
        assert running.writer.runs.promises is None
    assert is_retired(slot)
    assert read_note(slot).state == "retired"
    assert read_backlog(slot).waiting > 0
    capsys.readouterr()
    run(["doctor", "--json"])
    assert "its producer has ended; the next start enrols anew" in capsys.readouterr().out
    with recording(service, state) as recorder:
        record(recorder, 4)
        wait_until(lambda: not list_undeclared(slot))
    first, second = listed(service)
    (gap,) = [each for each in entries(service) if each.kind == "gap"]
    assert gap.producer == second["producer"]
    assert (gap.body["instance"], gap.body["after_seq"]) == (first["last"]["instance"], first["last"]["seq"])
    assert gap.body["count"] == 2
    assert second["name"].startswith("host-0-")
    assert (slot / "retired" / first["producer"][:16] / "spool").is_dir()


def test_ending_a_host_that_records_at_the_log_declares_the_loss(
    service: LiveService, tmp_path: Path, environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What waits there could never get in: it is asked about, and with --unsent-is-lost the log says so."""
    with recording(service, tmp_path / "state") as recorder:
        record(recorder, 1)
    admin = ["--log", f"{service.url}/logs/hashes", "--token-file", str(environment)]
    assert run(["producer", "retire", "host-0", *admin]) == 2
    said = capsys.readouterr().err
    assert "promises given for them will be broken" in said
    assert "add --unsent-is-lost" in said
    assert listed(service)[0]["state"] == "active"
    assert run(["producer", "retire", "host-0", "--unsent-is-lost", *admin]) == 0
    assert "above number" in capsys.readouterr().out
    assert listed(service)[0]["state"] == "lost"


def test_a_host_that_is_long_silent_is_ended_with_a_warning(
    service: LiveService,
    environment: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing of it was heard for over an hour: the operator is warned, and obeyed."""
    service.enrol("hashes", "silent")
    admin = ["--log", f"{service.url}/logs/hashes", "--token-file", str(environment)]
    monkeypatch.setattr("auditlog.cli.producer._LATELY_S", -3600)
    assert run(["producer", "retire", "silent", *admin]) == 0
    assert "promises given for them will be broken" in capsys.readouterr().err
    assert listed(service)[0]["state"] == "retired"


def test_a_lost_host_is_declared(
    service: LiveService, tmp_path: Path, environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By name or id; the list says lost, and saying it again adds nothing."""
    with recording(service, tmp_path / "state") as recorder:
        record(recorder, 1)
    admin = ["--log", f"{service.url}/logs/hashes", "--token-file", str(environment)]
    assert run(["producer", "lost", "host-0", *admin]) == 0
    ended = re.search(r"ended in entry (\d+)", capsys.readouterr().out)
    assert ended is not None
    (producer,) = listed(service)
    assert run(["producer", "lost", producer["producer"], *admin]) == 0
    service.await_published("hashes", int(ended[1]) + 1)
    assert len([each for each in entries(service) if each.kind == "notice" and each.by_log]) == 1
    assert producer["state"] == "lost"
    capsys.readouterr()
    assert run(["producer", "list", "--json", *admin]) == 0
    out = capsys.readouterr().out
    assert json.loads(out[out.index("[\n") :]) == listed(service)
    assert run(["producer", "lost", "nobody", *admin]) == 2
    assert run(["producer", "list"]) == 2


def test_ending_a_producer_needs_scope_admin(service: LiveService) -> None:
    """Read may list; nobody but admin ends."""
    producer, _ = service.enrol("hashes", "victim")
    address = f"/logs/hashes/producers/{producer.producer.hex()}"
    for scope in ("enrol", "submit", "read"):
        assert service.request("POST", f"{address}/retirement", token=scope).status == 403
        assert service.request("POST", f"{address}/lost", token=scope, body=b"{}").status == 403
    assert service.get("/logs/hashes/producers", token="submit").status == 403
    assert service.get("/logs/hashes/producers", token="read").json["next"] is None
    assert service.request("POST", f"{address}/lost", token="admin", body=b'{"instance":"x"}').status == 422
    assert (
        service.request("POST", f"/logs/hashes/producers/{'0' * 64}/retirement", token="admin").status == 404
    )
    answer = service.request("POST", f"{address}/retirement", token="admin")
    assert answer.json["last"] == {"instance": "none", "seq": 0, "leaf_hash": producer.producer.hex()}
    late = service.post_batch("hashes", producer, [producer.start()])
    assert (late.status, late.json["type"]) == (403, "urn:auditlog:problem:producer_retired")
    assert late.json["expected"] == answer.json["last"]
