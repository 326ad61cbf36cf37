"""A log and its witnesses as processes that are killed and started again, under load, with every cosignature
written down.

The log reaches each witness through a `Tap` of ours, which passes everything on and keeps what was asked and
what came back: a cosignature that left a witness is known here even if the log died before it used it.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from auditlog.cli.main import run
from auditlog.core.checkpoint import open_checkpoint
from auditlog.core.cosignature import CosignatureVerifier, cosignature_timestamp
from auditlog.core.keys import Ed25519Verifier
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.core.policy import parse_policy
from auditlog.core.tiles import bundle_path, decode_bundle
from auditlog.core.witnessing import parse_add_checkpoint
from auditlog.service.settings import Settings
from tests.support.live_service import LiveService, create_logs, write_config

ROOT = Path(__file__).parents[2]
LOG = "public"
MAIN = "from auditlog.cli.main import main; main()"
GONE = (OSError, urllib.error.URLError, http.client.HTTPException)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Part:
    """One process that can be killed and started again at the same address."""

    command: list[str]
    port: int
    ready: str
    """A path that answers 200 once it works."""
    errors: Path
    popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and again if it ends with 75 (a guard is away), until it works."""
        deadline = time.monotonic() + 120
        while True:
            with self.errors.open("ab") as file:
                self.popen = subprocess.Popen(self.command, cwd=ROOT, stderr=file, stdout=subprocess.DEVNULL)
            while self.popen.poll() is None:
                if self._answers():
                    return
                assert time.monotonic() < deadline, f"{self.errors.read_text()[-3000:]}"
                time.sleep(0.05)
            assert self.popen.returncode == 75, self.errors.read_text()[-3000:]
            assert time.monotonic() < deadline, "its guards came back"

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", self.ready)
            return connection.getresponse().status == 200
        except GONE:
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """Kill -9."""
        if self.popen is not None:
            self.popen.send_signal(signal.SIGKILL)
            self.popen.wait()


class Tap(ThreadingHTTPServer):
    """Passes requests on to a witness, and keeps what was cosigned."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.behind = port
        self.cosigned: list[tuple[str, str]] = []
        """(note asked about, line of the answer), in the order of the answers."""
        self.keeping = threading.Lock()
        self.passing = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Passing)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Passing(BaseHTTPRequestHandler):
    server: Tap

    def do_GET(self) -> None:
        """Pass on."""
        self._pass(None)

    def do_POST(self) -> None:
        """Pass on, and keep a cosignature."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.passing:  # in the order in which they left
            self._pass(body)

    def _pass(self, body: bytes | None) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=20)
        try:
            connection.request(self.command, self.path, body, {"Content-Type": "text/plain; charset=utf-8"})
            answer = connection.getresponse()
            status, said = answer.status, answer.read()
        except GONE:
            status, said = 502, b"nobody there\n"
        finally:
            connection.close()
        if status == 200 and body is not None:
            with self.server.keeping:
                self.server.cosigned.append((parse_add_checkpoint(body).note, said.decode()))
        with suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@dataclass
