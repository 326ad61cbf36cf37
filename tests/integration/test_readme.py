"""The README is run: its commands by this test; tests/support/readme.py writes its output and figures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from auditlog.demo.processes import free_port
from tests.support import readme


def test_the_three_paths_run_as_written(tmp_path: Path) -> None:
    """Every shell block of the README, one after the other in one shell, succeeds; only ports are changed."""
    (python,) = readme.blocks("python")
    name, _, source = python.partition("\n")
    (tmp_path / name.removeprefix("# ")).write_text(source)
    script = "set -euo pipefail\n" + "\n".join(readme.blocks("bash"))
    for port in ("8700", "8701"):
        script = script.replace(port, str(free_port()))
    # `init` writes its port into the configuration; the README's readers have the default.
    log_port = script.split("http://127.0.0.1:")[1].split("/")[0]
    script = script.replace("auditlog init my-log", f"auditlog init my-log --port {log_port}")
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
    }
    output = tmp_path / "output"
    # Its own process group, so that the servers it starts in the background end with the test.
    with output.open("wb") as sink:
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
        try:
            code = shell.wait(timeout=120)
        finally:
            os.killpg(shell.pid, signal.SIGKILL)
    said = output.read_text("utf-8", "replace")
    assert code == 0, said
    assert "VERIFIED: entry" in said
    assert "audit-receipt:" in said.lower()
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["exit_code"] == 0


def test_figures_are_those_of_the_kept_results() -> None:
    """The README's table is exactly what the kept benchmark results render to."""
    assert readme.figures() == readme.table(json.loads(readme.RESULTS.read_text("utf-8")))
