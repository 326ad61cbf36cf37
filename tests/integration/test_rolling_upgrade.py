"""Rolling upgrades: the previous release's own wheel beside this code, on one state and one data directory.

Hosts and services are processes of their own. Whatever order they are upgraded in, and whether a host is
stopped or killed on the way: every decision said to be durable is in the log once, the chain has no hole and
no number twice, and a gap stands only where a life was killed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from auditlog.capture.backlog import read_backlog
from auditlog.core.entry import Entry, parse_entry
from auditlog.core.tiles import decode_bundle
from auditlog.demo.processes import free_port
from auditlog.log.lives import read_lives
from auditlog.service.settings import Settings
from auditlog.service.tokens import token_sha256
from tests.integration.test_service_process import PROGRAM
from tests.support.live_service import LiveService, write_config
from tests.support.log_audit import check_chains
from tests.support.recording import HOST_TOKEN, WAIT_S

ROOT = Path(__file__).parents[2]
WHEEL = ROOT / "tests" / "compat" / "0.1" / "auditlog-0.1.0-py3-none-any.whl"
HOST = """
import sys
from pathlib import Path
from auditlog.capture import CaptureSettings, Observation, ObservedBody, Recorder
url, state, token, count = sys.argv[1:5]
recorder = Recorder(CaptureSettings(log_url=url, origin="log.example.org/hashes", producer="host",
    token=token, state_dir=Path(state), strict=True, close_timeout_s=20.0))
recorder.start()
said = []
for n in range(int(count)):
    exchange = recorder.new_exchange()
    seen = Observation(exchange=exchange, operation="chat", capture="asgi", duration_us=1, ended="ok",
        request=ObservedBody(b'{"n":1}'), response=ObservedBody(b'{"m":2}'))
    said.append(recorder.record(seen, want_durable=True))
for one in said:
    one.durable.result(20)
print(*[one.id for one in said], "recorded", flush=True)
if sys.stdin.readline().strip() == "stop":
    recorder.close()
    print("closed", flush=True)
else:
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The previous release, unpacked."""
    folder = tmp_path_factory.mktemp("previous")
    with zipfile.ZipFile(WHEEL) as wheel:
        wheel.extractall(folder)
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A service on a fixed port with one log, made by the test before any process runs."""
    path = write_config(tmp_path / "service", port=free_port())
    token = token_sha256(HOST_TOKEN).hex()
    with path.open("a") as file:
        file.write(f'[[tokens]]\nname = "host"\nscopes = ["enrol", "submit"]\nsha256 = "{token}"\n')
    return path


def environment(code: Path) -> dict[str, str]:
    """Where a process finds its `auditlog`."""
    return {**os.environ, "PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}


@contextmanager
def served(config: Path, code: Path) -> Iterator[LiveService]:
    """A service of that release, stopped in order at the end."""
    settings = Settings.load(config, {})
    url = f"http://127.0.0.1:{settings.service.port}"
    log = config.with_name("service.log")
    with log.open("ab") as out:
        popen = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(config)],
            env=environment(code),
            cwd="/",
            stdout=out,
            stderr=out,
        )
        try:
            deadline = time.monotonic() + WAIT_S
            while not answers(f"{url}/ready"):
                assert popen.poll() is None, log.read_text()[-2000:]
                assert time.monotonic() < deadline, "ready in time"
                time.sleep(0.05)
            yield LiveService(url, settings)
            popen.terminate()
            assert popen.wait(WAIT_S) == 0, log.read_text()[-2000:]
        finally:
            popen.kill()
            popen.wait()


