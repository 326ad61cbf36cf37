"""A log of `promise_world` over HTTP: its read path and its look-up, or refusal, as a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from auditlog.errors import SourceError
from auditlog.verify.promise_sources import Lookup
from tests.support.memory_source import MemorySource
from tests.support.promise_world import wire_view


class ServedLog:
    """What the log shows; `status` answers everything with that instead."""

    def __init__(self, source: MemorySource, lookup: Lookup | None = None) -> None:
        self.source, self.lookup = source, lookup
        self.status: int | None = None
        self.url = ""
        self.asked = 0


@contextmanager
def served(log: ServedLog) -> Iterator[ServedLog]:
    """Serve it on a loopback port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                self.reply(log.status or 200, log.source.fetch(self.path[1:]))
            except SourceError as error:
                self.reply(404 if error.reason == "missing" else 403, b"")

        def do_POST(self) -> None:
            log.asked += 1
            note = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if log.status or log.lookup is None:
                self.reply(log.status or 404, b"")
                return
            self.reply(200, json.dumps(wire_view(log.lookup.look_up(note))).encode())

        def reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    log.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield log
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
