"""Prometheus metrics of one app, in its own registry: two apps in one process never mix.

Spec: auditlog/spec/api.md, section "Metrics". Promises: every label is bounded (route templates, problem
codes, names of logs). Must never: carry a token name, an id of a decision or anything a caller wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from auditlog.log.aside import Beside
from auditlog.service.hosting import HostedLog
from auditlog.service.witness_metrics import of_witnesses
from auditlog.storage.records import STANDINGS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counters the request path adds to, and gauges read from the logs when scraped."""

    def __init__(
        self,
        hosted: Callable[[], Iterable[HostedLog]],
        waiting_bytes: Callable[[], int],
        beside: Callable[[], Beside] | None = None,
    ) -> None:
        """`beside` where there are processes beside this one."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "auditlog_http_requests",
            "Requests answered, by route template",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "auditlog_http_request_seconds",
            "Time to the last byte of the answer",
            ["route"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self.problems = Counter(
            "auditlog_problems", "Answers that were not a success", ["code"], registry=self.registry
        )
        self.entries = Counter(
            "auditlog_entries_acknowledged",
            "Entries newly integrated by acknowledged batches",
            ["log"],
            registry=self.registry,
        )
        self.fed = Counter(
            "auditlog_ingest_batches",
            "Batches that came through the broker, by what became of them",
            ["log", "outcome"],
            registry=self.registry,
        )
        self.outcomes = Counter(
            "auditlog_outcomes_written",
            "Outcomes written for others, by whether the log had their decision",
            ["log", "known"],
            registry=self.registry,
        )
        self.anchor_runs = Counter(
            "auditlog_anchor_runs", "Runs of the anchoring worker", ["log", "outcome"], registry=self.registry
        )
        self.anchor_waiting = Gauge(
            "auditlog_anchor_waiting_seconds",
            "How long the anchor now due has been waited for, failed runs included; 0 when none is",
            ["log"],
            registry=self.registry,
        )
        self.registry.register(_LogCollector(hosted, waiting_bytes))
        if beside is not None:
            self.registry.register(_BesideCollector(beside))

    def exposition(self) -> bytes:
        """The text a scraper reads."""
        return generate_latest(self.registry)


class _BesideCollector(Collector):
    """Reads how the processes beside the service do."""

    def __init__(self, beside: Callable[[], Beside]) -> None:
        self._beside = beside

    def collect(self) -> Iterator[Metric]:
        """Yield how many run, and how many were replaced."""
        found = self._beside()
        yield GaugeMetricFamily(
            "auditlog_beside_processes",
            "Processes beside this one that check batches and apply commits",
            value=found.running,
        )
        yield CounterMetricFamily(
            "auditlog_beside_restarts",
            "Processes beside this one that were given up: dead, or silent for too long",
            value=found.restarts,
        )


class _LogCollector(Collector):
    """Reads sizes and states at scrape time, so that they are never stale copies."""

    def __init__(self, hosted: Callable[[], Iterable[HostedLog]], waiting_bytes: Callable[[], int]) -> None:
        self._hosted = hosted
        self._waiting_bytes = waiting_bytes

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges of every log."""
        waiting = GaugeMetricFamily("auditlog_waiting_bytes", "Bytes of batches being read or sequenced")
        waiting.add_metric([], self._waiting_bytes())
        yield waiting
        ready = GaugeMetricFamily(
            "auditlog_log_ready",
            "1 if the log recovered, is not halted, and publishes in time",
            labels=["log"],
        )
        size = GaugeMetricFamily(
            "auditlog_log_published_size", "Tree size of the published checkpoint", labels=["log"]
        )
        lag = GaugeMetricFamily(
            "auditlog_publication_lag_seconds",
            "How long the oldest commit that is not published has waited; 0 when all are",
            labels=["log"],
        )
        index_lag = GaugeMetricFamily(
            "auditlog_index_lag_entries", "Committed entries that look-ups do not find yet", labels=["log"]
        )
        flagged = CounterMetricFamily(
            "auditlog_entries_flagged",
            "Entries recorded and found odd since the start, by flag",
            labels=["log", "flag"],
        )
        yield from of_witnesses(list(self._hosted()))
        promises = CounterMetricFamily(
            "auditlog_promises",
            "Promises handed over for callers since the start (kept), and those that contradict another",
            labels=["log", "state"],
        )
        standing = GaugeMetricFamily(
            "auditlog_log_standing",
            "1 for what the log is: open, quiesced, read-only or retired",
            labels=["log", "standing"],
        )
        for each in self._hosted():
            for word in STANDINGS:
                standing.add_metric([each.name, word], float(each.standing == word))
            for state, count in each.promises().items():
                promises.add_metric([each.name, state], count)
            for flag, count in sorted(each.flagged().items()):
                flagged.add_metric([each.name, flag], count)
            ready.add_metric([each.name], float(each.unready is None))
            lag.add_metric([each.name], each.publication_lag_s())
            behind = each.index_lag()
            if behind is not None:
                index_lag.add_metric([each.name], behind)
            published = each.published_size_or_none()
            if published is not None:
                size.add_metric([each.name], published)
        yield ready
        yield size
        yield lag
        yield index_lag
        yield flagged
        yield promises
        yield standing
