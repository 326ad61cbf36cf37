"""The log as a producer sees it over HTTP (spec/api.md). Synchronous; used by the sender's thread only.

Every answer becomes a value or one of the project's errors. Answers come from the log, which nobody needs to
trust: attacker-controlled, bounded, and never taken for more than the log's word. Must never: put the token
in an error or a log line, or follow a redirect with it.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

import httpx

from auditlog.capture.enrolment import token_mark
from auditlog.capture.fetching import quiet_httpx
from auditlog.core.batch import BATCH_MEDIA_TYPE
from auditlog.errors import (
    AuthenticationError,
    ChainConflictError,
    LogQuiesced,
    LogRetired,
    LogUnreachable,
    NotFoundError,
    NotYetCommitted,
    ProducerRetired,
    Pushback,
    SubmissionRefused,
    TooLargeError,
)

MAX_ANSWER_BYTES = 1 << 20
_RETIRED = f"urn:auditlog:problem:{ProducerRetired.code}"
_LOG_RETIRED = f"urn:auditlog:problem:{LogRetired.code}"
_QUIESCED = f"urn:auditlog:problem:{LogQuiesced.code}"
MAX_RETRY_AFTER_S = 300
_LONGEST_DELAY_S = 10 * 366 * 86_400


@dataclass(frozen=True, slots=True)
class LogHead:
    """The last entry of a producer that the log has; `instance` is None if it has none yet."""

    instance: str | None
    seq: int
    leaf_hash: bytes
    vkey: str | None = None
    """The producer's key in force, if the log says so."""


