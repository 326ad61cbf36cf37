"""The walk-throughs of clients/ do what they say against a real service."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditlog.core.merkle import hash_leaf
from auditlog.core.promise import Promise, sign_promise
from auditlog.core.receipt import parse_receipt
from auditlog.service.settings import Settings, TokenSettings
from auditlog.service.tokens import token_sha256
from tests.support.live_service import TOKENS, LiveService, create_logs, live_service, write_config

CLIENTS = Path(__file__).parents[2] / "clients"
HOST_TOKEN = "alt_enrol-and-submit"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A public log and one with hidden bundles, and a token as a serving host has it."""
    config = write_config(tmp_path_factory.mktemp("clients"), visibilities=("public", "hashes"))
    settings = Settings.load(config, environ={})
    host = TokenSettings(name="host", scopes=["enrol", "submit"], sha256=token_sha256(HOST_TOKEN).hex())
    settings = settings.model_copy(update={"tokens": [*settings.tokens, host]})
    create_logs(settings)
    with live_service(settings) as running:
        yield running


def run(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A client as a process of its own, without our package on its path."""
    clean = {"PATH": os.environ["PATH"], "PYTHONSAFEPATH": "", **environ}
    return subprocess.run(
        command, env=clean, capture_output=True, text=True, timeout=120, check=False, cwd="/"
    )


def write(service: LiveService, log: str, name: str) -> subprocess.CompletedProcess[str]:
    """Run the producer against one log."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed")
    script = str(CLIENTS / "stdlib_producer.py")
    return run(
        sys.executable, "-I", script, f"{service.url}/logs/{log}", "--token", HOST_TOKEN, "--name", name
    )


def test_the_stdlib_producer_is_acknowledged_and_gets_a_receipt(service: LiveService) -> None:
    """Every byte it makes without our code is accepted by our admission and found in a receipt."""
    done = write(service, "hashes", "from-stdlib")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["accepted"].startswith("2 entries")
    receipt = parse_receipt(service.get(lines["receipt"].removeprefix(service.url)).body)
    assert json.loads(receipt.entry)["kind"] == "decision"


def test_the_stdlib_producer_says_why_it_was_refused(service: LiveService) -> None:
    """The second producer of one name has another key, and is told so in one line."""
    assert write(service, "hashes", "taken").returncode == 0
    again = write(service, "hashes", "taken")
    assert again.returncode == 1
    assert again.stderr.startswith("refused: 400 urn:auditlog:problem:refused")


@pytest.mark.parametrize(("log", "token"), [("public", None), ("hashes", "read"), ("hashes", None)])
def test_the_stdlib_client_checks_what_it_reads(service: LiveService, log: str, token: str | None) -> None:
    """It proves an entry and rebuilds the root, or says what it was not shown."""
    producer, _ = service.enrol(log, f"for-{log}-{token}")
    answer = service.post_batch(log, producer, [producer.start(), *(producer.decide(n) for n in range(300))])
    service.await_published(log, answer.json["tree_size"])
    arguments = [f"{service.url}/logs/{log}", "--index", "5", *(["--token", TOKENS[token]] if token else [])]
    done = run(sys.executable, "-I", str(CLIENTS / "stdlib_client.py"), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "give that root again" in done.stdout
    assert ("inclusion   proven" in done.stdout) == (log == "public" or token is not None)
    assert ("not shown to us (401" in done.stdout) == (log == "hashes" and token is None)


def test_the_stdlib_client_asks_with_a_promise(service: LiveService, tmp_path: Path) -> None:
    """Without a token it learns what stands in the promised place, proven."""
    producer, _ = service.enrol("hashes", "promising")
    entries = [producer.start(), producer.decide(1)]
    answer = service.post_batch("hashes", producer, entries)
    service.await_published("hashes", answer.json["tree_size"])
    said = json.loads(entries[1])
    kept = Promise(
        **{key: said[key] for key in ("origin", "producer", "instance", "seq", "time")},
        leaf_hash=hash_leaf(entries[1]),
        model="unregistered",
        request=bytes(32),
        response=bytes(32),
        merge_by="2100-01-01T00:00:00.000000Z",
    )
    lost = dataclasses.replace(kept, seq=9)
    for promise, expected in ((kept, "the promised one"), (lost, "NOT in the tree")):
        path = tmp_path / "promise"
        path.write_text(sign_promise(promise, producer.signer))
        arguments = [f"{service.url}/logs/hashes", "--promise", str(path)]
        for _ in range(50):  # the index follows the log
            done = run(sys.executable, "-I", str(CLIENTS / "stdlib_client.py"), *arguments)
            if "ask again" not in done.stdout:
                break
        assert done.returncode == 0, done.stdout + done.stderr
        assert expected in done.stdout
        assert "proofs      hold" in done.stdout


def test_the_stdlib_client_is_clear_about_a_log_that_is_not_there(service: LiveService) -> None:
    """Exit 2 and one line."""
    done = run(sys.executable, "-I", str(CLIENTS / "stdlib_client.py"), f"{service.url}/logs/nowhere")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_the_curl_walk_through(service: LiveService) -> None:
    """Every request of the script succeeds, and the leaf hash it computes is the one in the tile."""
    for command in ("bash", "curl", "sha256sum"):
        if shutil.which(command) is None:
            pytest.skip(f"the {command} command is not installed")
    environ = {
        "AUDITLOG_LOG": f"{service.url}/logs/public",
        "READ_TOKEN": TOKENS["read"],
        "ADMIN_TOKEN": TOKENS["admin"],
    }
    done = run("bash", str(CLIENTS / "walkthrough.sh"), **environ)
    assert done.returncode == 0, done.stdout + done.stderr
    genesis = hash_leaf(service.get("/logs/public/entries/0").body).hex()
    assert done.stdout.splitlines().count(genesis) == 2
    assert "urn:auditlog:problem:not_found" in done.stdout
    assert '"token":"alt_..."' in done.stdout
    assert done.stdout.rstrip().endswith("204")
