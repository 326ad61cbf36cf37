"""Decisions that are awaited, promised, reserved and marked: the recorder against a log in memory."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditlog.capture import CaptureSettings, Observation, ObservedBody, Recorder
from auditlog.capture.attempts import Attempts, at_most, read_left, total
from auditlog.capture.awaiting import record_and_wait
from auditlog.capture.clocks import HostClock
from auditlog.capture.observation import Settled
from auditlog.capture.pace import Pace
from auditlog.core.entry import Entry
from auditlog.core.merkle import hash_leaf
from auditlog.core.note import Ed25519Verifier
from auditlog.core.promise import Promise, check_promise_bytes, open_promise
from auditlog.core.scalars import parse_time
from tests.support.fake_service import FakeLog

REQUEST = b'{"messages":[{"role":"user","content":"hello"}],"temperature":0.7}'
RESPONSE = b'{"choices":[{"text":"hi"}]}'


@pytest.fixture
def log() -> FakeLog:
    """An honest log."""
    return FakeLog()


@pytest.fixture
def make(tmp_path: Path, log: FakeLog) -> Iterator[Callable[..., Recorder]]:
    """Makes recorders on one state directory; all are closed at the end."""
    made: list[Recorder] = []
    with log.serve() as url:

        def build(**changes: Any) -> Recorder:
            settings = {
                "log_url": url, "origin": log.origin, "producer": "p", "state_dir": tmp_path / "state",
                "heartbeat_s": 0, "close_timeout_s": 20.0,
            }  # fmt: skip
            recorder = Recorder(CaptureSettings(**{**settings, **changes}))
            recorder.start()
            made.append(recorder)
            return recorder

        yield build
        for recorder in made:
            recorder.close()


def until(condition: Callable[[], object]) -> None:
    """Wait for a thread of the recorder to get somewhere."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "expected the recorder to get there, found it stuck"
        time.sleep(0.005)


def enrolled(recorder: Recorder) -> Recorder:
    """The recorder, once it may promise."""
    until(lambda: recorder.running and recorder.running.receipt_url("x") and recorder.running.pace.is_quick)
    until(lambda: recorder.running and recorder.running.sender and recorder.running.sender.is_drained)
    return recorder


def seen(recorder: Recorder, **changes: Any) -> Observation:
    """What a hook saw of one call."""
    exchange = recorder.new_exchange()
    assert exchange is not None
    exchange.request.update(REQUEST)
    exchange.response.update(RESPONSE)
    members: dict[str, Any] = {
        "exchange": exchange, "operation": "chat", "capture": "asgi", "duration_us": 1200, "ended": "ok",
        "request": ObservedBody(REQUEST), "response": ObservedBody(RESPONSE),
    }  # fmt: skip
    return Observation(**{**members, **changes})


def wait(
    recorder: Recorder, *, wait_s: float | None = 10, **changes: Any
) -> tuple[Observation, Settled | None]:
    """One decision that is waited for."""
    observation = seen(recorder, **changes)
    return observation, asyncio.run(record_and_wait(recorder, observation, wait_s=wait_s))


def opened(log: FakeLog, note: str) -> Promise:
    """The promise, its signature checked with the key in the log."""
    (chain,) = log.chains.values()
    return open_promise(note, Ed25519Verifier.from_vkey(chain.vkey))


def entry_of(log: FakeLog, observation: Observation) -> tuple[Entry, bytes]:
    """The entry of a decision once the log has it, and its leaf hash."""
    until(lambda: any(e.body["id"] == observation.exchange.id for e in log.decisions()))
    for entry, raw in zip(log.entries(), log.chain().entries, strict=True):
        if entry.kind == "decision" and entry.body["id"] == observation.exchange.id:
            return entry, hash_leaf(raw)
    raise AssertionError("expected the entry, found none")


def gaps(log: FakeLog) -> list[dict[str, Any]]:
    """The bodies of all gaps in the log."""
    return [entry.body for entry in log.entries() if entry.kind == "gap"]


