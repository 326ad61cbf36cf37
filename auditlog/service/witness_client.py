"""One witness over HTTP, for `auditlog.log`: a POST to cosign, a GET of what it cosigned last; a bounded
answer, a bounded time.

Must never: follow a redirect (a witness that moved is told by its operator), or read an endless answer.
"""

from __future__ import annotations

import time

import httpx

from auditlog.core.witnessing import ADD_CHECKPOINT, MAX_ANSWER_BYTES
from auditlog.errors import LogUnreachable


class HttpWitness:
    """A `WitnessTransport` and a `WatchedWitness`. Safe to use from any thread."""

    def __init__(self, url: str, *, timeout_s: float, monitoring_url: str | None = None) -> None:
        """`url` is the submission prefix, `monitoring_url` the other one if it is another; `timeout_s` bounds
        one ask from its beginning to its end.
        """
        self._url = f"{url.rstrip('/')}/{ADD_CHECKPOINT}"
        self._monitoring = (monitoring_url or url).rstrip("/")
        self._timeout_s = timeout_s
        self._client = httpx.Client(timeout=timeout_s, follow_redirects=False)

    def ask(self, body: bytes) -> tuple[int, bytes]:
        """Post a request; status and body of the answer.

        Raises:
            LogUnreachable: no whole answer of an allowed length in time.
        """
        return self._exchange("POST", self._url, body)

    def newest(self, name: str) -> tuple[int, bytes]:
        """What it cosigned last of the log with this name: status and body of the answer.

        Raises:
            LogUnreachable: as `ask`.
        """
        return self._exchange("GET", f"{self._monitoring}/{name}/checkpoint", None)

    def _exchange(self, method: str, url: str, body: bytes | None) -> tuple[int, bytes]:
        until = time.monotonic() + self._timeout_s
        headers = {} if body is None else {"Content-Type": "text/plain; charset=utf-8"}
        found = b""
        try:
            with self._client.stream(method, url, content=body, headers=headers) as answer:
                for chunk in answer.iter_raw():
                    found += chunk
                    if len(found) > MAX_ANSWER_BYTES or time.monotonic() > until:
                        raise LogUnreachable("expected a short answer in time, found a longer one")
                return answer.status_code, found
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise LogUnreachable(f"expected an answer, found {type(error).__name__}") from error

    def close(self) -> None:
        """Close its connections."""
        self._client.close()
