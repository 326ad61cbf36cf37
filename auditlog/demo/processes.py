"""Child processes of the demo: the log service, witnesses, monitor, model servers, the verifier.

Each server runs in its own process group and is ended with it, so nothing outlives the demo. Output goes to
a file per process, quoted only when something fails.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import httpx

from auditlog.errors import AuditLogError

_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 20.0
_LOW_PORT, _PORTS = 16_384, 16_000


def free_port() -> int:
    """A loopback port that is free now, from below those the system gives to outgoing connections.

    It is used seconds later: one from the system's own range could be somebody's connection by then.
    """
    while True:
        port = _LOW_PORT + secrets.randbelow(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished command said."""

    exit_code: int
    output: str


def run_auditlog(arguments: Sequence[str], *, folder: Path) -> Outcome:
    """Run `auditlog ARGUMENTS` in a process of its own, with an empty environment and `folder` as its home.

    It sees what a stranger would: files named on the command line and nothing else.
    """
    finished = subprocess.run(  # noqa: S603 - the interpreter running us, and arguments made by the demo
        [sys.executable, "-m", "auditlog.cli.main", *arguments],
        cwd=folder,
        env={"PATH": os.defpath, "HOME": str(folder), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    return Outcome(finished.returncode, finished.stdout + finished.stderr)


@contextmanager
def threads(number: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that begin nothing new once whoever waits for them was interrupted."""
    pool = ThreadPoolExecutor(number)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


class Servers:
    """The running servers of a demo. Use as a context manager: leaving it ends every process.

    With `drains` those that still run at the end are asked to end, the youngest first; without it, and where
    an error or an interrupt ends the demo, they are killed. `start` is safe from several threads.
    """

    def __init__(self, log_folder: Path, *, drains: bool = True) -> None:
        self._log_folder, self._drains = log_folder, drains
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._starting = threading.Lock()
        self._is_over = False
        log_folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Servers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._drains:
                for name in list(reversed(self._running)):
                    self.stop(name)
        finally:
            with self._starting:
                self._is_over = True
            for process in self._running.values():
                _kill(process)

    def start(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start `python ARGUMENTS` in the background; raises AuditLogError if everything was ended."""
        with self._starting, (self._log_folder / f"{name}.log").open("ab") as output:
            if self._is_over:
                raise AuditLogError(f"expected to start {name} while the demo runs, found it over")
            self._running[name] = subprocess.Popen(  # noqa: S603 - see run_auditlog
                [sys.executable, *arguments],
                env={**os.environ, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def serve_app(self, name: str, factory: str, port: int, environment: Mapping[str, str]) -> None:
        """Start an ASGI application factory under uvicorn."""
        arguments = ["-m", "uvicorn", "--factory", factory, "--host", "127.0.0.1", "--port", str(port)]
        self.start(name, [*arguments, "--log-level", "warning", "--no-access-log"], environment)

    def wait(self, name: str, url: str, *, tick: Callable[[], None] = lambda: None) -> None:
        """Wait until `url` answers 200.

        Raises:
            AuditLogError: The process ended, or did not answer in time; the message ends with what it
            printed last.
        """
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._running[name].poll() is not None:
                raise AuditLogError(f"expected {name} to serve, found it ended: {self._last_words(name)}")
            try:
                if httpx.get(url, timeout=2.0).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            tick()
            time.sleep(0.05)
        raise AuditLogError(
            f"expected {name} to answer within {_START_TIMEOUT_S:.0f} s: {self._last_words(name)}"
        )

    def stop(self, *names: str) -> list[int]:
        """End servers, all at once: ask first, so that they drain; then insist. The exit status of each."""
        processes = [self._running[name] for name in names]
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for name, process in zip(names, processes, strict=True):
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                _kill(process)
            del self._running[name]
        return [process.returncode for process in processes]

    def names(self) -> list[str]:
        """Those that were started and not stopped, the oldest first."""
        return list(self._running)

    def _last_words(self, name: str) -> str:
        text = (self._log_folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        return text[-2000:]


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
