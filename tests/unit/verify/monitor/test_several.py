"""Several logs in one monitor: each is followed, whatever another does; and who is asked beside them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from auditlog.cli.monitor_parts import Wanted, build
from auditlog.core.checkpoint import Checkpoint, sign_checkpoint
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.core.trust import parse_trust
from auditlog.errors import ConfigurationError, SourceError
from auditlog.verify.monitor.beside import checkpoint_path
from auditlog.verify.monitor.clocks import Limits
from auditlog.verify.monitor.following import Follower
from auditlog.verify.monitor.outbox import Outbox
from auditlog.verify.monitor.prove import Prover
from auditlog.verify.monitor.running import Monitor, Watch
from auditlog.verify.monitor.store import Store
from auditlog.verify.sources import HttpSource, LogSource
from auditlog.verify.steps import LogTrust
from tests.support.memory_source import MemorySource
from tests.support.monitor_world import MONITOR_KEY, START_US, honest
from tests.support.receipts_factory import Factory
from tests.support.tlog_writer import ORIGIN, log_files, log_signer

LIMITS = Limits(anchor_s=1e9, stale_s=1e9, slack_s=1e9)
NAMES = ("good", "other", "bad")


def log_of(factory: Factory) -> MemorySource:
    """A small log under its own key."""
    leaves = [hash_leaf(entry) for entry in factory.entries]
    source = MemorySource(log_files(factory.entries))
    checkpoint = Checkpoint(factory.origin, len(leaves), root_hash(leaves))
    source.files["checkpoint"] = sign_checkpoint(checkpoint, factory.log_key).encode()
    return source


class Hanging(MemorySource):
    """Answers nothing until it is let go."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(files)
        self.let_go = threading.Event()

    def fetch(self, path: str) -> bytes:
        """Wait, and refuse."""
        self.let_go.wait(60)
        raise SourceError("expected an answer, found none", reason="unreachable")


class Breaking(MemorySource):
    """Brings out a fault of ours."""

    def fetch(self, path: str) -> bytes:
        """What no source may do."""
        raise RecursionError(path)


def together(folder: Path, bad: type[MemorySource]) -> tuple[Monitor, MemorySource]:
    """Three logs, one of which is bad."""
    store = Store(folder)
    watches, sources = [], []
    for name in NAMES:
        factory = Factory(origin=f"log.example/{name}", decisions=5)
        text = f'{{"v":"auditlog/trust@v1","policy":"log {factory.log_key.vkey}\\nquorum none\\n",'
        trust = parse_trust((text + '"issuer":{"name":"x","role":"self"},"require":[]}').encode())
        source = log_of(factory)
        sources.append(bad(source.files) if name == "bad" else source)
        keys = tuple(log.verifier for log in trust.policy.logs)
        follower = Follower(
            LogTrust(factory.origin, keys, trust),
            sources[-1],
            store,
            Prover(trust, MONITOR_KEY, lambda: START_US),
            clock_us=lambda: START_US,
        )
        watches.append(Watch(follower, limits=LIMITS))
    return Monitor(store, watches, Outbox(store, {})), sources[-1]


def test_a_log_that_hangs_does_not_stop_the_others(tmp_path: Path) -> None:
    """While one waits for an answer the others are read, and read again when they grow."""
    monitor, bad = together(tmp_path, Hanging)
    assert isinstance(bad, Hanging)
    good = monitor.watches[0].follower.source
    following = threading.Thread(target=monitor.follow, args=(0.01, lambda _line: None))
    following.start()
    assert _comes(lambda: len(monitor.statuses) == 2)
    assert isinstance(good, MemorySource)
    larger = Factory(origin="log.example/good", decisions=9)
    good.files = log_of(larger).files
    assert _comes(lambda: monitor.statuses["log.example/good"].entries_size == len(larger.entries))
    bad.let_go.set()
    assert _comes(lambda: len(monitor.statuses) == 3)
    monitor.stop()
    following.join()
    assert [name for name, status in monitor.statuses.items() if status.unread] == ["log.example/bad"]
    assert monitor.new_alarms() == []
    monitor.close()


def test_a_fault_found_by_one_log_does_not_stop_the_others(tmp_path: Path) -> None:
    """What this program never expected is that log's trouble, is said, and is tried again."""
    monitor, bad = together(tmp_path, Breaking)
    monitor.once()
    statuses = monitor.statuses
    assert [statuses[f"log.example/{name}"].is_current for name in NAMES] == [True, True, False]
    assert "failed on it (RecursionError)" in statuses["log.example/bad"].unread[0]
    bad.__class__ = MemorySource
    monitor.once()
    assert monitor.statuses["log.example/bad"].is_current
    monitor.close()


