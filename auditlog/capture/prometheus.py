"""The layer's metrics in the host server's Prometheus registry, under fixed names (README.md, "Signals").

A server that has imported prometheus_client (vLLM and SGLang have) gets them by itself, in the default
registry; any other registry by `register(registry, recorder)`. With PROMETHEUS_MULTIPROC_DIR set, a scrape is
answered from files that every process of the server writes, and asks no collector: there the pulse's thread
keeps metrics of the library up to date instead, which the library adds up over the processes (depths and
counts summed, ages at their highest, room and time left at their lowest, the dead left out).

Everything is read from memory; a scrape never touches disk or log. Must never: import prometheus_client by
itself, register twice, or fail a scrape.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from auditlog.capture.metrics import TIMING_BUCKETS_S
from auditlog.capture.vitals import Vitals, refused_total

if TYPE_CHECKING:
    from auditlog.capture.telling import Telling

PREFIX: Final = "auditlog_capture_"
COMMIT_SECONDS: Final = f"{PREFIX}commit_seconds"
_COMMIT_HELP = "Time of one write to the spool with its fsync."
_NEEDS_A_PERSON = frozenset({"refused", "stopped"})
SENDER_ERRORS: Final = ("unreachable", "refused", "pushback", "conflicts", "stopped")

Merge = Literal["livesum", "livemax", "livemin"]
Read = Callable[[Vitals, dict[str, int]], float | None]


class Metric(NamedTuple):
    """One metric: its name without the prefix, whether it only grows, its help, its value, and how several
    processes' values become one. A value of None: not known, so not shown.
    """

    name: str
    is_total: bool
    help: str
    read: Read
    merge: Merge = "livesum"


def _counted(name: str) -> Read:
    return lambda _, counters: counters.get(name, 0)


def _sender_errors(_: Vitals, counters: dict[str, int]) -> float:
    return sum(counters.get(f"sender.{kind}", 0) for kind in SENDER_ERRORS)


def _left_s(vitals: Vitals, _: dict[str, int]) -> float | None:
    return None if vitals.key_expires_s is None else vitals.key_expires_s - time.time()


METRICS: Final = (
    Metric(
        "spool_entries", False, "Entries that the log has not acknowledged.", lambda v, _: v.depth.entries
    ),
    Metric("spool_bytes", False, "Bytes of the spool on disk.", lambda v, _: v.depth.bytes),
    Metric(
        "spool_oldest_seconds",
        False,
        "Age of the oldest entry that the log has not acknowledged.",
        lambda v, _: v.depth.oldest_ms(time.time_ns() // 1000) / 1000,
        "livemax",
    ),
    Metric("started_total", True, "Calls that began to be observed.", _counted("started")),
    Metric("finished_total", True, "Calls whose answer was delivered whole.", _counted("finished")),
    Metric("failed_total", True, "Calls that ended otherwise.", _counted("failed")),
    Metric("recorded_total", True, "Decisions that became durable entries.", _counted("recorded")),
    Metric(
        "refused_total",
        True,
        "Requests turned away before anything was decided.",
        lambda _, c: refused_total(c),
    ),
    Metric("deferred_total", True, "Answers that left without their promise.", _counted("deferred")),
    Metric(
        "late_hangups_total",
        True,
        "Callers that left after their entry was sealed.",
        _counted("late_hangups"),
    ),
    Metric(
        "clock_jumps_total",
        True,
        "Times the host's clock went back by more than a second.",
        _counted("clock_jumps"),
    ),
    Metric(
        "redactions_missed_total",
        True,
        "Bodies in which no rule of AUDITLOG_REDACT found anything.",
        _counted("redactions_missed"),
    ),
    Metric("gaps_total", True, "Gap entries written: declared losses.", _counted("gaps")),
    Metric("lost_total", True, "Decisions that could not be recorded.", _counted("lost")),
    Metric("unrecorded_total", True, "Requests that passed while nothing recorded.", _counted("unrecorded")),
    Metric("promises_total", True, "Promises given.", _counted("promises")),
    Metric(
        "promises_outstanding",
        False,
        "Promised entries that the log has not acknowledged, at most.",
        lambda v, _: v.promises_outstanding,
    ),
    Metric(
        "promises_past_due",
        False,
        "Of these, at most, those whose merge-by has passed.",
        lambda v, _: v.promises_past_due,
    ),
    Metric(
        "sender_errors_total",
        True,
        "Attempts to send that did not end in an acknowledgement.",
        _sender_errors,
    ),
    Metric(
        "sender_refused",
        False,
        "1 while the log refuses this producer or contradicts its chain: a person has to act.",
        lambda v, _: v.sender_state in _NEEDS_A_PERSON,
        "livemax",
    ),
    Metric("key_expiry_seconds", False, "Time left of the token, where that is known.", _left_s, "livemin"),
    Metric("disk_free_bytes", False, "Room on the spool's disk.", lambda v, _: v.disk_free_bytes, "livemin"),
)

METRIC_NAMES: Final = (*(PREFIX + metric.name for metric in METRICS), COMMIT_SECONDS)
"""All names, as alert rules use them; of the histogram the stem."""


class RegistrationError(ValueError):
    """The names are taken in that registry: another recorder of this process is shown there."""


def register(registry: Any, recorder: Telling) -> Exporter:
    """Show this recorder's metrics in `registry` (a prometheus_client one) until `unregister`.

    Raises:
        RegistrationError: another recorder's are there.
    """
    is_shared = "PROMETHEUS_MULTIPROC_DIR" in os.environ or "prometheus_multiproc_dir" in os.environ
    exporter = _Mirror(registry, recorder) if is_shared else _Collector(registry, recorder)
    try:
        exporter.register()
    except ValueError as taken:
        raise RegistrationError("metrics: expected their names to be free, found them registered") from taken
    return exporter


def register_if_loaded(recorder: Telling) -> Exporter | None:
    """The same in the default registry, if the server has imported prometheus_client; None if not (yet)."""
    registry = getattr(sys.modules.get("prometheus_client"), "REGISTRY", None)
    return None if registry is None else register(registry, recorder)


class Exporter:
    """What stands in a registry for one recorder."""

    def __init__(self, registry: Any, recorder: Telling) -> None:
        """The recorder is not kept alive."""
        self._registry = registry
        self._recorder = weakref.ref(recorder)

    def register(self) -> None:
        """Take the names. Raises ValueError if they are taken."""
        raise NotImplementedError

    def unregister(self) -> None:
        """Give the names back. Idempotent."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Bring up to date what does not do so by itself; called by the pulse."""

    def _values(self) -> Iterator[tuple[Metric, float | None]]:
        recorder = self._recorder()
        if recorder is None:
            return
        vitals, counters = recorder.vitals(), recorder.metrics.snapshot()
        for metric in METRICS:
            yield metric, metric.read(vitals, counters)


