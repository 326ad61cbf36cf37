"""Settings of distributed ingest: `[ingest]`, and what of them is dangerous together.

Spec: auditlog/spec/api.md, "Several processes" and "Configuration".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from pydantic import Field

from auditlog.errors import ConfigurationError
from auditlog.service.settings_types import ConfigPath, Strict, is_loopback

if TYPE_CHECKING:
    from auditlog.service.settings import ServiceSettings


class IngestSettings(Strict):
    """One process that does it all, or replicas and sequencers with a broker between (api.md, "Several
    processes").
    """

    mode: Literal["direct", "nats"] = "direct"
    role: Literal["all", "api", "sequencer"] = "all"
    """What this process does; `all` is for `direct` alone."""
    lease: str = Field(default="sequencer", pattern=r"^[A-Za-z0-9._-]{1,100}$")
    """Name of the lease in the database that says who sequences: another for services with other logs."""
    servers: list[str] = Field(default_factory=list, max_length=16)
    """Of NATS, `nats://` or `tls://`."""
    monitors: list[str] = Field(default_factory=list, max_length=16)
    """Monitoring address of every NATS server: asked at each start whether it syncs always."""
    prefix: str = Field(default="auditlog", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """Begins the names of streams and subjects."""
    replicas: Literal[1, 3, 5] = 3
    """Servers that hold each accepted batch."""
    max_stream_bytes: int = Field(default=1 << 30, ge=1 << 20)
    """What may wait for the sequencer in one log; above it: pushback."""
    user: str | None = Field(default=None, min_length=1, max_length=255)
    password_file: ConfigPath | None = None
    ca_file: ConfigPath | None = None
    allow_plain: bool = False
    """Accept that batches cross a network in clear."""
    wait_s: float = Field(default=5.0, gt=0, le=60)
    """How long a replica waits for a commit before it answers 202."""
    sequencers: list[str] = Field(default_factory=list, max_length=16)
    """For `api`: base URLs of the sequencers, to which it passes on what it does not answer itself."""


def check_ingest(ingest: IngestSettings, service: ServiceSettings) -> None:
    """Several processes need what they share, and a broker that is reached without showing it to others.

    Raises:
        ConfigurationError: a setting is missing, or dangerous.
    """
    if (ingest.mode == "nats") != (ingest.role != "all"):
        raise ConfigurationError(
            'expected ingest.role "api" or "sequencer" with ingest.mode "nats", and "all" with "direct"; '
            f'found "{ingest.role}" with "{ingest.mode}"'
        )
    if ingest.mode == "direct":
        return
    if service.database_url_file is None and not (service.database_url or "").startswith("postgres"):
        raise ConfigurationError('expected a PostgreSQL service.database_url with ingest.mode "nats"')
    if not ingest.servers or not ingest.monitors:
        raise ConfigurationError("expected ingest.servers and ingest.monitors, found one of them empty")
    if ingest.role == "api" and not ingest.sequencers:
        raise ConfigurationError('expected ingest.sequencers with ingest.role "api", found none')
    if (ingest.user is None) != (ingest.password_file is None):
        raise ConfigurationError("expected both of ingest.user and password_file, or neither")
    plain = [*_plain(ingest.servers, "nats", "tls"), *_plain(ingest.sequencers, "http", "https")]
    if plain and not ingest.allow_plain:
        raise ConfigurationError(
            f"expected tls:// and https:// on a network, found {plain[0]}; ingest.allow_plain = true accepts "
            "batches and tokens in clear"
        )
    _plain(ingest.monitors, "http", "https")


def _plain(urls: list[str], plain: str, safe: str) -> list[str]:
    """Hosts of other machines that are reached in clear. Raises ConfigurationError for another scheme."""
    found = []
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in {plain, safe} or not parts.hostname:
            raise ConfigurationError(f"expected an ingest address that begins with {plain}:// or {safe}://")
        if parts.username or parts.password:
            raise ConfigurationError("expected ingest addresses without a user or password in them")
        if parts.scheme == plain and not is_loopback(parts.hostname):
            found.append(f"{plain}://{parts.hostname}")
    return found
