"""What a recorder tells about itself, and is told by the hooks: coverage, problems, vitals, metrics.

The part of `Recorder` that records nothing. It outlives slots and forks of the process, as the recorder does.
Must never: raise into the application, or touch disk or network on its threads.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping

from auditlog.capture.coverage import Coverage, CoverageNote
from auditlog.capture.metrics import Counters
from auditlog.capture.prometheus import Exporter, RegistrationError, register_if_loaded
from auditlog.capture.running import RunningCapture
from auditlog.capture.safety import Guard
from auditlog.capture.settings import CaptureSettings
from auditlog.capture.startup import settings_lines
from auditlog.capture.vitals import Vitals


class Telling:
    """Base of `Recorder`; any thread may call it."""

    settings: CaptureSettings
    metrics: Counters
    guard: Guard
    logger: logging.Logger
    _running: RunningCapture | None = None

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.coverage = Coverage()
        self._exporter: Exporter | None = None
        self._reported: tuple[str, ...] = ()
        self.said: frozenset[str] = frozenset()
        """What this process, or the one it was forked from, has logged before there was a recorder."""
        self.environ: Mapping[str, str] | None = None
        """Where the settings came from, to be looked through for slips; None if they came by hand."""

    @property
    def problems(self) -> tuple[str, ...]:
        """What was found wrong, with the settings or since, in the order it was said."""
        return self._reported

    def report(self, problem: str, level: int = logging.ERROR) -> None:
        """Say once, in the application's log and to `auditlog doctor`, what was found wrong."""
        if problem not in self._reported:
            self._reported += (problem,)
            if problem not in self.said:
                self.logger.log(level, "auditlog: %s", problem, extra={"event": "problem"})

    def report_settings(self) -> None:
        """Say, before the first request, all that speaks against the settings: a line each, once."""
        lines = self.guard.call(
            "doubts", list[tuple[int, str]](), settings_lines, self.settings, self.environ
        )
        for level, line in lines:
            self.report(line, level)

    def _redacted_nothing(self, body_name: str) -> None:
        """Count, and say once, that a body came through whole: perhaps not what the operator meant."""
        self.metrics.add("redactions_missed")
        self.report(
            f"AUDITLOG_REDACT: expected something to take out of every {body_name}, found one in which no "
            "rule finds anything; redactions_missed counts them",
            logging.WARNING,
        )

    def vitals(self) -> Vitals:
        """How the recording stands now, from memory."""
        running = self._running
        return Vitals() if running is None else running.signals.vitals()

    def cover(self, note: CoverageNote) -> None:
        """Say which routes this process records and how: a `coverage` entry tells the log (entry.md)."""
        self.guard.call("coverage", None, self.coverage.cover, note)

    def note_port(self, port: int) -> None:
        """Say on which port of the server a request came in; a set look-up for one that is known."""
        self.coverage.note_port(port)

    def show_metrics(self) -> None:
        """Keep the metrics in the server's Prometheus registry, once it has one; called by the pulse."""
        if self._exporter is None:
            with contextlib.suppress(RegistrationError):  # another recorder of this process is shown there
                self._exporter = register_if_loaded(self)
        if self._exporter is not None:
            self._exporter.refresh()

    def hide_metrics(self) -> None:
        """Give the names back: this recorder has ended."""
        exporter, self._exporter = self._exporter, None
        if exporter is not None:
            self.guard.call("metrics", None, exporter.unregister)
