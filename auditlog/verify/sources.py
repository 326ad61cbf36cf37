"""Where a log is read from: a folder, a URL prefix that serves a tlog-tiles tree, or a bucket.

Spec: `auditlog/spec/log.md`, "Reading a log". What comes out of a source is attacker-controlled: a source
promises nothing but a bounded size and a bounded wait. Reading fails with `SourceError` only; it never
decides what is true.
"""

from __future__ import annotations

import math
import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from auditlog.bucket_client import SCHEMES as BUCKET_SCHEMES
from auditlog.core.retention import RETENTION_PATH
from auditlog.core.tiles import MAX_ENTRY_BYTES, TILE_WIDTH, parse_path
from auditlog.errors import ConfigurationError, SourceError

if TYPE_CHECKING:
    import httpx

CHECKPOINT_PATH = "checkpoint"
"""Where a log's newest published checkpoint lies."""

MAX_OBJECT_BYTES = TILE_WIDTH * (MAX_ENTRY_BYTES + 2)
"""The largest bundle there can be; nothing of a log is larger."""

OBJECT_S = 30.0
"""Seconds in which a server must have delivered one object whole."""

_SILENCE_S = 10.0
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_TOKEN = re.compile(r"[!-~]+")


class LogSource(Protocol):
    """Objects of one log by path. Safe to call from several threads."""

    def fetch(self, path: str) -> bytes:
        """The object at `checkpoint`, `retention` or a tile path, whole.

        Raises:
            SourceError: missing, refused or unreachable.
        """


class FolderSource:
    """A log in a folder, such as an operator's published tree or a copy of it.

    Symbolic links are followed, for a copy may be made of them; whatever they lead to is only compared with
    what the log has signed.
    """

    def __init__(self, folder: Path | str) -> None:
        """Nothing is read before the first `fetch`."""
        self._folder = Path(folder)

    def fetch(self, path: str) -> bytes:
        """Read one object; raises `SourceError`."""
        if path not in (CHECKPOINT_PATH, RETENTION_PATH):
            parse_path(path)
        try:
            return _bounded(path, self._read(path))
        except (FileNotFoundError, NotADirectoryError):
            raise SourceError(f"expected {path} in the log, found no such file", reason="missing") from None
        except PermissionError:
            raise SourceError(f"expected to read {path}, found no permission", reason="refused") from None
        except OSError as error:
            raise SourceError(
                f"expected to read {path}, found: {error.strerror}", reason="unreachable"
            ) from None

    def _read(self, path: str) -> bytes:
        # The folder may be the operator's. Opening a pipe waits for a writer unless told not to, and a device
        # may never end: neither must hang a verifier, so nothing is read before the kind is known.
        handle = os.open(f"{self._folder}/{path}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise SourceError(
                    f"expected a plain file at {path}, found another kind", reason="unreachable"
                )
            # Room for what is there, not for all that could be: fetching memory costs more than reading.
            content = os.read(handle, min(status.st_size, MAX_OBJECT_BYTES) + 1)
            if len(content) == status.st_size:
                return content
            with os.fdopen(handle, "rb", closefd=False) as file:
                return content + file.read(MAX_OBJECT_BYTES + 1 - len(content))
        finally:
            os.close(handle)

    def __str__(self) -> str:
        return str(self._folder)


