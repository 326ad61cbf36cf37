"""fsck of a whole log on disk, chains and heads included, against hashing the same bytes once.

The ceiling is hashlib over every entry and every node once, in memory, in one process. `tree only` is the
same scan without the chains: reading, framing, leaf hashes, tiles, roots. Two processes are compared with one
by the clock on the wall where the machine is idle, and by CPU time: what the busiest of three processes used.
Memory is the peak of the judge, for a log and for one of four times its size.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measure import Result, arguments, paired, ratio_result, report

sys.path.insert(0, str(Path(__file__).parents[2]))

from auditlog.core.tiles import TILE_WIDTH, bundle_path, decode_bundle
from auditlog.verify.fsck import fsck
from auditlog.verify.fsck_sections import SECTION_TILES, Scanner
from auditlog.verify.plain_runs import Gathering
from auditlog.verify.sources import FolderSource
from tests.support.long_log import write_long_log
from tests.support.tlog_writer import ORIGIN, log_signer

RUN = Path(__file__).with_name("fsck_run.py")
AGAINST = "hashlib over every entry and node once"


class _Unread(Gathering):
    """Takes entries and does nothing with them."""

    def take(self, _first: int, _hashes: list[bytes], _entries: list[bytes]) -> None:
        """Nothing."""


def one_run(folder: Path, jobs: int) -> dict[str, Any]:
    """Check in a process of its own: wall and CPU seconds of the judge and of its hands, peak memory."""
    command = [sys.executable, str(RUN), str(folder), log_signer().vkey, str(jobs)]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def two_to_one(folder: Path, pairs: int) -> list[Result]:
    """Two processes against one: by the wall, and by CPU on two cores."""
    one, two = [], []
    for number in range(pairs):
        for jobs, into in ((1, one), (2, two)) if number % 2 else ((2, two), (1, one)):
            into.append(one_run(folder, jobs))
    lines = []
    walls = sorted(a["wall_s"] / b["wall_s"] for a, b in zip(one, two, strict=True))
    # On two cores that do nothing else, three processes take half of what they use together, or what the
    # busiest of them uses.
    used = [max((b["judge_s"] + b["hands_s"]) / 2, b["judge_s"], b["hands_s"] / 2) for b in two]
    cpus = sorted(a["judge_s"] / b for a, b in zip(one, used, strict=True))
    for name, found in (("by the wall", walls), ("by CPU time", cpus)):
        low, middle = found[len(found) // 10], found[len(found) // 2]
        against = f"one process; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        lines.append(
            Result(f"two processes, {name}", round(middle, 2), "times", round(middle, 3), round(low, 3),
                   round(found[-1], 3), against=against, target="ratio >= 1.7", met=low >= 1.7)
        )  # fmt: skip
    return lines


def memory(scratch: Path, small: Path, size: int) -> Result:
    """The judge's peak for this log and for one of four times its size."""
    large = scratch / "large"
    write_long_log(large, 4 * size)
    peaks = [one_run(folder, 1)["peak_kib"] // 1024 for folder in (small, large)]
    against = f"{peaks[0]} MiB at {size}, {peaks[1]} MiB at {4 * size}"
    return Result("memory grown by four times the log", float(peaks[1] - peaks[0]), "MiB", against=against,
                  target="flat", met=peaks[1] - peaks[0] < 16)  # fmt: skip


def main() -> None:
    """Print entries checked a second."""
    options = arguments(__doc__ or "")
    size, pairs = (80_000, 3) if options.quick else (320_000, 7)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "log"
        write_long_log(folder, size)
        source, blocks = FolderSource(folder), -(-size // TILE_WIDTH)
        widths = [min(TILE_WIDTH, size - block * TILE_WIDTH) for block in range(blocks)]
        bundles = [decode_bundle(source.fetch(bundle_path(at, width))) for at, width in enumerate(widths)]

        def whole() -> None:
            if fsck(source, log_signer().vkey).exit_code != 0:
                raise SystemExit("expected a clean log")

        def tree_only() -> None:
            scanner = Scanner(source, ORIGIN, size, with_bundles=True)
            scanner._gathering = _Unread(ORIGIN)
            for number in range(-(-blocks // SECTION_TILES)):
                scanner.scan(number)

        def ceiling() -> None:
            sha256, node = hashlib.sha256, b"\x01" + bytes(64)
            for entries in bundles:
                for entry in entries:
                    sha256(entry).digest()
                    sha256(node).digest()

        lines = [
            ratio_result(name, *paired(work, ceiling, pairs=pairs), operations=size, unit="entries/s",
                         against=AGAINST, at_least=0.7)
            for name, work in (("fsck, chains and heads included", whole), ("  tree only", tree_only))
        ]  # fmt: skip
        lines += two_to_one(folder, pairs)
        if not options.quick:
            lines.append(memory(Path(scratch), folder, size))
    report(lines, as_json=options.json)


if __name__ == "__main__":
    main()
