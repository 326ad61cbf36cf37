"""A NATS that would lose what it confirmed is refused at the start, with what to set."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from auditlog.errors import BrokerError, ConfigurationError
from auditlog.ingest.durability import check_servers


def answer(name: str, *, syncs: object = True, size: int = 3) -> dict[str, Any]:
    """What a server says."""
    return {"server_id": name, "config": {"sync_always": syncs}, "meta_cluster": {"cluster_size": size}}


def asked(servers: dict[str, dict[str, Any] | None]) -> int:
    """Check these; None is one that does not answer."""

    def fetch(url: str) -> dict[str, Any]:
        found = servers[url.removesuffix("/jsz?config=true")]
        if found is None:
            raise httpx.ConnectError("refused")
        return found

    return check_servers(list(servers), fetch)


def test_a_cluster_that_syncs_is_taken() -> None:
    """All of them, or a majority while one is away; one server alone is its own majority."""
    assert asked({"a": answer("1"), "b": answer("2"), "c": answer("3")}) == 3
    assert asked({"a": answer("1"), "b": None, "c": answer("3")}) == 3
    assert asked({"a": {"server_id": "1", "config": {"sync_always": True}}}) == 1


@pytest.mark.parametrize("syncs", [False, None, "always", 1])
def test_one_that_does_not_sync_is_enough_to_refuse(syncs: object) -> None:
    """It says which one and what to set."""
    with pytest.raises(ConfigurationError, match=r"at b .*sync_interval: always"):
        asked({"a": answer("1"), "b": answer("2", syncs=syncs), "c": answer("3")})


def test_a_minority_says_nothing() -> None:
    """Servers that are away make it a matter of waiting, ones that were not named a matter of settings."""
    with pytest.raises(BrokerError, match="1 of 3"):
        asked({"a": answer("1"), "b": None, "c": None})
    with pytest.raises(BrokerError):
        asked({"a": None})
    with pytest.raises(ConfigurationError, match="every server"):
        asked({"a": answer("1"), "b": answer("1")})


def test_a_server_without_jetstream_is_refused() -> None:
    """It answers, and would keep nothing."""
    with pytest.raises(ConfigurationError, match="switched off"):
        asked({"a": {"server_id": "1", "disabled": True}})