def test_a_log_that_lies_does_not_stop_the_others(tmp_path: Path) -> None:
    """Its alarm is its own."""
    monitor, bad = together(tmp_path, MemorySource)
    bad.files["tile/entries/000.p/" + str(len(Factory(decisions=5).entries))] = b"\0\1x"
    monitor.once()
    monitor.once()
    assert {origin for origin, _ in monitor.new_alarms()} == {"log.example/bad"}
    assert all(monitor.statuses[f"log.example/{name}"].is_current for name in NAMES[:2])
    monitor.close()


def _comes(condition: object) -> bool:
    """Whether something comes true in a minute."""
    for _ in range(3000):
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return False


class Slow(BaseHTTPRequestHandler):
    """A log that answers late while it is told to."""

    source: MemorySource
    wait_s = 0.0

    def do_GET(self) -> None:
        """One object, some time later."""
        time.sleep(type(self).wait_s)
        try:
            content = self.source.fetch(self.path[1:])
        except SourceError:
            content = b""
        self.send_response(200 if content else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silence."""


@pytest.fixture
def url() -> Iterator[str]:
    """A server of what `Slow.source` has."""
    Slow.wait_s = 0.0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_log_that_was_too_slow_once_is_read_again(tmp_path: Path, url: str) -> None:
    """A source gives up for ever; the monitor opens another for its next look."""
    world = honest()
    Slow.source = world.serve()
    opened: list[HttpSource] = []

    def again() -> LogSource:
        opened.append(HttpSource(url))
        return opened[-1]

    store, trust = Store(tmp_path), world.trust(0)
    follower = Follower(
        LogTrust(ORIGIN, tuple(log.verifier for log in trust.policy.logs), trust),
        HttpSource(url, object_s=0.2),
        store,
        Prover(trust, MONITOR_KEY, lambda: START_US),
        clock_us=lambda: START_US,
        reopen=again,
    )
    Slow.wait_s = 0.6
    assert "too slow" in follower.look().unread[0]
    Slow.wait_s = 0.0
    look = follower.look()
    assert (look.is_current, look.unread, len(opened)) == (True, [], 1)
    follower.close()
    store.close()


def test_witnesses_and_peers_of_the_command_line_are_asked(tmp_path: Path, url: str) -> None:
    """`--witness-url` by its name in the trust file, `--peer` by its URL; another name is refused."""
    world = honest()
    note = world.publish()
    Slow.source = world.serve()
    Slow.source.files[checkpoint_path(ORIGIN)] = note.encode()
    trust = tmp_path / "trust.json"
    value = {"v": "auditlog/trust@v1", "policy": world.trust().policy.text}
    trust.write_text(json.dumps(value | {"issuer": {"name": "x", "role": "regulator"}}))
    wanted = Wanted(
        logs=(url,), trust=trust, vkey=None, state=tmp_path / "s", witness_urls=(f"w0={url}",), peers=(url,),
        stale_s=1e12,
    )  # fmt: skip
    monitor = build(wanted, lambda _origin: lambda _done, _size: None)
    monitor.once()
    status = monitor.statuses[ORIGIN]
    assert [(other.kind, other.name, other.size, other.problem) for other in status.others] == [
        ("witness", "w0", len(world.entries), ""),
        ("monitor", url, len(world.entries), ""),
    ]
    assert status.unread == ()
    assert not any("no witness" in text or "no other monitor" in text for text in status.reservations)
    monitor.close()
    wrong = Wanted(logs=(url,), trust=trust, vkey=None, state=tmp_path / "t", witness_urls=(f"w9={url}",))
    with pytest.raises(ConfigurationError, match="w0, w1"):
        build(wrong, lambda _origin: lambda _done, _size: None)


def test_one_log_twice_is_refused(tmp_path: Path, url: str) -> None:
    """Two followers of one log would share a memory."""
    Slow.source = honest().serve()
    wanted = Wanted(logs=(url, f"{url}/"), trust=None, vkey=log_signer().vkey, state=tmp_path / "s")
    with pytest.raises(ConfigurationError, match="one twice"):
        build(wanted, lambda _origin: lambda _done, _size: None)
