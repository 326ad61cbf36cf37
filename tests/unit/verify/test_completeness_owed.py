"""Completeness: heartbeats that prove an omission, and statements made so that nothing shows."""

from __future__ import annotations

from typing import Any

import pytest

from auditlog.core.scalars import format_time
from auditlog.verify.completeness import Period
from auditlog.verify.completeness_report import Weight
from tests.unit.verify.test_completeness import Host, busy, kinds


def found(host: Host, **options: Any) -> tuple[set[str], set[str]]:
    """Kinds of contradictions, and of what is incomplete."""
    report = host.report(**options)
    return kinds(report, Weight.CONTRADICTION), kinds(report, Weight.INCOMPLETE)


def leave_out(host: Host, calls: int) -> None:
    """Calls that ended and of which nothing was written."""
    host.counts["started"] += calls
    host.counts["finished"] += calls


def test_a_running_life_owes_what_had_ended_by_the_heartbeat_before() -> None:
    """What was queued at one heartbeat is recorded by the next; what is left out is a contradiction then."""
    host = busy()
    host.counts["started"] += 2
    host.counts["finished"] += 2
    host.beat()
    assert found(host) == (set(), {"unrecorded"})
    for _ in range(2):
        host.world.decide()
        host.recorded += 1
    host.beat()
    assert found(host) == (set(), set())
    leave_out(host, 1)
    host.beat()
    host.beat()
    assert found(host) == ({"unrecorded"}, set())


def test_two_heartbeats_at_once_are_one() -> None:
    """A stop right after a beat leaves no time to record: the stop itself is the limit."""
    host = busy()
    leave_out(host, 1)
    host.beat()
    host.beat(1)
    host.world.decide()
    host.recorded += 1
    host.stop()
    assert found(host) == (set(), set())


@pytest.mark.parametrize(("at_most", "expected"), [(1, {"unrecorded"}), (2, set()), (None, set())])
def test_what_died_with_a_life_is_bounded_by_the_next_ones_gap(
    at_most: int | None, expected: set[str]
) -> None:
    """A gap that says less than the last heartbeat shows contradicts it."""
    host = busy()
    leave_out(host, 2)
    host.beat()
    lost, after = host.world.instance, host.world.seq
    host.restart()
    now = format_time(host.world.now_s * 1_000_000)
    body = {"instance": lost, "after_seq": after, "from": now, "to": now, "count": "unknown"}
    host.world.write("gap", body if at_most is None else body | {"at_most": at_most})
    host.beat()
    assert found(host)[0] == expected


def test_a_killed_life_without_a_gap_owes_all_of_it() -> None:
    """Before the next life has counted nothing is concluded; then it is a contradiction."""
    host = busy()
    leave_out(host, 50)
    host.beat()
    host.restart()
    assert found(host) == (set(), {"unrecorded"})
    host.beat()
    assert found(host) == ({"unrecorded"}, set())


def test_a_declared_loss_of_the_host_is_owed_no_longer() -> None:
    """The operator's own word against itself."""
    host = busy()
    leave_out(host, 5)
    host.beat()
    host.world.declare_lost(host.world.instance, host.world.seq)
    host.restart()
    host.beat()
    assert found(host) == (set(), {"declared_lost"})


@pytest.mark.parametrize("is_stopped", [True, False])
def test_losses_are_declared_by_the_next_heartbeat_or_the_stop(is_stopped: bool) -> None:
    """`lost` without gap entries excuses nothing."""
    host = busy()
    leave_out(host, 95)
    host.counts["lost"] = 95
    host.beat()
    host.stop() if is_stopped else host.beat()
    assert found(host)[0] == {"undeclared", "unrecorded"}
    host = busy()
    leave_out(host, 95)
    host.counts["lost"] = 95
    host.world.gap(host.world.instance, host.world.seq, 95)
    host.beat()
    host.stop() if is_stopped else host.beat()
    assert found(host) == (set(), {"gap"})


def test_a_life_that_goes_on_after_its_end_contradicts_itself() -> None:
    """And its silences count again. The end of the producer alone may follow."""
    host = busy()
    host.stop()
    last = {"instance": host.world.instance, "seq": host.world.seq, "leaf_hash": host.world.prev}
    host.world.write("retirement", {"last": last})
    assert found(host) == (set(), set())
    host = busy()
    host.stop()
    for _ in range(3):
        host.world.now_s += 40_000
        host.decide()
    host.beat()
    assert found(host) == ({"after_stop"}, {"silence"})


def test_the_shortest_interval_ever_stated_counts() -> None:
    """None that is stated later excuses a silence, and one over a day is a finding itself."""
    host = busy()
    host.beat(interval_s=2**53 - 1)
    host.beat(86_400 * 30)
    assert found(host) == (set(), {"interval", "silence"})
    host = busy()
    host.cover(heartbeat_s=0)
    host.beat(86_400 * 3)
    assert found(host) == (set(), {"no_heartbeats", "silence"})


@pytest.mark.parametrize(
    "changed", [{"started": 0, "finished": 0, "recorded": 5}, {"in_flight": 7}, {"deferred": 6}]
)
def test_counters_that_contradict_each_other(changed: dict[str, int]) -> None:
    """More recorded, in flight or deferred than ever started."""
    host = Host()
    host.decide(5)
    host.beat(**changed)
    assert "balance" in found(host)[0]


def test_calls_that_never_end_are_a_finding() -> None:
    """More in flight with every heartbeat and nothing recorded. One that records is busy, no more."""
    for recorded in (0, 1):
        host = busy()
        for _ in range(12):
            host.counts["started"] += 1000
            host.counts["in_flight"] += 1000
            host.decide(recorded)
            host.beat()
        assert found(host) == (set(), set() if recorded else {"in_flight"})


