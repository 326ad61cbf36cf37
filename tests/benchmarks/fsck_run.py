"""One fsck in a process of its own, for `fsck.py`: takes folder, log key and number of processes, prints one
JSON object.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from auditlog.verify.fsck import Hands, fsck
from auditlog.verify.sources import FolderSource


def main() -> None:
    """Check once."""
    folder, vkey, jobs = sys.argv[1:]
    started, before = time.monotonic(), _cpu(resource.RUSAGE_SELF)
    report = fsck(FolderSource(folder), vkey, hands=Hands(folder, jobs=int(jobs)))
    found = {
        "exit_code": report.exit_code,
        "wall_s": time.monotonic() - started,
        "judge_s": _cpu(resource.RUSAGE_SELF) - before,
        "hands_s": _cpu(resource.RUSAGE_CHILDREN),
        "peak_kib": _peak_kib(),
    }
    sys.stdout.write(json.dumps(found) + "\n")


def _peak_kib() -> int:
    """Of this program: what `getrusage` tells begins with the peak of the process that started it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _cpu(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
