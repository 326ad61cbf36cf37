"""A real service on a loopback port: real stores, engines and uvicorn; and a producer that talks HTTP."""

from __future__ import annotations

import base64
import json
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from auditlog.core.batch import BATCH_MEDIA_TYPE, encode_batch
from auditlog.core.keys import Ed25519Signer
from auditlog.service.app import create_app
from auditlog.service.opening import EngineOpener
from auditlog.service.settings import Settings
from auditlog.service.tokens import token_sha256
from tests.support.testlog import FakeProducer

TOKENS = {scope: f"alt_{scope}-token-of-the-tests" for scope in ("enrol", "submit", "read", "admin")}
START_TIMEOUT_S = 30.0


def write_config(
    folder: Path,
    *,
    visibilities: Sequence[str] = ("hashes",),
    port: int = 0,
    anchoring: str = "off",
    **service: Any,
) -> Path:
    """An `auditlog.toml` with one log for each visibility, named like it, and the tokens above."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "[service]",
        f"port = {port}",
        'data_dir = "data"',
        *(f"{key} = {json.dumps(value)}" for key, value in service.items()),
    ]
    for visibility in visibilities:
        lines += ["[[logs]]", f'name = "{visibility}"', f'origin = "log.example.org/{visibility}"']
        lines += [
            f'visibility = "{visibility}"',
            f'high_water_file = "guard/{visibility}"',
            "publish_interval_s = 0.05",
        ]
    for scope, token in TOKENS.items():
        lines += [
            "[[tokens]]",
            f'name = "{scope}"',
            f'scopes = ["{scope}"]',
            f'sha256 = "{token_sha256(token).hex()}"',
        ]
    lines += ["[anchoring]", f'mode = "{anchoring}"', "interval_s = 0.1"]
    if anchoring == "devnet":
        key = Ed25519Signer.from_seed("devnet.example.org", os.urandom(32))
        (folder / "devnet.key").write_text(key.private_key + "\n")
        lines.append('devnet_key_file = "devnet.key"')
    path = folder / "auditlog.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def create_logs(settings: Settings) -> dict[str, str]:
    """Create every configured log; their vkeys by name."""
    opener = EngineOpener(settings)
    vkeys = {}
    opener.start()
    for each in settings.logs:
        log = opener.create(each)
        vkeys[each.name] = log.vkey
        log.close()
    opener.close()
    return vkeys


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; names of headers in lower case."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class LiveService:
    """A running service."""

    url: str
    settings: Settings

    def request(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: bytes | None = None,
        media_type: str = "application/json",
    ) -> Answer:
        """One request with the standard library; `token` names a scope."""
        headers = {"Content-Type": media_type} if body is not None else {}
        if token is not None:
            headers["Authorization"] = f"Bearer {TOKENS.get(token, token)}"
        asked = urllib.request.Request(self.url + path, data=body, headers=headers, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return Answer(answer.status, answer.read(), _lower(answer.headers))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read(), _lower(error.headers))

    def get(self, path: str, *, token: str | None = None) -> Answer:
        """A GET."""
        return self.request("GET", path, token=token)

    def post_batch(self, log: str, producer: FakeProducer, entries: Sequence[bytes]) -> Answer:
        """Post entries with their head."""
        batch = producer.batch(entries)
        body = encode_batch(batch.head_note, list(batch.entries))
        return self.request(
            "POST", f"/logs/{log}/batches", token="submit", body=body, media_type=BATCH_MEDIA_TYPE
        )

    def enrol(self, log: str, name: str) -> tuple[FakeProducer, bytes]:
        """An enrolled producer that has not started, and its receipt key."""
        producer = FakeProducer(name, origin=f"log.example.org/{log}")
        wanted = {"name": name, "vkey": producer.signer.vkey, "note": producer.note}
        answer = self.request(
            "POST", f"/logs/{log}/producers", token="enrol", body=json.dumps(wanted).encode()
        )
        assert answer.status == 200, answer.body
        producer.enrolled(bytes.fromhex(answer.json["producer"]))
        return producer, base64.b64decode(answer.json["receipt_key"])

    def await_published(self, log: str, size: int) -> None:
        """Wait until the published checkpoint covers `size` entries."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while (self.get(f"/logs/{log}").json["size"] or 0) < size:
            assert time.monotonic() < deadline, "published in time"
            time.sleep(0.01)


def _serve(server: uvicorn.Server, listening: socket.socket) -> None:
    # A start that fails exits the process; the error itself is kept in the app's state.
    with suppress(SystemExit):
        server.run(sockets=[listening])


def _lower(headers: Any) -> dict[str, str]:
    return {key.lower(): value for key, value in headers.items()}


@contextmanager
def live_service(settings: Settings) -> Iterator[LiveService]:
    """Serve in a thread until the block ends, then drain."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        app = create_app(settings)
        server = uvicorn.Server(
            uvicorn.Config(app, lifespan="on", log_config=None, access_log=False, ws="none")
        )
        thread = threading.Thread(target=_serve, args=(server, listening), daemon=True)
        thread.start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not server.started and thread.is_alive():
            assert time.monotonic() < deadline, "started in time"
            time.sleep(0.005)
        if app.state.startup_error is not None:
            thread.join()
            raise app.state.startup_error
        try:
            yield LiveService(f"http://127.0.0.1:{port}", settings)
        finally:
            server.should_exit = True
            thread.join(START_TIMEOUT_S)
            assert not thread.is_alive(), "the service drained and stopped"