def test_what_waited_too_long_for_the_log_is_a_finding() -> None:
    """Over an hour, and ten times the log's longest delay."""
    for seconds, expected in ((3600, set()), (3601, {"spool"})):
        host = busy()
        host.beat(spool={"entries": 10**6, "bytes": 10**9, "oldest_ms": seconds * 1000})
        host.beat()
        assert found(host) == (set(), expected)


def test_workers_that_never_wrote_and_calls_that_were_refused_are_notes() -> None:
    """Both have honest reasons, and a reader should know."""
    host = busy()
    host.cover(workers=4)
    host.counts["refused"] = 95
    host.beat()
    report = host.report()
    notes = {finding.kind: finding.numbers for finding in report.findings if finding.weight is Weight.NOTE}
    assert report.exit_code == 0
    assert notes["workers"] == {"workers": 4, "producers": 1}
    assert notes["refused"] == {"refused": 95, "calls": 110}


def test_a_life_opened_to_rotate_or_to_drain_needs_no_heartbeat() -> None:
    """No decisions, and over before a heartbeat was due. With decisions, or longer, it needs them."""
    host = busy()
    host.stop()
    host.restart()
    host.world.rotate()
    host.stop()
    assert found(host) == (set(), set())
    host.restart()
    host.world.now_s += 10
    host.stop()
    assert found(host) == (set(), {"no_heartbeats"})
    host = busy()
    host.stop()
    host.restart()
    host.decide()
    host.stop()
    assert found(host) == (set(), {"no_heartbeats"})


def test_a_life_that_ended_without_a_word_lasted_until_the_next() -> None:
    """Nobody knows how long it answered: it needs heartbeats if the next came late."""
    for seconds, expected in ((9, set()), (10, {"no_heartbeats"})):
        host = busy()
        host.stop()
        host.restart()
        host.world.now_s += seconds
        host.restart()
        host.beat()
        assert found(host) == (set(), expected)


@pytest.mark.parametrize("declared", [None, 0, 49, 50])
@pytest.mark.parametrize("is_by_the_next", [False, True], ids=["by itself", "by the next life"])
def test_calls_in_flight_when_a_life_stopped_are_declared_or_open(
    declared: int | None, is_by_the_next: bool
) -> None:
    """50 calls never end: a stop declares them, or the life behind it; else that is said."""
    host = busy()
    host.counts["started"] += 50
    host.counts["in_flight"] += 50
    host.beat()
    life, number = host.world.instance, host.world.seq
    if declared is not None and not is_by_the_next:
        host.world.gap(life, number, declared)
    host.stop()
    if is_by_the_next:
        host.restart()
        if declared is not None:
            host.world.gap(life, number + 1, declared)
        host.stop()
    contradictions, open_ = found(host)
    assert contradictions == set()
    assert ("left_in_flight" in open_) == (declared != 50)


def test_calls_in_flight_that_are_recorded_before_the_stop_are_no_finding() -> None:
    """They ended behind the last heartbeat, in order."""
    host = busy()
    host.counts["started"] += 2
    host.counts["in_flight"] += 2
    host.beat()
    host.world.decide()
    host.world.decide()
    host.stop()
    assert found(host) == (set(), set())


def test_counters_of_a_life_before_the_period_are_not_asked() -> None:
    """What a life left open that was over before the period began is no finding of it; inside it is."""
    host = busy()
    host.counts["started"] += 5
    host.beat(spool={"entries": 3, "bytes": 1, "oldest_ms": 10**9})
    host.beat(engine={"vllm:request_success_total": "0"})
    host.beat(engine={"vllm:request_success_total": "500"})
    host.counts["in_flight"] += 5
    host.beat()
    host.stop()
    over = host.world.now_s
    host.world.now_s += 86_400 * 30
    host.restart()
    host.cover()
    for _ in range(3):
        host.decide()
        host.beat()
    host.stop()
    assert found(host) == (set(), {"spool", "engine", "left_in_flight"})
    assert found(host, period=Period(since=format_time((over + 1) * 1_000_000))) == (set(), set())
    until = Period(until=format_time((over + 1) * 1_000_000))
    assert found(host, period=until) == (set(), {"spool", "engine", "left_in_flight"})


@pytest.mark.parametrize(
    ("about", "at_most", "is_said"),
    [("a", 2, False), ("b", 2, False), ("a", 1, True), ("b", 1, True), (None, 0, True)],
)
def test_a_life_that_died_before_it_was_heard_leaves_the_declaring_to_a_later_one(
    about: str | None, at_most: int, is_said: bool
) -> None:
    """A dies, B dies at once, C declares: about A, or about B, behind which it is lost as well. Or not."""
    host = busy()
    leave_out(host, 2)
    host.beat()
    ended = {"a": (host.world.instance, host.world.seq)}
    host.restart()
    ended["b"] = (host.world.instance, host.world.seq)
    for _ in range(3):
        host.restart()
        if about == "b":
            ended["b"] = (host.world.instance, host.world.seq)
    host.restart()
    assert found(host) == (set(), {"unrecorded"})
    now = format_time(host.world.now_s * 1_000_000)
    if about is not None:
        instance, after = ended[about]
        body = {"instance": instance, "after_seq": after, "from": now, "to": now, "count": "unknown"}
        host.world.write("gap", body | {"at_most": at_most})
    host.beat()
    assert ("unrecorded" in found(host)[0]) == is_said


def test_a_life_that_recorded_and_declared_nothing_has_had_its_say() -> None:
    """Lives without heartbeats do not put the account of a dead one off for ever."""
    host = busy()
    leave_out(host, 50)
    host.beat()
    for _ in range(2):
        host.restart()
        host.decide()
    assert "unrecorded" in found(host)[0]