def answers(url: str) -> bool:
    """Whether it says 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def host(url: str, state: Path, code: Path, *, count: int, is_killed: bool = False) -> list[str]:
    """One life of a serving host; the ids of its decisions."""
    popen = subprocess.Popen(
        [sys.executable, "-c", HOST, f"{url}/logs/hashes", str(state), HOST_TOKEN, str(count)],
        env=environment(code),
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert popen.stdout is not None
    said = popen.stdout.readline().split()
    if is_killed:
        popen.kill()
        popen.communicate()
    else:
        out, err = popen.communicate("stop\n", timeout=WAIT_S)
        assert out.strip() == "closed", err[-2000:]
    assert said[-1] == "recorded"
    return said[:-1]


def published(service: LiveService) -> list[bytes]:
    """Every entry of the log, once all that was sent is published."""
    (producer,) = {entry.producer for entry in map(parse_entry, bundles(service)) if not entry.by_log} or {""}
    head = service.get(f"/logs/hashes/producers/{producer}/head", token="read").json
    service.await_published("hashes", head["index"] + 1)
    return bundles(service)


def bundles(service: LiveService) -> list[bytes]:
    """The published entries."""
    size = service.get("/logs/hashes").json["size"]
    found: list[bytes] = []
    for index in range(-(-size // 256)):
        width = min(256, size - 256 * index)
        path = f"{index:03d}" + ("" if width == 256 else f".p/{width}")
        found += decode_bundle(service.get(f"/logs/hashes/tile/entries/{path}", token="read").body)
    return found


def check(service: LiveService, state: Path, ids: list[str], *, gaps: int) -> list[Entry]:
    """Every decision once, no hole, no number twice, nothing left behind, gaps only where they are due."""
    data = published(service)
    check_chains(data)
    entries = [parse_entry(each) for each in data]
    decided = [entry.body["id"] for entry in entries if entry.kind == "decision"]
    assert sorted(decided) == sorted(ids)
    numbers = [(entry.producer, entry.instance, entry.seq) for entry in entries]
    assert len(set(numbers)) == len(numbers)
    assert len([entry for entry in entries if entry.kind == "gap"]) == gaps
    assert read_backlog(state / "slots" / "host-0").waiting == 0
    assert read_lives(data).rotations(bytes.fromhex(numbers[-1][0]) if numbers[-1][0] != "log" else b"") == []
    return entries


@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
def test_host_and_service_are_upgraded_with_entries_under_way(
    config: Path, previous: Path, tmp_path: Path, is_killed: bool
) -> None:
    """The old release leaves unsent entries in its spool and a log on disk; this one takes both."""
    create_old(config, previous)
    state = tmp_path / "state"
    with served(config, previous) as service:
        ids = host(service.url, state, previous, count=20)
    # The old service is gone: what the old host records now stays in its spool.
    ids += host(service.url, state, previous, count=15, is_killed=is_killed)
    assert read_backlog(state / "slots" / "host-0").waiting > 15
    with served(config, ROOT) as service:
        ids += host(service.url, state, ROOT, count=10)
        entries = check(service, state, ids, gaps=int(is_killed))
    assert len({entry.producer for entry in entries if not entry.by_log}) == 1


def test_one_side_at_a_time(config: Path, previous: Path, tmp_path: Path) -> None:
    """An old host on a new service, then a new host on an old one, then both new: nobody notices."""
    create_old(config, previous)
    state = tmp_path / "state"
    with served(config, previous) as service:
        ids = host(service.url, state, ROOT, count=10)
        ids += host(service.url, state, previous, count=10)
        check(service, state, ids, gaps=0)
    with served(config, ROOT) as service:
        ids += host(service.url, state, previous, count=10)
        ids += host(service.url, state, ROOT, count=10)
        check(service, state, ids, gaps=0)


def create_old(config: Path, previous: Path) -> None:
    """Make the log with the old release, as its operator did."""
    program = (
        "import sys\nfrom auditlog.service.settings import Settings\n"
        "from auditlog.cli.log import create_log\n"
        "s = Settings.load(sys.argv[1], {})\ncreate_log(s, s.logs[0])\n"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(config)],
        env=environment(previous),
        cwd="/",
        check=True,
        capture_output=True,
        timeout=WAIT_S,
    )
