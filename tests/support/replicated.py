"""Replicas, sequencer candidates, a NATS cluster and a PostgreSQL, all real processes, and load."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from auditlog.core.batch import BATCH_MEDIA_TYPE, encode_batch
from auditlog.core.tiles import decode_bundle
from auditlog.service.settings import Settings
from tests.support.live_service import TOKENS, LiveService, create_logs, write_config
from tests.support.nats_cluster import NatsCluster
from tests.support.ports import free_ports
from tests.support.postgres import PostgresServer
from tests.support.testlog import FakeProducer

ROOT = Path(__file__).parents[2]
LOG = "hashes"
WAIT_S = 90.0
PROGRAM = """
import sys
from auditlog.errors import AuditLogError
from auditlog.service.run import run
from auditlog.service.settings import Settings
try:
    run(Settings.load(sys.argv[1]))
except AuditLogError as error:
    sys.exit(f"refused: {error}")
"""


class Member:
    """One process of the service in one role."""

    def __init__(self, config: Path, role: str, port: int) -> None:
        self.config = config
        self.role = role
        self.port = port
        self.errors = config.with_name(f"{role}-{port}.log")
        self.popen: subprocess.Popen[bytes] | None = None
        self.service = LiveService(
            f"http://127.0.0.1:{port}", Settings.load(config, {"AUDITLOG_SERVE_ROLE": role})
        )

    def start(self) -> None:
        """Start the process, again after `kill` or `stop`."""
        environment = {**os.environ, "AUDITLOG_SERVE_ROLE": self.role, "AUDITLOG_SERVE_PORT": str(self.port)}
        with self.errors.open("ab") as out:
            command = [sys.executable, "-c", PROGRAM, str(self.config)]
            self.popen = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)

    def kill(self) -> None:
        """Kill -9."""
        assert self.popen is not None
        self.popen.kill()
        self.popen.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.popen is not None
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(WAIT_S)

    def status(self) -> int:
        """What `/ready` says; 0 without an answer."""
        assert self.popen is not None
        assert self.popen.poll() is None, self.errors.read_text()[-3000:]
        try:
            return self.service.get("/ready").status
        except OSError:
            return 0

    def await_status(self, wanted: int) -> None:
        """Wait for what `/ready` says."""
        until = time.monotonic() + WAIT_S
        while self.status() != wanted:
            assert time.monotonic() < until, self.errors.read_text()[-3000:]
            time.sleep(0.05)


class Replicated:
    """The whole of it. `api` and `sequencers` hold two members each."""

    def __init__(self, folder: Path, nats: NatsCluster, postgres: PostgresServer, database: str) -> None:
        self.nats = nats
        self.postgres = postgres
        ports = free_ports(4)
        (folder / "database_url").write_text(postgres.database(database) + "\n")
        config = write_config(folder, database_url_file="database_url")
        create_logs(Settings.load(config, {}))
        ingest = {
            "mode": "nats",
            "servers": nats.servers,
            "monitors": nats.monitors,
            "prefix": database,
            "sequencers": [f"http://127.0.0.1:{port}" for port in ports[2:]],
            "wait_s": 2.0,
        }
        with config.open("a") as file:
            file.write(
                "[ingest]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in ingest.items())
            )
        self.stream = f"{database}-{LOG}"
        self.members = [Member(config, "api" if n < 2 else "sequencer", port) for n, port in enumerate(ports)]
        self.api, self.sequencers = self.members[:2], self.members[2:]

    def start(self) -> None:
        """Start every process, and wait until one sequences."""
        for member in self.members:
            member.start()
        for replica in self.api:
            replica.await_status(200)
        self.await_standby()

    def holder(self) -> Member | None:
        """The sequencer whose logs are open."""
        running = [each for each in self.sequencers if each.popen is not None and each.popen.poll() is None]
        return next((each for each in running if each.status() == 200), None)

    def await_holder(self) -> Member:
        """Wait until one sequences."""
        until = time.monotonic() + WAIT_S
        while (found := self.holder()) is None:
            assert time.monotonic() < until, self.sequencers[0].errors.read_text()[-3000:]
            time.sleep(0.05)
        return found

    def await_standby(self) -> None:
        """Wait until one sequences and the other stands by."""
        until = time.monotonic() + WAIT_S
        while sorted(each.status() for each in self.sequencers) != [200, 503]:
            assert time.monotonic() < until, self.sequencers[0].errors.read_text()[-3000:]
            time.sleep(0.05)

    def entries(self) -> list[bytes]:
        """Every published entry, read from a replica."""
        reader = self.api[0].service
        note = reader.get(f"/logs/{LOG}/checkpoint").body.decode()
        size = int(note.split("\n")[1])
        found: list[bytes] = []
        for index in range(-(-size // 256)):
            width = min(256, size - 256 * index)
            path = f"x{index // 1000:03d}/{index % 1000:03d}" if index >= 1000 else f"{index:03d}"
            path += "" if width == 256 else f".p/{width}"
            found += decode_bundle(reader.get(f"/logs/{LOG}/tile/entries/{path}", token="read").body)
        return found

    def stop(self) -> None:
        """End every process that is still there."""
        for member in self.members:
            if member.popen is not None:
                member.popen.kill()
                member.popen.wait()


@contextmanager
def replicated(
    folder: Path, nats: NatsCluster, postgres: PostgresServer, database: str
) -> Iterator[Replicated]:
    """All of it running until the block ends."""
    whole = Replicated(folder, nats, postgres, database)
    try:
        whole.start()
        yield whole
    finally:
        whole.stop()


class Sender:
    """One host that sends batch after batch to whichever replica answers, as a real one does: the same bytes
    until 200, after a 202 the head is asked first.
    """

    def __init__(self, whole: Replicated, name: str, *, size: int) -> None:
        self._whole = whole
        self._size = size
        self._replica = len(name) % 2
        self.producer = FakeProducer(name, origin=f"log.example.org/{LOG}")
        self.acknowledged: list[bytes] = []
        self.times: list[tuple[float, float]] = []
        """When a batch was first sent and when it was acknowledged, on the monotonic clock."""
        self.statuses: dict[int, int] = {}
        self.indices: dict[bytes, int] = {}

    def enrol(self) -> None:
        """Enrol by way of a replica, which passes it on."""
        wanted = {"name": self.producer.name, "vkey": self.producer.signer.vkey, "note": self.producer.note}
        until = time.monotonic() + WAIT_S
        while True:
            status, answer = self._ask(
                "POST", "producers", "enrol", json.dumps(wanted).encode(), "application/json"
            )
            if status == 200:
                break
            assert time.monotonic() < until, answer
            time.sleep(0.1)
        self.producer.enrolled(bytes.fromhex(json.loads(answer)["producer"]))

    def run(self, stopping: threading.Event) -> None:
        """Send until told to stop; the batch in hand is sent to its end."""
        number = 0
        while not stopping.is_set():
            entries = [self.producer.start()] if number == 0 else []
            entries += [self.producer.decide(number + n) for n in range(self._size)]
            number += self._size
            self.send(entries)

    def send(self, entries: list[bytes]) -> dict[str, int]:
        """Send a batch until it is acknowledged; the answer, made from the head if that told it."""
        batch = self.producer.batch(entries)
        body = encode_batch(batch.head_note, list(batch.entries))
        began = time.monotonic()
        while True:
            status, answer = self._ask("POST", "batches", "submit", body, BATCH_MEDIA_TYPE)
            self.statuses[status] = self.statuses.get(status, 0) + 1
            assert status in {0, 200, 202, 503}, (status, answer)
            told = json.loads(answer) if status == 200 else self._head_reached(status)
            if told is not None:
                break
            assert time.monotonic() < began + WAIT_S, (status, answer)
            time.sleep(0.05)
        self.times.append((began, time.monotonic()))
        self.acknowledged += entries
        if told.get("count") == len(entries):
            self.indices |= {entry: told["first_index"] + n for n, entry in enumerate(entries)}
        return dict(told)

    def _head_reached(self, status: int) -> dict[str, int] | None:
        """After a 202: whether the head shows all of it."""
        if status != 202:
            return None
        found, answer = self._ask("GET", f"producers/{self.producer.producer.hex()}/head", "submit")
        reached = found == 200 and json.loads(answer)["leaf_hash"] == self.producer.prev.hex()
        return json.loads(answer) if reached else None

    def _ask(
        self, method: str, path: str, token: str, body: bytes | None = None, media_type: str = ""
    ) -> tuple[int, bytes]:
        """One request; status 0 without an answer, and then the other replica is next."""
        port = self._whole.api[self._replica].port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        headers = {"Authorization": f"Bearer {TOKENS[token]}"} | (
            {"Content-Type": media_type} if body else {}
        )
        try:
            connection.request(method, f"/logs/{LOG}/{path}", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self._replica = 1 - self._replica
            return 0, b""
        finally:
            with suppress(OSError):
                connection.close()


class Load:
    """Senders on threads of their own."""

    def __init__(self, whole: Replicated, senders: int, *, size: int = 8) -> None:
        self.senders = [Sender(whole, f"host-{'x' * n}", size=size) for n in range(senders)]
        self._stopping = threading.Event()
        self._failures: list[BaseException] = []
        for sender in self.senders:
            sender.enrol()
        self._threads = [
            threading.Thread(target=self._run, args=(each,), daemon=True) for each in self.senders
        ]
        for thread in self._threads:
            thread.start()

    @property
    def count(self) -> int:
        """Entries acknowledged so far."""
        return sum(len(each.acknowledged) for each in self.senders)

    def await_more(self, count: int) -> None:
        """Wait until so many more are acknowledged."""
        wanted, until = self.count + count, time.monotonic() + WAIT_S
        while self.count < wanted:
            assert not self._failures, self._failures
            assert time.monotonic() < until, [each.statuses for each in self.senders]
            time.sleep(0.02)

    def first_after(self, moment: float) -> float:
        """Seconds from a moment to the first acknowledgement of a batch that was sent after it."""
        until = time.monotonic() + WAIT_S
        while True:
            ended = [end for each in self.senders for began, end in list(each.times) if began > moment]
            if ended:
                return min(ended) - moment
            assert not self._failures, self._failures
            assert time.monotonic() < until, [each.statuses for each in self.senders]
            time.sleep(0.02)

    def longest_gap(self, start: float, end: float) -> float:
        """The longest time without any acknowledgement between two moments."""
        ends = sorted(t for each in self.senders for _, t in each.times if start <= t <= end)
        moments = [start, *ends, end]
        return max(b - a for a, b in itertools.pairwise(moments))

    def stop(self) -> None:
        """End after the batches in hand."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()
        assert not self._failures, self._failures

    def _run(self, sender: Sender) -> None:
        try:
            sender.run(self._stopping)
        except BaseException as error:  # told by the thread that waits
            self._failures.append(error)
