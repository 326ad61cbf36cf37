"""The callers of the chaos tests: each request in a connection of its own, what came of it written down."""

from __future__ import annotations

import base64
import http.client
import json
import random
import socket
import struct
import threading
import time
from dataclasses import dataclass

COMMENT = b": audit-promise "
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Received:
    """A response that came whole. `id` is None where the headers named none; the promise is a note."""

    number: int
    id: str | None
    promise: str | None
    at_us: int
    is_stream: bool


class Callers:
    """Threads that ask until `stop`: whole answers, streams, and streams that are hung up on."""

    def __init__(self, port: int, seed: int, *, threads: int = 6) -> None:
        self._port = port
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._next = 0
        self.received: list[Received] = []
        self.cut: list[str | None] = []
        """The ids of the connections that we closed early, where headers had come."""
        self.failed = 0
        self.refused = 0
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(seed * 1000 + n),), daemon=True)
            for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the requests in flight."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(2 * TIMEOUT_S)
            assert not thread.is_alive(), "no call hangs"

    def _run(self, choose: random.Random) -> None:
        while not self._stopping.is_set():
            with self._lock:
                number, self._next = self._next, self._next + 1
            kind = choose.random()
            try:
                if kind < 0.15:
                    self._hang_up(number, after=choose.randrange(0, 5))
                else:
                    self._ask(number, is_stream=kind < 0.5)
            except (OSError, http.client.HTTPException):
                with self._lock:
                    self.failed += 1
                time.sleep(0.02)

    def _open(self, number: int, *, is_stream: bool) -> tuple[http.client.HTTPConnection, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        return connection, json.dumps({"n": number, "stream": is_stream}).encode()

    def _ask(self, number: int, *, is_stream: bool) -> None:
        connection, body = self._open(number, is_stream=is_stream)
        try:
            connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            # A body without its end raises IncompleteRead: that response was not received.
            content = answer.read()
        finally:
            connection.close()
        with self._lock:
            if answer.status != 200:
                self.refused += 1
                return
            promise = _promise(answer.getheader("audit-promise"), content)
            id_ = answer.getheader("audit-id")
            self.received.append(Received(number, id_, promise, time.time_ns() // 1000, is_stream))

    def _hang_up(self, number: int, *, after: int) -> None:
        connection, body = self._open(number, is_stream=True)
        id_ = None
        try:
            connection.connect()
            # Closing then resets the connection at once, as a client that crashes does.
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            id_ = answer.getheader("audit-id")
            for _ in range(after):
                answer.readline()
            answer.close()
        finally:
            connection.close()
        with self._lock:
            self.cut.append(id_)


def _promise(header: str | None, content: bytes) -> str | None:
    text = header.encode() if header is not None else None
    if text is None:
        for line in content.split(b"\n"):
            if line.startswith(COMMENT):
                text = line[len(COMMENT) :]
    return None if text is None else base64.b64decode(text, validate=True).decode()