def test_a_promise_names_the_entry_and_the_bytes(make: Callable[..., Recorder], log: FakeLog) -> None:
    """Whoever waits gets the producer's note about exactly this entry and these bytes, due in time."""
    recorder = enrolled(make(merge_by_s=100))
    observation, settled = wait(recorder)
    assert settled is not None
    assert settled.is_durable
    assert settled.promise is not None
    promise = opened(log, settled.promise)
    entry, leaf_hash = entry_of(log, observation)
    assert (promise.instance, promise.seq, promise.leaf_hash) == (entry.instance, entry.seq, leaf_hash)
    assert (promise.time, promise.model) == (entry.time, entry.body["model"])
    assert parse_time(promise.merge_by) - parse_time(promise.time) == 100_000_000
    key = observation.exchange.exchange_key
    check_promise_bytes(promise, exchange_key=key, request=REQUEST, response=RESPONSE)


def test_the_logs_delay_is_promised_where_it_is_longer(
    make: Callable[..., Recorder], log: FakeLog, tmp_path: Path
) -> None:
    """merge-by leaves the log the time it says it needs, in later lives too."""
    log.max_merge_delay_s = 7200
    for _ in range(2):
        recorder = enrolled(make(merge_by_s=100))
        _, settled = wait(recorder)
        assert settled is not None
        assert settled.promise is not None
        promise = opened(log, settled.promise)
        assert parse_time(promise.merge_by) - parse_time(promise.time) == 7_200_000_000
        recorder.close()


def test_an_enrolment_of_the_first_version_learns_the_delay(
    make: Callable[..., Recorder], log: FakeLog, tmp_path: Path
) -> None:
    """Where the enrolment does not say the delay, the log is asked before anything is promised; once."""
    log.says_delay_s = 7200
    for _ in range(2):
        recorder = enrolled(make(merge_by_s=100))
        _, settled = wait(recorder)
        assert settled is not None
        assert settled.promise is not None
        promise = opened(log, settled.promise)
        assert parse_time(promise.merge_by) - parse_time(promise.time) == 7_200_000_000
        recorder.close()
    assert log.requests.count(("GET", "")) == 1


def test_nothing_is_promised_before_the_delay_is_known(make: Callable[..., Recorder], log: FakeLog) -> None:
    """Enrolled by the first version, and the log is away: durable, but not promised."""
    enrolled(make()).close()
    log.is_down = True
    recorder = make(close_timeout_s=0.3)
    until(lambda: recorder.running and recorder.running.receipt_url("x"))
    _, settled = wait(recorder)
    assert settled == Settled(None, is_durable=True)


def test_a_record_that_would_not_be_true_is_a_gap(
    make: Callable[..., Recorder], log: FakeLog, tmp_path: Path
) -> None:
    """Its mark is settled with the gap that declares it, not before: a death between is bounded by it."""
    recorder = enrolled(make())
    running = recorder.running
    assert running is not None
    assert running.attempts is not None
    exchange = recorder.new_exchange()
    assert exchange is not None
    wait(recorder)
    assert running.attempts.outstanding == 1
    recorder.lose(exchange)
    until(lambda: gaps(log))
    until(lambda: running.attempts is not None and running.attempts.outstanding == 0)
    assert [gap["count"] for gap in gaps(log)] == [1]
    counters = recorder.metrics.snapshot()
    assert (counters["started"], counters["finished"], counters["failed"], counters["lost"]) == (2, 1, 1, 1)


