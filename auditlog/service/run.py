"""`auditlog serve`: the app under uvicorn, structured logs, and a stop that drains.

Promises: the port is taken before anything else, so that a start without it fails at once and never says
"ready"; who connects before the logs are open waits. SIGTERM and SIGINT close the listening socket, answer
what is in flight (up to `drain_s`), then close the logs. A start that fails raises one error with one line.
Must never: log a request line, since paths hold capabilities.
"""

from __future__ import annotations

import errno
import os
import signal
import socket

import structlog

from auditlog.errors import ConfigurationError
from auditlog.service.app import create_app
from auditlog.service.observe import configure_logging
from auditlog.service.settings import Settings

STARTING = "starting"
KEEP_ALIVE_S = 30
_BACKLOG = 2048


def run(settings: Settings, *, sockets: list[socket.socket] | None = None) -> None:
    """Serve until told to stop. `sockets` are listening already (tests, socket activation).

    Raises:
        AuditLogError: the service could not start (ConfigurationError, RollbackError, StorageError).
    """
    import uvicorn

    configure_logging(settings.service.log_format)
    listening = sockets or listen(settings.service.host, settings.service.port)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.service.host,
        port=settings.service.port,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.service.drain_s,
    )
    structlog.get_logger("auditlog.service").info(
        STARTING, host=settings.service.host, port=settings.service.port, public_url=settings.public_url
    )
    # The server drains on a signal and then raises it again, which would end the process as killed: after a
    # clean stop the second one finds nothing to do.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        uvicorn.Server(config).run(sockets=listening)
    except SystemExit:
        # The server exits by itself when the start fails; why it did is worth more than its exit code.
        if app.state.startup_error is not None:
            raise app.state.startup_error from None
        raise
    finally:
        for each in listening:
            each.close()


def listen(host: str, port: int) -> list[socket.socket]:
    """Listen on every address a host name has.

    Raises:
        ConfigurationError: on none of them, or the port is taken on one.
    """
    listening: list[socket.socket] = []
    reason = "no such host"
    try:
        for family, address in _addresses(host, port):
            try:
                listening.append(socket.create_server(address, family=family, backlog=_BACKLOG))
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno else str(error)
                if error.errno != errno.EADDRNOTAVAIL:  # a name may have addresses that this host has not
                    raise
    except (OSError, UnicodeError, OverflowError):
        for each in listening:
            each.close()
        listening.clear()
    if not listening:
        raise ConfigurationError(f"expected to listen on {host} port {port}, found: {reason}")
    return listening


def _addresses(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((int(each[0]), (str(each[4][0]), port)) for each in found))
