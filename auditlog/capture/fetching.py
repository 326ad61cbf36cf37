"""One bounded GET, for threads of this layer that look around: at the engine's metrics, at the log's block.

What answers need not be trusted: attacker-controlled, read up to a size and until an instant, no redirect
followed, nothing of it ever logged. Must never: run on a thread of the application.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from auditlog.errors import LogUnreachable


class _QuietThread(logging.Filter):
    """Keeps httpx from writing a line into the application's log for each of our own requests."""

    def __init__(self, thread: int) -> None:
        super().__init__()
        self._thread = thread

    def filter(self, record: logging.LogRecord) -> bool:
        """Let everything pass but what this thread says below a warning."""
        return record.thread != self._thread or record.levelno > logging.INFO


@contextmanager
def quiet_httpx() -> Iterator[None]:
    """While it lasts, requests of this thread leave no line in the application's log."""
    quiet = _QuietThread(threading.get_ident())
    logger = logging.getLogger("httpx")
    logger.addFilter(quiet)
    try:
        yield
    finally:
        logger.removeFilter(quiet)


def fetch(client: httpx.Client, url: str, *, max_bytes: int, within_s: float) -> bytes:
    """The body of a 200. The client is the calling thread's own: making one costs a tenth of a second. A peer
    that drips its answer is left after `within_s`, give or take one read.

    Raises:
        LogUnreachable: another status, no answer in time, or one over `max_bytes`.
    """
    until = time.monotonic() + within_s
    body = bytearray()
    try:
        with quiet_httpx(), client.stream("GET", url, timeout=within_s, follow_redirects=False) as answer:
            if answer.status_code != 200:
                raise LogUnreachable(f"expected status 200, found {answer.status_code}")
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > max_bytes or time.monotonic() > until:
                    raise LogUnreachable(f"expected at most {max_bytes} bytes in {within_s:g} s, found more")
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError) as error:
        # The text of the error may hold the URL; its type is enough.
        raise LogUnreachable(f"expected an answer, found {type(error).__name__}") from None
    return bytes(body)