def test_a_loss_that_races_an_orderly_stop_is_in_the_last_gap(
    make: Callable[..., Recorder], log: FakeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The life that counted the call declares it: no gap of another life, which would leave it short."""
    recorder = enrolled(make())
    exchange = recorder.new_exchange()
    running = recorder.running
    assert exchange is not None
    assert running is not None
    stop = running.signals.stop

    def stop_and_lose() -> None:
        stop()
        recorder.lose(exchange)

    monkeypatch.setattr(running.signals, "stop", stop_and_lose)
    recorder.close()
    [gap] = gaps(log)
    assert (gap["count"], gap["at_most"]) == ("unknown", 1)
    assert [entry.kind for entry in log.entries()].count("instance") == 1
    recorder.lose(exchange)
    assert recorder._unguarded.losses is None


def test_before_enrolment_nothing_is_promised(make: Callable[..., Recorder], log: FakeLog) -> None:
    """A draft is durable, but nobody can sign for it."""
    log.is_down = True
    _, settled = wait(make(close_timeout_s=0.3))
    assert settled == Settled(None, is_durable=True)


def test_a_log_that_is_away_too_long_ends_the_promises(make: Callable[..., Recorder], log: FakeLog) -> None:
    """Once the oldest unacknowledged entry is older than half the time promised there is no promise; with the
    log back there is.
    """
    recorder = enrolled(make(merge_by_s=2))
    log.is_down = True
    _, first = wait(recorder)
    assert first is not None
    assert first.promise is not None
    until(lambda: wait(recorder)[1] == Settled(None, is_durable=True))
    log.is_down = False
    enrolled(recorder)
    _, last = wait(recorder)
    assert last is not None
    assert last.promise is not None


def test_a_clock_that_is_set_back_is_not_promised_by(make: Callable[..., Recorder], log: FakeLog) -> None:
    """Entries say what the clock says, but a promise by a clock that is behind would be broken by others'."""
    offset_us = 0
    recorder = Recorder(
        make().settings, clock=lambda: time.time_ns() // 1000 + offset_us  # a second slot of the same host
    )  # fmt: skip
    recorder.start()
    enrolled(recorder)
    offset_us = -2 * 86_400_000_000
    observation, settled = wait(recorder)
    assert settled == Settled(None, is_durable=True)
    offset_us = 2 * 86_400_000_000
    _, ahead = wait(recorder)
    assert ahead is not None
    recorder.close()
    times = [parse_time(e.time) for e in log.decisions() if e.body["id"] == observation.exchange.id]
    assert times[0] < time.time_ns() // 1000 - 86_400_000_000


def test_a_small_step_back_holds_the_clock_and_a_large_one_shows() -> None:
    """Steps within a second do not make a chain's times go back; larger ones are written as they are."""
    now = [9_000_000, 10_000_000, 9_500_000, 9_900_000, 10_000_001, 5_000_000, 5_000_001]
    steady = [0.0, 0.0, 1.0]
    jumps: list[int] = []
    clock = HostClock(
        lambda: now.pop(0) if len(now) > 1 else now[0],
        steady_s=lambda: steady[0],
        on_jump=lambda: jumps.append(1),
    )
    assert [clock() for _ in range(5)] == [10_000_000] * 3 + [10_000_001, 5_000_000]
    assert clock.jumps == len(jumps) == 1
    steady[0] = 100.0
    assert clock.latest_us() == 109_000_000


def test_nobody_waits_longer_than_asked_and_the_promise_is_posted(
    make: Callable[..., Recorder], log: FakeLog
) -> None:
    """A disk that is late: the answer leaves without a promise, which is then shown at the log."""
    recorder = enrolled(make())
    hold_disk(recorder, seconds=0.5)
    observation, settled = wait(recorder, wait_s=0.05)
    assert settled is None
    assert recorder.metrics.get("deferred") == 1
    assert log.promises is not None
    until(lambda: observation.exchange.id in (log.promises or {}))
    promise = opened(log, log.promises[observation.exchange.id])
    assert promise.leaf_hash == entry_of(log, observation)[1]


def test_who_does_not_wait_finds_the_promise_at_the_log(make: Callable[..., Recorder], log: FakeLog) -> None:
    """A stream's decision is recorded without waiting; in process there is nobody to promise to."""
    recorder = enrolled(make())
    posted, kept = seen(recorder), seen(recorder, capture="in_process")
    recorder.record(kept)
    recorder.record(posted)
    until(lambda: posted.exchange.id in (log.promises or {}))
    assert kept.exchange.id not in (log.promises or {})


def test_an_earlier_lifes_promises_are_made_again(make: Callable[..., Recorder], log: FakeLog) -> None:
    """What a life could not send is promised again, byte for byte, when the next one has sent it; but nothing
    whose entry does not say that the request was read whole, or that had no caller.
    """
    recorder = enrolled(make(close_timeout_s=0.2))
    log.is_down = True
    part, promised = wait(recorder, request=ObservedBody(), may_promise=False)
    assert promised == Settled(None, is_durable=True)
    call, _ = wait(recorder, capture="in_process", may_promise=False)
    observation, settled = wait(recorder)
    recorder.close()
    assert settled is not None
    log.is_down = False
    make()
    until(lambda: observation.exchange.id in (log.promises or {}))
    assert (log.promises or {})[observation.exchange.id] == settled.promise
    assert not {part.exchange.id, call.exchange.id} & (log.promises or {}).keys()


def test_a_log_without_a_place_for_promises_gets_the_entries(
    make: Callable[..., Recorder], log: FakeLog
) -> None:
    """A refused or failing post of promises never delays a batch."""
    log.promises = None
    recorder = enrolled(make())
    recorder.record(seen(recorder))
    until(lambda: recorder.metrics.get("promises_unposted") == 1)
    recorder.record(seen(recorder))
    until(lambda: len(log.decisions()) == 2)


def test_durability_of_the_log_waits_for_its_200(make: Callable[..., Recorder], log: FakeLog) -> None:
    """AUDITLOG_DURABILITY=log: who waits hears when the log has it, and times out while it has not."""
    recorder = enrolled(make(durability="log"))
    observation, settled = wait(recorder)
    assert settled is not None
    assert settled.promise is not None
    assert observation.exchange.id in {e.body["id"] for e in log.decisions()}
    log.is_down = True
    assert wait(recorder, wait_s=0.2)[1] is None


def test_the_loop_is_woken_once_for_a_group(make: Callable[..., Recorder], log: FakeLog) -> None:
    """Sixty decisions written together cost the event loop a few wake-ups, not sixty."""
    recorder = enrolled(make())
    hold_disk(recorder, seconds=0.3)
    woken = 0

    async def run() -> list[Settled | None]:
        nonlocal woken
        loop = asyncio.get_running_loop()
        wake = loop.call_soon_threadsafe

        def counted(*args: Any, **named: Any) -> Any:
            nonlocal woken
            woken += 1
            return wake(*args, **named)

        loop.call_soon_threadsafe = counted  # type: ignore[method-assign]
        waits = (record_and_wait(recorder, seen(recorder), wait_s=20) for _ in range(60))
        return list(await asyncio.gather(*waits))

    settled = asyncio.run(run())
    assert all(one is not None and one.promise is not None for one in settled)
    assert woken <= 3


def test_a_cancelled_wait_is_recorded_all_the_same(make: Callable[..., Recorder], log: FakeLog) -> None:
    """The caller went away: its decision is in the log, its promise too."""
    recorder = enrolled(make())
    hold_disk(recorder, seconds=0.3)
    observation = seen(recorder)

    async def run() -> None:
        task = asyncio.create_task(record_and_wait(recorder, observation, wait_s=20))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    entry_of(log, observation)
    until(lambda: observation.exchange.id in (log.promises or {}))


def hold_disk(recorder: Recorder, *, seconds: float) -> None:
    """Make the next write to the spool take so long."""
    assert recorder.running is not None
    assert recorder.running.writer is not None
    journal = recorder.running.writer._journal
    append, held = journal.append, [True]

    def slow(records: Any) -> None:
        if held:
            held.clear()
            time.sleep(seconds)
        append(records)

    journal.append = slow  # type: ignore[method-assign]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_disk_that_refuses_stops_promises_and_reservations_and_loses_nothing(
    make: Callable[..., Recorder], log: FakeLog, error: int
) -> None:
    """Full, broken or read-only: answers are not promised, fail_closed refuses; when the disk takes writes
    again the same decision is durable, and there is no gap.
    """
    recorder = enrolled(make())
    assert recorder.reserve()
    recorder.release()
    assert recorder.running is not None
    assert recorder.running.writer is not None
    journal = recorder.running.writer._journal
    append, is_broken = journal.append, True

    def refuse(records: Any) -> None:
        if is_broken:
            raise OSError(error, os.strerror(error))
        append(records)

    journal.append = refuse  # type: ignore[method-assign]
    observation, settled = wait(recorder, wait_s=0.3)
    assert settled is None
    assert not recorder.reserve()
    is_broken = False
    entry_of(log, observation)
    until(recorder.reserve)
    recorder.close()
    assert gaps(log) == []


