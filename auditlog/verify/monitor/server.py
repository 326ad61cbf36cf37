"""The monitor over HTTP, on this machine alone: a page, metrics, and the newest checkpoint it has checked.

Spec: auditlog/spec/monitor.md, "Status". `GET /`, `/status.json`, `/metrics`, `/health` and
`/<hex sha256 of origin>/checkpoint`, which is what other monitors compare with. Promises: it reads what the
looks left and takes no lock of theirs for long. Must never: change anything, or listen beyond loopback.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from auditlog.errors import ConfigurationError, StorageError
from auditlog.verify.monitor.beside import checkpoint_path
from auditlog.verify.monitor.metrics import exposition
from auditlog.verify.monitor.page import page
from auditlog.verify.monitor.status import LogStatus
from auditlog.verify.monitor.store import Store

logger = logging.getLogger("auditlog.monitor")

READ_TIMEOUT_S = 10.0
NEWEST_ALARMS = 50


class StatusServer(ThreadingHTTPServer):
    """Serves from `start` to `stop`."""

    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], statuses: Callable[[], list[LogStatus]], store: Store
    ) -> None:
        """Listen on (host, port).

        Raises:
            ConfigurationError: not an address of this machine's own, or taken.
        """
        if not ipaddress.ip_address(address[0]).is_loopback:
            raise ConfigurationError("expected a loopback address for the status page, found another")
        self.statuses, self.store = statuses, store
        try:
            super().__init__(address, _Handler)
        except OSError as error:
            raise ConfigurationError(
                f"expected port {address[1]} free for the status page, found: {error.strerror}; give --port"
            ) from error
        self._thread = threading.Thread(target=self.serve_forever, name="status", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}/"

    def start(self) -> None:
        """Serve in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving."""
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  the base class's names
        """A connection that broke is nobody's concern."""
        logger.debug("a connection ended early")

    def newest_alarms(self) -> list[dict[str, Any]]:
        """The newest alarms, newest first."""
        query = "SELECT number, line FROM alarm ORDER BY number DESC LIMIT ?"
        return [{"id": row[0], **json.loads(row[1])} for row in self.store.read(query, (NEWEST_ALARMS,))]


class _Handler(BaseHTTPRequestHandler):
    server: StatusServer
    timeout = READ_TIMEOUT_S
    server_version = "auditlog-monitor"
    sys_version = ""

    def do_GET(self) -> None:
        """One of the few things there are."""
        try:
            body, media_type = self._find()
        except StorageError as error:
            logger.error("cannot show the state: %s", error)
            self._answer(503, b"the state cannot be read\n", "text/plain; charset=utf-8")
            return
        if body is None:
            self._answer(404, b"not found\n", "text/plain; charset=utf-8")
        else:
            self._answer(200, body.encode("utf-8"), media_type)

    def _find(self) -> tuple[str | None, str]:
        statuses, path = self.server.statuses(), self.path.split("?", 1)[0]
        plain = "text/plain; charset=utf-8"
        if path == "/":
            return page(statuses, self.server.newest_alarms()), "text/html; charset=utf-8"
        if path == "/status.json":
            value = {"logs": [status.to_json() for status in statuses]}
            return json.dumps({**value, "alarms": self.server.newest_alarms()}), "application/json"
        if path == "/metrics":
            return exposition(statuses), "text/plain; version=0.0.4; charset=utf-8"
        if path == "/health":
            return "ok\n", plain
        for status in statuses:
            if path == f"/{checkpoint_path(status.origin)}" and status.note:
                return status.note, plain
        return None, plain

    def _answer(self, code: int, body: bytes, media_type: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
        """The base class writes request lines to standard error; nobody needs them."""
