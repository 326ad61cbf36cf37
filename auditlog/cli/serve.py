"""`auditlog serve`: run the service of a configuration in the foreground.

Promises: a start that fails is one line, and exit code 2, 3 or 75 (not now); SIGTERM drains. Must never:
create a log; `auditlog log create` does.
"""

from __future__ import annotations

from typing import Annotated

import typer

from auditlog.cli.configured import ConfigOption, load_settings


def serve(
    config: ConfigOption = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Listen here instead of where the file says.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Listen on this port.")] = None,
) -> None:
    """Serve the logs of a configuration until stopped."""
    import os

    # Through the environment, so that the same checks see the whole: a flag must not get past them.
    if host is not None:
        os.environ["AUDITLOG_SERVE_HOST"] = host
    if port is not None:
        os.environ["AUDITLOG_SERVE_PORT"] = str(port)
    settings = load_settings(config)
    from auditlog.service.run import run

    run(settings)