def test_reservations_hold_places_in_the_queue(make: Callable[..., Recorder]) -> None:
    """What is reserved is nobody else's; record, drop and release give it back."""
    recorder = enrolled(make(max_queue_items=3, mode="fail_closed"))
    assert [recorder.reserve() for _ in range(4)] == [True, True, True, False]
    recorder.release()
    assert recorder.reserve()
    observation = seen(recorder, mode="fail_closed")
    recorder.drop(observation.exchange)
    assert recorder.reserve()
    _, settled = wait(recorder, mode="fail_closed")
    assert settled is not None
    assert settled.is_durable
    assert recorder.reserve()


def test_a_full_spool_is_not_reserved(make: Callable[..., Recorder], log: FakeLog) -> None:
    """fail_closed: no room for the record, no call."""
    recorder = enrolled(make(max_spool_bytes=48 << 10, segment_bytes=8 << 10))
    log.is_down = True
    count = 0
    while recorder.reserve():
        recorder.release()
        wait(recorder, mode="fail_closed")
        count += 1
        assert count < 200
    assert count > 10


def test_a_killed_life_says_how_many_calls_at_most(make: Callable[..., Recorder], log: FakeLog) -> None:
    """Calls begun before a kill -9 bound the gap of the next life: one recorded, one dropped, three open."""
    settings = make().settings
    child = os.fork()
    if child == 0:
        recorder = Recorder(settings)
        recorder.start()
        wait(recorder, wait_s=20)
        dropped = recorder.new_exchange()
        assert dropped is not None
        recorder.drop(dropped)
        for _ in range(3):
            recorder.new_exchange()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    make()
    until(lambda: gaps(log))
    assert [(gap["count"], gap.get("at_most")) for gap in gaps(log)] == [("unknown", 3)]


