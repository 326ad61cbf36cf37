"""A company's machines for the chaos tests: a log service and a model server as processes, and what befalls
them.

Everything is a process of its own on loopback, killed, stopped and starved from outside: SIGKILL, SIGSTOP,
and a file size limit of zero, which to the process is a disk that takes nothing more.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Mapping
from pathlib import Path

from auditlog.core.entry import Entry, parse_entry
from auditlog.demo.cheats import read_entries
from auditlog.demo.processes import free_port
from auditlog.service.settings import Settings, TokenSettings
from auditlog.service.tokens import token_sha256
from tests.support.live_service import create_logs, write_config

TOKEN = "alt_of-the-chaos-host"
SERVER = Path(__file__).with_name("chaos_server.py")
PREVIOUS = Path(__file__).parents[1] / "compat" / "0.1" / "auditlog-0.1.0-py3-none-any.whl"
WORKERS = 2
_PATIENCE_S = 60.0


class Machines:
    """The log service and the model server. `environment` adds AUDITLOG_* settings to the server's."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.app_port, log_port = free_port(), free_port()
        self._environment = dict(environment or {})
        self._config = write_config(folder / "log", visibilities=("public",), port=log_port)
        self._allow_host()
        settings = Settings.load(self._config, environ={})
        self.vkey = create_logs(settings)["public"]
        self.log_url = f"http://127.0.0.1:{log_port}/logs/public"
        self._log: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def _allow_host(self) -> None:
        token = TokenSettings(name="host", scopes=["enrol", "submit"], sha256=token_sha256(TOKEN).hex())
        lines = [
            "[[tokens]]",
            f'name = "{token.name}"',
            'scopes = ["enrol", "submit"]',
            f'sha256 = "{token.sha256}"',
        ]
        self._config.write_text(self._config.read_text() + "\n".join(lines) + "\n")

    @property
    def public_folder(self) -> Path:
        """The folder of the log that anyone may read."""
        return self._config.parent / "data" / "logs" / "public" / "public"

    def start_log(self) -> None:
        """Start the log service and wait until it answers."""
        arguments = [sys.executable, "-m", "auditlog.cli.main", "serve", "--config", str(self._config)]
        with (self.folder / "log.txt").open("ab") as output:
            self._log = subprocess.Popen(arguments, stdout=output, stderr=output)
        self._await(self.log_url, "the log service")

    def kill_log(self) -> None:
        """Kill the log service with SIGKILL."""
        assert self._log is not None
        self._log.kill()
        self._log.wait()

    def freeze_log(self, *, is_frozen: bool) -> None:
        """Stop the log service in its tracks, or let it go on: connections hang, nothing is refused."""
        assert self._log is not None
        self._log.send_signal(signal.SIGSTOP if is_frozen else signal.SIGCONT)

    def start_server(self, *, python_path: Path | None = None) -> None:
        """Start the model server; `python_path` puts another version of auditlog first."""
        arguments = [sys.executable, str(SERVER), str(self.app_port), str(WORKERS), str(self._listing)]
        environment = {**os.environ, **self._capture(), **self._environment}
        if python_path is not None:
            environment["PYTHONPATH"] = str(python_path)
        self._listing.unlink(missing_ok=True)
        with (self.folder / "server.txt").open("ab") as output:
            self._server = subprocess.Popen(arguments, env=environment, stdout=output, stderr=output)
        self._await(f"http://127.0.0.1:{self.app_port}/", "the model server", statuses=(404,))

    def stop_server(self) -> None:
        """End the model server in order, with SIGTERM."""
        assert self._server is not None
        self._server.terminate()
        assert self._server.wait(_PATIENCE_S) == 0, (self.folder / "server.txt").read_text()[-2000:]

    def kill_server(self) -> None:
        """Kill the parent and all workers at one instant, as a host that loses its kernel."""
        assert self._server is not None
        for process in [self._server.pid, *self.workers()]:
            _signal(process, signal.SIGKILL)
        self._server.wait()

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        return [int(word) for word in self._listing.read_text().split()]

    def kill_worker(self, number: int) -> None:
        """Kill one worker with SIGKILL; the parent replaces it."""
        workers = self.workers()
        _signal(workers[number % len(workers)], signal.SIGKILL)

    def fill_disk(self, *, is_full: bool) -> None:
        """Have every write of the workers that makes a file larger fail, or succeed again."""
        limit = 0 if is_full else resource.RLIM_INFINITY
        assert self._server is not None
        for process in [self._server.pid, *self.workers()]:
            try:
                resource.prlimit(process, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            except ProcessLookupError:
                continue

    def unpack_previous(self) -> Path:
        """A folder with the previous release, for `start_server`."""
        folder = self.folder / "previous"
        with zipfile.ZipFile(PREVIOUS) as wheel:
            wheel.extractall(folder)
        return folder

    def end(self) -> None:
        """End whatever still runs, whatever happened."""
        for process in (self._server, self._log):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        if self._listing.exists():
            for worker in self.workers():
                _signal(worker, signal.SIGKILL)

    def entries(self) -> list[Entry]:
        """Every entry that the published log holds."""
        return [parse_entry(entry) for entry in read_entries(self.public_folder)]

    @property
    def _listing(self) -> Path:
        return self.folder / "workers.txt"

    def _capture(self) -> dict[str, str]:
        return {
            "AUDITLOG_LOG": self.log_url,
            "AUDITLOG_ORIGIN": "log.example.org/public",
            "AUDITLOG_TOKEN": TOKEN,
            "AUDITLOG_PRODUCER": "chaos",
            "AUDITLOG_STATE": str(self.folder / "state"),
        }

    def _await(self, url: str, what: str, statuses: tuple[int, ...] = (200,)) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:
                    status = answer.status
            except urllib.error.HTTPError as error:
                status = error.code
            except OSError:
                time.sleep(0.05)
                continue
            if status in statuses:
                return
        raise AssertionError(f"{what} answers in time")


def _signal(process: int, number: signal.Signals) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return
