"""What this process says it records: the `coverage` entry (entry.md), at start and whenever it changes.

A reader of the log learns from it which routes count and how, on which ports the application was seen to
listen, in which mode, beside how many workers: what was not covered was said in advance. The hooks tell what
they know by `cover`, `note_port` and `changed`, from any thread, at the cost of a comparison; the pulse's
thread notices and writes. Must never: hold up a request, or grow with what callers send.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from auditlog import __version__
from auditlog.capture.settings import CaptureSettings
from auditlog.capture.slots import MAX_SLOTS

RouteRecord = Literal["values", "record", "skip", "model"]
OtherRoutes = Literal["record", "skip"]

MAX_PORTS = 64
MAX_ROUTES_BYTES = 48 * 1024
"""Of the 65,535 an entry may have; what does not fit is counted in `routes_left_out`."""
_MAX_PATH_CHARS = 1024


@dataclass(frozen=True, slots=True)
class CoveredRoute:
    """One line of the start-up table: `path` is a template, `operation` a word of the format."""

    method: str
    path: str
    record: RouteRecord
    operation: str | None = None

    def to_body(self) -> dict[str, str]:
        """The object in the entry."""
        path = self.path[:_MAX_PATH_CHARS].encode("utf-8", "replace").decode()
        members = {"method": self.method[:16] or "*", "path": path, "record": self.record}
        return members if self.operation is None else {**members, "operation": self.operation}


@dataclass(frozen=True, slots=True)
class CoverageNote:
    """What a hook knows at start: the routes, and what happens to a POST that none of them names."""

    routes: tuple[CoveredRoute, ...] = ()
    others: OtherRoutes = "record"


class Coverage:
    """What is known of a process's coverage. Thread-safe; outlives slots, and forks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._note: CoverageNote | None = None
        self._ports: frozenset[int] = frozenset()
        self._version = 0
        self._listener: Callable[[], None] | None = None

    @property
    def version(self) -> int:
        """Grows with every change; 0 while nobody has said anything."""
        return self._version

    def cover(self, note: CoverageNote) -> None:
        """Say which routes this process records; a second application in the process adds its own."""
        with self._lock:
            known = self._note
            if known is not None:
                added = tuple(route for route in note.routes if route not in known.routes)
                note = CoverageNote(known.routes + added, note.others)
            if note == known:
                return
            self._note = note
        self.changed()

    def note_port(self, port: int) -> None:
        """Say that a request came in on this port of the server. Called for each one: almost always known."""
        if port in self._ports or not 0 <= port <= 65_535 or len(self._ports) >= MAX_PORTS:
            return
        with self._lock:
            self._ports |= {port}
        self.changed()

    def changed(self) -> None:
        """Something else of the entry changed, as the model did: write it again."""
        with self._lock:
            self._version += 1
            listener = self._listener
        if listener is not None:
            listener()

    def listen(self, listener: Callable[[], None] | None) -> None:
        """Whom to tell of changes; it must not block. The last one counts."""
        self._listener = listener

    def after_fork(self) -> None:
        """In a forked child: the routes and ports are its own too, lock and listener are the parent's."""
        self._lock, self._listener = threading.Lock(), None

    def body(self, settings: CaptureSettings, *, workers: int, model: str) -> dict[str, Any]:
        """The body of the entry, as things are now."""
        with self._lock:
            note, ports = self._note or CoverageNote(), self._ports
        routes, left_out = _fitting(note.routes)
        body: dict[str, Any] = {
            "mode": settings.mode,
            "durability": settings.durability,
            "routes": routes,
            "ports": sorted(ports),
            "workers": workers,
            "version": __version__,
            "model": model,
            "wait_ms": settings.wait_ms,
            "heartbeat_s": settings.heartbeat_s,
            "others": note.others,
        }
        return {**body, "routes_left_out": left_out} if left_out else body


def _fitting(routes: tuple[CoveredRoute, ...]) -> tuple[list[dict[str, str]], int]:
    """As many routes as an entry takes, and how many it does not."""
    found, room = list[dict[str, str]](), MAX_ROUTES_BYTES
    for route in routes:
        body = route.to_body()
        # No escape of canonical JSON is longer than what ASCII-only JSON makes of the same text.
        room -= len(json.dumps(body)) + 1
        if room < 0:
            return found, len(routes) - len(found)
        found.append(body)
    return found, 0


def count_workers(state_dir: Path, environ: Mapping[str, str] = os.environ) -> int:
    """How many processes record here: slots that are held, or WEB_CONCURRENCY if that is more; at least 1.

    Held locks are read from the kernel's table: trying a lock could make a worker that starts at that instant
    pass over a free slot. Where there is no such table, this process and WEB_CONCURRENCY are what is known.
    """
    said = environ.get("WEB_CONCURRENCY", "").strip()
    expected = int(said) if said.isascii() and said.isdigit() and len(said) <= 4 else 1
    return max(1, min(expected, MAX_SLOTS), _held_slots(state_dir))


def _held_slots(state_dir: Path, table: Path = Path("/proc/locks")) -> int:
    try:
        held = {line.split()[5] for line in table.read_text("ascii").splitlines() if " FLOCK " in line}
        locks = [path.stat() for path in (state_dir / "slots").glob("*/lock")]
    except (OSError, ValueError, IndexError):
        return 0
    # `major:minor:inode`; on some file systems (btrfs, overlays) the device is not the one that `stat` says.
    inodes = {name.rpartition(":")[2] for name in held}
    return sum(str(lock.st_ino) in inodes for lock in locks)
