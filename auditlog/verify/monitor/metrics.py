"""The monitor's state as Prometheus text (exposition format 0.0.4): written by hand, for it is a page long.

Spec: auditlog/spec/monitor.md, "Metrics". Must never: put a stranger's text into a label unescaped.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditlog.core.scalars import parse_time
from auditlog.verify.finding import ALARMS
from auditlog.verify.monitor.status import LogStatus

METRICS = {
    "auditlog_monitor_signed_size": ("gauge", "Entries of the newest checkpoint that extends all before it."),
    "auditlog_monitor_tree_size": ("gauge", "Entries whose place in the tree was checked."),
    "auditlog_monitor_entries_size": ("gauge", "Entries that were read and checked."),
    "auditlog_monitor_current": ("gauge", "1 if the newest checkpoint was read to its end at the last look."),
    "auditlog_monitor_checkpoint_seen_timestamp_seconds": (
        "gauge",
        "When the newest checkpoint was first seen.",
    ),
    "auditlog_monitor_looked_timestamp_seconds": ("gauge", "When the log was last read without trouble."),
    "auditlog_monitor_unread": ("gauge", "Things that should have been read and could not be."),
    "auditlog_monitor_alarms_total": ("counter", "Alarms raised, by their word."),
    "auditlog_monitor_suppressed_total": ("counter", "Alarms too many to tell one by one, by their word."),
    "auditlog_monitor_other_size": ("gauge", "Newest tree size of a witness or another monitor; -1 unknown."),
}
"""Every metric: its type, and what it says."""


def exposition(statuses: list[LogStatus]) -> str:
    """All metrics of all logs."""
    lines = []
    for name, (kind, says) in METRICS.items():
        lines += [f"# HELP {name} {says}", f"# TYPE {name} {kind}"]
        for status in statuses:
            lines += [f"{name}{labels} {value}" for labels, value in _values(name, status)]
    return "\n".join(lines) + "\n"


def _values(name: str, status: LogStatus) -> Iterator[tuple[str, str]]:
    log = {"log": status.origin}
    short = name.removeprefix("auditlog_monitor_")
    if short == "alarms_total":
        for word in ALARMS:
            yield _labels({**log, "alarm": word}), str(status.alarms.get(word, 0))
    elif short == "suppressed_total":
        for word, count in status.suppressed.items():
            yield _labels({**log, "alarm": word}), str(count)
    elif short == "other_size":
        for other in status.others:
            yield _labels({**log, "kind": other.kind, "name": other.name}), str(other.size)
    else:
        yield _labels(log), _plain(short, status)


def _plain(short: str, status: LogStatus) -> str:
    seconds = {
        "checkpoint_seen_timestamp_seconds": status.seen,
        "looked_timestamp_seconds": status.looked,
    }
    if short in seconds:
        return f"{parse_time(seconds[short]) / 1e6:.3f}" if seconds[short] else "0"
    values = {
        "signed_size": status.signed_size,
        "tree_size": status.tree_size,
        "entries_size": status.entries_size,
        "current": int(status.is_current),
        "unread": len(status.unread),
    }
    return str(values[short])


def _labels(pairs: dict[str, str]) -> str:
    escaped = (
        '{}="{}"'.format(name, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n"))
        for name, value in pairs.items()
    )
    return "{" + ",".join(escaped) + "}"
