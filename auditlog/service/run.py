"""`auditlog serve`: the app under uvicorn, structured logs, and a stop that drains.

Promises: SIGTERM and SIGINT close the listening socket, answer what is in flight (up to `drain_s`), then
close the logs. A start that fails raises one error with one line. Must never: log a request line, since
paths hold capabilities.
"""

from __future__ import annotations

import signal
import socket

import structlog

from auditlog.service.app import create_app
from auditlog.service.observe import configure_logging
from auditlog.service.settings import Settings

STARTING = "starting"
KEEP_ALIVE_S = 30


def run(settings: Settings, *, sockets: list[socket.socket] | None = None) -> None:
    """Serve until told to stop. `sockets` are listening already (tests, socket activation).

    Raises:
        AuditLogError: the service could not start (ConfigurationError, RollbackError, StorageError).
    """
    import uvicorn

    configure_logging(settings.service.log_format)
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
        uvicorn.Server(config).run(sockets=sockets)
    except SystemExit:
        # The server exits by itself when the start fails; why it did is worth more than its exit code.
        if app.state.startup_error is not None:
            raise app.state.startup_error from None
        raise
