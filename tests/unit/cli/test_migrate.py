"""`auditlog migrate --to`: the schema goes back for an older release, and forth again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from auditlog.cli.main import run
from auditlog.service.settings import Settings
from tests.support.live_service import create_logs, live_service, write_config


@pytest.fixture
def config(tmp_path: Path) -> list[str]:
    """The option that names the configuration of a service with a log."""
    path = write_config(tmp_path, visibilities=["public"])
    create_logs(Settings.load(path, {}))
    return ["--config", str(path)]


def test_the_schema_goes_back_and_forth(config: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Back by one, and up again at the next start; the log is there as before."""
    capsys.readouterr()
    assert run(["migrate", "--to", "0009", "--json", *config]) == 0
    assert json.loads(capsys.readouterr().out) == {"was": "0010", "revision": "0009"}
    settings = Settings.load(Path(config[1]), {})
    with live_service(settings) as service:
        assert service.get("/logs/public").json["size"] == 1


def test_no_other_revision_and_not_beside_a_service(config: list[str]) -> None:
    """A revision that is none, and a running service, are refused."""
    assert run(["migrate", "--to", "1234", *config]) == 2
    with live_service(Settings.load(Path(config[1]), {})):
        assert run(["migrate", "--to", "0008", *config]) == 2
