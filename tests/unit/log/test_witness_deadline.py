"""One exchange with a witness has one deadline, however busily the witness sends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from auditlog.errors import LogUnreachable
from auditlog.service.witness_client import HttpWitness

STEPS = 40
"""A trickle ends by itself after so many steps, with a whole answer, for a client without a deadline."""
STEP_S = 0.05
TIMEOUT_S = 0.3
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n"

Trickle = tuple[bytes, bytes, bytes]
"""What comes first, what comes in each step, what ends it."""
TRICKLES: dict[str, Trickle] = {
    "in the head": (HEAD + b"X-Slow: ", b"a", b"\r\n\r\n" + b"b" * 40),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", HEAD + b"\r\n" + b"b" * 40),
    "in the body": (HEAD + b"\r\n", b"b", b""),
}


class Slow:
    """A server on loopback that trickles until `is_fast` is set. `cut`: a client hung up early."""

    def __init__(self, trickle: Trickle) -> None:
        self._trickle = trickle
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.is_fast = threading.Event()
        self.cut = threading.Event()
        self._stop = threading.Event()

    def serve(self) -> None:
        """Each connection on a thread, until closed."""
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            if self.is_fast.is_set():
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                return
            first, step, last = self._trickle
            connection.sendall(first)
            for _ in range(STEPS):
                if self._stop.wait(STEP_S):
                    return
                try:
                    connection.sendall(step)
                except OSError:
                    self.cut.set()
                    return
            connection.sendall(last)

    def close(self) -> None:
        """Take no more."""
        self._stop.set()
        # A thread that sits in `accept` is not woken by closing alone.
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@contextmanager
def slow(trickle: Trickle) -> Iterator[Slow]:
    """A running one."""
    server = Slow(trickle)
    threading.Thread(target=server.serve, daemon=True).start()
    try:
        yield server
    finally:
        server.close()


CALLS: dict[str, Callable[[HttpWitness], tuple[int, bytes]]] = {
    "ask": lambda client: client.ask(b"old 0\n"),
    "newest": lambda client: client.newest("0" * 64),
}


@pytest.mark.parametrize("call", list(CALLS))
@pytest.mark.parametrize("where", list(TRICKLES))
def test_a_witness_that_trickles_is_cut_off(where: str, call: str) -> None:
    """It is silent by the deadline, its connection is closed, and the next exchange is not held up by it."""
    with slow(TRICKLES[where]) as server:
        client = HttpWitness(server.url, timeout_s=TIMEOUT_S)
        with pytest.raises(LogUnreachable, match=r"within 0.3 s"):
            CALLS[call](client)
        assert server.cut.wait(20)
        server.is_fast.set()
        assert CALLS[call](client) == (200, b"ok")
        client.close()


def test_a_closed_client_makes_no_new_connections() -> None:
    """Cut off or not, after `close` nothing is asked."""
    with slow(TRICKLES["in the head"]) as server:
        client = HttpWitness(server.url, timeout_s=TIMEOUT_S)
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            client.ask(b"old 0\n")
