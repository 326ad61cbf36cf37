"""What a witness counts, as a page in the text format of Prometheus. Standard library only.

Spec: `auditlog/spec/witness.md`, "Metrics". Promises: bounded: no label holds anything of a stranger's. Must
never: name a peer.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

PREFIX = "auditlog_witness_"


class Metric(NamedTuple):
    """One metric without its prefix: counters end in `_total`, all else are gauges."""

    name: str
    help: str


METRICS = (
    Metric("requests_total", "Answers by route and status."),
    Metric("cosignatures_total", "Cosignatures given, by log."),
    Metric("refusals_total", "Requests for a cosignature refused, by reason."),
    Metric("tree_size", "Size of the tree cosigned last, by log."),
    Metric("cosigned_timestamp_seconds", "Time of the newest cosignature, by log."),
    Metric(
        "conflicts", "What was kept that does not go together, by log and kind: two histories, or claims."
    ),
    Metric("commits_total", "Transactions of the store, each for all cosignatures that waited."),
    Metric("commit_failures_total", "Of these, those that failed: nothing left."),
    Metric("commit_seconds_total", "Time spent in them."),
    Metric("epoch", "Commits of the store ever."),
    Metric("restored", "Whether this witness signs on from a store older than what was signed."),
    Metric("connections", "Open connections."),
    Metric("unchecked_keys", "Keys of logs that the library here cannot check."),
    Metric("promises", "Promises in the drop-box by state."),
    Metric("promises_bytes", "Bytes of the promises waiting, and of the evidence published."),
    Metric("promises_deposited_total", "Deposits by outcome."),
    Metric("promises_judged_total", "Judgements by outcome."),
)

Labels = tuple[tuple[str, str], ...]
Sample = tuple[Labels, float]


class Counters:
    """Counts since the start, safe to use from any thread."""

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._counts: Counter[tuple[str, Labels]] = Counter()

    def add(self, name: str, **labels: str) -> None:
        """Count one."""
        with self._counting:
            self._counts[name, tuple(sorted(labels.items()))] += 1

    def samples(self) -> dict[str, list[Sample]]:
        """All of them by name."""
        with self._counting:
            counts = sorted(self._counts.items())
        found: dict[str, list[Sample]] = {}
        for (name, labels), count in counts:
            found.setdefault(name, []).append((labels, count))
        return found


def page(samples: Mapping[str, Iterable[Sample]]) -> bytes:
    """The page: every metric that has a sample, in the order of `METRICS`."""
    lines: list[str] = []
    for metric in METRICS:
        given = list(samples.get(metric.name, ()))
        if not given:
            continue
        kind = "counter" if metric.name.endswith("_total") else "gauge"
        name = PREFIX + metric.name
        lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {kind}"]
        lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in given]
    return "".join(f"{line}\n" for line in lines).encode("utf-8")


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
