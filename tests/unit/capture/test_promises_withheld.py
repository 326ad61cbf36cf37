"""When nothing is promised: the log contradicts or refuses us, was not heard yet, or our clock is behind."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditlog.capture import CaptureSettings, Recorder
from auditlog.capture.clocks import HostClock
from auditlog.capture.observation import Settled
from tests.support.fake_service import FakeLog
from tests.unit.capture.test_promised import enrolled, seen, until, wait

DAY_US = 86_400_000_000
DURABLE = Settled(None, is_durable=True)

Make = Callable[..., Recorder]


@pytest.fixture
def log() -> FakeLog:
    """An honest log that says how long it may take."""
    log = FakeLog()
    log.max_merge_delay_s = 60
    return log


@pytest.fixture
def make(tmp_path: Path, log: FakeLog) -> Iterator[Make]:
    """Makes recorders on one state directory, their clock off by `offset_us`; all are closed at the end."""
    made: list[Recorder] = []
    with log.serve() as url:

        def build(offset_us: int = 0, **changes: Any) -> Recorder:
            settings = {
                "log_url": url, "origin": log.origin, "producer": "p", "state_dir": tmp_path / "state",
                "heartbeat_s": 0, "close_timeout_s": 20.0,
            }  # fmt: skip
            recorder = Recorder(
                CaptureSettings(**{**settings, **changes}), clock=lambda: time.time_ns() // 1000 + offset_us
            )
            recorder.start()
            made.append(recorder)
            return recorder

        yield build
        for recorder in made:
            recorder.close()


def is_in_step(recorder: Recorder) -> bool:
    """Whether the log takes what the recorder sends."""
    running = recorder.running
    return running is not None and running.sender is not None and running.sender.is_in_step


def test_a_restored_snapshot_promises_nothing(make: Make, log: FakeLog, tmp_path: Path) -> None:
    """The log has entries that the restored host forgot: not one of its new entries can get in."""
    enrolled(make()).close()
    shutil.copytree(tmp_path / "state", tmp_path / "snapshot")
    recorder = enrolled(make())
    wait(recorder)
    recorder.close()
    shutil.rmtree(tmp_path / "state")
    shutil.copytree(tmp_path / "snapshot", tmp_path / "state")
    recorder = make()
    settled = [wait(recorder)[1]]
    until(lambda: recorder.metrics.get("sender.stopped"))
    settled += [wait(recorder)[1] for _ in range(3)]
    assert settled == [DURABLE] * 4


def test_a_log_that_will_not_take_an_entry_ends_the_promises(make: Make, log: FakeLog) -> None:
    """422 for a batch: no later entry can get in either, so none is promised, or shown at the log."""
    recorder = enrolled(make())
    log.faults.extend(["malformed"] * 10)
    wait(recorder)
    until(lambda: recorder.metrics.get("sender.stopped"))
    shown = dict(log.promises or {})
    recorder.record(seen(recorder))
    assert wait(recorder)[1] == DURABLE
    recorder.close()
    assert log.promises == shown


def test_a_refused_token_withholds_promises_until_it_is_taken(make: Make, log: FakeLog) -> None:
    """401: nothing is promised, while it is tried again too; with the token taken again promises go on."""
    recorder = enrolled(make())
    log.token = "another"
    wait(recorder)
    until(lambda: recorder.metrics.get("sender.refused"))
    assert [wait(recorder)[1] for _ in range(3)] == [DURABLE] * 3
    log.token = None
    until(lambda: is_in_step(recorder))
    settled = wait(recorder)[1]
    assert settled is not None
    assert settled.promise is not None


def test_nothing_is_promised_before_the_log_was_heard_in_this_life(make: Make, log: FakeLog) -> None:
    """A host that starts without its log does not know how late it is; once the log answers it does."""
    enrolled(make()).close()
    log.is_down = True
    recorder = make()
    assert wait(recorder)[1] == DURABLE
    log.is_down = False
    enrolled(recorder)
    settled = wait(recorder)[1]
    assert settled is not None
    assert settled.promise is not None


@pytest.mark.parametrize("is_down", [True, False])
def test_a_clock_behind_the_chain_is_told_and_not_promised_by(
    make: Make, log: FakeLog, is_down: bool
) -> None:
    """Three days back after a restart: entries say so, it is counted, no promise is past due at birth."""
    recorder = enrolled(make())
    wait(recorder)
    recorder.close()
    log.is_down = is_down
    recorder = make(-3 * DAY_US, close_timeout_s=0.3)
    assert [wait(recorder)[1] for _ in range(2)] == [DURABLE] * 2
    if not is_down:
        until(lambda: is_in_step(recorder))
        assert wait(recorder)[1] == DURABLE
    assert recorder.metrics.get("clock_jumps") == 1
    assert any("clock" in problem for problem in recorder.problems)


def test_time_goes_on_from_the_newest_entry() -> None:
    """A small step back across lives stands still; a large one shows, and is doubted until it is made up."""
    now, jumps = [10_000_000], list[int]()
    clock = HostClock(lambda: now[0], steady_s=lambda: 0.0, on_jump=lambda: jumps.append(1))
    before = clock.is_doubtful
    clock.heard(0)
    assert (before, clock.is_doubtful) == (True, False)
    clock.resume(10_500_000)
    assert (clock(), clock.is_doubtful) == (10_500_000, False)
    clock.resume(20_000_000)
    assert (clock(), clock.is_doubtful, clock.jumps) == (10_000_000, True, 1)
    clock.compare(20_000_000)
    clock.compare(10_000_000)
    now[0] = 20_000_000
    assert (clock(), clock.is_doubtful, len(jumps)) == (20_000_000, False, 2)
