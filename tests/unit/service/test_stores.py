"""The stores a configuration names: folders or buckets, credentials from files, a bucket proved once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auditlog.cli.main import run
from auditlog.errors import ConfigurationError
from auditlog.service.settings import Settings
from auditlog.service.stores import StoreOpener, access_of, public_place, published_note
from auditlog.storage.files import FileStore
from tests.support.lax_bucket import LaxBucket

LOG = {"name": "main", "origin": "example.org/log", "high_water_file": "hw/main"}


def settings_on(server: LaxBucket, folder: Path, **log: Any) -> Settings:
    """A configuration with this server and one log."""
    (folder / "id").write_text("id\n")
    (folder / "secret").write_text("the-secret-key\n")
    buckets = {
        "endpoint": server.access.endpoint,
        "region": "eu-central-1",
        "allow_http": True,
        "access_key_id_file": "id",
        "secret_access_key_file": "secret",
    }
    tables = {"service": {"data_dir": "data"}, "logs": [{**LOG, **log}], "buckets": buckets}
    return Settings.build(tables, base=folder)


def test_a_log_may_keep_each_part_elsewhere(tmp_path: Path) -> None:
    """The published tree in a bucket, the rest in folders; the bucket holds what was written and no probe."""
    with LaxBucket("") as server:
        settings = settings_on(server, tmp_path, public_store="s3://shown/main")
        (log,) = settings.logs
        opener = StoreOpener(settings)
        opener.public(log).replace("checkpoint", b"note")
        assert isinstance(opener.private(log), FileStore)
        assert isinstance(opener.staging(log), FileStore)
        assert server.objects == {"/shown/main/checkpoint": b"note"}
        assert published_note(settings, log) == b"note"
    assert public_place(settings, log) == ("public_store", "s3://shown/main")
    assert not (tmp_path / "data" / "logs" / "main" / "public").exists()


def test_a_bucket_is_proved_once_in_a_process(tmp_path: Path) -> None:
    """Hundreds of logs in one bucket cost one probe; another bucket has its own."""
    with LaxBucket("") as server:
        stores = {"public_store": "s3://one/p", "private_store": "s3://one/q", "staging_store": "s3://two/s"}
        settings = settings_on(server, tmp_path, **stores)
        (log,) = settings.logs
        opener = StoreOpener(settings)
        for _ in range(3):
            opener.public(log)
            opener.private(log)
            opener.staging(log)
        deleted = [asked for asked in server.asked if asked.startswith("DELETE")]
    assert [line.split("/")[1] for line in deleted] == ["one", "two"]


def test_a_lax_bucket_gives_no_store(tmp_path: Path) -> None:
    """A server that overwrites what it must keep never gets an engine on it."""
    with LaxBucket("create") as server:
        settings = settings_on(server, tmp_path, staging_store="s3://lax/s")
        with pytest.raises(ConfigurationError, match="If-None-Match"):
            StoreOpener(settings).staging(settings.logs[0])


def test_credentials_are_read_from_their_files_and_shown_nowhere(tmp_path: Path) -> None:
    """The settings hold file names only, and what was read is in no representation."""
    with LaxBucket("") as server:
        settings = settings_on(server, tmp_path)
        access = access_of(settings)
        assert access.secret_access_key == "the-secret-key"
        assert "the-secret-key" not in repr(access) + repr(settings)
        (tmp_path / "secret").unlink()
        with pytest.raises(ConfigurationError, match="readable secret file"):
            access_of(settings)


@pytest.mark.parametrize(("lax", "level"), [("", "ok"), ("update", "problem")])
def test_the_doctor_tries_every_bucket(
    lax: str, level: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An honest bucket is ok, a lax one a problem that names the missing condition."""
    with LaxBucket(lax) as server:
        config = tmp_path / "auditlog.toml"
        config.write_text(
            '[service]\ndata_dir = "data"\n'
            '[[logs]]\nname = "main"\norigin = "example.org/log"\nallow_unguarded_start = true\n'
            f'[buckets]\nroot = "s3://bkt/logs"\nallow_http = true\nendpoint = "{server.access.endpoint}"\n'
            'region = "r"\naccess_key_id_file = "id"\nsecret_access_key_file = "id"\n'
        )
        (tmp_path / "id").write_text("id\n")
        run(["doctor", "--config", str(config), "--json"])
    checks = json.loads(capsys.readouterr().out)["checks"]
    found = [each for each in checks if each["check"] == "bucket"]
    assert [each["level"] for each in found] == [level] * 3
    assert all(("If-Match" in each["text"]) == bool(lax) for each in found)
