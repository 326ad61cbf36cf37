"""Keeping our threads out of libraries while the process forks.

OpenSSL and SQLite hold locks of their own for instants, and a thread that is inside one of them is not in the
child: the child then finds the lock taken for ever, and its first HMAC, on the event loop, hangs. So our
threads say when they work, and so does the application's thread that starts the recorder; a fork waits until
none does, for `PATIENCE_S` at most: a log that does not answer must not keep a server from forking. Must
never: be entered by a thread that forks.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
import weakref
from types import TracebackType

PATIENCE_S = 1.0


_WIPE_ON_FORK = 18
"""MADV_WIPEONFORK (madvise(2), Linux 4.14), for which Python has no name."""


class SameProcess:
    """Whether this is still the process that made it, and no forked child.

    However the child came about: the kernel gives it zeros in place of this page (`os.fork`'s hooks do not
    run when a library in C forks). Asking costs no system call. Where the kernel has no such pages `is_here`
    asks for the process id.
    """

    __slots__ = ("_page", "_pid")

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._page = _wiped_page()
        self.renew()

    def is_here(self) -> bool:
        """Whether no fork has happened since it was made or renewed."""
        page = self._page
        return page[0] == 1 if page is not None else self._pid == os.getpid()

    def renew(self) -> None:
        """This process is it from now on."""
        self._pid = os.getpid()
        if self._page is not None:
            self._page[0] = 1


def _wiped_page() -> mmap.mmap | None:
    if sys.platform != "linux":
        return None
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        page.madvise(_WIPE_ON_FORK)
    except OSError:
        return None
    return page


class ForkGate:
    """`with gate:` around what must not be cut in two by a fork. Any number of threads may be inside."""

    def __init__(self, patience_s: float | None = None) -> None:
        """A fork waits for `patience_s` at most, by default for `PATIENCE_S`."""
        self._patience_s = patience_s
        self._changed = threading.Condition(threading.Lock())
        self._busy = 0
        self._is_forking = False
        _register(self)

    def __enter__(self) -> None:
        with self._changed:
            while self._is_forking:
                self._changed.wait()
            self._busy += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._busy -= 1
            if self._is_forking:
                self._changed.notify_all()

    def before(self) -> None:
        """A fork is about to happen: nobody enters any more, and those inside are waited for."""
        with self._changed:
            self._is_forking = True
            patience_s = PATIENCE_S if self._patience_s is None else self._patience_s
            self._changed.wait_for(lambda: not self._busy, patience_s)

    def after_in_parent(self) -> None:
        """It happened: go on."""
        with self._changed:
            self._is_forking = False
            self._changed.notify_all()

    def after_in_child(self) -> None:
        """Here none of the threads exists."""
        self._changed = threading.Condition(threading.Lock())
        self._busy, self._is_forking = 0, False


def _register(gate: ForkGate) -> None:
    reference = weakref.ref(gate)

    def call(name: str) -> None:
        held = reference()
        if held is not None:
            getattr(held, name)()

    os.register_at_fork(
        before=lambda: call("before"),
        after_in_parent=lambda: call("after_in_parent"),
        after_in_child=lambda: call("after_in_child"),
    )
