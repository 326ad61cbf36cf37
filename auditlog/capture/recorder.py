"""The recorder: from an observation to a sealed, durable entry, without holding up the inference.

Spec: entry.md, commitment.md; README.md of this package tells the life of a decision and what each crash
leaves.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future

from auditlog.capture.metrics import Counters
from auditlog.capture.observation import Exchange, Observation, Recorded
from auditlog.capture.safety import Guard
from auditlog.capture.settings import CaptureSettings

Clock = Callable[[], int]
"""Gives the time in Unix microseconds."""
Random = Callable[[int], bytes]
"""Gives that many random bytes, fit for keys."""


def wall_clock_us() -> int:
    """The system clock, in Unix microseconds."""
    return time.time_ns() // 1000


class Recorder:
    """Records observations of one process. One per process; any thread may call it; fork-safe.

    `record` and `new_exchange` never block on disk or network and never raise (unless `settings.strict`).
    """

    def __init__(
        self, settings: CaptureSettings, clock: Clock = wall_clock_us, rng: Random = os.urandom
    ) -> None:
        self.settings = settings
        self.metrics = Counters()
        self.logger = logging.getLogger("auditlog.capture")
        self.guard = Guard(self.metrics, self.logger, strict=settings.strict)
        self._clock = clock
        self._rng = rng

    @classmethod
    def from_environ(cls, env: Mapping[str, str] | None = None) -> Recorder:
        """A recorder with the settings of `env` (the process's own by default), not started."""
        return cls(CaptureSettings.from_environ(os.environ if env is None else env))

    @property
    def is_recording(self) -> bool:
        """Whether observations become entries: settings usable and a slot taken (enrolled or not)."""
        raise NotImplementedError

    def start(self) -> None:
        """Take a slot, recover its spool, start the writer and the sender. Idempotent; never raises."""
        raise NotImplementedError

    def close(self) -> None:
        """Write what is queued, send for at most `close_timeout_s`, release the slot. Idempotent."""
        raise NotImplementedError

    def new_exchange(self) -> Exchange | None:
        """Mint id, exchange key and both body commitments for a request that just arrived.

        Returns None when nothing can be recorded (disabled, bad settings): then simply pass the request
        through.
        """
        raise NotImplementedError

    def record(self, observation: Observation, *, want_durable: bool = False) -> Recorded | None:
        """Hand an observation to the writer thread; returns at once.

        With `want_durable` the answer carries a future that resolves when the entry is on disk. Returns None
        when it was not taken (disabled); a full queue still returns an answer, and the loss is declared in a
        gap entry.
        """
        raise NotImplementedError

    def record_outcome(self, decision: str, facts: Mapping[str, object], *, item: str | None = None) -> None:
        """Record what became known later about a decision (label, override ...) as an `outcome` entry."""
        raise NotImplementedError

    def register_model(
        self,
        *,
        name: str,
        root: bytes,
        files: int,
        method: str = "files-sha256@v1",
        adapters: tuple[tuple[str, bytes, int], ...] = (),
        source: str | None = None,
    ) -> Future[str]:
        """Write a `model` entry; decisions recorded after it name it. Resolves to its leaf hash in hex.

        `root` is the manifest's 32-byte root, `files` how many files it sums; an adapter is (name, root,
        files). Until the first one, decisions say "pending" if `expect_model` was called or AUDITLOG_MODEL
        is set, else "unregistered".
        """
        raise NotImplementedError

    def expect_model(self) -> None:
        """Say that a model is being fingerprinted, so that decisions until then read `model: pending`."""
        raise NotImplementedError
