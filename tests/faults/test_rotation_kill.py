"""Dying before any change of a file while a key is changed, or a producer ended: the slot can always go on.

Every call that makes something durable or moves a file is a moment to die. Afterwards the slot is taken as
the next start takes it. At the end all entries are in the log in one chain, the rotation or the end is there
at most once, and the slot's key is the one in force.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditlog.capture import CaptureSettings
from auditlog.capture.retiring import is_retired, list_undeclared, renew, request_retirement
from auditlog.capture.rotation import open_keys
from auditlog.capture.slots import NEXT_KEY, Slot, take_slot
from auditlog.capture.tending import tend_slot
from auditlog.core.entry import parse_entry
from auditlog.core.tiles import decode_bundle
from auditlog.service.settings import Settings
from tests.support.live_service import LiveService, create_logs, live_service, write_config
from tests.support.log_audit import check_chains
from tests.support.recording import HOST_TOKEN, record, recording, with_host_token

# The dead close nothing behind them.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)
STEPS = pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.long)])
CALLS = ("fsync", "fdatasync", "replace", "rename", "unlink")


class Killed(BaseException):
    """The process is gone."""


class Death:
    """Dies before the call of this number; counts the calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
        self.seen: list[str] = []
        self._at: int | None = None
        self._state = str(state)
        for name in CALLS:
            monkeypatch.setattr(os, name, self._dying(name, getattr(os, name)))

    def at(self, number: int | None) -> None:
        """From now on count from 0 and die at `number`."""
        self.seen, self._at = [], number

    def _dying(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            where = os.readlink(f"/proc/self/fd/{given[0]}") if type(given[0]) is int else str(given[0])
            if self._at is not None and where.startswith(self._state):
                self.seen.append(name)
                if len(self.seen) > self._at:
                    raise Killed
            return real(*given, **more)

        return call


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A service with one log."""
    folder = tmp_path_factory.mktemp("service")
    settings = with_host_token(Settings.load(write_config(folder), {}))
    create_logs(settings)
    with live_service(settings) as running:
        yield running


def recorded(service: LiveService, state: Path) -> Path:
    """A slot with one decision in the log; its directory."""
    with recording(service, state) as recorder:
        record(recorder, 1)
    return state / "slots" / "host-0"


def tend(service: LiveService, directory: Path, *, rotates: bool) -> str:
    """What the command does, and what the next start does: take the slot, do what is asked, send."""
    settings = CaptureSettings(
        log_url=f"{service.url}/logs/hashes", token=HOST_TOKEN, state_dir=directory.parents[1]
    )
    slot = take_slot(directory)
    assert slot is not None
    try:
        return tend_slot(
            settings,
            slot,
            rotates=rotates,
            clock=lambda: time.time_ns() // 1000,
            rng=os.urandom,
            software="test",
            logger=logging.getLogger("test"),
        )
    finally:
        slot.release()


def state_of(service: LiveService, directory: Path) -> dict[str, Any]:
    """The producer of this slot as the operator sees it."""
    enrolment = Slot(directory, directory.name, None).load_enrolment()
    assert enrolment is not None
    listed = service.get("/logs/hashes/producers", token="admin").json["producers"]
    found: dict[str, Any] = next(each for each in listed if each["producer"] == enrolment.producer)
    return found


def audit(service: LiveService) -> list[bytes]:
    """All chains of the log, whole."""
    heads = service.get("/logs/hashes/producers", token="admin").json["producers"]
    last = max(
        service.get(f"/logs/hashes/producers/{each['producer']}/head", token="read").json["index"]
        for each in heads
    )
    service.await_published("hashes", last + 1)
    size, data = service.get("/logs/hashes").json["size"], []
    for index in range(-(-size // 256)):
        width = min(256, size - 256 * index)
        path = f"{index:03d}" + ("" if width == 256 else f".p/{width}")
        data += decode_bundle(service.get(f"/logs/hashes/tile/entries/{path}", token="read").body)
    check_chains(data)
    return data


@STEPS
def test_a_rotation_killed_anywhere_goes_on(
    service: LiveService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """The next life sends what there is; asked again, it rotates once more or not at all, never half."""
    death = Death(monkeypatch, tmp_path)
    number = 0
    while True:
        directory = recorded(service, tmp_path / str(number))
        death.at(number)
        try:
            outcome = tend(service, directory, rotates=True)
        except Killed:
            outcome = "killed"
        was_reached = len(death.seen) > number
        death.at(None)
        assert tend(service, directory, rotates=False) == "sent"
        slot = Slot(directory, directory.name, None)
        enrolment = slot.load_enrolment()
        assert enrolment is not None
        keys = open_keys(slot, enrolment, os.urandom)
        known = state_of(service, directory)
        assert known["rotations"] in {0, 1}
        assert not keys.is_turning
        assert keys.heads.vkey == known["vkey"]
        assert slot.flaw("log.example.org/hashes") is None
        assert tend(service, directory, rotates=True) == "sent"
        assert state_of(service, directory)["rotations"] == known["rotations"] + 1
        assert not (directory / NEXT_KEY).exists()
        if not was_reached:
            assert outcome == "sent"
            break
        number += step
    assert number > 10, "there were moments to die at"
    kinds = [parse_entry(each).kind for each in audit(service)]
    assert kinds.count("decision") >= number // step + 1


@STEPS
def test_an_end_killed_anywhere_goes_on(
    service: LiveService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """The next life ends it, or finds it ended; the slot is then renewed, however often that is killed."""
    death = Death(monkeypatch, tmp_path)
    number = 0
    while True:
        directory = recorded(service, tmp_path / str(number))
        producer = state_of(service, directory)["producer"]
        request_retirement(directory)
        death.at(number)
        try:
            tend(service, directory, rotates=False)
            renew(directory)
        except Killed:
            pass
        was_reached = len(death.seen) > number
        death.at(None)
        if (directory / "enrolment.json").exists() and not is_retired(directory):
            assert tend(service, directory, rotates=False) in {"sent", "retired"}
        renew(directory)
        listed = service.get("/logs/hashes/producers", token="admin").json["producers"]
        (known,) = [each for each in listed if each["producer"] == producer]
        assert known["state"] == "retired"
        assert not (directory / "producer.key").exists()
        if not was_reached:
            break
        number += step
    assert number > 10
    with recording(service, tmp_path / "0") as recorder:
        record(recorder, 2)
        # What an end that was killed left unsent is a start or a notice, no decision.
        assert all(each.body["count"] == 0 for each in list_undeclared(directory))
    audit(service)
