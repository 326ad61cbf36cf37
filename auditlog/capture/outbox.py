"""Promises that did not travel with their answer, on their way to the log (api.md, "Promises").

A stream's caller, or one whose answer left before the disk was done, finds the promise at the log instead.
Its own thread and connection, so that nothing here delays a batch; started by the first promise. Bounded: a
log that does not answer costs the oldest ones, which are counted; the entries themselves are in the spool.
Must never: hold up the writer, or keep more than `MAX_HELD`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from auditlog.capture.client import LogClient
from auditlog.capture.forking import ForkGate
from auditlog.capture.frames import Record
from auditlog.capture.metrics import Counters
from auditlog.capture.promises import PromiseMaker
from auditlog.capture.safety import Guard
from auditlog.errors import AuditLogError, LogUnreachable, Pushback

MAX_HELD = 4096
PER_POST = 200
GATHER_S = 0.2
"""A post carries what came within this time."""
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
REFUSED_WAIT_S = 60.0


class PromiseOutbox:
    """Posts promises. Any thread may `push`."""

    def __init__(
        self,
        *,
        open_client: Callable[[], LogClient],
        metrics: Counters,
        guard: Guard,
        max_held: int = MAX_HELD,
        waits: Callable[[], bool] = lambda: False,
        gate: ForkGate | None = None,
    ) -> None:
        """While it `waits` nothing is posted: the log does not know the key yet that signed the newest."""
        self._waits = waits
        self._gate = gate or ForkGate()
        self._open_client = open_client
        self._metrics = metrics
        self._guard = guard
        self._held: deque[tuple[str, str]] = deque()
        self._max_held = max_held
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._held)

    @property
    def has_room(self) -> bool:
        """Whether another promise would displace none."""
        return len(self._held) < self._max_held

    def push(self, id: str, promise: str) -> None:  # noqa: A002  the word of the format
        """Have a promise shown at the log; the oldest goes if there are too many."""
        with self._lock:
            if len(self._held) >= self._max_held:
                self._held.popleft()
                self._metrics.add("promises_unposted")
            self._held.append((id, promise))
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name="auditlog-promises", daemon=True)
                self._thread.start()
        self._wake.set()

    def push_again(self, maker: PromiseMaker, batch: Iterable[Record]) -> None:
        """Promises of an earlier life's decisions may never have been shown: the same ones again.

        The log has these entries already, so none of the promises can be broken. A full outbox gets none.
        """
        for record in batch:
            again = maker.sign_again(record) if self.has_room else None
            if again is not None:
                self.push(*again)

    def stop(self, *, within_s: float) -> None:
        """Post what is held once more, if the log answers; then end."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(within_s)

    def _run(self) -> None:
        self._guard.call("promises", None, self._post_all)

    def _post_all(self) -> None:
        client = self._open_client()
        wait_s = FIRST_WAIT_S
        try:
            while True:
                if not self._held:
                    if self._stopping.is_set():
                        return
                    self._wake.wait()
                    self._wake.clear()
                    self._stopping.wait(GATHER_S)
                elif not self._waits() and self._post(client):
                    wait_s = FIRST_WAIT_S
                elif self._stopping.wait(wait_s):
                    return
                else:
                    wait_s = min(LONGEST_WAIT_S, 2 * wait_s)
        finally:
            client.close()

    def _post(self, client: LogClient) -> bool:
        """Post the oldest ones; whether the log took them, or never will."""
        with self._lock:
            group = [self._held.popleft() for _ in range(min(PER_POST, len(self._held)))]
        try:
            with self._gate:
                client.keep_promises(group)
        except (LogUnreachable, Pushback, OSError):
            self._give_back(group)
            return False
        except AuditLogError as refusal:
            # A log without this address, or one that does not want them: the same again would not help.
            self._metrics.add("promises_unposted", len(group))
            self._refused(refusal)
            return True
        self._metrics.add("promises_posted", len(group))
        return True

    def _refused(self, refusal: AuditLogError) -> None:
        """Leave the log alone for a while: what comes meanwhile is held, the oldest is let go."""
        self._guard.failed("promises", refusal)
        self._stopping.wait(REFUSED_WAIT_S)

    def _give_back(self, group: list[tuple[str, str]]) -> None:
        with self._lock:
            room = max(0, self._max_held - len(self._held))
            self._metrics.add("promises_unposted", max(0, len(group) - room))
            self._held.extendleft(reversed(group[len(group) - min(room, len(group)) :]))
