"""The monitor catching up with a long log, everything checked: from a folder and over HTTP, on two cores.

Two processes share the work, so a rate is entries over the CPU seconds of the busier one: what the clock on
the wall shows on two cores with nothing else to do. The ceiling reads the same tiles and bundles and hashes
every entry and every node once, in the same run, in one process. Memory is the peak of each process, taken
for a log and for one of four times its size: it must not grow. `--entries N` catches up with one log of N
entries, once, from a folder.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from measure import Result, paired, ratio_result, report

sys.path.insert(0, str(Path(__file__).parents[2]))

from auditlog.core.tiles import TILE_WIDTH, bundle_path, decode_bundle, tile_path
from tests.support.long_log import write_long_log
from tests.support.tlog_writer import log_signer

RUN = Path(__file__).with_name("monitor_run.py")


def ceiling(folder: Path, size: int) -> None:
    """Read everything and hash it, once."""
    sha256, node = hashlib.sha256, b"\x01" + bytes(64)
    for number in range(-(-size // TILE_WIDTH)):
        width = min(TILE_WIDTH, size - number * TILE_WIDTH)
        (folder / tile_path(0, number, width)).read_bytes()
        for entry in decode_bundle((folder / bundle_path(number, width)).read_bytes()):
            sha256(b"\x00" + entry).digest()
            sha256(node).digest()


def caught_up(target: str, size: int) -> dict[str, Any]:
    """Catch up in a new process with a new state: CPU seconds, wall seconds, peak memory of both."""
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, str(RUN), target, log_signer().vkey, state]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    if found["entries"] != size or found["alarms"] or found["unread"]:
        raise SystemExit(f"expected {size} clean entries, found {found}")
    return found


def busier(found: dict[str, Any]) -> float:
    """CPU seconds of the process with more to do."""
    return max(float(found["judge_s"]), float(found["reader_s"]))


class Quiet(SimpleHTTPRequestHandler):
    """Files, over connections that stay open, without a line for each."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silence."""


def over_http(folder: Path, size: int) -> dict[str, Any]:
    """The same through a server on loopback, whose CPU seconds are this process's and not counted."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        return caught_up(f"http://127.0.0.1:{server.server_port}", size)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def rate_line(name: str, found: dict[str, Any], size: int) -> Result:
    """One catch-up, with everything it took."""
    against = (
        f"judge {found['judge_s']:.1f} s, reader {found['reader_s']:.1f} s CPU, "
        f"{found['wall_s']:.1f} s wall; "
        f"peak {found['judge_kib'] // 1024} and {found['reader_kib'] // 1024} MiB; "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    return Result(name, round(size / busier(found), 1), "entries/s", against=against)


def one_log(scratch: Path, size: int) -> list[Result]:
    """One log of any size."""
    write_long_log(scratch / "log", size)
    return [rate_line(f"catching up with {size}", caught_up(str(scratch / "log"), size), size)]


def all_lines(scratch: Path, *, is_quick: bool) -> list[Result]:
    """The usual figures."""
    size, pairs = (100_000, 3) if is_quick else (400_000, 5)
    small, large = scratch / "small", scratch / "large"
    write_long_log(small, size)
    runs: list[dict[str, Any]] = []

    def clock(work: Any) -> float:
        return busier(runs[-1]) if work() is None else 0.0

    seconds, ceiling_s = paired(
        lambda: runs.append(caught_up(str(small), size)),
        lambda: runs.append({"judge_s": _cpu(lambda: ceiling(small, size)), "reader_s": 0.0}),
        pairs=pairs,
        clock=clock,
    )
    line = ratio_result(
        "monitor catching up, from a folder",
        seconds,
        ceiling_s,
        operations=size,
        unit="entries/s",
        against="reading and hashing the same in one process; CPU time of the busier process",
    )
    worst = size / sorted(seconds)[-1 - len(seconds) // 10]
    lines = [
        line,
        Result(
            "  bad end of the pairs", round(worst, 1), "entries/s", target=">= 50000", met=worst >= 50_000
        ),
        rate_line("  one of them", [run for run in runs if "wall_s" in run][-1], size),
        rate_line("over HTTP", over_http(small, size), size),
    ]
    write_long_log(large, 4 * size)
    peaks = [max(found["judge_kib"], found["reader_kib"]) for found in (
        caught_up(str(small), size), caught_up(str(large), 4 * size))]  # fmt: skip
    grown = peaks[1] - peaks[0]
    against = (
        f"peak of the larger process, {peaks[0] // 1024} MiB at {size}, {peaks[1] // 1024} MiB at {4 * size}"
    )
    lines.append(
        Result("memory grown by four times the log", float(grown), "KiB", against=against, target="flat",
               met=grown < 4096)
    )  # fmt: skip
    return lines


def _cpu(work: Any) -> float:
    before = sum(os.times()[:2])
    work()
    return sum(os.times()[:2]) - before


def main() -> None:
    """Print entries caught up with a second, and what memory it takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under 30 seconds")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--entries", type=int, metavar="N", help="one log of so many entries (1 kB each)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        lines = (
            one_log(Path(scratch), options.entries)
            if options.entries
            else all_lines(Path(scratch), is_quick=options.quick)
        )
    report(lines, as_json=options.json)


if __name__ == "__main__":
    main()
