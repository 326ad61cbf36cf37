"""Where a log is read from: a folder or a URL prefix that serves a tlog-tiles tree.

Spec: `auditlog/spec/log.md`, "Reading a log". What comes out of a source is attacker-controlled: a source
promises nothing but a bounded size. Reading fails with `SourceError` only; it never decides what is true.
"""

from __future__ import annotations

import stat
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from auditlog.core.tiles import MAX_ENTRY_BYTES, TILE_WIDTH, parse_path
from auditlog.errors import SourceError

if TYPE_CHECKING:
    import httpx

CHECKPOINT_PATH = "checkpoint"
"""Where a log's newest published checkpoint lies."""

MAX_OBJECT_BYTES = TILE_WIDTH * (MAX_ENTRY_BYTES + 2)
"""The largest bundle there can be; nothing of a log is larger."""


class LogSource(Protocol):
    """Objects of one log by path. Safe to call from several threads."""

    def fetch(self, path: str) -> bytes:
        """The object at `checkpoint` or a tile path, whole.

        Raises:
            SourceError: missing, refused or unreachable.
        """


class FolderSource:
    """A log in a folder, such as an operator's published tree or a copy of it."""

    def __init__(self, folder: Path | str) -> None:
        """Nothing is read before the first `fetch`."""
        self._folder = Path(folder)

    def fetch(self, path: str) -> bytes:
        """Read one object; raises `SourceError`."""
        if path != CHECKPOINT_PATH:
            parse_path(path)
        try:
            with (self._folder / path).open("rb") as file:
                # The folder may be the operator's: a pipe or device in it must not hang a verifier.
                if not stat.S_ISREG((self._folder / path).stat().st_mode):
                    raise SourceError(
                        f"expected a plain file at {path}, found another kind", reason="unreachable"
                    )
                content = file.read(MAX_OBJECT_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise SourceError(f"expected {path} in the log, found no such file", reason="missing") from None
        except PermissionError:
            raise SourceError(f"expected to read {path}, found no permission", reason="refused") from None
        except OSError as error:
            raise SourceError(
                f"expected to read {path}, found: {error.strerror}", reason="unreachable"
            ) from None
        return _bounded(path, content)

    def __str__(self) -> str:
        return str(self._folder)


class HttpSource:
    """A log behind an HTTP prefix: a service of ours, a static file server, another operator's log."""

    def __init__(self, url: str, token: str | None = None, *, timeout_s: float = 20.0) -> None:
        """`url` is the log's prefix, without `/checkpoint`; `token` opens what is not public."""
        import httpx

        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._url = url.rstrip("/")
        self._client = httpx.Client(
            headers=headers, timeout=timeout_s, transport=httpx.HTTPTransport(retries=2)
        )

    def fetch(self, path: str) -> bytes:
        """GET one object; raises `SourceError`."""
        import httpx

        try:
            with self._client.stream("GET", f"{self._url}/{path}") as response:
                self._check_status(path, response)
                return _bounded(path, _read(response))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
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


def open_source(target: str, token: str | None = None) -> LogSource:
    """The source a person means by a URL or a folder name."""
    if target.startswith(("http://", "https://")):
        return HttpSource(target, token)
    return FolderSource(target)


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
