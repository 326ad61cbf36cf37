"""Entries that other lives left in slots nobody holds: sent from here, so that none waits for ever.

A slot is left behind when fewer workers start than before, when the producer's name was changed, or when its
process died and never came back. One thread of an enrolled process looks through the state directory once in
a while, takes the lock of such a slot, opens its chain as the next life of that producer (which declares an
unclean end, and enrols and seals drafts), sends all of it, and gives the slot back with the mark of a clean
end. Must never: touch a slot that a process holds, or one of another log.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from auditlog.capture.backlog import read_backlog
from auditlog.capture.client import LogClient
from auditlog.capture.journal import Journal
from auditlog.capture.retiring import is_retired
from auditlog.capture.safety import Guard
from auditlog.capture.segments import list_segments
from auditlog.capture.sender import Route, Sender
from auditlog.capture.slots import Slot, take_slot

FIRST_WAIT_S = 10.0
"""Workers that start together take their own slots first."""
EVERY_S = 60.0

OpenJournal = Callable[[Slot, LogClient], tuple[Journal, Route]]
"""Opens a slot's chain as its next life; raises what `LogClient` raises."""


class Leftovers:
    """Drains free slots of one state directory. `run` is the body of its thread."""

    def __init__(
        self,
        state_dir: Path,
        *,
        own: Path,
        origin: Callable[[], str | None],
        open_journal: OpenJournal,
        clock: Callable[[], int],
        new_sender: Callable[[Slot, Callable[[LogClient], Route]], Sender],
        guard: Guard,
        logger: logging.Logger,
    ) -> None:
        """`origin` is None until this process is enrolled; before that nothing is drained."""
        self._state_dir = state_dir
        self._own = own
        self._origin = origin
        self._open_journal = open_journal
        self._clock = clock
        self._new_sender = new_sender
        self._guard = guard
        self._logger = logger
        self._stopping = threading.Event()
        self._sender: Sender | None = None
        self._done: dict[str, tuple[object, ...]] = {}

    def stop(self) -> None:
        """End `run` after the request in flight."""
        self._stopping.set()
        sender = self._sender
        if sender is not None:
            sender.stop()

    def run(self) -> None:
        """Look now and then until `stop`."""
        wait_s = FIRST_WAIT_S
        while not self._stopping.wait(wait_s):
            if self._origin() is not None:
                self._look()
            wait_s = EVERY_S

    def _look(self) -> None:
        for lock in sorted((self._state_dir / "slots").glob("*/lock")):
            directory, mark = lock.parent, _mark(lock.parent)
            if self._stopping.is_set():
                return
            if directory == self._own or self._done.get(directory.name) == mark:
                continue
            with self._guard.protect("leftovers"):
                slot = take_slot(directory)
                if slot is None:
                    continue
                try:
                    if self._is_settled(slot):
                        self._done[directory.name] = _mark(directory)
                finally:
                    slot.release()

    def _is_settled(self, slot: Slot) -> bool:
        """Drain the slot if it holds anything; whether there is nothing more to do for it."""
        if is_retired(slot.directory):
            return True  # Nothing of it can be sent any more; who takes the slot declares the rest.
        if slot.flaw(self._origin()) is not None:
            return True  # `doctor` names it; only a person can mend it.
        backlog = read_backlog(slot.directory)
        if backlog.is_clean and not backlog.waiting:
            return True
        self._logger.warning(
            "auditlog: sending %d entries left in slot %s",
            backlog.waiting,
            slot.name,
            extra={"event": "leftovers", "entries": backlog.waiting, "slot": slot.name},
        )
        opened: list[Journal] = []

        def open_route(client: LogClient) -> Route:
            journal, route = self._open_journal(slot, client)
            opened.append(journal)
            journal.end(self._clock())
            return route

        self._sender = sender = self._new_sender(slot, open_route)
        try:
            if not self._stopping.is_set():
                sender.run()
        finally:
            self._sender = None
            for journal in opened:
                journal.close()
        return sender.is_drained


def _mark(directory: Path) -> tuple[object, ...]:
    """Changes whenever anything is written to the slot's spools."""
    paths = [*list_segments(directory / "spool"), *list_segments(directory / "drafts")]
    return tuple((path.name, path.stat().st_size) for path in paths if path.exists())
