"""A server between a client and a log, which may change any answer on its way."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Answer = tuple[int, bytes]
Tamper = Callable[[str, str, bytes, Callable[[], Answer]], Answer]
"""From method, path, body, and a way to ask the log, to what the client is told."""


@contextmanager
def lying_proxy(url: str, tamper: Tamper) -> Iterator[str]:
    """The address of a proxy to the service at `url`."""
    target = urlsplit(url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))

            def honest() -> Answer:
                connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
                kept = {k: v for k, v in self.headers.items() if k in {"Authorization", "Content-Type"}}
                connection.request(self.command, self.path, body, kept)
                answer = connection.getresponse()
                found = answer.status, answer.read()
                connection.close()
                return found

            status, data = tamper(self.command, self.path, body, honest)
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _answer  # noqa: N815  the names the base class asks for

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
