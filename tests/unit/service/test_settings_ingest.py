"""Settings of several processes: what is missing or dangerous is refused with one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auditlog.errors import ConfigurationError
from auditlog.service.settings import Settings

GOOD: dict[str, Any] = {
    "mode": "nats",
    "role": "api",
    "servers": ["tls://nats-0.example.org:4222"],
    "monitors": ["http://nats-0.example.org:8222"],
    "sequencers": ["https://seq-0.example.org"],
}


def build(
    tmp_path: Path, ingest: dict[str, Any], environ: dict[str, str] | None = None, **service: Any
) -> Settings:
    """Settings with these, on PostgreSQL unless told otherwise."""
    service = {"data_dir": "data", "database_url": "postgresql://db.example.org/a"} | service
    return Settings.build({"service": service, "ingest": ingest}, base=tmp_path, environ=environ)


def test_one_process_is_the_default(tmp_path: Path) -> None:
    """Nothing has to be said."""
    settings = Settings.build({"service": {"data_dir": "data"}}, base=tmp_path)
    assert (settings.ingest.mode, settings.ingest.role) == ("direct", "all")


def test_one_file_serves_both_roles(tmp_path: Path) -> None:
    """The variable makes the difference."""
    without = {key: value for key, value in GOOD.items() if key != "role"}
    for role in ("api", "sequencer"):
        assert build(tmp_path, without, {"AUDITLOG_SERVE_ROLE": role}).ingest.role == role


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"role": "all"}, '"all" with "nats"'),
        ({"mode": "direct"}, '"api" with "direct"'),
        ({"servers": []}, "ingest.servers and ingest.monitors"),
        ({"monitors": []}, "ingest.servers and ingest.monitors"),
        ({"sequencers": []}, "ingest.sequencers"),
        ({"user": "a"}, "user and password_file"),
        ({"servers": ["nats://nats-0.example.org:4222"]}, "allow_plain"),
        ({"sequencers": ["http://seq-0.example.org"]}, "allow_plain"),
        ({"servers": ["ftp://nats-0.example.org"]}, "nats:// or tls://"),
        ({"servers": ["tls://me:secret@nats-0.example.org"]}, "without a user"),
        ({"replicas": 2}, "ingest.replicas"),
        ({"prefix": "a.b"}, "ingest.prefix"),
    ],
)
def test_what_is_missing_or_dangerous_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    """Each with one line that says what was expected, and no secret."""
    with pytest.raises(ConfigurationError, match=said) as refused:
        build(tmp_path, GOOD | change)
    assert "secret" not in str(refused.value)


def test_sqlite_is_for_one_process(tmp_path: Path) -> None:
    """Several processes share a PostgreSQL."""
    with pytest.raises(ConfigurationError, match="PostgreSQL"):
        build(tmp_path, GOOD, database_url=None)


def test_plain_addresses_are_fine_on_this_machine_or_when_accepted(tmp_path: Path) -> None:
    """A loopback shows nothing to anyone."""
    local = {"servers": ["nats://127.0.0.1:4222"], "sequencers": ["http://localhost:8700"]}
    assert build(tmp_path, GOOD | local)
    assert build(tmp_path, GOOD | {"servers": ["nats://nats.example.org"], "allow_plain": True})
