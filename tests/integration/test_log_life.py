"""The life of a log: quiesced and back, read-only, retired; on a running service and without one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditlog.cli.main import run
from auditlog.core.keys import Ed25519Signer
from auditlog.service.settings import Settings
from auditlog.verify.fsck import fsck
from auditlog.verify.sources import HttpSource
from tests.support.live_service import TOKENS, LiveService, create_logs, live_service, write_config
from tests.support.recording import HOST_TOKEN, WAIT_S, record, recording, with_host_token

Capture = pytest.CaptureFixture[str]
NEXT = Ed25519Signer.from_seed("next.example.org/log", b"n" * 32).vkey


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the configuration lies; its log, `public`, exists."""
    settings = Settings.load(write_config(tmp_path / "service", visibilities=["public"]), {})
    create_logs(settings)
    (tmp_path / "admin.token").write_text(TOKENS["admin"])
    return tmp_path


@pytest.fixture
def service(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveService]:
    """It is served, where the commands look for it."""
    settings = with_host_token(Settings.load(folder / "service" / "auditlog.toml", {}))
    with live_service(settings) as running:
        monkeypatch.setenv("AUDITLOG_SERVE_PORT", running.url.rpartition(":")[2])
        yield running


def _command(folder: Path, capsys: Capture, *arguments: str, code: int = 0) -> dict[str, object]:
    """Run a command of the operator with `--json`."""
    capsys.readouterr()
    config = ["--config", str(folder / "service" / "auditlog.toml"), "--json"]
    assert run([*arguments, *config]) == code, capsys.readouterr()
    out = capsys.readouterr().out
    # The service of the test says its own lines in between.
    found: dict[str, object] = json.JSONDecoder().raw_decode(out[out.index("{\n ") :])[0]
    return found


def _wait(condition: object) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "in time"
        time.sleep(0.02)


def test_a_host_goes_on_through_a_quiesced_log(service: LiveService, folder: Path, capsys: Capture) -> None:
    """What is recorded meanwhile waits in the spool, unpromised, and gets in once the log is open."""
    token = ["--token-file", str(folder / "admin.token")]
    with recording(service, folder / "state", log="public") as recorder:
        record(recorder, 1)
        _wait(lambda: recorder.metrics.get("sender.entries") >= 2)
        found = _command(folder, capsys, "log", "quiesce", *token)
        assert (found["standing"], found["size"]) == ("quiesced", found["published_size"])
        record(recorder, 2)
        _wait(lambda: recorder.metrics.get("sender.pushback") >= 1)
        assert service.get("/ready").json["standing"] == {"public": "quiesced"}
        assert (
            'auditlog_log_standing{log="public",standing="quiesced"} 1.0'
            in service.get("/metrics").body.decode()
        )
        assert service.get("/logs/public").json["size"] == found["size"]
        running = recorder.running
        assert running is not None
        assert running.sender is not None
        assert not running.sender.is_in_step
        assert _command(folder, capsys, "log", "resume", *token)["standing"] == "open"
    assert service.get("/logs/public").json["standing"] == "open"
    vkey = service.get("/logs/public").json["vkey"]
    service.await_published("public", int(str(found["size"])) + 1)
    with HttpSource(f"{service.url}/logs/public") as source:
        report = fsck(source, vkey)
    assert report.exit_code == 0
    assert report.kinds["decision"] == 2


def test_a_log_is_retired_while_it_is_served(service: LiveService, folder: Path, capsys: Capture) -> None:
    """The last checkpoint is published, everybody is told where to go on, and nothing gets in."""
    producer, _ = service.enrol("public", "host")
    start = [producer.start()]
    assert service.post_batch("public", producer, start).status == 200
    token = ["--token-file", str(folder / "admin.token")]
    command = ["log", "retire", "--yes", "--successor", NEXT]
    assert "token" in str(_command(folder, capsys, *command, code=2)["error"])
    found = _command(folder, capsys, *command, *token)
    info = service.get("/logs/public").json
    assert info["standing"] == "retired"
    assert info["successor"]["vkey"] == NEXT
    pinned = found["retired"]
    assert isinstance(pinned, dict)
    assert (pinned["origin"], pinned["size"]) == ("log.example.org/public", info["size"])
    with HttpSource(f"{service.url}/logs/public") as source:
        report = fsck(source, info["vkey"])
    assert report.exit_code == 0
    assert report.root_hash is not None
    assert report.root_hash.hex() == pinned["root"]
    refused = service.post_batch("public", producer, [producer.decide(1)])
    assert refused.status == 403
    assert refused.json["type"] == "urn:auditlog:problem:log_retired"
    assert refused.json["expected"] == {"origin": "next.example.org/log", "vkey": NEXT}
    assert service.post_batch("public", producer, start).json["skipped"] == 1
    assert _command(folder, capsys, *command, *token) == found
    assert "next.example.org/log" in str(_command(folder, capsys, "log", "resume", *token, code=2)["error"])


def test_the_commands_work_where_nothing_is_served(folder: Path, capsys: Capture) -> None:
    """Read-only, its index built again, ended: on the stores alone; a service that starts keeps it."""
    assert _command(folder, capsys, "log", "read-only")["standing"] == "read-only"
    assert _command(folder, capsys, "reindex")["index_size"] == 1
    assert _command(folder, capsys, "log", "resume")["standing"] == "open"
    found = _command(folder, capsys, "log", "retire", "--yes", "--successor", NEXT)
    assert found["retired"] is not None
    settings = with_host_token(Settings.load(folder / "service" / "auditlog.toml", {}))
    with live_service(settings) as served:
        assert served.get("/ready").status == 200
        assert served.get("/logs/public").json["standing"] == "retired"
        wanted = {"name": "host", "vkey": "v", "note": "n"}
        answer = served.request(
            "POST", "/logs/public/producers", token=HOST_TOKEN, body=json.dumps(wanted).encode()
        )
        assert answer.status in {403, 422}


def test_the_index_is_built_again_beside_the_service(
    service: LiveService, folder: Path, capsys: Capture
) -> None:
    """Look-ups find everything again, and the log takes entries all the while."""
    producer, _ = service.enrol("public", "host")
    entries = [producer.start(), *(producer.decide(n) for n in range(20))]
    assert service.post_batch("public", producer, entries).status == 200
    token = ["--token-file", str(folder / "admin.token")]
    found = _command(folder, capsys, "reindex", *token)
    assert found["index_size"] == found["size"] == 23
    assert service.post_batch("public", producer, [producer.decide(99)]).status == 200


def test_a_token_over_its_rate_waits(folder: Path) -> None:
    """429 with Retry-After; what was refused was not taken in."""
    settings = Settings.load(folder / "service" / "auditlog.toml", {})
    log = settings.logs[0].model_copy(update={"token_entries_per_s": 1})
    with live_service(settings.model_copy(update={"logs": [log]})) as served:
        producer, _ = served.enrol("public", "host")
        many = [producer.start(), *(producer.decide(n) for n in range(30))]
        assert served.post_batch("public", producer, many).status == 200
        refused = served.post_batch("public", producer, [producer.decide(99)])
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) > 15
        assert refused.json["type"] == "urn:auditlog:problem:rate"
