"""A producer's key changes as often as a log allows and not once more: no rotation meets a 422."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from auditlog.capture import CaptureSettings, Recorder
from auditlog.capture.rotation import (
    RotationsUsedUp,
    SlotKeys,
    open_keys,
    refusal_of,
    request_rotation,
)
from auditlog.capture.slots import Slot, take_slot
from auditlog.cli.main import run
from auditlog.core.statements import MAX_ROTATIONS
from tests.support.fake_service import FakeLog
from tests.unit.capture.test_promised import enrolled, until, wait

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def log() -> FakeLog:
    """An honest log."""
    return FakeLog()


@pytest.fixture
def settings(tmp_path: Path, log: FakeLog, monkeypatch: pytest.MonkeyPatch) -> Iterator[CaptureSettings]:
    """Those of a host whose producer is enrolled; the commands read the same."""
    for name in [name for name in os.environ if name.startswith("AUDITLOG_")]:
        monkeypatch.delenv(name)
    with log.serve() as url:
        monkeypatch.setenv("AUDITLOG_LOG", url)
        monkeypatch.setenv("AUDITLOG_STATE", str(tmp_path / "state"))
        found = CaptureSettings(
            log_url=url,
            origin=log.origin,
            producer="p",
            state_dir=tmp_path / "state",
            heartbeat_s=0,
            strict=True,
        )
        recorder = Recorder(found)
        recorder.start()
        enrolled(recorder).close()
        yield found


def held(settings: CaptureSettings) -> Slot:
    """The slot, in nobody else's hands."""
    slot = take_slot(settings.state_dir / "slots" / "p-0")
    assert slot is not None
    return slot


def turned(settings: CaptureSettings, times: int) -> None:
    """Make it so that the key was changed so often."""
    slot = held(settings)
    enrolment = slot.load_enrolment()
    assert enrolment is not None
    slot.save_enrolment(replace(enrolment, rotations=times))
    slot.release()


def turn(keys: SlotKeys) -> None:
    """A rotation that the log takes, and says so twice."""
    following = keys.prepare(os.urandom)
    keys.sealed(following)
    keys.in_force(following.vkey)
    keys.in_force(following.vkey)


def test_rotations_are_counted_once_and_across_lives(settings: CaptureSettings) -> None:
    """The number is in the slot's file; at the limit no next key is made."""
    turned(settings, MAX_ROTATIONS - 3)
    slot = held(settings)
    for _ in range(3):
        enrolment = slot.load_enrolment()
        assert enrolment is not None
        turn(open_keys(slot, enrolment, os.urandom))
    enrolment = slot.load_enrolment()
    assert enrolment is not None
    assert enrolment.rotations == MAX_ROTATIONS
    with pytest.raises(RotationsUsedUp, match="retire this producer and enrol anew"):
        open_keys(slot, enrolment, os.urandom).prepare(os.urandom)
    assert not (slot.directory / "next.key").exists()
    slot.release()


def test_a_running_host_refuses_one_too_many_and_goes_on(settings: CaptureSettings, log: FakeLog) -> None:
    """The request says why, nothing is sealed, and decisions are promised under the key there is."""
    turned(settings, MAX_ROTATIONS)
    directory = settings.state_dir / "slots" / "p-0"
    recorder = Recorder(settings)
    recorder.start()
    enrolled(recorder)
    request_rotation(directory)
    until(lambda: refusal_of(directory))
    settled = wait(recorder)[1]
    assert settled is not None
    recorder.close()
    assert "expected fewer than 61" in str(refusal_of(directory))
    assert "rotation" not in {entry.kind for entry in log.entries()}
    assert recorder.metrics.get("sender.stopped") == 0


def test_the_command_says_that_it_cannot_be_done(settings: CaptureSettings, capsys: Capture) -> None:
    """Exit 2 and what to do instead; nothing is asked of the slot."""
    turned(settings, MAX_ROTATIONS)
    assert run(["producer", "rotate"]) == 2
    assert "auditlog producer retire --slot p-0" in capsys.readouterr().err
    assert not (settings.state_dir / "slots" / "p-0" / "rotate.request").exists()


def test_doctor_warns_while_a_few_are_left(settings: CaptureSettings, capsys: Capture) -> None:
    """From fifty on."""
    words = "retire this producer and enrol anew"
    for times, is_told in ((49, False), (50, True), (MAX_ROTATIONS, True)):
        turned(settings, times)
        run(["doctor"])
        assert (words in " ".join(capsys.readouterr().out.split())) is is_told