class HttpSource:
    """A log behind an HTTP prefix: a service of ours, a static file server, another operator's log.

    No server can keep a reader waiting: each object has a deadline and the
    source may have a budget for all of them together. Once either is over
    the connection is cut, and every later object is unreachable at once.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        object_s: float = OBJECT_S,
        budget_s: float = math.inf,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`url` is the log's prefix, without `/checkpoint`; `token` opens what is not public; `object_s` and
        `budget_s` are seconds for one object and for all.

        Raises:
            ConfigurationError: a token that no HTTP header can hold.
        """
        import httpx

        if token is not None and _TOKEN.fullmatch(token) is None:
            raise ConfigurationError("expected a token of printable ASCII without spaces, found another text")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._url = url.rstrip("/")
        self._object_s, self._left_s = object_s, budget_s
        self._monotonic = monotonic
        self._given_up = ""
        self._client = httpx.Client(
            headers=headers, timeout=_SILENCE_S, transport=httpx.HTTPTransport(retries=2)
        )

    @property
    def has_given_up(self) -> bool:
        """Whether everything is unreachable from now on: whoever goes on for months opens another."""
        return bool(self._given_up)

    def fetch(self, path: str) -> bytes:
        """GET one object; raises `SourceError`."""
        if self._given_up:
            raise SourceError(self._given_up, reason="unreachable")
        answers: SimpleQueue[bytes | Exception] = SimpleQueue()
        limit, started = min(self._object_s, self._left_s), self._monotonic()
        # A time-out of the client is one of each read: a byte every few seconds never meets it. The thread
        # does, whatever it waits for (a name, a connection, headers without end).
        Thread(target=self._answer, args=(path, answers), name="auditlog-fetch", daemon=True).start()
        try:
            answer = answers.get(timeout=None if math.isinf(limit) else limit)
        except Empty:
            self._given_up = f"expected {path} whole within its time, found the log too slow"
            self._client.close()
            raise SourceError(self._given_up, reason="unreachable") from None
        self._left_s = max(0.0, self._left_s - (self._monotonic() - started))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _answer(self, path: str, answers: SimpleQueue[bytes | Exception]) -> None:
        try:
            answers.put(self._get(path))
        except Exception as error:  # noqa: BLE001  the boundary of the thread: raised again by `fetch`
            answers.put(error)

    def _get(self, path: str) -> bytes:
        import httpx

        try:
            with self._client.stream("GET", f"{self._url}/{path}") as response:
                self._check_status(path, response)
                return _bounded(path, _read(response))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            # ValueError: a host name that cannot be written for DNS, such as one with an empty label.
            raise SourceError(
                f"expected an answer for {path}, found: {type(error).__name__}", reason="unreachable"
            ) from None

    def _check_status(self, path: str, response: httpx.Response) -> None:
        status = response.status_code
        if status == 200:
            return
        if status in (401, 403):
            raise SourceError(f"expected status 200 for {path}, found {status}", reason="refused")
        if status in (404, 410):
            raise SourceError(f"expected status 200 for {path}, found {status}", reason="missing")
        raise SourceError(f"expected status 200 for {path}, found {status}", reason="unreachable")

    def close(self) -> None:
        """Close idle connections."""
        self._client.close()

    def __enter__(self) -> HttpSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __str__(self) -> str:
        return self._url


def open_source(target: str, token: str | None = None, *, budget_s: float = math.inf) -> LogSource:
    """The source a person means by a URL, a bucket or a folder name; `budget_s` limits all reading of a URL.

    Raises:
        ConfigurationError: nothing, a URL of another scheme, or a token for a bucket, which knows none.
    """
    scheme = _SCHEME.match(target)
    if scheme is None and target:
        return FolderSource(target)
    if scheme is not None and scheme[1] in BUCKET_SCHEMES:
        if token is not None:
            raise ConfigurationError(
                "expected no token for a bucket, found one: it has credentials of its own"
            )
        from auditlog.verify.bucket_source import BucketSource

        return BucketSource(target, budget_s=budget_s)
    if scheme is None or scheme[1].lower() not in ("http", "https"):
        raise ConfigurationError(
            f"expected a folder, a bucket (s3://..) or an http(s) URL of a log, found {target[:80]!a}"
        )
    return HttpSource(target, token, budget_s=budget_s)


def _read(response: httpx.Response) -> bytes:
    content = bytearray()
    for chunk in response.iter_bytes():
        content += chunk
        if len(content) > MAX_OBJECT_BYTES:
            break
    return bytes(content)


def _bounded(path: str, content: bytes) -> bytes:
    if len(content) > MAX_OBJECT_BYTES:
        raise SourceError(
            f"expected at most {MAX_OBJECT_BYTES} bytes at {path}, found more", reason="unreachable"
        )
    return content
