"""Lives that cannot record: started again by themselves, counted, declared; and slots deleted under them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditlog.capture import CaptureSettings, Observation, ObservedBody, Recorder
from auditlog.capture import recorder as recorder_module
from auditlog.capture.intake import Intake
from auditlog.capture.messages import Message, Observed
from auditlog.capture.unguarded import Unguarded, claim_unguarded, list_unguarded
from auditlog.core.entry import Entry, format_time
from tests.support.fake_service import FakeLog


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
    """Makes recorders that try again soon; all are closed at the end."""
    monkeypatch.setattr(recorder_module, "RETRY_FIRST_S", 0.05)
    made: list[Recorder] = []

    def build(**changes: Any) -> Recorder:
        settings = {"log_url": url, "producer": "p", "state_dir": tmp_path / "state", "close_timeout_s": 20.0}
        recorder = Recorder(CaptureSettings(**{"heartbeat_s": 0, **settings, **changes}))
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


def decide(recorder: Recorder, body: bytes = b"{}") -> bool:
    """Record one decision; whether it was taken."""
    exchange = recorder.new_exchange()
    if exchange is None:
        return False
    exchange.request.update(body)
    seen = Observation(
        exchange=exchange, operation="chat", capture="asgi", duration_us=1, ended="ok",
        request=ObservedBody(body), response=ObservedBody(b"{}"),
    )  # fmt: skip
    return recorder.record(seen) is not None


def remove(path: Path) -> None:
    """Delete a tree in one step, whatever is being written in it."""
    aside = path.with_name(path.name + ".deleted")
    path.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def gaps(log: FakeLog) -> list[Entry]:
    """The declared gaps."""
    return [entry for entry in log.entries() if entry.kind == "gap"]


def test_start_is_tried_again_and_what_passed_is_declared(
    make: Callable[..., Recorder], log: FakeLog, tmp_path: Path
) -> None:
    """A state directory that cannot be used at first: recording begins without a restart, with the count."""
    state = tmp_path / "state"
    state.write_text("in the way")
    before = time.time_ns() // 1000
    recorder = make()
    recorder.start()
    recorder.register_model(name="m", root=bytes(32), files=1)
    assert [decide(recorder) for _ in range(3)] == [False] * 3
    state.unlink()
    until(lambda: recorder.is_recording)
    assert decide(recorder)
    recorder.close()
    (gap,) = gaps(log)
    assert gap.body["count"] == 3
    assert format_time(before) <= gap.body["from"] <= gap.body["to"] <= gap.time
    (decision,) = log.decisions()
    assert decision.body["model"] != "unregistered"
    assert list_unguarded(state) == []


def test_start_that_fails_leaves_its_slot_free(
    make: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After a failure behind the lock the next try gets the same slot, not the next one."""
    from auditlog.capture.slots import Slot

    load, failures = Slot.load_enrolment, [True, True]

    def flaky(slot: Slot) -> Any:
        if len(failures) == 1:
            failures.clear()
            raise OSError(5, "Input/output error")
        if failures:
            failures.pop()
        return load(slot)

    monkeypatch.setattr(Slot, "load_enrolment", flaky)
    recorder = make()
    recorder.start()
    assert not decide(recorder)
    until(lambda: recorder.is_recording)
    assert [path.name for path in (tmp_path / "state" / "slots").iterdir()] == ["p-0"]


@pytest.mark.parametrize("damage", [b"\xff\xfe\x00", b"", b"PRIVATE+KEY+x", None])
def test_a_damaged_key_costs_a_slot_and_no_decision(
    make: Callable[..., Recorder], log: FakeLog, tmp_path: Path, damage: bytes | None
) -> None:
    """The slot whose key cannot be read, or is gone, is passed over; the next one is taken at once."""
    first = make()
    decide(first)
    first.close()
    key = tmp_path / "state" / "slots" / "p-0" / "producer.key"
    if damage is None:
        key.unlink()
    else:
        key.write_bytes(damage)
    second = make()
    assert decide(second)
    second.close()
    assert sorted(chain.name for chain in log.chains.values()) == ["p-0", "p-1"]
    assert len(log.decisions()) == 2
    assert second.metrics.get("slots_passed_over") == 1


def test_bad_settings_are_declared_by_the_next_life(
    make: Callable[..., Recorder], log: FakeLog, tmp_path: Path
) -> None:
    """A life with wrong settings leaves its count, so that no older clean end covers it."""
    good = make()
    decide(good)
    good.close()
    bad = make(problems=("AUDITLOG_WAIT_MS: expected a number",))
    bad.start()
    assert [decide(bad) for _ in range(4)] == [False] * 4
    bad.close()
    (left,) = list_unguarded(tmp_path / "state")
    assert stat.S_IMODE(left.stat().st_mode) == 0o600
    after = make()
    decide(after)
    after.close()
    assert [gap.body["count"] for gap in gaps(log)] == [4]
    assert list_unguarded(tmp_path / "state") == []


