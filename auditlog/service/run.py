"""`auditlog serve`: the app under uvicorn, structured logs, and a stop that drains.

Promises: SIGTERM and SIGINT close the listening socket, answer what is in flight (up to `drain_s`), then
close the logs. A start that fails raises one error with one line. Must never: log a request line, since
paths hold capabilities.
"""

from __future__ import annotations

import logging
import socket

import structlog

from auditlog.service.app import create_app
from auditlog.service.settings import Settings

LISTENING = "listening"
KEEP_ALIVE_S = 30


def run(settings: Settings, *, sockets: list[socket.socket] | None = None) -> None:
    """Serve until told to stop. `sockets` are listening already (tests, socket activation).

    Raises:
        AuditLogError: the service could not start (ConfigurationError, RollbackError, StorageError).
    """
    import uvicorn

    configure_logs(settings.service.log_format)
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
        LISTENING, host=settings.service.host, port=settings.service.port, public_url=settings.public_url
    )
    uvicorn.Server(config).run(sockets=sockets)
    if app.state.startup_error is not None:
        raise app.state.startup_error


def configure_logs(log_format: str) -> None:
    """One line a record on standard error, for our events and for the libraries' alike. Called once a
    process.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=last, foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").addFilter(_without_start_traceback)


def _without_start_traceback(record: logging.LogRecord) -> bool:
    """Drop the framework's traceback of a failed start: `run` raises the error itself, in one line."""
    return not record.getMessage().startswith("Traceback")
