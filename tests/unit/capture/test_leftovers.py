"""Names that are taken, and entries that other lives left behind: nothing is stranded, and `doctor` tells."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditlog.capture import CaptureSettings, Observation, Recorder, leftovers
from auditlog.capture.backlog import SendingNote, read_backlog, read_note
from auditlog.capture.slots import acquire_slot
from auditlog.cli.checks_capture import check_capture
from auditlog.cli.findings import Finding
from auditlog.core.entry import Entry
from tests.support.fake_service import TAKEN, FakeLog, problem


@pytest.fixture
def log() -> FakeLog:
    """An honest log."""
    return FakeLog()


@pytest.fixture
def url(log: FakeLog) -> Iterator[str]:
    """Its address on loopback."""
    with log.serve() as address:
        yield address


@pytest.fixture
def make(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Recorder]]:
    """Makes recorders that look for leftovers soon; all are closed at the end."""
    monkeypatch.setattr(leftovers, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(leftovers, "EVERY_S", 0.05)
    made: list[Recorder] = []

    def build(**changes: Any) -> Recorder:
        settings = {"log_url": url, "producer": "p", "state_dir": tmp_path / "state", "strict": True}
        recorder = Recorder(
            CaptureSettings(**{"close_timeout_s": 20.0, "heartbeat_s": 0, **settings, **changes})
        )
        made.append(recorder)
        return recorder

    yield build
    for recorder in made:
        recorder.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for a thread to get somewhere."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "expected the recorder to get there, found it stuck"
        time.sleep(0.005)


def decide(recorder: Recorder) -> None:
    """Record one decision."""
    exchange = recorder.new_exchange()
    assert exchange is not None
    recorder.record(
        Observation(exchange=exchange, operation="chat", capture="asgi", duration_us=1, ended="ok")
    )


def leave_behind(make: Callable[..., Recorder], log: FakeLog, **changes: Any) -> None:
    """A life that recorded two decisions which never left the host."""
    log.is_down = True
    recorder = make(close_timeout_s=0.3, **changes)
    decide(recorder)
    decide(recorder)
    recorder.close()
    log.is_down = False


def doctor(state: Path, url: str) -> list[Finding]:
    """What the doctor finds about the slots of a state directory."""
    environ = {"AUDITLOG_LOG": url, "AUDITLOG_STATE": str(state), "AUDITLOG_PRODUCER": "p"}
    found = check_capture(environ)
    return [one for one in found if one.check in {"slot", "unsent", "unrecorded"}]


def test_a_second_state_directory_of_one_name_enrols_under_its_own(
    make: Callable[..., Recorder], log: FakeLog, tmp_path: Path
) -> None:
    """The name is taken by another key: the slot adds the hash of its key, and keeps that name."""
    for state in ("one", "two", "two", "three"):
        recorder = make(state_dir=tmp_path / state)
        decide(recorder)
        recorder.close()
    names = [chain.name for chain in log.chains.values()]
    assert names[0] == "p-0"
    assert len(set(names)) == len(names) == 3
    assert all(name.startswith("p-0-") and len(name) == len("p-0-") + 8 for name in names[1:])
    assert len(log.decisions()) == 4


def test_a_name_of_full_length_still_finds_another(
    make: Callable[..., Recorder], log: FakeLog, tmp_path: Path
) -> None:
    """A producer name has 100 characters at most; the hash takes the place of its end."""
    for state in ("one", "two"):
        recorder = make(state_dir=tmp_path / state, producer="p" * 96)
        decide(recorder)
        recorder.close()
    assert sorted(len(chain.name) for chain in log.chains.values()) == [98, 100]


def test_a_refused_enrolment_is_shown_with_its_reason_and_asked_for_again(
    make: Callable[..., Recorder], log: FakeLog, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log's own words reach the operator; the sender goes on as soon as the log does."""
    monkeypatch.setattr("auditlog.capture.sender.FIRST_WAIT_S", 0.01)
    enrol = log._enrol
    log._enrol = lambda asked: problem(400, "refused", detail=TAKEN)  # type: ignore[method-assign]
    recorder = make()
    decide(recorder)
    until(lambda: recorder.metrics.get("sender.refused") > 1)
    (finding,) = [one for one in doctor(tmp_path / "state", url) if one.check == "slot"]
    assert finding.level == "problem"
    assert TAKEN in finding.text
    log._enrol = enrol  # type: ignore[method-assign]
    until(lambda: len(log.decisions()) == 1)
    recorder.close()
    assert [one.level for one in doctor(tmp_path / "state", url)] == ["ok"]


