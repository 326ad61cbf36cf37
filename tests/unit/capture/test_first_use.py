"""The first use of a recorder, by several threads at once, in a process and in its forked child."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from auditlog.capture import CaptureSettings, Recorder, recorder, running, wiring
from auditlog.capture.audited import audited
from auditlog.capture.client import LogClient
from auditlog.capture.messages import Message
from auditlog.capture.process import RecorderSource
from auditlog.capture.running import RunningCapture
from tests.support.drafts import sealed

THREADS, CALLS = 4, 25
WAIT_S = 30.0


def made(tmp_path: Path, **changes: Any) -> Recorder:
    """A recorder that nobody has started, of a log that is not there."""
    return Recorder(
        CaptureSettings(
            log_url="http://127.0.0.1:9/logs/a", producer="p", state_dir=tmp_path, heartbeat_s=0, **changes
        )
    )


def together(act: Callable[[], object]) -> None:
    """Run it in all threads, let go at one instant."""
    gate = threading.Barrier(THREADS)

    def run() -> None:
        gate.wait(WAIT_S)
        for _ in range(CALLS):
            act()

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a slot takes long enough for the others to come meanwhile."""
    opening = RunningCapture.open

    def open_slowly(self: RunningCapture, first: Sequence[Message] = ()) -> None:
        time.sleep(0.1)
        opening(self, first)

    monkeypatch.setattr(RunningCapture, "open", open_slowly)


@pytest.mark.usefixtures("slowly")
@pytest.mark.parametrize("mode", ["fail_open", "fail_closed"])
def test_no_thread_loses_its_first_decisions(tmp_path: Path, mode: Any) -> None:
    """Who comes while another thread starts the recorder waits for it."""
    shared = made(tmp_path, mode=mode)
    decide = audited(recorder=shared)(lambda: {"label": "yes"})
    together(decide)
    assert len(sealed(shared, "decision")) == THREADS * CALLS
    assert shared.metrics.get("unrecorded") == 0


@pytest.mark.usefixtures("slowly")
def test_no_thread_of_a_child_loses_its_first_decisions(tmp_path: Path) -> None:
    """After a fork the child's threads find its own recorder, whichever of them comes first."""
    shared = made(tmp_path)
    source = RecorderSource.of(shared)
    decide = audited(recorder=shared)(lambda: {"label": "yes"})
    decide()
    child = os.fork()
    if child == 0:
        try:
            together(lambda: (decide(), source.get()))
            held = shared.metrics.snapshot()
            shared.close()
            os._exit(0 if held.get("unrecorded", 0) == 0 and held["finished"] == THREADS * CALLS else 1)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    shared.close()


def test_a_child_has_one_recorder_of_its_own(tmp_path: Path) -> None:
    """Threads that ask for it at the same time get the same one."""
    source = RecorderSource({"AUDITLOG_LOG": "http://127.0.0.1:9/logs/a", "AUDITLOG_STATE": str(tmp_path)})
    parents = source.get()
    child = os.fork()
    if child == 0:
        try:
            found: list[object] = []
            together(lambda: found.append(source.get()))
            source.close()
            os._exit(0 if len(set(map(id, found))) == 1 and found[0] is not parents else 1)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    source.close()


def test_a_start_that_hangs_holds_nobody_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waited in vain passes, is counted and declared once the slot is open; nobody waits again."""
    opening, go = RunningCapture.open, threading.Event()

    def open_late(self: RunningCapture, first: Sequence[Message] = ()) -> None:
        assert go.wait(WAIT_S)
        opening(self, first)

    monkeypatch.setattr(RunningCapture, "open", open_late)
    monkeypatch.setattr(recorder, "START_WAIT_S", 0.01)
    shared = made(tmp_path)
    starting = threading.Thread(target=shared.start)
    starting.start()
    while not shared._lock.locked():
        time.sleep(0.001)
    assert [shared.new_exchange() for _ in range(3)] == [None] * 3
    monkeypatch.setattr(recorder, "START_WAIT_S", WAIT_S)
    assert shared.new_exchange() is None
    go.set()
    starting.join()
    assert shared.is_recording
    [gap] = sealed(shared, "gap")
    assert gap["count"] == 4


def test_a_fork_waits_for_a_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No child finds the locks taken that another thread's start holds (those of imports, OpenSSL's), nor
    those of the threads that it began.
    """
    held, inside = threading.Lock(), threading.Event()

    def hold(seconds: float) -> None:
        with held:
            inside.set()
            time.sleep(seconds)

    class SlowClient(LogClient):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            hold(0.2)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(running, "preload", lambda: hold(0.2))
    monkeypatch.setattr(wiring, "LogClient", SlowClient)
    shared = made(tmp_path)
    starting = threading.Thread(target=shared.new_exchange)
    starting.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        os._exit(0 if held.acquire(blocking=False) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    starting.join()
    shared.close()
