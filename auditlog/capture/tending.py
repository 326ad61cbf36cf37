"""Looking after a slot's keys and its end: in the process that holds it, and for a host that stands still.

`KeyWatch` looks once in a while for a request to change the key (`rotate.request`) and carries it out: the
next key is made durable, the writer seals the `rotation` entry, the sender cuts its batch there. It also has
written what an ended producer of this slot could not send. `tend_slot` does the same to a slot that no
process holds, and sends it: for `auditlog producer rotate` and `retire`. Must never: begin a rotation while
one waits for the log, or forget a request that was not carried out.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from auditlog.capture.backlog import read_backlog
from auditlog.capture.client import LogClient
from auditlog.capture.clocks import HostClock
from auditlog.capture.messages import OwnEntry
from auditlog.capture.metrics import Counters
from auditlog.capture.retiring import Undeclared, is_requested, is_retired, list_undeclared
from auditlog.capture.rotation import (
    ROTATE_REQUEST,
    ROTATION,
    RotationsUsedUp,
    SlotKeys,
    forget_request,
    refusal_of,
    refuse_request,
)
from auditlog.capture.safety import Guard
from auditlog.capture.sender import Route
from auditlog.capture.settings import CaptureSettings
from auditlog.capture.slots import Slot
from auditlog.capture.wiring import Wiring
from auditlog.capture.writer import Writer
from auditlog.errors import ConfigurationError

EVERY_S = 0.5


class KeyWatch:
    """Looks after the slot of a running process. `run` is the body of its thread."""

    def __init__(
        self,
        slot: Slot,
        *,
        keys: Callable[[], SlotKeys | None],
        push: Callable[[OwnEntry], object],
        writer: Callable[[], Writer | None],
        rng: Callable[[int], bytes],
        guard: Guard,
        logger: logging.Logger,
    ) -> None:
        """`keys` is None before enrolment; `push` hands an entry to the writer."""
        self._slot = slot
        self._keys = keys
        self._push = push
        self._writer = writer
        self._rng = rng
        self._guard = guard
        self._logger = logger
        self._stopping = threading.Event()
        self._turning: Future[str] | None = None

    def stop(self) -> None:
        """End `run`."""
        self._stopping.set()

    def run(self) -> None:
        """Look now and then until `stop`."""
        with self._guard.protect("undeclared"):
            for undeclared in list_undeclared(self._slot.directory):
                self._declare(undeclared)
        while not self._stopping.wait(EVERY_S):
            self.look()

    def look(self) -> None:
        """Carry out a request if there is one; never raises."""
        with self._guard.protect("rotation"):
            keys = self._keys()
            if keys is None or not (self._slot.directory / ROTATE_REQUEST).exists():
                return
            if keys.is_turning:
                # Dying after the sealing left the request: it is the rotation that is under way.
                forget_request(self._slot.directory)
            elif refusal_of(self._slot.directory) is None and (self._turning is None or self._turning.done()):
                self._turn(keys)

    def _turn(self, keys: SlotKeys) -> None:
        try:
            following = keys.prepare(self._rng)
        except RotationsUsedUp as refusal:
            # Said once: the request holds the answer from now on, for `doctor` and whoever asked.
            refuse_request(self._slot.directory, str(refusal))
            self._logger.error(
                "auditlog: %s: %s",
                self._slot.name,
                refusal,
                extra={"event": "problem", "slot": self._slot.name},
            )
            return
        done: Future[str] = Future()

        def sealed(future: Future[str]) -> None:
            # In the writer's thread, before it promises anything that it seals from here on.
            if future.cancelled() or future.exception() is not None:
                return
            keys.sealed(following)
            # Dying before this line leaves the request; the next look finds it fulfilled.
            self._guard.call("rotation", None, forget_request, self._slot.directory)
            writer = self._writer()
            if writer is not None:
                writer.sign_with(following)
            self._logger.info(
                "auditlog: the next key of %s is sealed into the chain",
                self._slot.name,
                extra={"event": "rotated", "slot": self._slot.name},
            )

        done.add_done_callback(sealed)
        self._turning = done
        self._push(OwnEntry(ROTATION, lambda: keys.body(following), done))

    def _declare(self, undeclared: Undeclared) -> None:
        done: Future[str] = Future()

        def settled(future: Future[str]) -> None:
            if not future.cancelled() and future.exception() is None:
                self._guard.call("undeclared", None, undeclared.settled)

        done.add_done_callback(settled)
        self._push(OwnEntry("gap", undeclared.body, done))


def tend_slot(
    settings: CaptureSettings,
    slot: Slot,
    *,
    rotates: bool,
    clock: Callable[[], int],
    rng: Callable[[int], bytes],
    software: str,
    logger: logging.Logger,
) -> str:
    """Open the chain of a slot that this process holds as its next life, carry out what was asked for (a new
    key; its end, if that is requested), and send all of it. Returns `sent` if the log has everything, else
    the sender's last state (`unreachable`, `refused`, `retired`).

    Raises:
        ConfigurationError: the slot is not enrolled, or its rotation waits for the log.
        OSError, MalformedError: its files cannot be used.
    """
    if slot.load_enrolment() is None:
        raise ConfigurationError(f"slot {slot.name}: expected an enrolled producer, found none")
    metrics = Counters()
    guard = Guard(metrics, logger)
    wiring = Wiring(
        settings, software, clock=HostClock(clock), rng=rng, metrics=metrics, guard=guard, redactor=None,
        logger=logger,
    )  # fmt: skip
    failures: list[Exception] = []

    def open_route(client: LogClient) -> Route:
        journal, route = wiring.open_leftover(slot, client)
        try:
            if rotates and route.keys is not None:
                _rotate(route.keys, journal.add, journal.append, clock, rng)
                forget_request(slot.directory)
            journal.end(clock())
        except Exception as failure:
            failures.append(failure)
            raise
        finally:
            opened.append(journal)
        return route

    opened: list[Any] = []
    sender = wiring.new_sender(slot, open_route, on_acknowledged=lambda *_: None, until_drained=True)
    try:
        sender.run()
    finally:
        for journal in opened:
            journal.close()
        wiring.close()
    if failures:
        raise failures[0]
    return "sent" if sender.is_drained and sender.state in {"idle", "sending"} else sender.state


def _rotate(
    keys: SlotKeys,
    add: Callable[[str, dict[str, Any], int], tuple[Any, str]],
    append: Callable[[list[Any]], None],
    clock: Callable[[], int],
    rng: Callable[[int], bytes],
) -> None:
    if keys.is_turning:
        return  # An earlier request got this far: sending it is what is left.
    following = keys.prepare(rng)
    append([add(ROTATION, keys.body(following), clock())[0]])
    keys.sealed(following)


def is_settled(slot: Slot) -> bool:
    """Whether nothing is left to do for the slot: it has ended, or nothing waits and nothing is asked for."""
    if is_retired(slot.directory):
        return True
    backlog = read_backlog(slot.directory)
    return backlog.is_clean and not backlog.waiting and not is_requested(slot.directory)
