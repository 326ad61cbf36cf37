"""Running a monitor: one thread a log, one memory, one outbox; once, or until it is told to stop.

Spec: auditlog/spec/monitor.md. Promises: trouble with one log does not hold up another; a stop waits for the
batch in hand. Must never: go on after its memory failed, for then it could tell things twice, or never.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from auditlog.errors import AuditLogError, SourceError, StorageError
from auditlog.verify.monitor.anchors import AnchorSource, check_anchors
from auditlog.verify.monitor.beside import Beside
from auditlog.verify.monitor.clocks import Limits, check_clocks
from auditlog.verify.monitor.following import Follower, Look
from auditlog.verify.monitor.outbox import SETTLE_S, Outbox
from auditlog.verify.monitor.promised import Promised
from auditlog.verify.monitor.status import LogStatus, status_of
from auditlog.verify.monitor.store import Store
from auditlog.verify.monitor.withheld import check_withheld

logger = logging.getLogger("auditlog.monitor")


@dataclass(slots=True)
class Watch:
    """One log, and what is looked at beside it."""

    follower: Follower
    beside: Beside | None = None
    promised: Promised | None = None
    anchors: list[AnchorSource] = field(default_factory=list)
    reservations: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

    def look(self) -> Look:
        """The log, then everything beside it; alarms are in the book when it returns. Raises StorageError."""
        look = self.follower.look()
        look.reservations.extend(self.reservations)
        for check in self._checks():
            try:
                check(look)
            except StorageError:
                raise
            except SourceError as error:
                look.unread.append(str(error))
            except Exception as error:
                # A fault of this code in one check: the other checks, and the other logs, go on.
                logger.exception("%s", self.follower.log.origin)
                look.unread.append(f"this monitor failed on it ({type(error).__name__}): see its own log")
        self.follower.books.commit(self.follower.sight())
        return look

    def _checks(self) -> list[Callable[[Look], None]]:
        follower = self.follower
        checks: list[Callable[[Look], None]] = [
            lambda look: check_anchors(follower, look, self.anchors),
            lambda look: check_withheld(follower, look, self.limits.stale_s),
            lambda look: check_clocks(follower, look, self.limits),
        ]
        beside, promised = self.beside, self.promised
        if beside is not None:
            checks.append(lambda look: beside.ask(follower, look))
        if promised is not None:
            checks.append(lambda look: promised.judge(follower, look))
        return checks


class Monitor:
    """All logs of one monitor."""

    def __init__(self, store: Store, watches: list[Watch], outbox: Outbox) -> None:
        self.store, self.watches, self.outbox = store, watches, outbox
        self.statuses: dict[str, LogStatus] = {}
        """The newest state of each log, by origin: whole records, replaced at once, for other threads."""
        self._failure: BaseException | None = None
        self._stop = threading.Event()
        self._first_alarm = self._last_number() + 1
        for watch in watches:
            watch.follower.is_stopped = self._stop.is_set

    def _last_number(self) -> int:
        return int(self.store.read("SELECT coalesce(max(number), 0) FROM alarm")[0][0])

    def once(self) -> None:
        """One look at every log, all at the same time. Raises StorageError."""
        self._together(self._look_once)
        self.outbox.deliver()
        self.outbox.settle(SETTLE_S)
        self._check()

    def follow(self, interval_s: float, on_alarm: Callable[[dict[str, Any]], None]) -> None:
        """Look at every log again and again until `stop`. Raises StorageError."""
        threads = self._threads(lambda watch: self._keep_looking(watch, interval_s))
        try:
            while not self._stop.wait(min(1.0, interval_s)):
                for line in self.outbox.deliver():
                    on_alarm(line)
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        for line in self.outbox.deliver():
            on_alarm(line)
        self.outbox.settle(1.0)
        self._check()

    def _threads(self, work: Callable[[Watch], None]) -> list[threading.Thread]:
        """One a log, started."""
        threads = [
            threading.Thread(target=work, args=(watch,), name=f"log-{number}")
            for number, watch in enumerate(self.watches)
        ]
        for thread in threads:
            thread.start()
        return threads

    def _together(self, work: Callable[[Watch], None]) -> None:
        if len(self.watches) == 1:
            work(self.watches[0])
            return
        threads = self._threads(work)
        try:
            for thread in threads:
                thread.join()
        except BaseException:
            # A Ctrl-C: the batches in hand are finished, then it goes on to whoever asked.
            self._stop.set()
            for thread in threads:
                thread.join()
            raise

    def _check(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def stop(self) -> None:
        """End `follow` after the batches in hand. From any thread, or a signal handler."""
        self._stop.set()

    def _look_once(self, watch: Watch) -> None:
        try:
            self._look(watch)
        except BaseException as error:
            if len(self.watches) == 1:
                raise
            self._failure = error

    def _keep_looking(self, watch: Watch, interval_s: float) -> None:
        try:
            while not self._stop.is_set():
                self._look(watch)
                self._stop.wait(interval_s)
        except BaseException as error:  # noqa: BLE001  the boundary of the thread: raised again by `follow`
            self._failure = error
            self._stop.set()

    def _look(self, watch: Watch) -> None:
        try:
            look = watch.look()
        except StorageError:
            raise
        except AuditLogError as error:
            logger.warning("%s: %s", watch.follower.log.origin, error)
            look = Look(watch.follower.log.origin, unread=[str(error)])
        except Exception as error:
            # A fault of this code, found by one log: the others are followed on, and this one is tried again
            # from what is on disk.
            logger.exception("%s", watch.follower.log.origin)
            watch.follower.again()
            text = f"this monitor failed on it ({type(error).__name__}): see its own log"
            look = Look(watch.follower.log.origin, unread=[text])
        self.statuses[look.origin] = self._status(watch, look)

    def _status(self, watch: Watch, look: Look) -> LogStatus:
        try:
            return status_of(watch.follower, look, watch.beside)
        except StorageError:
            raise
        except Exception as error:
            logger.exception("%s", look.origin)
            text = f"this monitor failed to say how it stands ({type(error).__name__}): see its own log"
            return LogStatus(origin=look.origin, unread=(*look.unread, text))

    def new_alarms(self) -> list[tuple[str, str]]:
        """(origin, word) of every alarm since this process began."""
        query = "SELECT origin, alarm FROM alarm WHERE number >= ? ORDER BY number"
        return [(row[0], row[1]) for row in self.store.read(query, (self._first_alarm,))]

    def close(self) -> None:
        """Close everything."""
        self.outbox.close()
        for watch in self.watches:
            with contextlib.suppress(AuditLogError):
                watch.follower.close()
        self.store.close()
