"""One catch-up of the monitor in a process of its own, for `monitor.py`: target, log key and state folder are
given; one JSON object is printed.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from auditlog.cli.monitor_parts import Wanted, build


def main() -> None:
    """Catch up once."""
    target, vkey, state = sys.argv[1:]
    monitor = build(
        Wanted(logs=(target,), trust=None, vkey=vkey, state=Path(state)),
        lambda _origin: lambda _done, _size: None,
    )
    started, before = time.monotonic(), _cpu(resource.RUSAGE_SELF)
    monitor.once()
    wall_s, judge_s = time.monotonic() - started, _cpu(resource.RUSAGE_SELF) - before
    (status,) = monitor.statuses.values()
    # A log of an hour in 2026: that its hosts are silent since is no finding here.
    alarms = [word for _, word in monitor.new_alarms() if word not in ("silent", "stale_checkpoint")]
    monitor.close()
    found = {
        "entries": status.entries_size,
        "alarms": alarms,
        "unread": status.unread,
        "wall_s": wall_s,
        "judge_s": judge_s,
        "reader_s": _cpu(resource.RUSAGE_CHILDREN),
        "judge_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "reader_kib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
    }
    sys.stdout.write(json.dumps(found) + "\n")


def _cpu(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
