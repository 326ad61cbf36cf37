"""`auditlog serve`: the app under uvicorn, structured logs, and a stop that drains.

Promises: the port is taken before anything else, so that a start without it fails at once
and never says "ready"; who connects before the logs are open waits. SIGTERM and SIGINT close
the listening socket, answer what is in flight (up to `drain_s`), then close the logs. A
start that fails raises one error with one line; one that only has to wait for something (a
node, a database, a disk) says so in one line and ends with `EXIT_TRY_AGAIN`, so that whoever
supervises it starts it again. Must never: log a request line, since paths hold capabilities.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket

import structlog

from auditlog.errors import AuditLogError, BrokerError, ConfigurationError, LeaseLost, LedgerError
from auditlog.log.regain import may_pass
from auditlog.service.app import create_app
from auditlog.service.observe import configure_logging
from auditlog.service.settings import Settings

STARTING = "starting"
TRY_AGAIN = "start_again_later"
_PASSING = (LedgerError, BrokerError, LeaseLost)
EXIT_TRY_AGAIN = 75
"""EX_TEMPFAIL of sysexits.h."""
KEEP_ALIVE_S = 30
_BACKLOG = 2048
_COLLECT_AFTER = 20_000
"""So many objects more than before, that may be part of a cycle, start a search for garbage."""


def run(settings: Settings, *, sockets: list[socket.socket] | None = None) -> None:
    """Serve until told to stop. `sockets` are listening already (tests, socket activation).

    Raises:
        AuditLogError: the service could not start (ConfigurationError, RollbackError, DamagedStoreError).
        SystemExit: `EXIT_TRY_AGAIN`: it cannot start now.
    """
    import uvicorn

    from auditlog.service.wire import BoundedHttp

    configure_logging(settings.service.log_format)
    listening = sockets or listen(settings.service.host, settings.service.port)
    servers: list[uvicorn.Server] = []

    def stop() -> None:
        for server in servers:
            server.should_exit = True

    app = create_app(settings, stop=stop)
    config = uvicorn.Config(
        app,
        host=settings.service.host,
        port=settings.service.port,
        http=BoundedHttp,
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
        servers.append(uvicorn.Server(config))
        _spare_the_collector()
        servers[0].run(sockets=listening)
        _raise_why(app.state.startup_error)
    except SystemExit:
        # The server exits by itself when the start fails; why it did is worth more than its exit code.
        _raise_why(app.state.startup_error)
        raise
    finally:
        for each in listening:
            each.close()


def _spare_the_collector() -> None:
    """Look for cyclic garbage less often, and never in what was imported: it took a tenth of the time of
    posts of one entry. Their objects die without it; what does not (tracebacks, above all) waits longer.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)


def _raise_why(error: Exception | None) -> None:
    """Raise the error that kept the service from starting or going on; if waiting helps, say it and exit."""
    if error is None:
        return
    if isinstance(error, AuditLogError) and (may_pass(error) or isinstance(error, _PASSING)):
        structlog.get_logger("auditlog.service").error(TRY_AGAIN, problem=error.code, error=str(error))
        raise SystemExit(EXIT_TRY_AGAIN) from None
    raise error from None


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
