"""A little S3 server in this process that breaks its promises on demand; nothing of it is durable."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from auditlog.bucket_client import BucketAccess


class LaxBucket:
    """Objects by path. `lax`: `create` ignores If-None-Match, `update` ignores If-Match, `refuse` refuses
    every If-Match; `failing`: statuses of the first answers; `cut_after_storing`: connections cut so late.
    """

    def __init__(self, lax: str, *, failing: Sequence[int] = (), cut_after_storing: int = 0) -> None:
        self.objects: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.no_bucket = False
        self._lax = lax
        self.failing = list(failing)
        self._cuts = cut_after_storing
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def access(self) -> BucketAccess:
        """How a client reaches it."""
        return BucketAccess(
            endpoint=f"http://127.0.0.1:{self._server.server_address[1]}",
            region="us-east-1",
            allow_http=True,
            access_key_id="id",
            secret_access_key="key",
        )

    def __enter__(self) -> LaxBucket:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Status and body; status 0 cuts the connection."""
        with self._lock:
            self.asked.append(f"{method} {path}")
            if self.no_bucket:
                return 404, b"<Error><Code>NoSuchBucket</Code></Error>"
            if self.failing:
                return self.failing.pop(0), b""
            held = self.objects.get(path)
            if method == "PUT":
                return self._put(path, headers, body, held)
            if method == "DELETE":
                self.objects.pop(path, None)
                return 204, b""
            return (404, b"<Error><Code>NoSuchKey</Code></Error>") if held is None else (200, held)

    def _put(self, path: str, headers: dict[str, str], body: bytes, held: bytes | None) -> tuple[int, bytes]:
        if headers.get("if-none-match") == "*" and held is not None and self._lax != "create":
            return 412, b""
        wanted = headers.get("if-match")
        is_other = self._lax == "refuse" or held is None or etag(held) != wanted
        if wanted is not None and is_other and self._lax != "update":
            return 412, b""
        self.objects[path] = body
        if self._cuts:
            self._cuts -= 1
            return 0, b""
        return 200, b""

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {key.lower(): value for key, value in self.headers.items()}
                status, found = bucket.answer(self.command, self.path.partition("?")[0], headers, body)
                if status == 0:
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(found)))
                self.send_header("ETag", etag(body if self.command == "PUT" else found))
                self.send_header("Last-Modified", "Sat, 01 Jan 2022 00:00:00 GMT")
                self.end_headers()
                self.wfile.write(found)

            do_GET = do_PUT = do_DELETE = _serve  # noqa: N815  the server's own names

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the server's own word
                """Say nothing."""

        return Handler


def etag(data: bytes) -> str:
    """A version that the content alone decides."""
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'
