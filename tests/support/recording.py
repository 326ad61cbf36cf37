"""A real `Recorder` on a live service: decisions as a serving host records them, and their receipts."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from auditlog.capture import CaptureSettings, Observation, ObservedBody, Recorder
from auditlog.service.settings import Settings, TokenSettings
from auditlog.service.tokens import token_sha256
from tests.support.live_service import LiveService

HOST_TOKEN = "alt_of-a-serving-host"
WAIT_S = 60.0


def with_host_token(settings: Settings) -> Settings:
    """The same service, knowing the token of a serving host."""
    host = TokenSettings(name="host", scopes=["enrol", "submit"], sha256=token_sha256(HOST_TOKEN).hex())
    return settings.model_copy(update={"tokens": [*settings.tokens, host]})


@contextmanager
def recording(
    service: LiveService, state: Path, *, log: str = "hashes", may_stop: bool = False, **options: Any
) -> Iterator[Recorder]:
    """An enrolled recorder; at the end everything it holds was sent, unless it `may_stop`. The same `state`
    is the same host. `options` are further settings.
    """
    recorder = Recorder(
        CaptureSettings(
            log_url=f"{service.url}/logs/{log}",
            origin=f"log.example.org/{log}",
            producer="host",
            token=HOST_TOKEN,
            state_dir=state,
            strict=True,
            close_timeout_s=WAIT_S,
            **options,
        )
    )
    recorder.start()
    try:
        deadline = time.monotonic() + WAIT_S
        while True:
            exchange = recorder.new_exchange()
            if exchange is not None:
                recorder.drop(exchange)
                if exchange.receipt_url is not None:
                    break
            assert time.monotonic() < deadline, "enrolled in time"
            time.sleep(0.02)
        while not (may_stop or _is_in_step(recorder)):
            assert time.monotonic() < deadline, "heard in time"
            time.sleep(0.02)
        yield recorder
    finally:
        recorder.close()
    if may_stop:
        return
    assert recorder.metrics.get("sender.stopped") == recorder.metrics.get("sender.conflicts") == 0


def _is_in_step(recorder: Recorder) -> bool:
    """Whether the log has said where our chain ends: before that nothing is promised."""
    running = recorder.running
    return running is not None and running.sender is not None and running.sender.is_in_step


def record(recorder: Recorder, number: int) -> tuple[str, str]:
    """Record a decision: its id and the address of its receipt."""
    exchange = recorder.new_exchange()
    assert exchange is not None
    request, response = f'{{"n":{number}}}'.encode(), b'{"label":"approved"}'
    exchange.request.update(request)
    exchange.response.update(response)
    recorded = recorder.record(
        Observation(
            exchange=exchange,
            operation="chat",
            capture="asgi",
            duration_us=1000,
            ended="ok",
            request=ObservedBody(request),
            response=ObservedBody(response),
        )
    )
    assert recorded is not None
    assert exchange.receipt_url is not None
    return recorded.id, exchange.receipt_url


def receipt_at(url: str) -> bytes:
    """The receipt, waited for as its reader would."""
    deadline = time.monotonic() + WAIT_S
    while True:
        with urllib.request.urlopen(url, timeout=10) as answer:
            if answer.status == 200:
                return bytes(answer.read())
        assert time.monotonic() < deadline, "a receipt in time"
        time.sleep(0.05)
