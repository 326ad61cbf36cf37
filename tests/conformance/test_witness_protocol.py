"""The witness answers as C2SP tlog-witness says, byte for byte: request and answer pairs over sockets."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from auditlog.core.cosignature import CosignatureSigner
from auditlog.witness.cosigner import Cosigner
from auditlog.witness.followed import follow, name_of
from auditlog.witness.server import WitnessServer
from auditlog.witness.states import States
from tests.support.build_witness_vectors import FOLDER, build, file_text

VECTORS = build()


class Clock:
    """POSIX seconds, set by each exchange."""

    now = 0

    def __call__(self) -> int:
        return self.now


@contextmanager
def serving(vector: dict[str, Any], folder: Path, clock: Clock) -> Iterator[str]:
    """A witness with the keys of a vector; its URL."""
    signer = CosignatureSigner.from_private_key(vector["witness"]["private_key"])
    states = States(folder, signer.verifier)
    logs = [follow(each["vkeys"], origin=each["origin"]) for each in vector["logs"]]
    server = WitnessServer(("127.0.0.1", 0), Cosigner(logs, signer, states, clock), states)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        states.close()


def test_the_vectors_are_what_the_builder_writes() -> None:
    """Vectors are added, never changed."""
    on_disk = {path.stem: path.read_text("utf-8") for path in FOLDER.glob("*.json")}
    assert on_disk == {name: file_text(vector) for name, vector in VECTORS.items()}


def test_every_status_of_the_protocol_has_a_vector() -> None:
    """200, 400, 403, 404, 409, 422, and 503 for a witness that cannot sign."""
    found = {each["answer"]["status"] for vector in VECTORS.values() for each in vector["exchanges"]}
    assert found == {200, 400, 403, 404, 409, 422, 503}


@pytest.mark.parametrize("name", sorted(VECTORS))
def test_each_request_has_its_answer(name: str, tmp_path: Path) -> None:
    """Status, media type and body; and afterwards the monitoring path shows what was cosigned last."""
    vector = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    clock = Clock()
    with serving(vector, tmp_path, clock) as url, httpx.Client() as client:
        for each in vector["exchanges"]:
            clock.now = each["unix_s"]
            answer = client.post(f"{url}/add-checkpoint", content=base64.b64decode(each["request_b64"]))
            expected = each["answer"]
            assert answer.status_code == expected["status"], answer.text
            assert answer.headers["content-type"] == expected["media_type"]
            if "body" in expected:
                assert answer.content.decode() == expected["body"]
        shown = client.get(f"{url}/{name_of(vector['logs'][0]['origin'])}/checkpoint")
        if vector["newest"] is None:
            assert shown.status_code == 404
        else:
            assert (shown.status_code, shown.text) == (200, vector["newest"])
            assert shown.headers["content-type"] == "text/plain; charset=utf-8"
