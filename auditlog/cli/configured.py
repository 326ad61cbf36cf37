"""Where the commands find `auditlog.toml`: `--config`, else AUDITLOG_CONFIG, else the current folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditlog.errors import ConfigurationError

if TYPE_CHECKING:
    from auditlog.service.settings import LogSettings, Settings

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="auditlog.toml (or AUDITLOG_CONFIG).")
]


def config_path(given: Path | None) -> Path:
    """The configuration file to read; it need not exist."""
    return given or Path(os.environ.get("AUDITLOG_CONFIG") or "auditlog.toml")


def load_settings(given: Path | None) -> Settings:
    """Read and check the configuration.

    Raises:
        ConfigurationError: it cannot be read or is refused, or the service is not installed.
    """
    try:
        from auditlog.service.settings import Settings
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"expected the service to be installed (auditlog[service]), found no {error.name}"
        ) from error
    return Settings.load(config_path(given))


def find_log(settings: Settings, name: str | None) -> LogSettings:
    """The settings of the log of that name; without a name, of the only one.

    Raises:
        ConfigurationError: there is none, or a name is needed to choose.
    """
    known = ", ".join(log.name for log in settings.logs) or "none"
    if name is None and len(settings.logs) == 1:
        return settings.logs[0]
    for log in settings.logs:
        if log.name == name:
            return log
    raise ConfigurationError(f"expected the name of a configured log ({known}), found {name or 'no name'}")
