"""`service.run` as a process: start, one-line failures, and a stop that drains."""

from __future__ import annotations

import http.client
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from auditlog.core.batch import BATCH_MEDIA_TYPE, encode_batch
from auditlog.demo.processes import free_port
from auditlog.service.settings import Settings
from tests.support.live_service import TOKENS, LiveService, create_logs, live_service, write_config

ROOT = Path(__file__).parents[2]
PROGRAM = (
    "import sys\n"
    "from auditlog.errors import AuditLogError\n"
    "from auditlog.service.run import run\n"
    "from auditlog.service.settings import Settings\n"
    "try:\n"
    "    run(Settings.load(sys.argv[1], environ={}))\n"
    "except AuditLogError as error:\n"
    "    sys.exit(f'refused: {error}')\n"
)


@dataclass
class Process:
    """A running service and what it wrote on standard error."""

    popen: subprocess.Popen[bytes]
    errors: Path

    def end(self) -> tuple[int, str]:
        """Wait for its end: exit code and standard error."""
        return self.popen.wait(timeout=60), self.errors.read_text()


@contextmanager
def process(config: Path) -> Iterator[Process]:
    """The service as a process, killed at the end if it is still there."""
    errors = config.with_name("stderr")
    with errors.open("wb") as file:
        command = [sys.executable, "-c", PROGRAM, str(config)]
        with subprocess.Popen(command, cwd=ROOT, stderr=file) as popen:
            try:
                yield Process(popen, errors)
            finally:
                popen.kill()