def test_entries_under_an_older_producer_name_are_sent(
    make: Callable[..., Recorder], log: FakeLog, tmp_path: Path, url: str
) -> None:
    """Drafts and entries that a former name left in the state directory reach the log, each in its chain."""
    first = make(producer="old")
    decide(first)
    first.close()
    leave_behind(make, log, producer="old")
    leave_behind(make, log, producer="older")
    assert [one.level for one in doctor(tmp_path / "state", url)].count("problem") == 2
    recorder = make()
    decide(recorder)
    until(lambda: len(log.decisions()) == 6)
    until(lambda: not read_backlog(tmp_path / "state/slots/older-0").waiting)
    recorder.close()
    assert sorted(chain.name for chain in log.chains.values()) == ["old-0", "older-0", "p-0"]
    assert not [entry for entry in log.entries() if entry.kind == "gap"]
    found = doctor(tmp_path / "state", url)
    assert {one.level for one in found} == {"ok"}, found


def test_an_unclean_end_left_behind_is_declared(
    make: Callable[..., Recorder], log: FakeLog, tmp_path: Path
) -> None:
    """A second worker that was killed and never came back: its chain says so."""
    first = make(producer="gone")
    decide(first)
    first.close()
    (segment,) = (tmp_path / "state/slots/gone-0/spool").glob("*.segment")
    with segment.open("ab") as file:
        file.write(b"torn")
    recorder = make()
    decide(recorder)
    until(lambda: any(entry.kind == "gap" for entry in log.entries()))
    until(lambda: read_backlog(tmp_path / "state/slots/gone-0").waiting == 0)
    recorder.close()
    (gap,) = [entry for entry in log.entries() if entry.kind == "gap"]
    assert gap.body["count"] == "unknown"
    assert {chain.name for chain in log.chains.values()} == {"gone-0", "p-0"}


def test_what_is_settled_is_left_alone(make: Callable[..., Recorder], log: FakeLog) -> None:
    """A slot that ended in order and owes nothing gets no new life."""
    first = make(producer="old")
    decide(first)
    first.close()
    recorder = make()
    decide(recorder)
    until(lambda: len(log.decisions()) == 2)
    time.sleep(0.3)
    recorder.close()
    assert kinds_of(log, "old-0") == ["instance", "decision", "notice"]


def kinds_of(log: FakeLog, name: str) -> list[str]:
    """The kinds of a producer's entries."""
    (chain,) = [chain for chain in log.chains.values() if chain.name == name]
    found: list[Entry] = log.entries(chain.producer)
    return [entry.kind for entry in found]


def test_the_doctor_names_stopped_senders_and_damaged_slots(
    make: Callable[..., Recorder], log: FakeLog, tmp_path: Path, url: str
) -> None:
    """A verdict on a batch, a damaged key, entries nobody sends: problems, each with its reason."""
    log.faults.append("malformed")
    recorder = make()
    decide(recorder)
    until(lambda: recorder.metrics.get("sender.stopped") == 1)
    found = {one.check: one for one in doctor(tmp_path / "state", url)}
    assert found["slot"].level == "problem"
    assert "malformed" in found["slot"].text
    recorder.close()
    found = {one.check: one for one in doctor(tmp_path / "state", url)}
    assert found["unsent"].level == "problem"
    (tmp_path / "state/slots/p-0/producer.key").write_bytes(b"\xff")
    found = {one.check: one for one in doctor(tmp_path / "state", url)}
    assert "expected a private key" in found["slot"].text
    (tmp_path / "state/unguarded").mkdir()
    (tmp_path / "state/unguarded/x.json").write_text("{}")
    assert "unrecorded" in {one.check for one in doctor(tmp_path / "state", url)}


def test_entries_on_their_way_are_no_problem(make: Callable[..., Recorder], tmp_path: Path, url: str) -> None:
    """A slot in use may hold what was recorded a moment ago."""
    recorder = make()
    decide(recorder)
    assert "problem" not in {one.level for one in doctor(tmp_path / "state", url)}
    recorder.close()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"state":"idle","detail":"","acknowledged":"7"}'])
def test_a_note_that_cannot_be_read_hides_nothing(
    make: Callable[..., Recorder], tmp_path: Path, content: bytes
) -> None:
    """Without the sender's word everything in the spool counts as unsent."""
    recorder = make()
    decide(recorder)
    recorder.close()
    slot = tmp_path / "state/slots/p-0"
    assert read_backlog(slot).waiting == 0
    assert json.loads((slot / "sending.json").read_bytes())["state"] in {"idle", "sending"}
    (slot / "sending.json").write_bytes(content)
    assert read_note(slot) == SendingNote()
    assert read_backlog(slot).unsent == 3


def test_a_segment_that_is_no_segment_is_not_a_clean_end(tmp_path: Path) -> None:
    """Damage is never taken for an end in order."""
    slot = acquire_slot(tmp_path, "p")
    slot.spool_dir.mkdir()
    (slot.spool_dir / f"{0:020d}.segment").write_bytes(b"?")
    assert not read_backlog(slot.directory).is_clean
    shutil.rmtree(slot.spool_dir)
    assert read_backlog(slot.directory).is_clean
    slot.release()
