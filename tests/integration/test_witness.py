"""Witnesses as real processes: receipts verified with a quorum, kill -9 and restarts, `auditlog init`."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from auditlog.cli.main import run
from auditlog.core.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from auditlog.core.cosignature import CosignatureVerifier
from auditlog.core.keys import Ed25519Signer
from auditlog.core.merkle import prove_consistency, root_hash
from auditlog.core.witnessing import AddCheckpoint, format_add_checkpoint, parse_tree_size
from auditlog.service.secretfiles import make_key
from auditlog.service.settings import Settings
from tests.support.live_service import LiveService, create_logs, live_service, write_config

ROOT = Path(__file__).parents[2]
LOG = Ed25519Signer.from_seed("log.example.org/cosigned", bytes(32))
LEAVES = [hashlib.sha256(bytes([n])).digest() for n in range(30)]
FORKED = [hashlib.sha256(b"f" + bytes([n])).digest() for n in range(30)]


Captured = pytest.CaptureFixture[str]
Witnessed = tuple[Settings, list[tuple[str, str, Path]]]


def made(folder: Path, *logs: str) -> str:
    """A witness in a new folder that follows these logs; its vkey."""
    name = f"witness.example.org/{folder.name}"
    arguments = [part for log in logs for part in ("--log", log)]
    marked = ["--high-water", "high-water"]
    assert run(["witness", "init", str(folder), "--name", name, *marked, *arguments]) == 0
    return (folder / "witness.vkey").read_text().strip()


@contextmanager
def serving(folder: Path, port: int = 0) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`auditlog witness serve` as a process: its URL, and the process, which is killed at the end."""
    program = "from auditlog.cli.main import main; main()"
    command = [sys.executable, "-c", program, "witness", "serve", str(folder), "--port", str(port), "--json"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        try:
            said = ""
            while started.stdout is not None and not said.endswith("}\n"):
                line = started.stdout.readline()
                assert line, started.stderr.read() if started.stderr else ""
                said += line
            yield json.loads(said)["url"], started
        finally:
            started.kill()


def add(url: str, old: int, size: int, leaves: list[bytes] = LEAVES) -> httpx.Response:
    """Ask for a cosignature on the tree of the first leaves."""
    note = sign_checkpoint(Checkpoint(LOG.name, size, root_hash(leaves[:size])), LOG)
    proof = tuple(prove_consistency(leaves[:size], old)) if 0 < old < size else ()
    body = format_add_checkpoint(AddCheckpoint(old, proof, note))
    return httpx.post(f"{url}/add-checkpoint", content=body, timeout=10)


def test_a_killed_witness_never_signs_a_second_root(tmp_path: Path) -> None:
    """After each kill -9 it knows what it signed: another root of that size and smaller trees are refused."""
    folder = tmp_path / "w"
    verifier = CosignatureVerifier.from_vkey(made(folder, LOG.vkey))
    known = 0
    for size in (3, 20):
        with serving(folder) as (url, process):
            answer = add(url, known, size)
            assert answer.status_code == 200
            process.send_signal(signal.SIGKILL)
        note = sign_checkpoint(Checkpoint(LOG.name, size, root_hash(LEAVES[:size])), LOG) + answer.text
        open_checkpoint(note, [LOG.verifier, verifier], LOG.name)
        assert f"— {verifier.name} " in note
        with serving(folder) as (url, process):
            for old, other in ((size, FORKED), (size, FORKED)):
                assert add(url, old, size, other).status_code == 422
            refused = add(url, 0, size, FORKED)
            assert (refused.status_code, parse_tree_size(refused.content)) == (409, size)
            assert refused.headers["content-type"] == "text/x.tlog.size"
            assert add(url, size, size - 1).status_code == 400
            name = hashlib.sha256(LOG.name.encode()).hexdigest()
            assert httpx.get(f"{url}/{name}/checkpoint").text == note
            process.send_signal(signal.SIGKILL)
        known = size


def test_a_witness_killed_at_any_moment_remembers_what_left(tmp_path: Path) -> None:
    """Killed while it is asked again and again: whatever was answered, it knows at least that size."""
    folder = tmp_path / "w"
    made(folder, LOG.vkey)
    answered = 0
    for delay_s in (0.003, 0.03):
        with serving(folder) as (url, process):
            killer = threading.Timer(delay_s, process.kill)
            killer.start()
            try:
                while answered < len(LEAVES):
                    response = add(url, answered, answered + 1)
                    if response.status_code == 409:
                        answered = parse_tree_size(response.content)
                        continue
                    assert response.status_code == 200, response.text
                    answered += 1
            except httpx.HTTPError:
                pass  # killed
            killer.join()
        with serving(folder) as (url, _):
            response = add(url, len(LEAVES), len(LEAVES), FORKED)
            assert response.status_code == 409
            assert parse_tree_size(response.content) >= answered


def test_a_stop_is_graceful_and_a_second_witness_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """SIGTERM ends with 0; while one serves the folder another one is one line and exit code 2."""
    folder = tmp_path / "w"
    made(folder, LOG.vkey)
    with serving(folder) as (url, process):
        assert httpx.get(f"{url}/health").json()["status"] == "ok"
        for path in ("", "/x", "/promises/broken", "/../witness.key"):
            assert httpx.get(f"{url}{path}").status_code == 404
        assert httpx.get(f"{url}/add-checkpoint").status_code == 405
        assert httpx.post(f"{url}/other", content=b"x").status_code == 404
        assert httpx.post(f"{url}/add-checkpoint", content=b"x" * 200_000).status_code == 400
        assert run(["witness", "serve", str(folder), "--port", "0"]) == 2
        assert "another process" in capfd.readouterr().err
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.fixture
def witnesses(tmp_path: Path) -> Iterator[tuple[Settings, list[tuple[str, str, Path]]]]:
    """A service's settings with two running witnesses: (vkey, url, folder) of each."""
    config = write_config(tmp_path / "service", anchoring="devnet")
    vkeys = create_logs(Settings.load(config, environ={}))
    folders = [tmp_path / "w1", tmp_path / "w2"]
    keys = [made(folder, vkeys["hashes"]) for folder in folders]
    with serving(folders[0]) as (first, _), serving(folders[1]) as (second, _):
        found = list(zip(keys, (first, second), folders, strict=True))
        lines = ", ".join(f'{{vkey = "{vkey}", url = "{url}"}}' for vkey, url, _ in found)
        text = config.read_text().replace("[[tokens]]", f"witnesses = [{lines}]\n[[tokens]]", 1)
        config.write_text(text)
        yield Settings.load(config, environ={}), found


def receipt_of(service: LiveService, path: Path, *, anchored: bool = False) -> int:
    """Write the receipt of a new decision to a file, with its anchor if that is asked for; its index."""
    producer, _ = service.enrol("hashes", f"host-{path.stem}")
    answer = service.post_batch("hashes", producer, [producer.start(), producer.decide(1)])
    assert answer.status == 200, answer.body
    service.await_published("hashes", answer.json["tree_size"])
    index = int(answer.json["first_index"]) + 1
    for _ in range(500):
        receipt = service.get(f"/logs/hashes/receipts/{index}", token="read")
        if receipt.status == 200 and (not anchored or b'"type":"devnet@v0"' in receipt.body):
            break
        time.sleep(0.02)
    path.write_bytes(receipt.body)
    return index


def test_a_receipt_with_a_quorum_verifies_as_such(
    witnesses: tuple[Settings, list[tuple[str, str, Path]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`auditlog verify` with a quorum of one, and of two, says that witnesses saw it; more is not there."""
    settings, found = witnesses
    with live_service(settings) as service:
        receipt_of(service, tmp_path / "receipt.json", anchored=True)
        info = service.get("/logs/hashes").json
        metrics = service.get("/metrics").body.decode()
    assert 'auditlog_checkpoint_cosignatures{log="hashes"} 2.0' in metrics
    assert 'outcome="cosigned"' in metrics
    assert info["witnesses"] == [{"name": key.partition("+")[0], "vkey": key} for key, _, _ in found]
    named = [part for n, (key, _, _) in enumerate(found) for part in ("--witness", f"w{n}={key}")]
    for quorum in ("1", "2"):
        trust = tmp_path / f"trust-{quorum}.json"
        pinned = ["trust", "pin", "--vkey", info["vkey"], *named, "--devnet", info["devnet_vkey"]]
        pinned += ["--quorum", quorum, "--require", "quorum", "--require", "devnet"]
        assert run([*pinned, "--out", str(trust)]) == 0
        capsys.readouterr()
        assert run(["verify", str(tmp_path / "receipt.json"), "--trust", str(trust), "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["exit_code"] == 0
        assert "quorum" in json.dumps(report)
    stranger = made(tmp_path / "w3")
    pinned = [
        "trust",
        "pin",
        "--vkey",
        info["vkey"],
        "--witness",
        f"w={stranger}",
        "--quorum",
        "1",
        "--require",
        "quorum",
    ]
    assert run([*pinned, "--out", str(tmp_path / "other.json")]) == 0
    assert run(["verify", str(tmp_path / "receipt.json"), "--trust", str(tmp_path / "other.json")]) != 0


def test_a_log_that_ends_waits_for_its_last_quorum(
    witnesses: tuple[Settings, list[tuple[str, str, Path]]],
) -> None:
    """Retired in front of real witnesses: the last checkpoint is cosigned by both, and says so."""
    settings, _ = witnesses
    following = Ed25519Signer.from_seed("next.example.org/log", b"n" * 32).vkey
    with live_service(settings) as service:
        producer, _ = service.enrol("hashes", "host")
        assert service.post_batch("hashes", producer, [producer.start()]).status == 200
        wanted = json.dumps({"standing": "retired", "successor": following}).encode()
        for _ in range(100):
            ended = service.request("POST", "/logs/hashes/standing", token="admin", body=wanted)
            assert ended.status == 200, ended.body
            if ended.json["retired"] is not None and ended.json["quorum_reached"]:
                break
            time.sleep(0.05)
        assert (ended.json["cosigned"], ended.json["quorum_reached"]) == (2, True)
        assert ended.json["retired"]["size"] == ended.json["size"] == ended.json["published_size"]
        note = service.get("/logs/hashes/checkpoint").body.decode()
    assert note.count("\n— ") == 3
    with live_service(settings) as service:
        assert service.get("/logs/hashes").json["standing"] == "retired"
        assert service.get("/logs/hashes/checkpoint").body.decode().split("\n\n")[0] == note.split("\n\n")[0]


def test_a_log_whose_witnesses_are_all_away_goes_on(tmp_path: Path) -> None:
    """Nothing answers at their addresses: entries are acknowledged and published all the same, if the
    settings say that a start may go on without them.
    """
    config = write_config(tmp_path / "service")
    create_logs(Settings.load(config, environ={}))
    vkey = made(tmp_path / "w1")
    with socket.socket() as silent:  # takes connections and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        line = f'witnesses = [{{vkey = "{vkey}", url = "{url}"}}]\nwitness_timeout_s = 0.2\n'
        line += 'witness_guard = "answered"\n'
        config.write_text(config.read_text().replace("[[tokens]]", f"{line}[[tokens]]", 1))
        with live_service(Settings.load(config, environ={})) as service:
            receipt_of(service, tmp_path / "receipt.json")
            note = service.get("/logs/hashes/checkpoint").body.decode()
            assert note.count("\n— ") == 1
            assert 'outcome="late"' in service.get("/metrics").body.decode()
            assert service.get("/ready").status == 200


def test_init_writes_witnesses_and_a_trust_file_that_demands_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their keys go into both files, the quorum is most of them unless said otherwise."""
    keys = [made(tmp_path / f"w{n}") for n in range(3)]
    given = [
        part for n, key in enumerate(keys) for part in ("--witness", f"{key}=http://127.0.0.1:{9000 + n}/x")
    ]
    new = ["init", "--anchoring", "off", *given]
    os.environ["XDG_STATE_HOME"], before = str(tmp_path / "state"), os.environ.get("XDG_STATE_HOME")
    try:
        assert run([*new, str(tmp_path / "a")]) == 0
        assert run([*new, str(tmp_path / "b"), "--quorum", "3"]) == 0
        assert run([*new, str(tmp_path / "c"), "--quorum", "4"]) == 2
        assert run(["init", str(tmp_path / "d"), "--witness", keys[0]]) == 2
        assert run(["init", str(tmp_path / "e"), "--witness", f"{LOG.vkey}=http://127.0.0.1:1"]) == 2
    finally:
        os.environ.pop("XDG_STATE_HOME") if before is None else os.environ.update(XDG_STATE_HOME=before)
    settings = Settings.load(tmp_path / "a" / "auditlog.toml", environ={})
    assert [each.vkey for each in settings.logs[0].witnesses] == keys
    assert settings.logs[0].witnesses[1].url == "http://127.0.0.1:9001/x"
    for folder, quorum in (("a", 2), ("b", 3)):
        capsys.readouterr()
        assert run(["trust", "show", str(tmp_path / folder / "trust.json"), "--json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert shown["require"] == ["quorum"]
        assert list(shown["witnesses"].values()) == keys
        assert f"group witnesses {quorum} " in (tmp_path / folder / "trust.json").read_text()


def test_a_key_that_lay_there_creates_no_log_past_silent_witnesses(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It may have signed a log that only they remember: 3. One made by the call will do."""
    vkey = made(tmp_path / "w1")
    line = f'witnesses = [{{vkey = "{vkey}", url = "http://127.0.0.1:1"}}]\nwitness_guard = "all"\n'
    logs = ("hashes", "private")
    config = write_config(tmp_path / "service", visibilities=logs)
    config.write_text(config.read_text().replace("[[tokens]]", f"{line}[[tokens]]", 1))
    settings = Settings.load(config, environ={})
    witnessed = next(log for log in settings.logs if log.witnesses)
    create = ["log", "create", witnessed.name, "--config", str(config)]
    key_file = settings.paths(witnessed).key_file
    make_key(key_file, witnessed.origin, seed=b"k" * 32)
    assert run(create) == 3
    assert "the key is older than this call" in capfd.readouterr().err
    key_file.unlink()
    assert run(create) == 0
