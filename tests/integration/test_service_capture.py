"""The SDK against the real service: enrolment, batches, receipts where they were promised, an outage."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path

from auditlog.capture import CaptureSettings, Observation, ObservedBody, Recorder
from auditlog.core.entry import parse_entry
from auditlog.core.receipt import parse_receipt
from auditlog.service.settings import Settings, TokenSettings
from auditlog.service.tokens import token_sha256
from tests.support.live_service import LiveService, create_logs, live_service, write_config

TOKEN = "alt_of-a-serving-host"


def settings_with_host_token(folder: Path) -> Settings:
    """A service that knows the token of a serving host."""
    settings = Settings.load(write_config(folder), environ={})
    host = TokenSettings(name="host", scopes=["enrol", "submit"], sha256=token_sha256(TOKEN).hex())
    return settings.model_copy(update={"tokens": [*settings.tokens, host]})


def decide(recorder: Recorder, number: int) -> tuple[str, str | None]:
    """Record a decision: its id and the address of its receipt."""
    exchange = recorder.new_exchange()
    assert exchange is not None
    request, response = f'{{"n":{number}}}'.encode(), b'{"label":"approved"}'
    exchange.request.update(request)
    exchange.response.update(response)
    observation = Observation(
        exchange=exchange,
        operation="chat",
        capture="asgi",
        duration_us=1000,
        ended="ok",
        request=ObservedBody(request),
        response=ObservedBody(response),
    )
    recorded = recorder.record(observation)
    assert recorded is not None
    return recorded.id, exchange.receipt_url


def decisions_in(service: LiveService) -> list[str]:
    """Ids of all decisions of the log, in order."""
    size = service.get("/logs/hashes").json["size"]
    entries = [parse_entry(service.get(f"/logs/hashes/entries/{i}", token="read").body) for i in range(size)]
    return [str(entry.body["id"]) for entry in entries if entry.kind == "decision"]


def receipt_at(url: str) -> bytes:
    """The receipt, waited for as its reader would."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with urllib.request.urlopen(url, timeout=10) as answer:
            if answer.status == 200:
                return bytes(answer.read())
        time.sleep(0.05)
    raise AssertionError("a receipt in time")


def test_every_decision_has_a_receipt_where_it_was_promised(tmp_path: Path) -> None:
    """Addresses minted before the entry was in the log lead to receipts of exactly these decisions."""
    settings = settings_with_host_token(tmp_path)
    create_logs(settings)
    with live_service(settings) as service:
        capture = CaptureSettings(
            log_url=f"{service.url}/logs/hashes",
            origin="log.example.org/hashes",
            producer="host",
            token=TOKEN,
            state_dir=tmp_path / "state",
            strict=True,
        )
        recorder = Recorder(capture)
        recorder.start()
        deadline = time.monotonic() + 30
        while decide(recorder, 0)[1] is None:  # not enrolled yet: no address, but recorded all the same
            assert time.monotonic() < deadline, "enrolled in time"
            time.sleep(0.05)
        made = [decide(recorder, n) for n in range(1, 21)]
        for id_, url in made:
            assert url is not None
            receipt = parse_receipt(receipt_at(url))
            assert json.loads(receipt.entry)["body"]["id"] == id_
        recorder.close()


def test_an_outage_of_the_service_loses_nothing(tmp_path: Path) -> None:
    """Decisions made while the service is away arrive when it is back, once each and in order."""
    settings = settings_with_host_token(tmp_path)
    create_logs(settings)

    def capture(service: LiveService) -> CaptureSettings:
        return CaptureSettings(
            log_url=f"{service.url}/logs/hashes",
            origin="log.example.org/hashes",
            producer="host",
            token=TOKEN,
            state_dir=tmp_path / "state",
            strict=True,
            close_timeout_s=1.0,
        )

    with live_service(settings) as service:
        recorder = Recorder(capture(service))
        recorder.start()
        made = [decide(recorder, n)[0] for n in range(10)]
        deadline = time.monotonic() + 30
        while len(decisions_in(service)) < 10:
            assert time.monotonic() < deadline, "arrived in time"
            time.sleep(0.05)
    made += [decide(recorder, n)[0] for n in range(10, 20)]
    recorder.close()
    with live_service(settings) as service:
        recorder = Recorder(capture(service))
        recorder.start()
        made += [decide(recorder, n)[0] for n in range(20, 30)]
        deadline = time.monotonic() + 30
        while len(decisions_in(service)) < 30:
            assert time.monotonic() < deadline, "arrived in time"
            time.sleep(0.05)
        recorder.close()
        assert decisions_in(service) == made
