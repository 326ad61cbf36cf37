"""Ending in order, however the process ends: at exit, at the end of a forked worker, on SIGTERM.

Servers have handlers of their own and end the lifespan; nothing of theirs is touched. A plain script dies of
SIGTERM at once: there, and only there (the default disposition, in the main thread), a handler closes the
recorder and then lets the signal have its way. Must never: replace a handler that someone set, change how the
process ends, or keep a recorder alive.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol


class Closable(Protocol):
    """What is closed."""

    def close(self) -> None:
        """End in order; idempotent."""


def close_at_exit(closable: Closable, *, within_s: float) -> None:
    """Close `closable` when the process ends, if it is still there; on SIGTERM within that time."""
    reference = weakref.ref(closable)

    def close() -> None:
        held = reference()
        if held is not None:
            held.close()

    atexit.register(close)
    workers = sys.modules.get("multiprocessing.util")
    if workers is not None:
        # A multiprocessing child leaves without atexit, by way of its own finalizers.
        workers.Finalize(None, close, exitpriority=10)
    _on_terminate(close, within_s)


def _on_terminate(close: Callable[[], None], within_s: float) -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return

    def end(number: int, _: Any) -> None:
        # On a thread: the main one may hold, right here, a lock that closing needs.
        closing = threading.Thread(target=close, name="auditlog-close", daemon=True)
        closing.start()
        closing.join(within_s)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    with contextlib.suppress(ValueError):  # not the main interpreter
        signal.signal(signal.SIGTERM, end)
