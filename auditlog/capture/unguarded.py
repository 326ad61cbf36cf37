"""Lives that pass decisions without recording them: counted here, declared as soon as a slot works.

A recorder may be unable to start: settings are wrong, the state directory cannot be written, its slot is
gone. The requests still pass, and each is counted with its first and last instant. In the same process the
count becomes a `gap` entry once a slot is open. So that it survives the process, the life also keeps
`<state>/unguarded/<random>.json`, locked while it lasts, and the next life on this state directory declares
what it finds unlocked there: with the count if that life ended in order, else "unknown".

Where not even that file can be written nothing can be declared (README.md, "After a crash"). Must never:
create the state directory, or raise.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from auditlog.capture.durable import create_private_dir, sync_dir, write_all
from auditlog.capture.intake import Losses

FOLDER = "unguarded"


class Unguarded:
    """What this process let pass unrecorded. Thread-safe."""

    def __init__(self, state_dir: Path, rng: Callable[[int], bytes]) -> None:
        self._state_dir = state_dir
        self._rng = rng
        self._lock = threading.Lock()
        self._losses: Losses | None = None
        self._file: tuple[int, Path] | None = None
        _let_go_in_children(self)

    @property
    def losses(self) -> Losses | None:
        """What is not declared yet."""
        return self._losses

    def add(self, losses: Losses) -> None:
        """Count what passed."""
        with self._lock:
            self._losses = losses.merged(self._losses)

    def take(self) -> Losses | None:
        """What is not declared yet; the caller now declares it."""
        with self._lock:
            losses, self._losses = self._losses, None
            return losses

    def begin(self, now_us: int) -> None:
        """Note that this life is unguarded, if the state directory is there and can be written."""
        with self._lock, contextlib.suppress(OSError):
            if self._file is not None or not self._state_dir.is_dir():
                return
            folder = self._state_dir / FOLDER
            create_private_dir(folder)
            path = folder / f"{self._rng(16).hex()}.json"
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._file = (handle, path)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write(handle, {"from": now_us})
            sync_dir(folder)

    def end(self, now_us: int) -> None:
        """This life is over, or guarded from now on: leave what is still undeclared to the next one."""
        with self._lock:
            (handle, path), self._file = self._file or (None, None), None
            losses, self._losses = self._losses, None
            if handle is None or path is None:
                return
            with contextlib.suppress(OSError):
                if losses is None:
                    path.unlink(missing_ok=True)
                else:
                    count = {} if losses.count is None else {"count": losses.count}
                    _write(handle, {"from": losses.first_us, "to": max(losses.last_us, now_us), **count})
            os.close(handle)

    def let_go(self) -> None:
        """In a forked child: the file, its lock and the count are the parent's."""
        self._lock = threading.Lock()
        file, self._file, self._losses = self._file, None, None
        if file is not None:
            os.close(file[0])


@dataclass(frozen=True, slots=True)
class Claim:
    """An earlier life's file, held by this process until it is declared or given back."""

    losses: Losses
    path: Path
    handle: int

    def settled(self, is_declared: bool) -> None:
        """The gap entry is durable, so the file goes; or it is not, and the next life finds it again."""
        if is_declared:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
        os.close(self.handle)


def claim_unguarded(state_dir: Path, now_us: int) -> list[Claim]:
    """What lives that have ended left undeclared. Nothing where it cannot be read."""
    claims = []
    for path in list_unguarded(state_dir):
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        if _lock(handle) and path.exists():
            claims.append(Claim(_read(handle, now_us), path, handle))
        else:
            os.close(handle)
    return claims


def list_unguarded(state_dir: Path) -> list[Path]:
    """The files of lives that let decisions pass, of those that still do among them."""
    return sorted((state_dir / FOLDER).glob("*.json"))


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _write(handle: int, members: dict[str, int]) -> None:
    # In place, since the lock is on this file. A torn write reads as "unknown".
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    write_all(handle, json.dumps(members).encode() + b"\n")
    os.fsync(handle)


def _read(handle: int, now_us: int) -> Losses:
    """What the file says; a life that did not end in order let pass nobody knows how many."""
    began_us = min(now_us, os.fstat(handle).st_mtime_ns // 1000)
    try:
        members = json.loads(os.pread(handle, 1 << 12, 0))
        first_us, last_us = int(members.get("from", began_us)), int(members.get("to", now_us))
        count = members.get("count")
    except (ValueError, AttributeError, TypeError):
        return Losses(None, began_us, now_us)
    is_count = type(count) is int and count > 0
    return Losses(count if is_count else None, min(first_us, last_us), last_us)


def _let_go_in_children(unguarded: Unguarded) -> None:
    reference = weakref.ref(unguarded)

    def let_go() -> None:
        held = reference()
        if held is not None:
            held.let_go()

    os.register_at_fork(after_in_child=let_go)