class LogClient:
    """One log, one token; made and used in one thread. Close it when done."""

    def __init__(
        self,
        log_url: str,
        token: Callable[[], str | None],
        *,
        timeout_s: float = 10.0,
        transport: httpx.BaseTransport | None = None,
        on_time: Callable[[int], None] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`on_time` is told what the log's clock says (Unix microseconds), after each answer. `tls`: whom to
        believe, made once (`tls_context`) where several clients need it.
        """
        self._url = log_url.rstrip("/")
        self._token = token
        self._on_time = on_time
        self._http = httpx.Client(
            timeout=timeout_s, transport=transport, follow_redirects=False, verify=tls_context(log_url, tls)
        )

    def origin(self) -> str:
        """The origin the log claims. Raises as `submit`, without ChainConflictError."""
        origin = self._json("GET", "").get("origin")
        if type(origin) is not str:
            raise LogUnreachable("log: expected its origin, found an answer without one")
        return origin

    def max_merge_delay_s(self) -> int | None:
        """The longest the log may take to show an entry, if it says so. Raises as `origin`."""
        return delay_s(self._json("GET", "").get("max_merge_delay_s"))

    def enrol(self, name: str, note: str, vkey: str) -> dict[str, Any]:
        """Ask to be enrolled; returns the answer unchecked. The same question again gives the same answer."""
        # The vkey goes along because a signature does not give away the key that made it.
        members = {"name": name, "vkey": vkey, "note": note}
        return self._json("POST", "/producers", content=json.dumps(members).encode())

    def token_mark(self) -> str:
        """A mark of the token that requests are made with now (`enrolment.token_mark`)."""
        return token_mark(self._token())

    def head(self, producer: str) -> LogHead:
        """The newest entry of `producer` that the log has committed; its enrolment if there is none yet."""
        try:
            answer = self._json("GET", f"/producers/{producer}/head")
        except NotFoundError:
            answer = {}
        instance, seq, leaf_hash = answer.get("instance"), answer.get("seq"), answer.get("leaf_hash")
        vkey = answer.get("vkey") if type(answer.get("vkey")) is str else None
        if not instance:
            return LogHead(None, -1, bytes.fromhex(producer), vkey)
        if type(instance) is not str or type(seq) is not int:
            raise LogUnreachable("head: expected instance and seq, found something else")
        return LogHead(instance, seq, _hash(leaf_hash), vkey)

    def submit(self, batch: bytes, count: int) -> None:
        """Send a batch of `count` entries; returning means the log acknowledged all of them.

        Raises:
            NotYetCommitted: the log has it and promises nothing: look for the head.
            ChainConflictError: the chain in the log is not where this batch begins.
            ProducerRetired: this producer has ended; the log takes nothing more of it.
            AuthenticationError, NotFoundError, TooLargeError, SubmissionRefused: sending again will not help.
            Pushback: not now; `retry_after_s` says when.
            LogUnreachable: no answer, or one we do not understand: unknown whether it was accepted.
        """
        answer = self._json("POST", "/batches", content=batch, media_type=BATCH_MEDIA_TYPE)
        accepted, skipped = answer.get("count"), answer.get("skipped")
        if type(accepted) is not int or type(skipped) is not int or accepted + skipped != count:
            # Some versions may count the skipped ones in; anything else is not an acknowledgement of this
            # batch.
            if accepted == count:
                return
            raise LogUnreachable(f"batch: expected {count} entries acknowledged, found another number")

    def keep_promises(self, promises: Sequence[tuple[str, str]]) -> None:
        """Have promises shown at the log: pairs of decision id and note. Raises as `submit`."""
        members = {"promises": [{"id": name, "promise": note} for name, note in promises]}
        self._json("POST", "/promises", content=json.dumps(members, ensure_ascii=False).encode())

    def keep_outcome(self, outcome: bytes) -> None:
        """Have an outcome written into the log (api.md, "Outcomes"). Raises as `submit`."""
        self._json("POST", "/outcomes", content=outcome)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """An operator's request below the log's address; the answer unchecked. Raises as `submit`."""
        return self._json(method, path, content=None if body is None else json.dumps(body).encode())

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _json(
        self, method: str, path: str, *, content: bytes | None = None, media_type: str = "application/json"
    ) -> dict[str, Any]:
        headers = {"accept": "application/json"}
        try:
            token = self._token()
        except OSError as error:
            raise AuthenticationError("token: expected a readable file, found none") from error
        if token:
            headers["authorization"] = f"Bearer {token}"
        if content is not None:
            headers["content-type"] = media_type
        try:
            request = self._http.build_request(method, self._url + path, headers=headers, content=content)
            with quiet_httpx():
                response = self._http.send(request, stream=True)
            try:
                body = _read_bounded(response)
            finally:
                response.close()
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError) as error:
            # The text of the error may hold the URL; its type is enough.
            raise LogUnreachable(f"log: expected an answer, found {type(error).__name__}") from None
        if self._on_time is not None and (log_us := _date_us(response.headers.get("date", ""))):
            self._on_time(log_us)
        members = _members(body)
        if response.status_code == 202 and path == "/batches":
            raise NotYetCommitted("log: expected a commit, found the batch accepted and nothing promised")
        if response.status_code != 200:
            _refuse(response, members)
        return members


def delay_s(said: object) -> int | None:
    """A delay as the log says it: attacker-controlled."""
    return said if type(said) is int and 0 <= said <= _LONGEST_DELAY_S else None


def tls_context(url: str, known: ssl.SSLContext | None = None) -> ssl.SSLContext:
    """What a client of `url` needs; reading the certificates of the world takes 20 ms, so only for https."""
    if known is not None:
        return known
    if url.startswith("https:"):
        return httpx.create_ssl_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _read_bounded(response: httpx.Response) -> bytes:
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise ValueError("answer too long")
    return bytes(body)


def _members(body: bytes) -> dict[str, Any]:
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return members if type(members) is dict else {}


def _refuse(response: httpx.Response, problem: dict[str, Any]) -> NoReturn:
    status = response.status_code
    said = _printable(str(problem.get("detail") or problem.get("title") or "no reason"))
    if status == 403 and problem.get("type") == _RETIRED:
        raise ProducerRetired(f"log: {said}", last=_object(problem.get("expected")))
    if status == 403 and problem.get("type") == _LOG_RETIRED:
        # Asked again, slowly, for as long as the spool holds anything: it is the operator's word only.
        raise AuthenticationError(
            f"log: {said}. What is left here is sealed for this log and can enter no other: keep the state "
            "directory, and set AUDITLOG_LOG to the log that goes on",
            known=True,
        )
    if status in {401, 403}:
        raise AuthenticationError(f"log: expected to be allowed, found {status}: {said}", known=status == 403)
    if status == 404:
        raise NotFoundError(f"log: expected to find it, found 404: {said}")
    if status == 409:
        raise ChainConflictError(
            f"log: expected to continue our chain, found 409: {said}",
            expected=_object(problem.get("expected")),
            found=_object(problem.get("found")),
        )
    if status == 413:
        raise TooLargeError(f"log: expected the batch to fit, found 413: {said}")
    if status == 503 and problem.get("type") == _QUIESCED:
        raise LogQuiesced(f"log: {said}", retry_after_s=_retry_after(response))
    if status in {408, 425, 429, 503}:
        raise Pushback(f"log: expected room, found {status}: {said}", retry_after_s=_retry_after(response))
    if 400 <= status < 500:
        raise SubmissionRefused(f"log: expected the submission to be taken, found {status}: {said}")
    raise LogUnreachable(f"log: expected 200, found {status}")


def _printable(text: str) -> str:
    """The log's words, fit for one line of a log file: attacker-controlled."""
    return "".join(character if character.isprintable() else "?" for character in text[:300])


def _retry_after(response: httpx.Response) -> int:
    """Seconds to wait, bounded; a date or nonsense counts as one second."""
    text = response.headers.get("retry-after", "").strip()
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        return 1
    return max(1, min(int(text), MAX_RETRY_AFTER_S))


def _date_us(text: str) -> int | None:
    """The `Date` of an answer: attacker-controlled, to the second."""
    try:
        return int(parsedate_to_datetime(text).timestamp() * 1_000_000)
    except (ValueError, TypeError, OverflowError):
        return None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _hash(text: object) -> bytes:
    try:
        value = bytes.fromhex(str(text))
    except ValueError:
        value = b""
    if len(value) != 32:
        raise LogUnreachable("head: expected a leaf hash of 32 bytes in hex, found something else")
    return value
