"""Whether the NATS servers sync every message before they confirm it: asked at each start, never assumed.

Spec: auditlog/spec/api.md, "Several processes". By default JetStream confirms first and syncs up to two
minutes later. The client protocol does not say how a server is set, so each server's own monitoring address
is asked. Promises: a start goes on only if a majority of the cluster answered, and every one that answered
syncs always; one that does not answer is told. Must never: take silence for a setting.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from auditlog.errors import BrokerError, ConfigurationError

logger = logging.getLogger("auditlog.ingest")

TIMEOUT_S = 3.0
Fetch = Callable[[str], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Server:
    """What one server said of itself."""

    id: str
    syncs_always: bool
    cluster_size: int


def check_servers(monitors: list[str], fetch: Fetch | None = None) -> int:
    """Ask every monitoring address; return the size of the cluster.

    Raises:
        ConfigurationError: a server does not sync always, or has no JetStream, or the addresses are not
        those of a majority of the cluster. BrokerError: too few answered.
    """
    found: dict[str, Server] = {}
    silent: list[str] = []
    for url in monitors:
        try:
            server = _ask(url, fetch or _fetch)
        except (httpx.HTTPError, ValueError) as error:
            silent.append(url)
            logger.warning("NATS server at %s: expected an answer, found %s", url, type(error).__name__)
            continue
        if not server.syncs_always:
            raise ConfigurationError(
                f"expected the NATS server at {url} to sync every message before it confirms it, found "
                "that it syncs now and then; set `sync_interval: always` in the jetstream block of its "
                "configuration"
            )
        found[server.id] = server
    size = max([len(set(monitors)), *(each.cluster_size for each in found.values())])
    if len(found) * 2 > size:
        return size
    told = f"{len(found)} of {size} NATS servers"
    if silent:
        raise BrokerError(f"expected a majority to say that they sync always, found answers of {told}")
    raise ConfigurationError(
        f"expected ingest.monitors to name the monitoring address of every server, found {told}"
    )


def _ask(url: str, fetch: Fetch) -> Server:
    answer = fetch(f"{url.rstrip('/')}/jsz?config=true")
    config, cluster = answer.get("config"), answer.get("meta_cluster")
    if answer.get("disabled") or not isinstance(config, dict):
        raise ConfigurationError(f"expected JetStream on the NATS server at {url}, found it switched off")
    size = cluster.get("cluster_size", 1) if isinstance(cluster, dict) else 1
    return Server(str(answer.get("server_id")), config.get("sync_always") is True, int(size))


def _fetch(url: str) -> dict[str, Any]:
    answer = httpx.get(url, timeout=TIMEOUT_S, follow_redirects=False)
    answer.raise_for_status()
    members = answer.json()
    if not isinstance(members, dict):
        raise ValueError("expected an object")
    return members
