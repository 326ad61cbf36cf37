"""Attempt marks: how many calls this life has begun, and of how many the end is written or declared.

    <slot>/attempts/<instance>   "auditatt" u16 version 36 boot id 2 zero | u64 started u64 settled

A small file, mapped into memory and never flushed: a mark costs no system call, and survives the death of
the process by any signal, but not of the machine. So the boot id stands in it: marks of another boot bound
nothing. A call is settled once its entry, or the gap that counts it, is durable, or it was dropped; so
`started - settled` is never less than what a dead life left undeclared: its gap says `at_most`. Must never:
be counted by a forked child, or let a failing disk reach the application (then there are no marks).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path

from auditlog.capture.durable import create_private_dir

FOLDER = "attempts"
_MAGIC = b"auditatt"
_VERSION = 1
_HEAD = struct.Struct("<8sH36sH")
_COUNTS = struct.Struct("<QQ")
_SIZE = _HEAD.size + _COUNTS.size
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class LeftMarks:
    """What an earlier life's marks say: how many calls it may have begun and not settled.

    `outstanding` None: the marks bound nothing (another boot, unreadable).
    """

    instance: str
    outstanding: int | None
    path: Path


class Attempts:
    """The marks of this life. Thread-safe."""

    def __init__(self, slot_dir: Path, instance: str) -> None:
        """Begin with none. A disk that refuses leaves them in memory only."""
        self._lock = threading.Lock()
        self._started = self._settled = self._deferred = 0
        self._map: mmap.mmap | None = None
        self._has_ended = self._is_left = False
        self._path = slot_dir / FOLDER / instance
        with contextlib.suppress(OSError):
            self._map = _create(self._path)
        _let_go_in_children(self)

    @property
    def outstanding(self) -> int:
        """Calls that have begun and are neither written, declared nor dropped."""
        return self._started - self._settled

    @property
    def deferred(self) -> int:
        """Answers to calls of this life that left without a promise though one was tried."""
        return self._deferred

    @property
    def covers_open(self) -> bool:
        """Whether the end of this life declares whatever is open then, or has declared it: nobody else need.
        False for a forked child, and once the marks were left to the next life.
        """
        return not self._is_left

    def start(self) -> None:
        """A call begins: marked before the model runs."""
        with self._lock:
            self._started += 1
            self._write()

    def settle(self, count: int = 1) -> None:
        """So many calls are durable as entries, declared in a durable gap, or dropped."""
        if count:
            with self._lock:
                self._settled += count
                self._write()

    def defer(self) -> None:
        """The answer to one of these calls leaves without its promise; in memory only."""
        with self._lock:
            self._deferred += 1

    def end(self) -> None:
        """This life ended in order, and what it left open is declared: the marks go."""
        self._has_ended = True
        self._close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave the marks to the next life, unless this one has ended. Idempotent."""
        self._is_left = not self._has_ended
        self._close()

    def let_go(self) -> None:
        """In a forked child: the marks are the parent's. The map stays untouched until it is collected."""
        self._is_left = True
        self._lock, self._map = threading.Lock(), None

    def _write(self) -> None:
        if self._map is not None:
            # Dying between the two counters leaves an older number settled: the bound is then larger.
            _COUNTS.pack_into(self._map, _HEAD.size, self._started, self._settled)

    def _close(self) -> None:
        with self._lock:
            marks, self._map = self._map, None
        if marks is not None:
            marks.close()


def read_left(slot_dir: Path, *, own: str) -> list[LeftMarks]:
    """The marks of earlier lives that are still there; those of `own`, this life, are not among them."""
    boot = _boot_id()
    paths = sorted((slot_dir / FOLDER).glob("*"))
    return [LeftMarks(path.name, _outstanding(path, boot), path) for path in paths if path.name != own]


def forget(left: list[LeftMarks]) -> None:
    """Their lives are declared: the marks go."""
    for marks in left:
        with contextlib.suppress(OSError):
            marks.path.unlink(missing_ok=True)


def at_most(left: list[LeftMarks], instance: str) -> int | None:
    """How many calls at most are missing after the last entry of `instance`; None where marks are missing."""
    return total(left) if instance in {marks.instance for marks in left} else None


def total(left: list[LeftMarks]) -> int | None:
    """How many calls all of them may have left open; None if some bound nothing."""
    counts = [marks.outstanding for marks in left]
    return None if None in counts else sum(count or 0 for count in counts)


def _create(path: Path) -> mmap.mmap:
    create_private_dir(path.parent)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        head = _HEAD.pack(_MAGIC, _VERSION, _boot_id(), 0)
        # Written, not only mapped: a full disk must be met here, and not as a signal at the first mark.
        os.write(handle, head + bytes(_COUNTS.size))
        return mmap.mmap(handle, _SIZE)
    except ValueError as error:
        raise OSError(str(error)) from error
    finally:
        os.close(handle)


def _outstanding(path: Path, boot: bytes) -> int | None:
    try:
        content = path.read_bytes()
        magic, version, found, _ = _HEAD.unpack_from(content)
        started, settled = _COUNTS.unpack_from(content, _HEAD.size)
    except (OSError, struct.error):
        return None
    is_ours = (magic, version) == (_MAGIC, _VERSION) and boot.strip(b"\0") and found == boot
    return max(0, int(started) - int(settled)) if is_ours else None


def _boot_id() -> bytes:
    try:
        return _BOOT_ID.read_bytes().strip()[:36].ljust(36, b"\0")
    except OSError:
        return bytes(36)


def _let_go_in_children(attempts: Attempts) -> None:
    reference = weakref.ref(attempts)

    def let_go() -> None:
        held = reference()
        if held is not None:
            held.let_go()

    os.register_at_fork(after_in_child=let_go)
