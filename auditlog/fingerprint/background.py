"""Measure a model beside a starting server: readiness
never waits for hashing (spec/fingerprint.md, "Measuring").

Until the measurement is done decisions say `model: pending`; the `model` entry
that follows in the same instance resolves them. A measurement that fails
leaves the model unregistered, is logged once, and never stops the server.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from auditlog.errors import AuditLogError
from auditlog.fingerprint.measure import ModelFingerprint

logger = logging.getLogger(__name__)


class BackgroundMeasurement:
    """One measurement on a thread of its own. The thread is a daemon: a half-hashed file holds up no exit."""

    def __init__(
        self,
        measure: Callable[[], ModelFingerprint],
        *,
        on_ready: Callable[[ModelFingerprint], None],
        on_failed: Callable[[Exception], None],
    ) -> None:
        """Take the work and what follows it, called on the thread.
        `on_failed` gets whatever measuring or `on_ready` raised.
        """
        self._measure = measure
        self._on_ready = on_ready
        self._on_failed = on_failed
        self._thread = threading.Thread(target=self._run, name="auditlog-fingerprint", daemon=True)

    def start(self) -> None:
        """Start measuring; returns at once."""
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether it was started and is not done."""
        return self._thread.is_alive()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the end; whether it came within `timeout_s` seconds."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            fingerprint = self._measure()
            self._on_ready(fingerprint)
        except Exception as error:  # noqa: BLE001  the boundary of the thread: the server must not notice
            # Our own errors say what was expected and found; of any other only the type.
            logger.error(
                "model not fingerprinted: %s",
                error if isinstance(error, AuditLogError) else type(error).__name__,
            )
            self._on_failed(error)
