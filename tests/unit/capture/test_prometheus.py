"""The layer's metrics: fixed names, in the server's registry, in one process and over several."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from auditlog.capture.metrics import Counters
from auditlog.capture.prometheus import (
    METRIC_NAMES,
    METRICS,
    RegistrationError,
    register,
    register_if_loaded,
)
from auditlog.capture.safety import Guard
from auditlog.capture.settings import CaptureSettings
from auditlog.capture.telling import Telling
from auditlog.capture.vitals import SpoolDepth, Vitals, heartbeat_counts, token_expiry_s

FIXED_NAMES = {
    "spool_entries", "spool_bytes", "spool_oldest_seconds", "deferred_total", "gaps_total", "lost_total",
    "promises_outstanding", "promises_past_due", "sender_errors_total", "sender_refused",
    "key_expiry_seconds",
    "disk_free_bytes", "commit_seconds", "started_total", "finished_total", "failed_total", "recorded_total",
    "refused_total", "unrecorded_total", "late_hangups_total", "promises_total",
    "clock_jumps_total", "redactions_missed_total",
}  # fmt: skip


class Told(Telling):
    """A recorder that runs nothing, and says of itself what it is told to."""

    def __init__(self, vitals: Vitals | None = None) -> None:
        super().__init__()
        self.settings = CaptureSettings()
        self.metrics = Counters()
        self.logger = logging.getLogger("test.prometheus")
        self.guard = Guard(self.metrics, self.logger, strict=True)
        self.said = vitals or Vitals()

    def vitals(self) -> Vitals:
        """What the test gave."""
        return self.said


def scraped(registry: CollectorRegistry) -> dict[str, float]:
    """Every sample of ours on the page, by name and (for buckets) bound."""
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found[sample.name + sample.labels.get("le", "")] = sample.value
    return found


def test_the_names_are_fixed() -> None:
    """Dashboards and alerts depend on them: a name may be added, never changed."""
    assert {name.removeprefix("auditlog_capture_") for name in METRIC_NAMES} == FIXED_NAMES


def test_a_scrape_says_how_the_recording_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters, depths, ages, and the time of commits; what is not known is not there."""
    monkeypatch.setattr("time.time", lambda: 1000.0)
    monkeypatch.setattr("time.time_ns", lambda: 1000 * 10**9)
    depth = SpoolDepth(3, 4096, 940_000_000)
    recorder = Told(Vitals(depth, 2, 1, "refused", None, 5 << 30, 1600))
    for name, value in {"started": 9, "refused.401": 2, "refused.429": 1, "sender.unreachable": 4}.items():
        recorder.metrics.add(name, value)
    recorder.metrics.commits.observe(0.003)
    recorder.metrics.commits.observe(9.0)
    registry = CollectorRegistry()
    register(registry, recorder)
    found = {name.removeprefix("auditlog_capture_"): value for name, value in scraped(registry).items()}
    expected = {
        "spool_entries": 3, "spool_bytes": 4096, "spool_oldest_seconds": 60, "started_total": 9,
        "refused_total": 3, "sender_errors_total": 4, "sender_refused": 1, "promises_outstanding": 2,
        "promises_past_due": 1, "disk_free_bytes": 5 << 30, "key_expiry_seconds": 600, "gaps_total": 0,
        "commit_seconds_count": 2, "commit_seconds_sum": 9.003, "commit_seconds_bucket0.0025": 0,
        "commit_seconds_bucket0.005": 1, "commit_seconds_bucket5.0": 1, "commit_seconds_bucket+Inf": 2,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    recorder.said = Vitals()
    assert "auditlog_capture_key_expiry_seconds" not in scraped(registry)
    assert "auditlog_capture_disk_free_bytes" not in scraped(registry)


def test_names_are_taken_once_and_given_back() -> None:
    """A second recorder in the process is refused while the first is shown; a dead one shows nothing."""
    registry, first, second = CollectorRegistry(), Told(), Told()
    exporter = register(registry, first)
    with pytest.raises(RegistrationError):
        register(registry, second)
    exporter.unregister()
    exporter.unregister()
    register(registry, second)
    del second
    assert scraped(registry) == {}


def test_a_scrape_never_fails() -> None:
    """What cannot be read is left out, counted and logged."""
    recorder = Told()
    recorder.guard = Guard(recorder.metrics, recorder.logger)
    recorder.vitals = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    registry = CollectorRegistry()
    register(registry, recorder)
    assert "auditlog_capture_commit_seconds_count" in scraped(registry)
    assert recorder.metrics.get("failures.metrics.ZeroDivisionError") == 1


def test_the_default_registry_is_used_once_the_server_has_loaded_the_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the pulse, each time it refreshes, until it worked; the end of the recorder gives the names back."""
    registry = CollectorRegistry()
    library: Any = type(sys)("prometheus_client")
    recorder = Told()
    monkeypatch.setitem(sys.modules, "prometheus_client", library)
    assert register_if_loaded(recorder) is None
    recorder.show_metrics()
    library.REGISTRY = registry
    monkeypatch.setattr("auditlog.capture.prometheus._commits", lambda recorder: iter(()))
    recorder.show_metrics()
    recorder.show_metrics()
    assert registry._collector_to_names
    recorder.hide_metrics()
    assert not registry._collector_to_names


def test_the_library_is_never_imported() -> None:
    """A server without Prometheus does not get it."""
    code = "import sys, auditlog.capture; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


WORKER = """
import os, sys, time
from prometheus_client import CollectorRegistry, generate_latest, multiprocess, REGISTRY
sys.path.insert(0, {root!r})
from tests.unit.capture import test_prometheus as here
from auditlog.capture.prometheus import register
from auditlog.capture.vitals import SpoolDepth, Vitals

def life(number):
    recorder.said = Vitals(SpoolDepth(number, 0, 1), 0, 0, "idle", None, number << 30, None)
    recorder.metrics.add("started", number)
    recorder.metrics.commits.observe(0.001 * number)
    recorder.show_metrics()
    recorder.metrics.add("started", 1)
    recorder.show_metrics()

recorder = here.Told()
recorder.show_metrics()
children = []
for number in (1, 2):
    child = os.fork()
    if child == 0:
        recorder.metrics.forget()
        recorder.show_metrics()
        life(number)
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
page = CollectorRegistry()
multiprocess.MultiProcessCollector(page)
for name, value in sorted(here.scraped(page).items()):
    print(name, value)
"""


def test_several_processes_are_one_page(tmp_path: Path) -> None:
    """With PROMETHEUS_MULTIPROC_DIR the library adds the workers up from its files, forked ones too: sums of
    counts, the lowest room left.
    """
    code = WORKER.format(root=str(Path(__file__).parents[3]))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    found = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert float(found["auditlog_capture_started_total"]) == 5
    assert float(found["auditlog_capture_spool_entries"]) == 3
    assert float(found["auditlog_capture_disk_free_bytes"]) == 1 << 30
    assert float(found["auditlog_capture_commit_seconds_count"]) == 2
    assert float(found["auditlog_capture_commit_seconds_sum"]) == pytest.approx(0.003)
    assert len(METRICS) > 10


def test_every_call_is_counted_in_one_place() -> None:
    """Started = finished + failed + dropped + in flight; what was refused before it began is not in it, and a
    count that ran ahead never goes below zero.
    """
    counters = {"started": 10, "finished": 4, "failed": 1, "dropped": 2, "refused.401": 2, "refused.503": 9}
    found = heartbeat_counts(counters, 4)
    assert found["in_flight"] == 3
    assert found["refused"] == 11
    assert found["recorded"] == 4
    assert heartbeat_counts({"finished": 2}, 2)["in_flight"] == 0


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("x.eyJleHAiOjE3MDAwMDAwMDB9.y", 1_700_000_000),
        ("x.eyJleHAiOiAxNzAwMDAwMDAwLjV9.y", 1_700_000_000),
        ("x.eyJleHAiOnRydWV9.y", None),
        ("x.eyJleHAiOi0xfQ.y", None),
        ("x.W10.y", None),
        ("x.!!.y", None),
        ("x.é.y", None),
        ("alt_0123", None),
        ("", None),
        (None, None),
    ],
)
def test_the_end_of_a_token_is_read_where_it_says_so(token: str | None, expected: int | None) -> None:
    """A service-account token does; ours have no form that tells; nonsense is no expiry and no exception."""
    assert token_expiry_s(token) == expected