class _Collector(Exporter):
    """Answers a scrape of this process."""

    def register(self) -> None:
        self._registry.register(self)

    def unregister(self) -> None:
        with contextlib.suppress(KeyError):
            self._registry.unregister(self)

    def describe(self) -> list[Any]:
        """The families without values: the registry then sees that a name is taken."""
        from prometheus_client import metrics_core

        found: list[Any] = [_family(metric) for metric in METRICS]
        return [*found, metrics_core.HistogramMetricFamily(COMMIT_SECONDS, _COMMIT_HELP)]

    def collect(self) -> Iterator[Any]:
        """The families with the values of now; nothing where they cannot be read."""
        recorder = self._recorder()
        if recorder is None:
            return
        nothing = list[tuple[Metric, float | None]]()
        found = recorder.guard.call("metrics", nothing, lambda: list(self._values()))
        for metric, value in found:
            if value is None:
                continue
            family = _family(metric)
            family.add_metric([], float(value))
            yield family
        yield _commits(recorder)


def _family(metric: Metric) -> Any:
    from prometheus_client import metrics_core

    form = metrics_core.CounterMetricFamily if metric.is_total else metrics_core.GaugeMetricFamily
    return form(PREFIX + metric.name, metric.help)


def _commits(recorder: Telling) -> Any:
    from prometheus_client import metrics_core

    counts, sum_s = recorder.metrics.commits.snapshot()
    bounds = [*map(repr, TIMING_BUCKETS_S), "+Inf"]
    family = metrics_core.HistogramMetricFamily(COMMIT_SECONDS, _COMMIT_HELP)
    family.add_metric([], list(zip(bounds, accumulate(counts), strict=True)), sum_s)
    return family


class _Mirror(Exporter):
    """Keeps metrics of the library, which live in files that all processes of the server share."""

    def __init__(self, registry: Any, recorder: Telling) -> None:
        super().__init__(registry, recorder)
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._told: dict[str, float] = {}
        self._metrics: dict[str, Any] = {}

    def register(self) -> None:
        import prometheus_client as library

        try:
            for metric in METRICS:
                name, text = PREFIX + metric.name, metric.help
                if metric.is_total:
                    made: Any = library.Counter(name, text, registry=self._registry)
                else:
                    made = library.Gauge(name, text, registry=self._registry, multiprocess_mode=metric.merge)
                self._metrics[metric.name] = made
            commits = library.Histogram(
                COMMIT_SECONDS, _COMMIT_HELP, registry=self._registry, buckets=TIMING_BUCKETS_S
            )
        except ValueError:
            self.unregister()
            raise
        self._metrics[COMMIT_SECONDS] = commits
        self.refresh()

    def unregister(self) -> None:
        recorder, made = self._recorder(), list(self._metrics.values())
        self._metrics.clear()
        if recorder is not None:
            recorder.metrics.commits.forward = None
        for metric in made:
            with contextlib.suppress(KeyError):
                self._registry.unregister(metric)

    def refresh(self) -> None:
        recorder = self._recorder()
        if self._pid != os.getpid():
            # A forked child counts from nothing, in files of its own; the library sees to those.
            self._lock, self._pid, self._told = threading.Lock(), os.getpid(), {}
        with self._lock:
            if recorder is None or not self._metrics:
                return
            for metric, value in self._values():
                if value is None or not metric.is_total:
                    # A file has no "unknown": beside other processes' lowest, infinity says nothing.
                    self._metrics[metric.name].set(math.inf if value is None else value)
                    continue
                self._metrics[metric.name].inc(max(0.0, value - self._told.get(metric.name, 0.0)))
                self._told[metric.name] = value
            # Each time is told as it happens: a histogram of the library takes single values only.
            recorder.metrics.commits.forward = self._metrics[COMMIT_SECONDS].observe