def test_a_life_that_let_nothing_pass_declares_nothing(make: Callable[..., Recorder], log: FakeLog) -> None:
    """Wrong settings without a request are no gap."""
    good = make()
    decide(good)
    good.close()
    bad = make(problems=("AUDITLOG_WAIT_MS: expected a number",))
    bad.start()
    bad.close()
    after = make()
    decide(after)
    after.close()
    assert gaps(log) == []


def test_a_killed_life_without_recording_is_declared_as_unknown(
    make: Callable[..., Recorder], log: FakeLog, tmp_path: Path
) -> None:
    """Nobody knows how many passed in it; the next life says so."""
    good = make()
    decide(good)
    good.close()
    code = (
        "import sys, time, pathlib; from auditlog.capture import CaptureSettings, Recorder\n"
        "state = pathlib.Path(sys.argv[1])\n"
        "r = Recorder(CaptureSettings(log_url='http://x', state_dir=state, problems=('x',)))\n"
        "r.start(); r.new_exchange(); print('up', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "state")], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    beside = make()
    decide(beside)
    beside.close()
    assert gaps(log) == [], "expected a life that still runs to be left alone"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    after = make()
    decide(after)
    after.close()
    assert [gap.body["count"] for gap in gaps(log)] == ["unknown"]


def test_a_disabled_layer_touches_nothing(make: Callable[..., Recorder], tmp_path: Path) -> None:
    """Switched off is no failure: no slot, no thread, no gap; only the mark that it was."""
    (tmp_path / "state").mkdir()
    recorder = make(enabled=False)
    recorder.start()
    assert not decide(recorder)
    recorder.close()
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["disabled"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"from": "x"}', b'{"from": 9, "to": 5, "count": -1}']
)
def test_a_torn_note_reads_as_unknown(tmp_path: Path, content: bytes) -> None:
    """Whatever a crash left of the note, the loss is declared."""
    unguarded = Unguarded(tmp_path, os.urandom)
    unguarded.begin(1_700_000_000_000_000)
    (path,) = list_unguarded(tmp_path)
    assert claim_unguarded(tmp_path, 1_800_000_000_000_000) == []
    unguarded.let_go()
    path.write_bytes(content)
    (claim,) = claim_unguarded(tmp_path, 1_800_000_000_000_000)
    assert claim.losses.count is None
    assert claim.losses.first_us <= claim.losses.last_us
    claim.settled(False)
    assert json.dumps([path.name for path in list_unguarded(tmp_path)]) == json.dumps([path.name])


def test_deleted_state_directory_is_noticed_made_anew_and_declared(
    make: Callable[..., Recorder], log: FakeLog, tmp_path: Path
) -> None:
    """Receipts are no longer promised; a new producer declares the loss and goes on."""
    recorder = make()
    decide(recorder)
    until(lambda: len(log.decisions()) == 1)
    log.is_down = True
    decide(recorder)
    remove(tmp_path / "state")
    until(lambda: not recorder.is_recording)
    log.is_down = False
    until(lambda: recorder.is_recording)
    assert decide(recorder)
    recorder.close()
    first, second = log.chains.values()
    assert first.name == "p-0"
    assert second.name.startswith("p-0-")
    kinds = [entry.kind for entry in log.entries(second.producer)]
    assert sorted(kinds) == ["decision", "gap", "instance", "notice"]
    assert gaps(log)[0].body["count"] == "unknown"