def await_ready(service: LiveService, started: Process) -> None:
    """Wait until the service answers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert started.popen.poll() is None, started.errors.read_text()
        try:
            if service.get("/ready").status == 200:
                return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("ready in time")


def test_a_stop_answers_what_is_in_flight(tmp_path: Path) -> None:
    """A batch whose body is still arriving at SIGTERM is acknowledged and kept; the process ends with 0."""
    port = free_port()
    config = write_config(tmp_path, port=port)
    settings = Settings.load(config, environ={})
    create_logs(settings)
    with process(config) as started:
        service = LiveService(f"http://127.0.0.1:{port}", settings)
        await_ready(service, started)
        producer, _ = service.enrol("hashes", "host-0")
        batch = producer.batch([producer.start(), producer.decide(0)])
        body = encode_batch(batch.head_note, list(batch.entries))
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            connection.putrequest("POST", "/logs/hashes/batches")
            connection.putheader("Content-Type", BATCH_MEDIA_TYPE)
            connection.putheader("Content-Length", str(len(body)))
            connection.putheader("Authorization", f"Bearer {TOKENS['submit']}")
            connection.endheaders(body[:100])
            time.sleep(0.2)  # let the service begin to read
            started.popen.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            connection.send(body[100:])
            answer = connection.getresponse()
            accepted = json.loads(answer.read())
        assert (answer.status, accepted["count"]) == (200, 2)
        assert started.end()[0] == 0
    with live_service(settings) as again:
        head = again.get(f"/logs/hashes/producers/{producer.producer.hex()}/head", token="submit").json
        assert (head["seq"], head["index"]) == (1, accepted["first_index"] + 1)


def test_a_start_that_fails_is_one_line(tmp_path: Path) -> None:
    """A log that was never created is refused with a sentence, not with a traceback."""
    config = write_config(tmp_path, port=free_port())
    with process(config) as started:
        code, stderr = started.end()
    assert code == 1
    assert "Traceback" not in stderr
    last = stderr.strip().splitlines()[-1]
    assert last.startswith("refused: ")
    assert "expected" in last


def test_a_second_service_on_one_data_directory_is_refused(tmp_path: Path) -> None:
    """On SQLite: one line and exit code 2 at once, and the first goes on; after its end the second starts."""
    config = write_config(tmp_path, port=free_port())
    create_logs(Settings.load(config, environ={}))
    with live_service(Settings.load(config, environ={})) as first:
        code, stderr = serve_to_its_end(config)
        assert code == 2, stderr
        assert "Traceback" not in stderr
        last = stderr.strip().splitlines()[-1]
        assert "used by one auditlog process, found another that serves it" in last
        assert '"event": "ready"' not in stderr
        assert first.get("/ready").status == 200
    with live_service(Settings.load(config, environ={})) as again:
        assert again.get("/ready").status == 200


def serve_to_its_end(config: Path) -> tuple[int, str]:
    """`auditlog serve` that does not come to serve: exit code and standard error."""
    program = "from auditlog.cli.main import main; main()"
    command = [sys.executable, "-c", program, "serve", "--config", str(config), "--port", str(free_port())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def test_a_start_that_has_to_wait_for_a_node_asks_to_be_started_again(tmp_path: Path) -> None:
    """Nothing is signed, and the exit code is none that a supervisor takes for final."""
    config = write_config(tmp_path, port=free_port())
    create_logs(Settings.load(config, environ={}))
    (tmp_path / "anchor.key").write_text("0x" + "11" * 32 + "\n")
    chain = f'rpc_url = "http://127.0.0.1:{free_port()}"\nchain_id = 31337\nkey_file = "anchor.key"\n'
    config.write_text(config.read_text().replace('mode = "off"', 'mode = "rpc"') + chain)
    guard = (tmp_path / "guard" / "hashes").read_bytes()
    code, stderr = serve_to_its_end(config)
    assert code == 75, stderr
    assert "Traceback" not in stderr
    last = json.loads(stderr.strip().splitlines()[-1])
    assert (last["event"], last["problem"]) == ("start_again_later", "guard_unreachable")
    assert (tmp_path / "guard" / "hashes").read_bytes() == guard


def test_a_start_without_its_database_asks_to_be_started_again(tmp_path: Path) -> None:
    """A server that is not up yet is no reason to give up."""
    url = f"postgresql://nobody:secret@127.0.0.1:{free_port()}/none"
    code, stderr = serve_to_its_end(write_config(tmp_path, database_url=url))
    assert code == 75, stderr
    assert json.loads(stderr.strip().splitlines()[-1])["event"] == "start_again_later"
    assert "secret" not in stderr


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_public_folder_is_for_others(tmp_path: Path, umask: int) -> None:
    """All below the data directory is its owner's alone, whatever the umask; the public part is not."""
    config = write_config(tmp_path, port=free_port())
    settings = Settings.load(config, environ={})
    before = os.umask(umask)
    try:
        create_logs(settings)
        with live_service(settings) as service:
            producer, _ = service.enrol("hashes", "host-0")
            answer = service.post_batch("hashes", producer, [producer.start(), producer.decide(0)])
            service.await_published("hashes", answer.json["tree_size"])
            body = json.dumps({"name": "new", "origin": "log.example.org/new", "allow_unguarded_start": True})
            assert service.request("POST", "/logs", token="admin", body=body.encode()).status == 201
            modes = {
                path.relative_to(settings.service.data_dir): stat.S_IMODE(path.stat().st_mode)
                for path in [settings.service.data_dir, *settings.service.data_dir.rglob("*")]
                if path.parent.name != ".public.tmp"  # written there, and gone when we look
                if path.exists()
            }
    finally:
        os.umask(before)
    public = {path: mode for path, mode in modes.items() if "public" in path.parts}
    assert {mode for path, mode in modes.items() if path not in public} == {0o600, 0o700}
    assert set(public.values()) == {0o644, 0o755}
    assert Path("auditlog.sqlite-wal") in modes
    assert any("entries" in path.parts for path in modes)
    assert stat.S_IMODE((tmp_path / "guard" / "hashes").stat().st_mode) == 0o600


def test_what_is_logged_is_json_and_holds_no_secret(tmp_path: Path) -> None:
    """Every line on standard error is one JSON object; tokens and capabilities are in none."""
    port = free_port()
    config = write_config(tmp_path, port=port)
    create_logs(Settings.load(config, environ={}))
    with process(config) as started:
        service = LiveService(f"http://127.0.0.1:{port}", Settings.load(config, environ={}))
        await_ready(service, started)
        service.get("/logs/hashes/receipts/0011223344556677/some-id/SECRETCAPABILITY", token="read")
        service.get("/logs/hashes/entries/0", token="alt_wrong-token")
        started.popen.terminate()
        _, stderr = started.end()
    lines = [json.loads(line) for line in stderr.splitlines()]
    assert {"starting", "log_opened", "ready", "request_done"} <= {line["event"] for line in lines}
    for secret in ("SECRETCAPABILITY", "some-id", "wrong-token", *TOKENS.values()):
        assert secret not in stderr
