"""The witness over HTTP: `POST /add-checkpoint`, `GET /<hash of origin>/checkpoint`, `GET /health`.

Spec: C2SP tlog-witness. Standard library only. Promises: bodies are bounded and have to arrive in time; at
most `MAX_REQUESTS` are answered at once, the rest is told to come back; a connection carries one request, so
that a stop waits for what is being answered and for nobody's idle connection. Must never: show a trace, or
log more of a stranger's request than its status. Everything that arrives is attacker-controlled.
"""

from __future__ import annotations

import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from auditlog.core.witnessing import ADD_CHECKPOINT, MAX_REQUEST_BYTES, SIZE_MEDIA_TYPE, format_tree_size
from auditlog.errors import StorageError
from auditlog.witness.cosigner import Cosigner
from auditlog.witness.errors import WitnessRefusal
from auditlog.witness.states import name_of

logger = logging.getLogger("auditlog.witness")

MAX_REQUESTS = 32
READ_TIMEOUT_S = 10.0
_TEXT = "text/plain; charset=utf-8"


class WitnessServer(ThreadingHTTPServer):
    """Serves one cosigner; `serve_forever` until `shutdown`, then `server_close`."""

    daemon_threads = False  # a stop waits for what is being answered
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], cosigner: Cosigner) -> None:
        """Listen on (host, port); port 0 lets the system choose. Raises OSError."""
        self.cosigner = cosigner
        self.room = threading.BoundedSemaphore(MAX_REQUESTS)
        super().__init__(address, _Handler)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.server_address[0], self.server_address[1]
        return f"http://{host!s}:{port}"

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  the base class's names
        """A connection that broke is nobody's concern."""
        logger.debug("a connection ended early")


class _Handler(BaseHTTPRequestHandler):
    server: WitnessServer
    timeout = READ_TIMEOUT_S
    server_version = "auditlog-witness"
    sys_version = ""
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """A log asks for a cosignature."""
        if not self.server.room.acquire(blocking=False):
            self._answer(503, b"busy\n")
            return
        try:
            self._add_checkpoint()
        finally:
            self.server.room.release()

    def do_GET(self) -> None:
        """What was cosigned last, for whoever watches."""
        name, _, last = self.path.lstrip("/").partition("/")
        if self.path == "/health":
            self._answer(200, b"ok\n")
            return
        try:
            note = self.server.cosigner.newest(name, name_of) if last == "checkpoint" else None
        except StorageError as error:
            logger.error("cannot show what was cosigned: %s", error)
            self._answer(503, b"the state cannot be read\n")
            return
        self._answer(404, b"not found\n") if note is None else self._answer(200, note.encode("utf-8"))

    def _add_checkpoint(self) -> None:
        body = self._body() if self.path == f"/{ADD_CHECKPOINT}" else None
        if body is None:
            self._answer(400 if self.path == f"/{ADD_CHECKPOINT}" else 404, b"refused\n")
            return
        try:
            line = self.server.cosigner.add_checkpoint(body)
        except WitnessRefusal as refusal:
            if refusal.known_size is not None:
                self._answer(409, format_tree_size(refusal.known_size), media_type=SIZE_MEDIA_TYPE)
            else:
                self._answer(refusal.status, f"{refusal}\n".encode())
        except Exception:
            logger.exception("a request failed for a reason nobody foresaw")
            self._answer(500, b"internal error\n")
        else:
            self._answer(200, line.encode("utf-8"))

    def _body(self) -> bytes | None:
        """The body, if its length is declared and allowed."""
        declared = self.headers.get("Content-Length", "")
        if not (declared.isascii() and declared.isdigit() and len(declared) < 10):
            return None
        size = int(declared)
        if size > MAX_REQUEST_BYTES:
            return None
        body = self.rfile.read(size)
        return body if len(body) == size else None

    def _answer(self, status: int, body: bytes, *, media_type: str = _TEXT) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
        """The base class writes request lines to standard error; ours are in the structured log."""

    def log_request(self, code: Any = "-", size: Any = "-") -> None:  # noqa: ARG002
        """One line with the status only."""
        logger.debug("answered %s", int(code) if str(code).isdigit() else code)
