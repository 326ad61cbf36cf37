"""Reading ahead: the next objects of a log are fetched while the last ones are checked.

Spec: auditlog/spec/monitor.md, "Speed". Promises: at most `ahead` objects are held or on their way; what was
not foreseen is fetched as ever; an error is the caller's at the moment it asks for that object.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from auditlog.verify.sources import HttpSource, LogSource

AHEAD = 16
_THREADS = 8


class Ahead:
    """A source that fetches what will be asked for. For one reader."""

    def __init__(self, source: LogSource, *, ahead: int = AHEAD, threads: int = _THREADS) -> None:
        self._source, self._ahead = source, ahead
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="auditlog-ahead")
        self._coming: OrderedDict[str, Future[bytes]] = OrderedDict()
        self._plan: Iterator[str] = iter(())

    @property
    def has_given_up(self) -> bool:
        """Whether nothing will come from here any more."""
        return isinstance(self._source, HttpSource) and self._source.has_given_up

    def plan(self, paths: Iterator[str]) -> None:
        """The paths that will be asked for from now on, in that order; an earlier plan is dropped."""
        self._drop()
        self._plan = paths
        self._start(self._ahead)

    def fetch(self, path: str) -> bytes:
        """One object; raises `SourceError`."""
        coming = self._coming.pop(path, None)
        if coming is None:
            return self._source.fetch(path)
        self._start(1)
        return coming.result()

    def _start(self, count: int) -> None:
        for path in islice(self._plan, count):
            if path not in self._coming:
                self._coming[path] = self._pool.submit(self._source.fetch, path)

    def _drop(self) -> None:
        for coming in self._coming.values():
            coming.cancel()
        self._coming.clear()
        self._plan = iter(())

    def close(self) -> None:
        """Wait for nothing that is still on its way."""
        self._drop()
        self._pool.shutdown(wait=False, cancel_futures=True)
        if isinstance(self._source, HttpSource):
            self._source.close()
