"""Everything at once: callers that hang up, a log that dies, hangs and returns, a disk that takes nothing,
workers and hosts killed, restarts, forks, an upgrade under load.

Afterwards, from what the callers hold and what the log shows: every answer that came whole is an entry or
lies in a signed gap, none is counted twice, no promise is broken, and for hang-ups the two counts differ by
at most the connections cut.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.chaos import Machines
from tests.support.chaos_clients import Callers
from tests.support.chaos_judge import Verdict, judge

SETTLED_S = 60.0


@contextmanager
def machines(folder: Path, **environment: str) -> Iterator[Machines]:
    """The log and the model server, ended whatever happens."""
    made = Machines(folder, environment)
    try:
        made.start_log()
        made.start_server()
        yield made
    finally:
        made.end()


def worker_dies(made: Machines, choose: random.Random) -> None:
    """A worker is killed and replaced."""
    made.kill_worker(choose.randrange(8))


def log_dies(made: Machines, choose: random.Random) -> None:
    """The log is killed, stays away for a while, and returns."""
    made.kill_log()
    time.sleep(choose.random())
    made.start_log()


def log_hangs(made: Machines, choose: random.Random) -> None:
    """The log hangs: connections open, nothing answers."""
    made.freeze_log(is_frozen=True)
    time.sleep(0.3 + choose.random())
    made.freeze_log(is_frozen=False)


def disk_fills(made: Machines, choose: random.Random) -> None:
    """No file of the serving host grows for a while."""
    made.fill_disk(is_full=True)
    time.sleep(0.3 + choose.random())
    made.fill_disk(is_full=False)


def host_dies(made: Machines, choose: random.Random) -> None:
    """Parent and workers are killed at one instant, and started again."""
    made.kill_server()
    made.start_server()


def server_restarts(made: Machines, choose: random.Random) -> None:
    """An orderly restart under load."""
    made.stop_server()
    made.start_server()


def upgrade(made: Machines, choose: random.Random) -> None:
    """The previous release serves for a while, then this one takes its state over, both under load."""
    made.stop_server()
    made.start_server(python_path=made.unpack_previous())
    time.sleep(1.0 + choose.random())
    made.stop_server()
    made.start_server()


EVENTS: tuple[Callable[[Machines, random.Random], None], ...] = (
    worker_dies,
    log_dies,
    log_hangs,
    disk_fills,
    host_dies,
    server_restarts,
    upgrade,
)


def run_chaos(
    folder: Path,
    seed: int,
    events: list[Callable[[Machines, random.Random], None]],
    *,
    is_closed: bool = False,
    **environment: str,
) -> Verdict:
    """Load, the events one after another with pauses between, an orderly end; then judge."""
    choose = random.Random(seed)
    with machines(folder, **environment) as made:
        callers = Callers(made.app_port, seed)
        starts = 1
        for event in events:
            time.sleep(0.5 + choose.random())
            event(made, choose)
            starts += {host_dies: 1, server_restarts: 1, upgrade: 2}.get(event, 0)
        time.sleep(0.5)
        callers.stop()
        made.stop_server()
        made.start_server()  # A last life sends what the others left.
        settle(made)
        made.stop_server()
        settle(made)
        verdict = judge(callers, made.entries(), warm_ups=starts + 1, is_closed=is_closed)
    assert verdict.received > 0
    assert verdict.promises > 0, "promises were given"
    return verdict


def settle(made: Machines) -> None:
    """Wait until the log has stopped growing."""
    deadline, size, quiet_since = time.monotonic() + SETTLED_S, -1, time.monotonic()
    while time.monotonic() < deadline:
        found = len(made.entries())
        if found != size:
            size, quiet_since = found, time.monotonic()
        elif time.monotonic() - quiet_since > 2.5:
            return
        time.sleep(0.25)
    raise AssertionError("the log settles in time")


def test_every_whole_answer_is_an_entry_or_in_a_gap(tmp_path: Path) -> None:
    """One of each event under load: covered, counted once, no promise broken."""
    events = [worker_dies, log_dies, disk_fills, host_dies, log_hangs, server_restarts]
    verdict = run_chaos(tmp_path, 1, events)
    print(verdict)


def test_an_upgrade_under_load_keeps_every_promise(tmp_path: Path) -> None:
    """A release back and forth between orderly stops: all of it covered, every promise kept."""
    print(run_chaos(tmp_path, 3, [upgrade]))


def test_fail_closed_leaves_no_whole_answer_out(tmp_path: Path) -> None:
    """In fail_closed every answer that came whole has its entry, whatever was killed."""
    events = [worker_dies, disk_fills, host_dies]
    verdict = run_chaos(tmp_path, 2, events, is_closed=True, AUDITLOG_MODE="fail_closed")
    print(verdict)


@pytest.mark.long
@pytest.mark.xdist_group("chaos")
@pytest.mark.parametrize("seed", range(10, 18))
def test_chaos_for_longer(tmp_path: Path, seed: int) -> None:
    """Random sequences of events."""
    choose = random.Random(seed)
    verdict = run_chaos(tmp_path, seed, choose.choices(EVENTS, k=12))
    print(verdict)


@pytest.mark.long
@pytest.mark.xdist_group("chaos")
@pytest.mark.parametrize("seed", range(30, 34))
def test_chaos_with_fail_closed_for_longer(tmp_path: Path, seed: int) -> None:
    """Random sequences of events in fail_closed."""
    choose = random.Random(seed)
    run_chaos(tmp_path, seed, choose.choices(EVENTS, k=10), is_closed=True, AUDITLOG_MODE="fail_closed")
