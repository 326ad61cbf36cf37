"""A witness as a real process, killed with SIGKILL at will: between requests, within one, or at a step.

As a program, `python -m tests.support.witness_process STEP CONFIG`, it serves like `auditlog witness serve`
and kills itself at the STEP-th write of its store or mark (0: never); each step is one statement of a
transaction, one write of the mark, or one sync of it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from auditlog.cli.main import run

ROOT = Path(__file__).parents[2]


class WitnessProcess:
    """One witness in a folder, started and killed again and again on whatever port it gets."""

    def __init__(self, folder: Path, *vkeys: str, options: tuple[str, ...] = ()) -> None:
        """Make it, following these logs."""
        self.folder = folder
        self.url = ""
        self._process: subprocess.Popen[str] | None = None
        logs = [part for vkey in vkeys for part in ("--log", vkey)]
        name = ["--name", f"witness.example/{folder.name}", "--high-water", "high-water"]
        assert run(["witness", "init", str(folder), *name, "--listen", "127.0.0.1:0", *logs, *options]) == 0
        self.vkey = (folder / "witness.vkey").read_text().strip()

    def start(self, *, kill_at: int = 0, arguments: tuple[str, ...] = ()) -> None:
        """Start it and wait until it listens."""
        command = [sys.executable, "-m", "tests.support.witness_process", str(kill_at), str(self.folder)]
        # A file: nobody reads a pipe, and a full one would stop the witness.
        log = self.folder / "stderr"
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said.startswith("http"), log.read_text()
        self.url = said.split()[0]

    def kill(self) -> None:
        """SIGKILL, if it still lives."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=20)
        code, self._process = self._process.returncode, None
        return code

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return None if self._process is None else self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not died."""
        return self._process is not None and self._process.poll() is None


def _kill_at(step: int) -> None:
    """Patch the places where something becomes durable; start-up is not counted."""
    import auditlog.witness.guard as guard_module
    from auditlog.witness import mark
    from auditlog.witness.guard import Guard

    left = [step]

    def count(*_: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)

    real_check = Guard.check

    class Steps:
        """`os` for the mark, each of its writes counted before and after."""

        def __getattr__(self, name: str) -> Any:
            found = getattr(os, name)
            if name not in ("pwrite", "fdatasync"):
                return found

            def counted(*arguments: Any) -> Any:
                count()
                result = found(*arguments)
                count()
                return result

            return counted

    def check(self: Guard, **options: Any) -> None:
        real_check(self, **options)
        self._connection.set_trace_callback(count)
        mark.os = Steps()  # type: ignore[attr-defined]

    guard_module.Guard.check = check  # type: ignore[method-assign]


if __name__ == "__main__":
    if int(sys.argv[1]):
        _kill_at(int(sys.argv[1]))
    sys.exit(run(["witness", "serve", *sys.argv[2:]]))
