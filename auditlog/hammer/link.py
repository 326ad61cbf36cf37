"""One kept-alive HTTP connection to a log, as cheap as the standard library has it.

What comes back is attacker-controlled and bounded. Must never: follow a redirect, which would carry the token
along, or put the token in an error.
"""

from __future__ import annotations

import http.client
import json
import math
from typing import Any
from urllib.parse import urlsplit

from auditlog.errors import ConfigurationError, SourceError

MAX_ANSWER_BYTES = 4 << 20
TIMEOUT_S = 30.0
_MOST_WAIT_S = 5.0


class Link:
    """One log, one connection, one thread."""

    def __init__(self, url: str, token: str | None = None) -> None:
        """`url` is the log's prefix, `http[s]://HOST/logs/NAME`. Raises ConfigurationError: another form."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or parts.hostname is None or parts.query:
            raise ConfigurationError(f"expected the http or https address of a log, found {url[:100]!r}")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
        self._prefix = parts.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.retry_after_s = 0.0
        """What the newest answer asked to wait; 0 if nothing."""

    def get(self, path: str) -> tuple[int, bytes]:
        """GET below the log's prefix; status and body. Raises SourceError: no whole answer came."""
        return self._request("GET", path, None, {})

    def post(self, path: str, body: bytes, media_type: str) -> tuple[int, bytes]:
        """POST below the log's prefix, as `get`."""
        return self._request("POST", path, body, {"Content-Type": media_type})

    def get_json(self, path: str) -> dict[str, Any]:
        """GET a JSON object. Raises SourceError: anything else."""
        return read_object(path, *self.get(path))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _request(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        try:
            self._connection.request(method, self._prefix + path, body, {**self._headers, **headers})
            answer = self._connection.getresponse()
            data = answer.read(MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()  # the next request opens another
            raise SourceError(
                f"{method} {path[:60]}: expected an answer, found {type(error).__name__}",
                reason="unreachable",
            ) from None
        if len(data) > MAX_ANSWER_BYTES:
            self._connection.close()
            raise SourceError(
                f"{path[:60]}: expected at most {MAX_ANSWER_BYTES} bytes, found more", reason="refused"
            )
        self.retry_after_s = _seconds(answer.getheader("Retry-After"))
        return answer.status, data


def read_object(path: str, status: int, body: bytes) -> dict[str, Any]:
    """The JSON object in a 200. Raises SourceError: anything else."""
    if status != 200:
        message = f"{path[:60]}: expected 200, found {status}"
        raise SourceError(message, reason="missing" if status == 404 else "refused")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if type(value) is not dict:
        raise SourceError(f"{path[:60]}: expected a JSON object, found something else", reason="refused")
    return value


def _seconds(text: str | None) -> float:
    """How long to wait, within reason: a server may ask for anything."""
    try:
        seconds = float(text or 0)
    except ValueError:
        return 1.0
    return min(max(seconds, 0.0), _MOST_WAIT_S) if math.isfinite(seconds) else _MOST_WAIT_S
