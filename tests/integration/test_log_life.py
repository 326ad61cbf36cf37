"""The life of a log: quiesced and back, read-only, retired; on a running service and without one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from auditlog.cli.main import run
from auditlog.core.keys import Ed25519Signer
from auditlog.core.receipt import parse_receipt
from auditlog.core.retention import DAY_US, Mark, open_retention, sign_retention
from auditlog.service.backup import back_up
from auditlog.service.opening import EngineOpener
from auditlog.service.restore import restore
from auditlog.service.settings import Settings
from auditlog.verify.fsck import fsck
from auditlog.verify.sources import HttpSource
from tests.support.live_service import TOKENS, LiveService, create_logs, live_service, write_config
from tests.support.recording import HOST_TOKEN, WAIT_S, record, recording, with_host_token
from tests.support.seaweed import BUCKET, SeaweedServer
from tests.support.testlog import FakeProducer

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


def test_doctor_says_that_a_log_takes_nothing(
    service: LiveService, folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the recording host: quiesced is a warning, ended a problem that names the log that goes on."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("AUDITLOG_LOG", f"{service.url}/logs/public")
    monkeypatch.setenv("AUDITLOG_STATE", str(folder / "state"))
    monkeypatch.setenv("AUDITLOG_TOKEN", HOST_TOKEN)
    token = ["--token-file", str(folder / "admin.token")]

    def said() -> list[tuple[str, str]]:
        capsys.readouterr()
        run(["doctor", "--json"])
        out = capsys.readouterr().out
        found = json.JSONDecoder().raw_decode(out[out.index("{\n ") :])[0]["checks"]
        return [(each["level"], each["text"]) for each in found if each["check"] == "standing"]

    assert said() == []
    _command(folder, capsys, "log", "quiesce", *token)
    ((level, text),) = said()
    assert (level, "quiesced" in text) == ("warning", True)
    _command(folder, capsys, "log", "retire", "--yes", "--successor", NEXT, *token)
    ((level, text),) = said()
    assert (level, "next.example.org/log" in text) == ("problem", True)


def _aged(folder: Path) -> Settings:
    """The log has 600 entries and a policy of one day that was public for three."""
    config = folder / "service" / "auditlog.toml"
    text = config.read_text().replace("[service]", "[service]\nkeep_promises_days = 1", 1)
    config.write_text(text.replace("[[tokens]]", "retention_days = 1\n[[tokens]]", 1))
    settings = Settings.load(config, {})
    opener = EngineOpener(settings)
    opener.start()
    log = opener.open(settings.logs[0])
    producer = FakeProducer("aged", log.origin)
    producer.enrolled(log.enrol("aged", producer.signer.vkey, producer.note).result(WAIT_S).producer)
    entries = [producer.start(), *(producer.decide(n) for n in range(600))]
    for batch in (entries, [producer.decide(601)]):
        log.submit(producer.batch(batch)).result(WAIT_S)
    log.close()
    state = log._live.stores.state
    committed = state.read()
    assert committed is not None
    assert committed.retention is not None
    signer = log._live.signer
    held = open_retention(committed.retention, signer.verifier, log.origin)
    long_ago = held.since_us - 3 * DAY_US
    aged = replace(held, since_us=long_ago, marks=(Mark(603, long_ago),))
    state.set_retention(committed.retention, sign_retention(aged, signer), 0)
    opener.close()
    return settings


def test_a_log_is_pruned_beside_its_service_and_without(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told, then done; the document is public, what is gone is 410, and the rest goes on as before."""
    assert "policy" in str(_command(folder, capsys, "prune", code=2)["error"])
    settings = with_host_token(_aged(folder))
    told = _command(folder, capsys, "prune")
    assert (told["minimum_index"], told["target"], told["dry_run"]) == (0, 512, True)
    with live_service(settings) as service:
        monkeypatch.setenv("AUDITLOG_SERVE_PORT", service.url.rpartition(":")[2])
        receipt = service.get("/logs/public/receipts/5", token="read").body
        found = _command(folder, capsys, "prune", "--yes", "--token-file", str(folder / "admin.token"))
        assert (found["minimum_index"], found["pruned"], found["deleted"], found["done"]) == (
            512,
            512,
            2,
            True,
        )
        info = service.get("/logs/public").json
        assert info["retention"] == {"days": 1, "entries": None, "minimum_index": 512}
        assert b"minimum 512\n" in service.get("/logs/public/retention").body
        for path in ("entries/5", "receipts/5", "tile/entries/000"):
            answer = service.get(f"/logs/public/{path}", token="read")
            assert (answer.status, answer.json["type"]) == (410, "urn:auditlog:problem:entry_pruned"), path
        assert service.get("/logs/public/receipts/560", token="read").status == 200
        assert service.get(f"/logs/public/proofs/inclusion?index=5&size={info['size']}").status == 200
        with HttpSource(f"{service.url}/logs/public") as source:
            report = fsck(source, info["vkey"])
        assert (report.exit_code, report.minimum_index) == (3, 512)
        assert report.step("tree").outcome == "passed"
    again = _command(folder, capsys, "prune", "--yes")
    assert (again["pruned"], again["deleted"]) == (0, 0)
    assert parse_receipt(receipt).proof.index == 5
    copy = settings.model_copy(
        update={"service": settings.service.model_copy(update={"data_dir": folder / "other"})}
    )
    back_up(settings, settings.logs[0], folder / "backup", with_keys=True)
    restore(copy, settings.logs[0].model_copy(update={"high_water_file": None}), folder / "backup")
    kept = sorted(path.name for path in (folder / "other" / "logs" / "public" / "private" / "kept").iterdir())
    assert kept == ["000"]
    assert not list((folder / "other").rglob("tile/entries/000"))


def test_a_log_is_copied_to_a_bucket_and_from_it(
    service: LiveService,
    folder: Path,
    capsys: Capture,
    seaweed: SeaweedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over HTTP into a bucket, brought up to date there, and from it into a folder: the same bytes."""
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)
    bucket = f"s3://{BUCKET}/mirror-{time.time_ns()}/public"
    producer, _ = service.enrol("public", "host")
    first = [producer.start(), *(producer.decide(n) for n in range(300))]
    vkey = service.get("/logs/public").json["vkey"]
    for entries in (first, [producer.decide(301)]):
        done = service.post_batch("public", producer, entries)
        service.await_published("public", done.json["tree_size"])
        found = _plain(capsys, "mirror", f"{service.url}/logs/public", bucket, "--vkey", vkey)
        assert (found["size"], found["has_entries"]) == (done.json["tree_size"], True)
    copy = _plain(capsys, "mirror", bucket, str(folder / "copy"), "--vkey", vkey)
    assert copy["root"] == found["root"]
    assert _plain(capsys, "fsck", str(folder / "copy"), "--vkey", vkey)["exit_code"] == 0
    assert _plain(capsys, "fsck", bucket, "--vkey", vkey)["tree_size"] == found["size"]
    bundle = service.get("/logs/public/tile/entries/000").body
    assert (folder / "copy" / "tile" / "entries" / "000").read_bytes() == bundle


def _plain(capsys: Capture, *arguments: str) -> dict[str, object]:
    """A command without a configuration."""
    capsys.readouterr()
    assert run([*arguments, "--json"]) == 0, capsys.readouterr()
    out = capsys.readouterr().out
    found: dict[str, object] = json.JSONDecoder().raw_decode(out[out.index("{\n ") :])[0]
    return found
