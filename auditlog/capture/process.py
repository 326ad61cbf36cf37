"""The one recorder of a process, made from its environment when it is first needed.

A producer instance IS one process life (spec/entry.md, "Producer chain"): two recorders in one process would
be two producers. So the middleware, `@audited` and the transformers hook, when they were given none, share
this one. It is the only state of the package that belongs to the process; nothing happens at import.

Promises: thread-safe, never raises into the application; after `close` the next use makes a new one, with a
new instance. Also measures the model named by AUDITLOG_MODEL, and adapters by AUDITLOG_ADAPTERS
(`name=path,name=path`), on a thread of its own.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from auditlog.capture.admin_routes import FINGERPRINTS
from auditlog.capture.forking import SameProcess
from auditlog.capture.recorder import Recorder
from auditlog.capture.settings import CaptureSettings, RouteRule, means_fail_closed, parse_routes
from auditlog.capture.startup import settings_lines
from auditlog.fingerprint import BackgroundMeasurement, ModelFingerprint, fingerprint_model

logger = logging.getLogger("auditlog.capture")


class RecorderSource:
    """Gives a started recorder: one that was handed in, or one made from the environment at first use."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        """Read settings from `environ` when the time comes; the process's own by default."""
        self._environ = environ
        self._given: Recorder | None = None
        self._made: Recorder | None = None
        self._lock = threading.Lock()
        self._forked = threading.Lock()
        self._process = SameProcess()
        self._said: frozenset[str] = frozenset()

    @classmethod
    def of(cls, recorder: Recorder) -> RecorderSource:
        """A source of this recorder; its owner closes it."""
        source = cls({})
        source._given = recorder
        return source

    def announce(self) -> None:
        """Say now what speaks against the settings, before anything is made or opened: a server without a
        lifespan would say it with its first request. Once for this source, its forked workers included.

        A function of AUDITLOG_REDACT is not looked up before the start: its module may just be loading.
        """
        try:
            if self._given is not None:
                self._given.report_settings()
                return
            known = {**self._variables, "AUDITLOG_REDACT": ""}
            lines = settings_lines(CaptureSettings.from_environ(known), known)
            for level, line in lines:
                if line not in self._said:
                    logger.log(level, "auditlog: %s", line, extra={"event": "problem"})
            self._said |= {line for _, line in lines}
        except Exception as failure:  # noqa: BLE001  the boundary to the application
            name = type(failure).__name__
            logger.error("auditlog: settings cannot be looked at: %s", name, extra={"event": "problem"})

    def made(self) -> Recorder | None:
        """The recorder, if this process has made one already; none is made."""
        return self._made if self._process.is_here() else None

    def get(self) -> Recorder | None:
        """The recorder, started. None if even making one failed, which was logged; then `fails_closed` says
        what that means.
        """
        # A forked worker is another producer instance, with a model entry of its own.
        if self._made is not None and self._process.is_here():
            return self._made
        return self._make()

    @property
    def fails_closed(self) -> bool:
        """Whether the environment alone says that nothing may be answered off the record."""
        return self._given is None and means_fail_closed(self._variables)

    @property
    def rules(self) -> tuple[RouteRule, ...]:
        """What AUDITLOG_ROUTES says, as far as it can be read, for a process without a recorder."""
        return parse_routes(self._variables.get("AUDITLOG_ROUTES", ""), [])

    @property
    def _variables(self) -> Mapping[str, str]:
        return os.environ if self._environ is None else self._environ

    def close(self) -> None:
        """Close the recorder if it was made here; one that was handed in stays open."""
        with self._lock:
            made, self._made = self._made, None
        if made is not None and made is not self._given:
            made.guard.call("close", None, made.close)

    def _make(self) -> Recorder | None:
        self._after_fork()
        made = None
        try:
            with self._lock:
                made = self._made = self._made or self._given or self._from_environ()
            # Outside the lock: whoever comes meanwhile waits in the recorder, for a bounded time.
            made.start()
        except Exception as failure:  # noqa: BLE001  the boundary to the application
            logger.error(
                "auditlog: nothing is recorded, no recorder: %s",
                type(failure).__name__,
                extra={"event": "no_recorder"},
            )
        return made

    def _after_fork(self) -> None:
        """In a forked child, once: the lock may have been held, and the recorder made before is the parent's.

        The lock for this is never taken in the process that forks, so that no child finds it held.
        """
        if self._process.is_here():
            return
        with self._forked:
            if not self._process.is_here():
                self._lock, self._made = threading.Lock(), None
                self._process.renew()

    def _from_environ(self) -> Recorder:
        recorder = Recorder.from_environ(self._variables)
        recorder.said = self._said
        if recorder.settings.model_path is not None and recorder.settings.is_usable:
            recorder.adapter_paths = parse_adapters(self._variables.get("AUDITLOG_ADAPTERS", ""))
            measure_model(recorder, adapters=recorder.adapter_paths).start()
        return recorder


def measure_model(recorder: Recorder, *, adapters: Mapping[str, Path] | None = None) -> BackgroundMeasurement:
    """A measurement of the model of the settings, not started; registers it with the recorder when it is
    done.
    """
    settings = recorder.settings
    if settings.model_path is None:
        raise ValueError("expected a model path in the settings, found none")
    path = settings.model_path
    name = settings.model_name or path.resolve().name

    def failed(_: Exception) -> None:
        recorder.metrics.add("failures.fingerprint")
        recorder.give_up_model()

    measurement = BackgroundMeasurement(
        lambda: fingerprint_model(name, path, settings.state_dir / FINGERPRINTS, adapters=adapters),
        on_ready=lambda measured: register(recorder, measured),
        on_failed=failed,
    )
    recorder.first_measurement = measurement
    return measurement


def register(recorder: Recorder, measured: ModelFingerprint) -> None:
    """Tell the recorder which model and adapters serve, unless an admin route has changed that meanwhile."""
    recorder.register_model(
        name=measured.name,
        root=measured.manifest.root,
        files=len(measured.manifest.files),
        method=measured.manifest.method,
        adapters=tuple((name, found.root, len(found.files)) for name, found in measured.adapters),
        source=measured.source,
        serves=recorder.model_changes is None or not recorder.model_changes.has_changed,
    )


def parse_adapters(text: str) -> dict[str, Path]:
    """Read AUDITLOG_ADAPTERS; an item that is not `name=path` is logged and left out."""
    adapters = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, path = item.partition("=")
        if name.strip() and equals and path.strip():
            adapters[name.strip()] = Path(os.path.expanduser(path.strip()))  # noqa: PTH111  this never raises
        else:
            logger.error(
                "auditlog: AUDITLOG_ADAPTERS: expected name=path, found another item",
                extra={"event": "problem"},
            )
    return adapters


recorder_of_this_process = RecorderSource()
"""Made from os.environ at first use."""
