"""How many entries a second a log takes, from everyone and from one token: token buckets.

Spec: auditlog/spec/api.md, "Limits and overload". A bucket holds `BURST_S` seconds of its rate; a batch is
let in while anything is left, and what it takes beyond that is owed, so that a batch larger than a bucket
passes and its sender then waits. Promises: bounded memory, whoever calls; what was refused was not taken in.
Must never: refuse for good, or wait.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from auditlog.errors import TooLargeError, TooManyRequests
from auditlog.service.settings import LogSettings

BURST_S = 10
MAX_BUCKETS = 4096
"""Buckets kept; of more, the one used longest ago is forgotten, which forgives what it owes."""
LONGEST_WAIT_S = 300

_Key = tuple[str, str | None]


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float


class Rates:
    """The buckets of one service. Safe to use from any thread."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._buckets: OrderedDict[_Key, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def check(self, log: LogSettings, token: str) -> None:
        """Before a body is read: whether the log, and this token (by name) for it, owe nothing.

        Raises:
            TooManyRequests: come again after `retry_after_s`; nothing was accepted.
        """
        self._take(log, token, 0)

    def admit(self, log: LogSettings, token: str, entries: Sequence[bytes]) -> None:
        """Take a batch out of the bucket of its token. That of the log is left alone until the batch was
        taken in (`taken`): what is refused for its content must not keep others out.

        Raises:
            TooLargeError: an entry is over the limit of this log. TooManyRequests: as `check`.
        """
        if (longest := max(map(len, entries), default=0)) > log.max_entry_bytes:
            raise TooLargeError(f"entry: expected at most {log.max_entry_bytes} bytes, found {longest}")
        self._take(log, token, len(entries))

    def taken(self, log: LogSettings, count: int) -> None:
        """Take so many entries, which were taken in, out of the bucket of their log."""
        rate = log.max_entries_per_s
        if rate is not None:
            with self._lock:
                self._bucket((log.name, None), rate).level -= count

    def _take(self, log: LogSettings, token: str, count: int) -> None:
        wanted = [((log.name, None), log.max_entries_per_s), ((log.name, token), log.token_entries_per_s)]
        limited = [(key, rate) for key, rate in wanted if rate is not None]
        if not limited:
            return
        with self._lock:
            buckets = [(self._bucket(key, rate), rate) for key, rate in limited]
            for bucket, rate in buckets:
                if bucket.level <= 0:
                    # None of them was charged yet: what is refused here counts nowhere.
                    raise TooManyRequests(
                        f"expected at most {rate} entries a second, found more; nothing was accepted",
                        retry_after_s=min(LONGEST_WAIT_S, math.floor(-bucket.level / rate) + 1),
                    )
            if log.token_entries_per_s is not None:
                self._bucket((log.name, token), log.token_entries_per_s).level -= count

    def _bucket(self, key: _Key, rate: int) -> _Bucket:
        """The bucket of a key, filled up to now. Under the lock."""
        now, full = self._monotonic(), float(rate * BURST_S)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(full, now)
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
            bucket.level = min(full, bucket.level + (now - bucket.at) * rate)
            bucket.at = now
        return bucket
