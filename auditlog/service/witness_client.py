"""One witness over HTTP, for `auditlog.log`: a POST to cosign, a GET of what it cosigned last; a bounded
answer, a bounded time.

The client's own time-outs are for one read each: a witness that sends a byte now and then, or one interim
answer (1xx) after the other, would never run into them. So each exchange has a thread, which is waited for
until the time is up; then the connections are closed under it, and it ends at its next read. Must never:
follow a redirect (a witness that moved is told by its operator), read an endless answer, or keep the caller
longer than it was told.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future

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
        self._tls = httpx.create_ssl_context()
        self._swapping = threading.Lock()
        self._is_closed = False
        self._client = self._new_client()

    def _new_client(self) -> httpx.Client:
        return httpx.Client(timeout=self._timeout_s, follow_redirects=False, verify=self._tls)

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
        client, answer = self._client, Future[tuple[int, bytes]]()

        def exchange() -> None:
            try:
                answer.set_result(_whole_answer(client, method, url, body))
            except Exception as error:  # noqa: BLE001 - whoever waits raises it
                answer.set_exception(error)

        # A daemon: one that resolves a name for minutes must not hold up the end of the process either.
        threading.Thread(target=exchange, name="auditlog-witness-exchange", daemon=True).start()
        try:
            return answer.result(self._timeout_s)
        except TimeoutError:
            self._cut(client)
            raise LogUnreachable(f"expected an answer within {self._timeout_s:g} s, found none") from None

    def _cut(self, client: httpx.Client) -> None:
        """Close the connections of an exchange that is over time; the next one gets new ones."""
        with self._swapping:
            if self._client is client and not self._is_closed:
                self._client = self._new_client()
        client.close()

    def close(self) -> None:
        """Close its connections."""
        with self._swapping:
            self._is_closed = True
        self._client.close()


def _whole_answer(client: httpx.Client, method: str, url: str, body: bytes | None) -> tuple[int, bytes]:
    """attacker-controlled: whatever answers there."""
    headers = {} if body is None else {"Content-Type": "text/plain; charset=utf-8"}
    found = b""
    try:
        with client.stream(method, url, content=body, headers=headers) as answer:
            for chunk in answer.iter_raw():
                found += chunk
                if len(found) > MAX_ANSWER_BYTES:
                    raise LogUnreachable("expected a short answer, found a longer one")
            return answer.status_code, found
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise LogUnreachable(f"expected an answer, found {type(error).__name__}") from error
