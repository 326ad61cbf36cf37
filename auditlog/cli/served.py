"""Commands about a log that work on the running service, and without one on the stores themselves.

Spec: auditlog/spec/api.md, "Standing". Which one is told by whether anything listens where the
configuration says; a service that answers is asked with a token of scope admin. Must never: open the stores
of a log that a service on this machine serves, or print a token.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from auditlog.cli.reading import read_text_line
from auditlog.errors import ConfigurationError

if TYPE_CHECKING:
    from auditlog.capture.client import LogClient
    from auditlog.log.log import Log
    from auditlog.service.settings import LogSettings, Settings

Result = TypeVar("Result")
AdminTokenOption = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", help="Where a service runs: a token with scope admin."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NameArgument = Annotated[str | None, typer.Argument(help="Name of a configured log.")]
_CONNECT_S = 2.0
_ANSWER_S = 300.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  read here, never listened on


@contextmanager
def running_service(
    settings: Settings, log: LogSettings, token_file: Path | None
) -> Iterator[LogClient | None]:
    """A client of the service that serves the log on this machine; None where nothing listens.

    Raises:
        ConfigurationError: it serves another log under this name, or no token was given.
        AuditLogError: it does not answer, or refuses the token.
    """
    host, port = _ANY.get(settings.service.host, settings.service.host), settings.service.port
    if not port or not _listens(host, port):
        yield None
        return
    from auditlog.capture.client import LogClient

    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/logs/{log.name}"
    if token_file is None:
        raise ConfigurationError(f"expected --token-file with a token of scope admin: {url} is being served")
    token = read_text_line(token_file, "--token-file")
    client = LogClient(url, lambda: token, timeout_s=_ANSWER_S)
    try:
        if (found := client.origin()) != log.origin:
            raise ConfigurationError(f"expected the log {log.origin} at {url}, found {found[:255]!a}")
        yield client
    finally:
        client.close()


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=_CONNECT_S).close()
    except ConnectionRefusedError:
        return False
    except OSError as error:
        raise ConfigurationError(
            f"expected to learn whether a service runs at {host} port {port}, found: {error}"
        ) from error
    return True


def with_log(settings: Settings, log: LogSettings, work: Callable[[Log], Result]) -> Result:
    """Open the log from its stores as a start of the service does, guards asked, and do the work.

    Raises:
        AuditLogError: it cannot be opened, or another process serves it.
    """
    from auditlog.service.opening import EngineOpener

    opener = EngineOpener(settings)
    try:
        opener.start()
        opened = opener.open(log)
        try:
            return work(opened)
        finally:
            opened.close()
    finally:
        opener.close()