def test_what_passed_is_declared_at_the_end_if_not_before(
    make: Callable[..., Recorder], log: FakeLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ends before its next try uses the end for one."""
    monkeypatch.setattr(recorder_module, "RETRY_FIRST_S", 60.0)
    (tmp_path / "state").write_text("in the way")
    recorder = make()
    recorder.start()
    assert not decide(recorder)
    (tmp_path / "state").unlink()
    recorder.close()
    assert [gap.body["count"] for gap in gaps(log)] == [1]


def test_no_receipt_is_promised_once_the_slot_is_gone(
    make: Callable[..., Recorder], log: FakeLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the deletion being noticed and the new slot no request gets an id or an address."""
    monkeypatch.setattr(recorder_module, "RETRY_FIRST_S", 60.0)
    recorder = make()
    recorder.start()
    until(lambda: (exchange := recorder.new_exchange()) is not None and exchange.receipt_url is not None)
    remove(tmp_path / "state" / "slots" / "p-0")
    until(lambda: not recorder.is_recording)
    assert recorder.new_exchange() is None


def test_a_durable_wait_on_a_deleted_slot_fails(make: Callable[..., Recorder], tmp_path: Path) -> None:
    """A deleted file takes writes without a word; who waits for durability is told the truth."""
    recorder = make()
    recorder.start()
    until((tmp_path / "state/slots/p-0/spool").is_dir)
    assert recorder.running is not None
    assert recorder.running.writer is not None
    recorder.running.writer.ready.result(30)
    exchange = recorder.new_exchange()
    assert exchange is not None
    remove(tmp_path / "state")
    seen = Observation(exchange=exchange, operation="chat", capture="asgi", duration_us=1, ended="ok")
    recorded = recorder.record(seen, want_durable=True)
    if recorded is not None:
        assert recorded.durable is not None
        assert recorded.durable.exception(30) is not None


def test_everything_in_the_state_directory_is_private(make: Callable[..., Recorder], tmp_path: Path) -> None:
    """Directories 0700, files 0600, whatever the umask."""
    before = os.umask(0o022)
    try:
        recorder = make(state_dir=tmp_path / "deep" / "state")
        assert decide(recorder)
        recorder.close()
    finally:
        os.umask(before)
    paths = [tmp_path / "deep", *(tmp_path / "deep").rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_file()} == {0o600}


def test_bodies_go_before_decisions_when_the_queue_is_full(
    make: Callable[..., Recorder], log: FakeLog
) -> None:
    """Every decision is recorded; those whose bodies did not fit say so, and their commitments stand."""
    recorder = make(max_queue_bytes=3_000_000)
    recorder.start()
    until(lambda: len(log.entries()) == 1)
    body = b'{"x":"' + b"y" * 900_000 + b'"}'
    assert all(decide(recorder, body) for _ in range(40))
    recorder.close()
    assert gaps(log) == []
    values = [entry.body["values"] for entry in log.decisions()]
    assert len(values) == 40
    assert {"kept", "not_kept"} == set(values)
    let_go = [entry.body for entry in log.decisions() if entry.body["values"] == "not_kept"]
    assert all(set(one["request"]) == {"commitment"} for one in let_go)
    assert recorder.metrics.get("bodies_let_go") == len(let_go)


def test_only_a_queue_full_of_items_refuses() -> None:
    """Bytes that do not fit make an item lighter; the number of items is the only bound that loses one."""
    intake: Intake[str] = Intake(max_items=3, max_bytes=10)
    assert intake.offer("a", 9, 1, lighten=str.upper)
    assert intake.offer("b", 9, 2, lighten=str.upper)
    assert intake.offer("c", 0, 3, lighten=str.upper)
    assert not intake.offer("d", 0, 4, lighten=str.upper)
    assert intake.take(9, 0.0) == ["a", "B", "c"]
    losses = intake.take_losses()
    assert losses is not None
    assert losses.count == 1


def test_a_group_is_bounded_in_bytes() -> None:
    """What the writer holds no longer counts in the queue, so it takes no more than fits."""
    intake: Intake[Message] = Intake(max_items=9, max_bytes=100)
    for _ in range(4):
        intake.offer(Observed.__new__(Observed), 20, 1)
    assert [len(intake.take(9, 0.0, max_bytes=30)) for _ in range(3)] == [2, 2, 0]


def test_a_request_that_cannot_be_read_names_no_model_it_might_not_have_asked_for(
    make: Callable[..., Recorder], log: FakeLog
) -> None:
    """With adapters registered the default would be a guess: the entry says unregistered."""
    from auditlog.capture.request_fields import read_request_fields

    recorder = make(max_queue_bytes=1)
    recorder.register_model(name="m", root=bytes(32), files=1, adapters=(("lora", bytes(32), 1),)).result(30)
    for _ in range(3):
        exchange = recorder.new_exchange()
        assert exchange is not None
        seen = Observation(
            exchange=exchange, operation="chat", capture="asgi", duration_us=1, ended="ok",
            request=ObservedBody(b'{"model":"lora"}'), read_request=read_request_fields,
        )  # fmt: skip
        recorder.record(seen)
    recorder.close()
    told = {"unregistered" if "adapters" not in e.body else "adapter" for e in log.decisions()}
    models = [e.body["model"] for e in log.decisions() if "adapters" not in e.body]
    assert "adapter" in told
    assert set(models) <= {"unregistered"}
