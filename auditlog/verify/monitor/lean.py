"""A lean HTTP client for the reader: connections that stay open and nothing else, a tenth of the usual cost.

Spec: auditlog/spec/monitor.md, "Speed". It follows no redirection, uses no proxy and tries nothing twice:
whatever it cannot do, the judge does through `auditlog.verify.sources.HttpSource`. Answers are
attacker-controlled and bounded. Must never: be waited for without a deadline (`monitor.reading` has one).
"""

from __future__ import annotations

import ssl
import threading
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit

from auditlog.errors import SourceError
from auditlog.verify.sources import MAX_OBJECT_BYTES

_SILENCE_S: Final = 10.0


class LeanSource:
    """A log behind an HTTP prefix. Safe to call from several threads: each has a connection."""

    def __init__(self, url: str, token: str | None = None) -> None:
        """Nothing is read before the first `fetch`; raises `SourceError` for what is no such URL."""
        self._parts = urlsplit(url.rstrip("/"))
        if self._parts.scheme not in ("http", "https") or not self._parts.hostname or self._parts.username:
            raise SourceError("expected a plain http(s) URL, found another", reason="unreachable")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._local = threading.local()

    def fetch(self, path: str) -> bytes:
        """GET one object; raises `SourceError`."""
        try:
            connection = self._connection()
            connection.request("GET", f"{self._parts.path}/{path}", headers=self._headers)
            with connection.getresponse() as answer:
                content = answer.read(MAX_OBJECT_BYTES + 1)
                status = answer.status
        except (OSError, HTTPException, ValueError) as error:
            self.close()
            raise SourceError(
                f"expected an answer for {path}, found: {type(error).__name__}", reason="unreachable"
            ) from None
        if status != 200 or len(content) > MAX_OBJECT_BYTES:
            self.close()
            raise SourceError(f"expected {path}, found status {status}", reason="unreachable")
        return content

    def close(self) -> None:
        """Close the connection of this thread."""
        known: HTTPConnection | None = getattr(self._local, "connection", None)
        self._local.connection = None
        if known is not None:
            known.close()

    def _connection(self) -> HTTPConnection:
        known: HTTPConnection | None = getattr(self._local, "connection", None)
        if known is not None:
            return known
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            context = ssl.create_default_context()
            known = HTTPSConnection(host, port, timeout=_SILENCE_S, context=context)
        else:
            known = HTTPConnection(host, port, timeout=_SILENCE_S)
        self._local.connection = known
        return known