class World:
    """A log that two witnesses cosign."""

    folder: Path
    when_no_quorum: str = "hold"
    shown: set[str] = field(default_factory=set)
    """Every checkpoint that the log showed."""
    acknowledged: list[bytes] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    failures: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = ("w1", "w2")
        port = free_port()
        config = write_config(self.folder / "service", visibilities=(LOG,), port=port)
        self.vkey = create_logs(Settings.load(config, environ={}))[LOG]
        self.vkeys, self.taps, witnesses = [], [], []
        for name in names:
            home = self.folder / name
            marked = ["--high-water", str(self.folder / f"{name}.high-water"), "--log", self.vkey]
            made = ["witness", "init", str(home), "--name", f"witness.example.org/{name}", *marked]
            assert run(made) == 0
            self.vkeys.append((home / "witness.vkey").read_text().strip())
            listening = free_port()
            self.taps.append(Tap(listening))
            command = [sys.executable, "-c", MAIN, "witness", "serve", str(home), "--port", str(listening)]
            witnesses.append(Part(command, listening, "/health", self.folder / f"{name}.stderr"))
        lines = "".join(
            f"witness {name} {vkey} {tap.url}\n"
            for name, vkey, tap in zip(names, self.vkeys, self.taps, strict=True)
        )
        self.policy = parse_policy(f"log {self.vkey}\n{lines}group both all w1 w2\nquorum both\n")
        setting = f"witness_policy = {json.dumps(self.policy.text)}\n"
        setting += f'when_no_quorum = "{self.when_no_quorum}"\nwitness_timeout_s = 1.0\n'
        config.write_text(config.read_text().replace("[[tokens]]", f"{setting}[[tokens]]", 1))
        command = [sys.executable, "-c", MAIN, "serve", "--config", str(config)]
        self.log = Part(command, port, "/health", self.folder / "log.stderr")
        self.service = LiveService(f"http://127.0.0.1:{port}", Settings.load(config, environ={}))
        self.parts = [*witnesses, self.log]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> World:
        for part in self.parts:
            part.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for part in self.parts:
            part.kill()
        for thread in self._threads:
            thread.join(60)
        for tap in self.taps:
            tap.shutdown()
            tap.server_close()

    def load(self, producers: int) -> None:
        """From now on so many producers send, and one reader looks at the checkpoint."""
        steps = [
            lambda number=number: self._send(f"host-{os.getpid()}-{number}") for number in range(producers)
        ]
        for step in [*steps, self._look]:
            thread = threading.Thread(target=self._guarded, args=(step,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def rest(self) -> None:
        """The load ends: every batch that was begun is acknowledged."""
        self.stop.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive(), "the last batches were acknowledged"
        assert not self.failures, self.failures

    def _guarded(self, step: Any) -> None:
        try:
            step()
        except BaseException as error:
            self.failures.append(error)
            raise

    def _send(self, name: str) -> None:
        """One producer: each batch is sent again until it is acknowledged."""
        while True:
            with suppress(*GONE, AssertionError):
                producer, _ = self.service.enrol(LOG, name)
                break
            time.sleep(0.1)
        entries, number = [producer.start()], 0
        while True:
            self._insist(producer, entries)
            if self.stop.is_set():
                return
            entries = [producer.decide(number + n) for n in range(5)]
            number += 5

    def _insist(self, producer: Any, entries: Sequence[bytes]) -> None:
        until = time.monotonic() + 100
        while time.monotonic() < until:
            with suppress(*GONE):
                answer = self.service.post_batch(LOG, producer, entries)
                if answer.status == 200:
                    self.acknowledged.extend(entries)
                    return
                assert answer.status == 503, answer.body
            time.sleep(0.05)
        raise AssertionError("expected the batch to be acknowledged in the end")

    def _look(self) -> None:
        while not self.stop.is_set():
            with suppress(*GONE):
                answer = self.service.get(f"/logs/{LOG}/checkpoint")
                if answer.status == 200:
                    self.shown.add(answer.body.decode())
            time.sleep(0.02)

    def await_quorum(self) -> str:
        """The published checkpoint, once it covers everything committed and has a quorum."""
        deadline = time.monotonic() + 60
        while True:
            with suppress(*GONE):
                # The checkpoint last: one fetched before the lag was 0 may be older than what is committed.
                info = self.service.get(f"/logs/{LOG}").json
                lag = self._metric("auditlog_publication_lag_seconds")
                note = self.service.get(f"/logs/{LOG}/checkpoint").body.decode()
                if info["quorum"]["reached"] and lag == 0 and self.has_quorum(note):
                    self.shown.add(note)
                    return note
            assert time.monotonic() < deadline, "a quorum came in the end"
            time.sleep(0.05)

    def _metric(self, name: str) -> float:
        lines = self.service.get("/metrics").body.decode().splitlines()
        return next(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}{{"))

    def has_quorum(self, note: str) -> bool:
        """Whether a note has a quorum; its log signature must hold."""
        checkpoint, opened = open_checkpoint(note, self.policy.verifiers())
        assert checkpoint.origin == f"log.example.org/{LOG}"
        return self.policy.check_quorum(opened.text, opened).satisfied

    def entries(self, size: int) -> list[bytes]:
        """All entries of the tree, from its public bundles."""
        found: list[bytes] = []
        while len(found) < size:
            index = len(found) // 256
            width = min(256, size - index * 256)
            answer = self.service.get(f"/logs/{LOG}/{bundle_path(index, width)}")
            assert answer.status == 200, answer.body
            found += decode_bundle(answer.body)
        return found

    def judge(self) -> dict[str, int]:
        """One history only, in every cosignature ever given; nothing acknowledged is missing. Returns counts.

        Raises:
            AssertionError: it is not so.
        """
        note = self.await_quorum()
        log = Ed25519Verifier.from_vkey(self.vkey)
        checkpoint, _ = open_checkpoint(note, [log])
        entries = self.entries(checkpoint.tree_size)
        leaves = [hash_leaf(entry) for entry in entries]
        held = set(entries)
        missing = [number for number, entry in enumerate(self.acknowledged) if entry not in held]
        assert not missing, (
            f"of {len(self.acknowledged)} acknowledged entries these are not in the tree: {missing}"
        )
        roots: dict[int, bytes] = {}

        def check(size: int, root: bytes) -> None:
            assert size <= len(leaves), f"a signed tree of {size} is beyond the {len(leaves)} entries"
            roots.setdefault(size, root_hash(leaves[:size]))
            assert roots[size] == root, f"two histories at size {size}"

        check(checkpoint.tree_size, checkpoint.root_hash)
        for tap, vkey in zip(self.taps, self.vkeys, strict=True):
            self._judge_witness(tap, CosignatureVerifier.from_vkey(vkey), log, check)
        for shown in self.shown:
            seen, _ = open_checkpoint(shown, [log])
            check(seen.tree_size, seen.root_hash)
            # The first one is older than its witnesses: they had to know the log's key.
            if self.when_no_quorum == "hold" and seen.tree_size > 1:
                assert self.has_quorum(shown), "nothing was shown without a quorum"
        given = sum(len(tap.cosigned) for tap in self.taps)
        return {"entries": len(entries), "acknowledged": len(self.acknowledged), "cosignatures": given}

    @staticmethod
    def _judge_witness(tap: Tap, witness: CosignatureVerifier, log: Ed25519Verifier, check: Any) -> None:
        """Every cosignature holds; sizes and times never go back."""
        last = (0, 0)
        with tap.keeping:
            cosigned = list(tap.cosigned)
        for asked, line in cosigned:
            found, opened = open_checkpoint(asked + line, [log, witness])
            mine = [each for each in opened.verified if each.vkey == witness.vkey]
            check(found.tree_size, found.root_hash)
            now = (found.tree_size, cosignature_timestamp(mine[-1]))
            assert now[0] >= last[0], f"a smaller tree after a larger one: {last}, {now}"
            assert now[1] >= last[1], f"an earlier time after a later one: {last}, {now}"
            last = now
