"""The promise to the application: no exception of this layer ever reaches it.

Every public entry of the capture layer runs inside a `Guard`. An exception is counted by its place and type,
logged (rate-limited, with the type and place but never a payload), and a default is returned. With `strict`
it is raised again, so that tests see it. `BaseException` (cancellation, interrupts) always passes: it is not
ours to stop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from auditlog.capture.metrics import Counters

_P = ParamSpec("_P")
_R = TypeVar("_R")

_FULL_REPORTS = 3
"""How many failures of one kind are logged with their traceback; after that each power of two, one line."""


class Guard:
    """Counts and logs the layer's own failures, and keeps them away from the application."""

    def __init__(self, metrics: Counters, logger: logging.Logger, *, strict: bool = False) -> None:
        self._metrics = metrics
        self._logger = logger
        self._strict = strict

    def call(
        self, place: str, default: _R, function: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _R:
        """Return `function(...)`, or `default` if it fails."""
        try:
            return function(*args, **kwargs)
        except Exception as failure:
            self.failed(place, failure)
            if self._strict:
                raise
            return default

    @contextmanager
    def protect(self, place: str) -> Iterator[None]:
        """Run a block; its failure is counted and logged, and ends here (unless strict)."""
        try:
            yield
        except Exception as failure:
            self.failed(place, failure)
            if self._strict:
                raise

    def failed(self, place: str, failure: BaseException) -> None:
        """Count and log a failure that the caller handled itself."""
        kind = type(failure).__name__
        name = f"failures.{place}.{kind}"
        try:
            self._metrics.add(name)
            count = self._metrics.get(name)
        except Exception:  # noqa: BLE001  even a metric that fails must not reach the application
            count = 1
        event = {"event": "failed", "place": place, "kind": kind, "count": count}
        if count <= _FULL_REPORTS:
            # Tracebacks show code lines, never values, so they hold no payload; messages of other libraries
            # might.
            frames = failure.__traceback__
            self._logger.error("auditlog: %s failed (%s)%s", place, kind, _where(frames), extra=event)
        elif count & (count - 1) == 0:
            self._logger.error("auditlog: %s failed (%s), %d times so far", place, kind, count, extra=event)


def _where(frames: object) -> str:
    """The last frame of a traceback as ` at file:line`: the message itself might quote a payload."""
    last = None
    while frames is not None:
        last, frames = frames, getattr(frames, "tb_next", None)
    if last is None:
        return ""
    code = last.tb_frame.f_code  # type: ignore[attr-defined]
    return f" at {code.co_filename}:{last.tb_lineno}"  # type: ignore[attr-defined]
