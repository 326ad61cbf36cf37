"""Starts with AUDITLOG_ENABLED=0 leave a mark, and the next start that records says so in the log.

Switching the layer off is the easiest omission, so it must not be a silent one. Below the state directory,
`disabled/<name>.json` holds {"from", "to", "starts"}: first and last such start, in Unix microseconds, and
how many. The next recording start writes `notice {what: disabled}` from it and removes the file once that
entry is durable: a process that dies in between leaves the file, and the notice is written again. A file is
locked while it is counted up or declared, so that of sixteen workers starting at once one declares it.

What it cannot see: requests that passed (nothing runs then to count them), and a state directory that cannot
be written. Must never: raise, or wait for a lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditlog.capture.durable import create_private_dir, sync_dir, write_all
from auditlog.core.scalars import format_time

FOLDER = "disabled"
_MAX_BYTES = 1 << 12


@dataclass(frozen=True, slots=True)
class DisabledMark:
    """How often the layer was switched off at a start, first and last (Unix microseconds)."""

    first_us: int
    last_us: int
    starts: int

    def again(self, now_us: int) -> DisabledMark:
        """One more start."""
        return DisabledMark(min(self.first_us, now_us), max(self.last_us, now_us), self.starts + 1)

    def to_body(self) -> dict[str, Any]:
        """The body of the notice."""
        detail = {
            "from": format_time(self.first_us),
            "to": format_time(self.last_us),
            "starts": self.starts,
        }
        return {"what": "disabled", "detail": detail}


@dataclass(frozen=True, slots=True)
class DisabledClaim:
    """A mark that this process declares, held until its notice is durable."""

    mark: DisabledMark
    path: Path
    handle: int

    def settled(self, is_declared: bool) -> None:
        """The notice is durable and the mark goes, or it is not and the next start finds it again."""
        if is_declared:
            # Dying before this line declares the same starts twice, which is true twice.
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
        os.close(self.handle)


def mark_disabled(state_dir: Path, now_us: int, rng: Callable[[int], bytes]) -> bool:
    """Count a start that records nothing; durable on return. False where it could not be written."""
    try:
        folder = state_dir / FOLDER
        create_private_dir(folder)
        for _, handle in _locked(folder):
            try:
                _write(handle, _read(handle, now_us).again(now_us))
                return True
            finally:
                os.close(handle)
        # None yet, or each is being counted up or declared by another process just now.
        path = folder / f"{rng(16).hex()}.json"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _write(handle, DisabledMark(now_us, now_us, 1))
        finally:
            os.close(handle)
        sync_dir(folder)
    except OSError:
        return False
    return True


def claim_disabled(state_dir: Path, now_us: int) -> list[DisabledClaim]:
    """The marks to declare now. Nothing where they cannot be read."""
    with contextlib.suppress(OSError):
        found = _locked(state_dir / FOLDER)
        return [DisabledClaim(_read(handle, now_us), path, handle) for path, handle in found]
    return []


def read_disabled(state_dir: Path, now_us: int) -> list[DisabledMark]:
    """The marks that no notice has declared yet, for `auditlog doctor`."""
    marks = []
    for path in sorted((state_dir / FOLDER).glob("*.json")):
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                marks.append(_read(handle, now_us))
            finally:
                os.close(handle)
    return marks


def _locked(folder: Path) -> Iterator[tuple[Path, int]]:
    """The marks that nobody else has at hand, each opened and locked; the caller closes it."""
    for path in sorted(folder.glob("*.json")):
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Declared and removed between our opening and our locking: it is nobody's any more.
            is_there = os.fstat(handle).st_nlink > 0
        except OSError:
            is_there = False
        if is_there:
            yield path, handle
        else:
            os.close(handle)


def _write(handle: int, mark: DisabledMark) -> None:
    # In place, since the lock is on this file. A torn write reads as one start at the file's time.
    content = json.dumps({"from": mark.first_us, "to": mark.last_us, "starts": mark.starts}).encode() + b"\n"
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    write_all(handle, content)
    os.fsync(handle)


def _read(handle: int, now_us: int) -> DisabledMark:
    """What the file says; one that cannot be read still stands for a start, when it was last written."""
    at_us = min(now_us, os.fstat(handle).st_mtime_ns // 1000)
    try:
        members = json.loads(os.pread(handle, _MAX_BYTES, 0))
        first_us, last_us, starts = (members[name] for name in ("from", "to", "starts"))
    except (ValueError, KeyError, TypeError):
        return DisabledMark(at_us, at_us, 1)
    if not all(type(value) is int and 0 <= value < 2**53 for value in (first_us, last_us, starts)):
        return DisabledMark(at_us, at_us, 1)
    return DisabledMark(min(first_us, last_us), last_us, max(1, starts))
