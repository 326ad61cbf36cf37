"""What the settings are made of: strict tables, paths of the file, instants, patterns of names.

Spec: auditlog/spec/api.md, "Configuration".
"""

from __future__ import annotations

import ipaddress
from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from auditlog.bucket_client import URL_PATTERN
from auditlog.service.instants import parse_instant


def _resolve(value: object, info: ValidationInfo) -> object:
    """Make a path of the file absolute, from the directory the file lies in."""
    if not isinstance(value, str | Path) or not str(value):
        return value
    base = (info.context or {}).get("base", Path.cwd())
    return (Path(base) / Path(value).expanduser()).resolve()


ConfigPath = Annotated[Path, BeforeValidator(_resolve)]


def _instant(value: object) -> object:
    """A time of the file in Unix microseconds."""
    return parse_instant(value) if isinstance(value, str | datetime) else value


Instant = Annotated[int, BeforeValidator(_instant)]
BucketUrl = Annotated[str, Field(pattern=URL_PATTERN, max_length=1024)]
NAME_PATTERN = r"^[A-Za-z0-9._*?-]{1,100}$"
NamePattern = Annotated[str, Field(pattern=NAME_PATTERN)]
"""A pattern of producer names: `*` any characters, `?` any one."""


class Strict(BaseModel):
    """Unknown members and other types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def is_loopback(host: str) -> bool:
    """Whether a listening address is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
