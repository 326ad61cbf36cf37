"""The capture layer against the real service: what is recorded becomes receipts that parse and
name the model.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditlog.capture import CaptureSettings, Observation, ObservedBody, Recorder
from auditlog.core.entry import parse_entry
from auditlog.core.receipt import parse_receipt
from auditlog.service.settings import Settings
from auditlog.service.tokens import token_sha256
from tests.support.live_service import LiveService, create_logs, live_service, write_config

TOKEN = "alt_capture-token-of-the-tests"
REQUEST = b'{"prompt":"hello","temperature":0.5}'
RESPONSE = b'{"choices":[{"text":"hi"}]}'


@pytest.fixture
def service(tmp_path: Path) -> Iterator[LiveService]:
    """A service with one log and a token that may enrol and submit."""
    config = write_config(tmp_path / "service")
    with config.open("a") as file:
        scopes = '["enrol", "submit"]'
        file.write(
            f'[[tokens]]\nname = "capture"\nscopes = {scopes}\nsha256 = "{token_sha256(TOKEN).hex()}"\n'
        )
    settings = Settings.load(config, environ={})
    create_logs(settings)
    with live_service(settings) as running:
        yield running


def recorder_on(service: LiveService, state: Path) -> Recorder:
    """A started recorder that sends to the service."""
    url = f"{service.url}/logs/hashes"
    settings = CaptureSettings(
        log_url=url, token=TOKEN, producer="gpu", state_dir=state, strict=True, close_timeout_s=30.0
    )
    recorder = Recorder(settings)
    recorder.start()
    return recorder


def decide(recorder: Recorder) -> tuple[str, str | None]:
    """Record one decision; returns its id and receipt address."""
    exchange = recorder.new_exchange()
    assert exchange is not None
    exchange.request.update(REQUEST)
    exchange.response.update(RESPONSE)
    seen = Observation(
        exchange=exchange, operation="text_completion", capture="asgi", duration_us=7, ended="ok",
        request=ObservedBody(REQUEST), response=ObservedBody(RESPONSE),
    )  # fmt: skip
    recorded = recorder.record(seen)
    assert recorded is not None
    return recorded.id, recorded.receipt_url


def fetch(url: str) -> bytes:
    """The receipt, once it is published."""
    deadline = time.monotonic() + 60
    while True:
        with urllib.request.urlopen(url, timeout=10) as answer:
            if answer.status == 200:
                return bytes(answer.read())
        assert time.monotonic() < deadline, "expected a receipt, found 202 for a minute"
        time.sleep(0.05)


def test_decisions_become_receipts(service: LiveService, tmp_path: Path) -> None:
    """Every address given to a caller leads to the receipt of that decision, with its model."""
    state = tmp_path / "state"
    recorder = recorder_on(service, state)
    recorder.register_model(name="m", root=bytes(range(32)), files=2)
    decide(recorder)
    recorder.close()
    recorder = recorder_on(service, state)
    model = recorder.register_model(name="m", root=bytes(range(32)), files=2).result(30)
    given = [decide(recorder) for _ in range(30)]
    recorder.close()
    for id_, url in given:
        assert url is not None
        entry = parse_entry(parse_receipt(fetch(url)).entry)
        assert entry.body["id"] == id_
        assert entry.body["model"] == model
    assert recorder.metrics.get("sender.stopped") == 0
    assert recorder.metrics.get("sender.conflicts") == 0


def test_wrong_capability_is_not_told_from_a_missing_decision(service: LiveService, tmp_path: Path) -> None:
    """An address that was not given leads nowhere."""
    decide(recorder := recorder_on(service, tmp_path / "state"))
    recorder.close()
    recorder = recorder_on(service, tmp_path / "state")
    _, url = decide(recorder)
    recorder.close()
    assert url is not None
    with pytest.raises(urllib.error.HTTPError, match="404") as caught:
        urllib.request.urlopen(url[:-2] + ("AA" if url[-2:] != "AA" else "BA"), timeout=10)
    caught.value.close()