def test_calls_that_are_still_open_at_the_end_are_declared(
    make: Callable[..., Recorder], log: FakeLog
) -> None:
    """A clean stop with calls in flight says how many may have been answered unrecorded."""
    recorder = enrolled(make())
    recorder.new_exchange()
    recorder.new_exchange()
    recorder.close()
    assert [(gap["count"], gap.get("at_most")) for gap in gaps(log)] == [("unknown", 2)]
    assert log.entries()[-1].body == {"what": "stopped"}


def test_marks_of_another_boot_bound_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks survive a killed process, not a power cut: then there is no bound."""
    marks = Attempts(tmp_path, "ab" * 16)
    for _ in range(5):
        marks.start()
    marks.settle(2)
    marks.close()
    left = read_left(tmp_path, own="cd" * 16)
    assert at_most(left, "ab" * 16) == total(left) == 3
    assert at_most(left, "ef" * 16) is None
    monkeypatch.setattr("auditlog.capture.attempts._boot_id", lambda: b"x" * 36)
    assert at_most(read_left(tmp_path, own="cd" * 16), "ab" * 16) is None
    left[0].path.write_bytes(b"torn")
    assert total(read_left(tmp_path, own="cd" * 16)) is None


def test_a_slow_disk_is_not_waited_for_but_tried_again() -> None:
    """While it is slow one request a second may wait, so that a quick disk is noticed."""
    now = 100.0
    pace = Pace(0.02, steady_s=lambda: now)
    assert pace.is_quick
    for _ in range(10):
        pace.took(0.5)
    assert not pace.is_quick
    now = 102.0
    assert [pace.is_quick, pace.is_quick] == [True, False]
    for _ in range(20):
        pace.took(0.001)
    assert pace.is_quick
    pace.begin()
    now += 1
    assert [pace.is_quick, pace.is_quick] == [True, False]


def test_figures_of_a_slow_disk_are_forgotten_less_and_less_often() -> None:
    """Everybody tries again after a while: what looked slow may have been the application's own doing."""
    now = 100.0
    pace = Pace(0.02, steady_s=lambda: now)
    waits = []
    for _ in range(4):
        for _ in range(10):
            pace.took(0.5)
        since = now
        while not (pace.is_quick and pace.is_quick):
            now += 0.5
        waits.append(now - since)
    assert waits == sorted(waits)
    assert waits[0] < 5 < waits[-1] <= 25


SCRIPT = """
import sys, time
from pathlib import Path
from auditlog.capture import CaptureSettings, Observation, Recorder
recorder = Recorder(CaptureSettings(log_url=sys.argv[1], origin=sys.argv[2], producer="p",
    state_dir=Path(sys.argv[3]), heartbeat_s=0, close_timeout_s=20.0))
recorder.start()
exchange = recorder.new_exchange()
recorder.record(Observation(exchange=exchange, operation="chat", capture="asgi", duration_us=1, ended="ok"))
print("ready", flush=True)
time.sleep(60)
"""


def test_sigterm_ends_a_plain_script_in_order(log: FakeLog, tmp_path: Path) -> None:
    """A script without handlers still dies of the signal, after its decisions and its end are sent."""
    with log.serve() as url:
        arguments = [sys.executable, "-c", SCRIPT, url, log.origin, str(tmp_path / "state")]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            child.terminate()
            assert child.wait(30) == -signal.SIGTERM
    assert [entry.kind for entry in log.entries()][-2:] == ["decision", "notice"]
    assert gaps(log) == []
