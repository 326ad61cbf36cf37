"""fsync of several open files that wait together.

Spec: design section 6. What a commit finishes is some dozens of small files. Their bytes are all on the way
to the disk before the first is waited for, so that one journal commit of the file system serves many of them;
and some threads wait at once, because each return from a wait has to win the interpreter's lock back from
busy threads. Promises: each file is fsynced by itself, and its own error is told. No thread is left behind.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from contextlib import suppress

_ALONE = 4
"""Fewer files than this are not worth a thread."""
_AT_ONCE = 8


def sync_together(fds: Sequence[int]) -> list[OSError | None]:
    """Sync each file; return for each what the system said, in their order: None if it is durable."""
    # Until it is known to be durable it is not, whatever the thread that waits for it dies of.
    told: list[OSError | None] = [OSError(errno.EIO, "it was not synced")] * len(fds)
    if len(fds) > 1:
        _send_off(fds)

    def wait_for(places: range) -> None:
        for place in places:
            try:
                os.fsync(fds[place])
            except OSError as error:
                told[place] = error
            else:
                told[place] = None

    shares = min(_AT_ONCE, len(fds)) if len(fds) >= _ALONE else 1
    threads = [
        threading.Thread(target=wait_for, args=(range(share, len(fds), shares),))
        for share in range(1, shares)
    ]
    started = []
    try:
        with suppress(RuntimeError):  # no more threads for this user: their shares are waited for here
            for thread in threads:
                thread.start()
                started.append(thread)
        wait_for(range(0, len(fds), shares))
        for share in range(len(started) + 1, shares):
            wait_for(range(share, len(fds), shares))
    finally:
        for thread in started:
            thread.join()
    return told


def _send_off(fds: Sequence[int]) -> None:
    """Have the system begin to write what it holds of these files. Only a hint: nothing is durable by it."""
    if not hasattr(os, "posix_fadvise"):
        return
    for fd in fds:
        with suppress(OSError):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
