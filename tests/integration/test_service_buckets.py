"""The whole service with its tiles, bundles and staged commits in a real S3 server and its state in
PostgreSQL: killed, restarted, and with the S3 server killed under it. Nothing acknowledged is missing.
"""

from __future__ import annotations

import itertools
import json
import time
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from threading import Thread

import pytest

from auditlog.cli.main import run
from auditlog.core.merkle import hash_leaf
from auditlog.core.tiles import bundles_for_size, decode_bundle
from auditlog.demo.processes import free_port
from auditlog.service.settings import Settings
from auditlog.verify.bucket_source import BucketSource
from tests.integration.test_service_process import await_ready, process
from tests.support.live_service import LiveService, create_logs, live_service, write_config
from tests.support.postgres import PostgresServer
from tests.support.seaweed import ACCESS_KEY, BUCKET, REGION, SECRET_KEY, SeaweedServer

WAIT_S = 90.0
_names = itertools.count()


def configured(server: SeaweedServer, folder: Path, database_url: str | None) -> tuple[Path, str]:
    """A configuration with one public log in a prefix of its own, created; and that prefix."""
    root = f"s3://{BUCKET}/service-{next(_names)}"
    more = {} if database_url is None else {"database_url_file": "database_url"}
    (folder / "database_url").write_text(f"{database_url}\n")
    config = write_config(folder, visibilities=["public"], port=free_port(), **more)
    (folder / "s3.id").write_text(ACCESS_KEY + "\n")
    (folder / "s3.secret").write_text(SECRET_KEY + "\n")
    config.write_text(
        config.read_text() + f'[buckets]\nroot = "{root}"\nendpoint = "{server.endpoint}"\n'
        f'allow_http = true\nregion = "{REGION}"\n'
        'access_key_id_file = "s3.id"\nsecret_access_key_file = "s3.secret"\n'
    )
    create_logs(Settings.load(config, environ={}))
    return config, root


class Host:
    """A producer that sends until it is answered, as a spool does, and knows what was acknowledged."""

    def __init__(self, service: LiveService, name: str) -> None:
        self.producer, _ = service.enrol("public", name)
        self.acknowledged: list[bytes] = []
        self.waiting: list[bytes] = [self.producer.start()]
        self._numbers = itertools.count()

    def send(self, service: LiveService, entries: int) -> None:
        """One batch, new or the one that waits; returns when it is acknowledged."""
        if not self.waiting:
            self.waiting = [self.producer.decide(next(self._numbers)) for _ in range(entries)]
        deadline = time.monotonic() + WAIT_S
        while True:
            assert time.monotonic() < deadline, "acknowledged in time"
            with suppress(OSError):
                answer = service.post_batch("public", self.producer, self.waiting)
                if answer.status == 200:
                    break
                assert answer.status == 503, answer.body
            time.sleep(0.05)
        self.acknowledged += self.waiting
        self.waiting = []


def unanswered(service: LiveService, host: Host) -> None:
    """Post what waits, and take no notice of what comes of it."""
    with suppress(OSError, HTTPException):
        service.post_batch("public", host.producer, host.waiting)


def fsck_from_the_bucket(
    server: SeaweedServer,
    root: str,
    vkey: str,
    hosts: list[Host],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command finds the bucket clean, and every acknowledged entry is in its bundles, once, in order."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    capsys.readouterr()
    code = run(["fsck", f"{root}/public/public", "--vkey", vkey, "--json"])
    said = capsys.readouterr()
    assert code == 0, said.out + said.err
    source = BucketSource(f"{root}/public/public", server.access)
    size = int(source.fetch("checkpoint").decode().split("\n")[1])
    entries = [entry for path in bundles_for_size(size) for entry in decode_bundle(source.fetch(str(path)))]
    for host in hosts:
        sent = {hash_leaf(entry) for entry in host.acknowledged}
        held = [entry for entry in entries if hash_leaf(entry) in sent]
        assert held == host.acknowledged, "all of it, once, in order"


def test_a_killed_service_comes_back_from_bucket_and_database(
    seaweed: SeaweedServer,
    postgres: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Batches, publication, kill -9 in the midst of a batch, twice; each start goes on from there."""
    config, root = configured(seaweed, tmp_path, postgres.database("service_buckets"))
    settings = Settings.load(config, environ={})
    service = LiveService(f"http://127.0.0.1:{settings.service.port}", settings)
    hosts: list[Host] = []
    for life in range(2):
        with process(config) as started:
            await_ready(service, started)
            hosts = hosts or [Host(service, "host-0")]
            for _ in range(3):
                hosts[0].send(service, 150)
            if life == 1:
                service.await_published("public", 600)
            # A batch is on its way when the process dies: whether it is in, nobody knows.
            hosts[0].waiting = [hosts[0].producer.decide(10_000 + 200 * life + n) for n in range(200)]
            batch = Thread(target=unanswered, args=(service, hosts[0]))
            batch.start()
            time.sleep(0.04 * (life + 1))
            started.popen.kill()
            started.end()
            batch.join()
    with process(config) as started:
        await_ready(service, started)
        hosts[0].send(service, 1)
        service.await_published("public", len(hosts[0].acknowledged))
        vkey = service.get("/logs/public").json["vkey"]
        bundle = service.get("/logs/public/tile/entries/000")
        assert bundle.status == 200
    fsck_from_the_bucket(seaweed, root, vkey, hosts, monkeypatch, capsys)
    assert not (settings.service.data_dir / "logs" / "public" / "public").exists(), "no tile in a folder"


def test_a_store_that_dies_under_the_service_is_pushback_and_then_goes_on(
    own_seaweed: SeaweedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The S3 server is killed in mid-write: nothing is acknowledged, and all goes on once it is back."""
    config, root = configured(own_seaweed, tmp_path, None)
    with live_service(Settings.load(config, environ={})) as service:
        host = Host(service, "host-0")
        for _ in range(3):
            host.send(service, 300)
        own_seaweed.kill()
        host.waiting = [host.producer.decide(20_000 + n) for n in range(300)]
        answer = service.post_batch("public", host.producer, host.waiting)
        assert answer.status == 503, answer.body
        assert json.loads(answer.body)["type"].startswith("urn:auditlog:problem:")
        own_seaweed.start()
        host.send(service, 300)
        host.send(service, 300)
        service.await_published("public", len(host.acknowledged))
        vkey = service.get("/logs/public").json["vkey"]
    fsck_from_the_bucket(own_seaweed, root, vkey, [host], monkeypatch, capsys)


def test_a_bucket_that_is_away_stops_a_start_for_now(seaweed: SeaweedServer, tmp_path: Path) -> None:
    """A start cannot open the log and says why, without a secret; it is a failure that time may mend."""
    config, _ = configured(seaweed, tmp_path, None)
    text = config.read_text().replace(seaweed.endpoint, f"http://127.0.0.1:{free_port()}")
    config.write_text(text)
    with process(config) as started:
        code, said = started.end()
    assert code != 0
    assert "no connection" in said
    assert SECRET_KEY not in said
