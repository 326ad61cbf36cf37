"""The pulse of a running capture: heartbeats, coverage entries, and what only a thread may look at.

A heartbeat every `heartbeat_s` says in the log that this process lives and what it counted, so that silence
is visible and a missing decision has figures to disagree with (entry.md, "heartbeat"). One daemon thread per
running capture; its entries go through the writer's queue like all others, and their counts are taken by the
writer at the instant of sealing. `stop` leaves a last heartbeat with the writer, which seals it with the
words that end the life, so that its counts are the last: it waits for nothing. At most one heartbeat
waits for the disk at a time.

After each beat `<slot>/pulse.json` tells `auditlog doctor` the time and what this process has to complain
about. Safe to fork: the child has no pulse until it opens its own slot. Must never: raise into the
application, hold up the writer, or delay a close.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditlog.capture.coverage import Coverage
from auditlog.capture.durable import write_whole
from auditlog.capture.outside import Outside, Sighting
from auditlog.capture.safety import Guard

WriteOwn = Callable[[str, Callable[[], dict[str, Any]]], "Future[str]"]
MakeHeartbeat = Callable[[Sighting], dict[str, Any]]
"""The body of a heartbeat: called by the writer's thread at sealing."""
MakeCoverage = Callable[[], dict[str, Any]]

NOTE_NAME = "pulse.json"
REFRESH_S = 10.0
"""How often at least the disk and the token are looked at, and a metrics page of several processes is fed."""
SETTLE_S = 1.0
"""Changes of the coverage within so long of one another are one entry."""
UNCOVERED_S = 10.0
"""After so long without a word of any hook (a script, a hook in the process) the coverage names no routes."""
LOOK_S = 2.0
"""Longest wait of the pulse for a look outside."""
EARLY = 0.9
"""The part of the interval after which the next heartbeat is made: what it states is the longest time."""


@dataclass(frozen=True, slots=True)
class PulseNote:
    """What `pulse.json` says: when the last beat was, how far apart they are, and the process's problems."""

    at_us: int
    interval_s: int
    problems: tuple[str, ...] = ()


class Pulse:
    """The beating of one running capture. `run` is the body of its thread; any thread may call the rest."""

    def __init__(
        self,
        *,
        interval_s: int,
        write_own: WriteOwn,
        say_last: Callable[[Callable[[], dict[str, Any]]], None],
        make_heartbeat: MakeHeartbeat,
        make_coverage: MakeCoverage,
        coverage: Coverage,
        outside: Outside,
        refresh: Callable[[], None],
        note: Callable[[], None],
        guard: Guard,
    ) -> None:
        """`say_last` leaves the body of the heartbeat that ends this life; `refresh` looks at disk and token;
        `note` keeps `pulse.json`. An interval of 0: no heartbeats.
        """
        self._interval_s = interval_s
        self._write_own = write_own
        self._say_last = say_last
        self._make_heartbeat = make_heartbeat
        self._make_coverage = make_coverage
        self._coverage = coverage
        self._outside = outside
        self._refresh = refresh
        self._note = note
        self._guard = guard
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._end = threading.Event()
        self._beating: Future[str] | None = None
        self._covered: tuple[int, str] = (0, "")
        self._sighting = Sighting()

    def run(self) -> None:
        """Beat until `stop`."""
        begun = time.monotonic()
        every_s = EARLY * self._interval_s
        beat_at = begun + every_s if every_s else float("inf")
        cover_at = begun + UNCOVERED_S if self._interval_s else float("inf")
        self._coverage.listen(self._wake.set)
        self._guard.call("pulse", None, self._refresh)
        while not self._end.is_set():
            if self._is_changed:
                cover_at = min(cover_at, time.monotonic() + SETTLE_S)
            self._wake.wait(max(0.0, min(beat_at, cover_at, time.monotonic() + REFRESH_S) - time.monotonic()))
            self._wake.clear()
            if self._end.is_set():
                return
            now = time.monotonic()
            with self._guard.protect("pulse"):
                self._refresh()
            if now >= cover_at:
                cover_at = float("inf")
                self._guard.call("coverage", None, self.cover)
            if now >= beat_at:
                beat_at = now + every_s
                self._guard.call("heartbeat", None, self.beat)

    def beat(self) -> None:
        """Write a heartbeat now, and a coverage entry if something of it changed."""
        self._sighting = self._outside.look(wait_s=min(LOOK_S, (1 - EARLY) / 2 * self._interval_s))
        self.cover()
        self._write_heartbeat()
        self._note()

    def cover(self) -> None:
        """Write a coverage entry unless the last one still says the same."""
        with self._lock:
            if not self._end.is_set():
                self._cover()

    def stop(self) -> None:
        """End the thread and leave the last heartbeat to be sealed with the end of this life. Waits for
        nothing. Idempotent.
        """
        with self._lock:
            if self._end.is_set():
                return
            self._end.set()
            self._coverage.listen(None)
            self._outside.end()
            self._wake.set()
            if self._interval_s or self._is_changed:
                self._guard.call("coverage", None, self._cover)
            if self._interval_s:
                seen = Sighting(self._sighting.block, self._outside.engine_here())
                self._guard.call("heartbeat", None, self._say_last, lambda: self._body(seen))

    def abandon(self) -> None:
        """End the thread and write nothing more: there is nothing to write to."""
        self._end.set()
        self._coverage.listen(None)
        self._outside.end()
        self._wake.set()

    @property
    def _is_changed(self) -> bool:
        return self._covered[0] != self._coverage.version

    def _write_heartbeat(self) -> None:
        seen = self._sighting
        with self._lock:
            # The disk is stuck while the one before waits: the next one counts what this would have said.
            if self._end.is_set() or (self._beating is not None and not self._beating.done()):
                return
            self._beating = self._write_own("heartbeat", lambda: self._body(seen))

    def _body(self, seen: Sighting) -> dict[str, Any]:
        return {"interval_s": self._interval_s, **self._make_heartbeat(seen)}

    def _cover(self) -> None:
        version, body = self._coverage.version, self._make_coverage()
        # Which model serves is known at sealing only; a new one changes the version. The rest (workers) is
        # compared.
        del body["model"]
        says = json.dumps(body, sort_keys=True)
        if self._covered != (version, says):
            self._write_own("coverage", self._make_coverage)
        self._covered = version, says


def write_pulse(directory: Path, note: PulseNote) -> None:
    """Keep the note in a slot, for `auditlog doctor`. A failing disk is no reason to stop."""
    members = {"v": 1, "at": note.at_us, "interval_s": note.interval_s, "problems": list(note.problems)}
    with contextlib.suppress(OSError):
        write_whole(directory / NOTE_NAME, json.dumps(members, indent=1).encode() + b"\n")


def read_pulse(directory: Path) -> PulseNote | None:
    """The note of whoever held the slot last; None if there is none that can be read."""
    try:
        members = json.loads((directory / NOTE_NAME).read_bytes())
        at_us, interval_s, problems = (members[name] for name in ("at", "interval_s", "problems"))
        if type(at_us) is int and type(interval_s) is int:
            return PulseNote(at_us, interval_s, tuple(str(problem) for problem in problems))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None
