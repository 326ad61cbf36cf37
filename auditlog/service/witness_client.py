"""One witness over HTTP, for `auditlog.log.witnesses`: a POST, a bounded answer, a bounded time.

Must never: follow a redirect (a witness that moved is told by its operator), or read an endless answer.
"""

from __future__ import annotations

import time

import httpx

from auditlog.core.witnessing import ADD_CHECKPOINT, MAX_ANSWER_BYTES
from auditlog.errors import LogUnreachable


class HttpWitness:
    """A `WitnessTransport`. Safe to use from any thread."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        """`url` is the submission prefix; `timeout_s` bounds one ask from its beginning to its end."""
        self._url = f"{url.rstrip('/')}/{ADD_CHECKPOINT}"
        self._timeout_s = timeout_s
        self._client = httpx.Client(timeout=timeout_s, follow_redirects=False)

    def ask(self, body: bytes) -> tuple[int, bytes]:
        """Post a request; status and body of the answer.

        Raises:
            LogUnreachable: no whole answer of an allowed length in time.
        """
        until = time.monotonic() + self._timeout_s
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        found = b""
        try:
            with self._client.stream("POST", self._url, content=body, headers=headers) as answer:
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
