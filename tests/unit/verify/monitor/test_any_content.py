"""Entries of any content: alarms and remarks come of them, never the end of a look or of another log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auditlog.core.entry import Entry
from auditlog.verify.completeness import check_completeness
from auditlog.verify.completeness_lives import LONGEST_DELAY_S, Lives
from auditlog.verify.monitor.fold import EntryFold
from auditlog.verify.monitor.running import Watch
from tests.support.monitor_world import Bench, HostWorld, honest
from tests.support.promise_world import World
from tests.support.tlog_writer import ORIGIN, log_signer
from tests.unit.verify.monitor.test_beside import WITHOUT_ANCHORS

TIME = "2026-01-01T00:00:00.000000Z"


def bench_of(folder: Path, world: HostWorld) -> Bench:
    """A monitor of what the world has published."""
    world.publish()
    return Bench(folder, world.trust(), world.source(), origin=ORIGIN, limits=WITHOUT_ANCHORS)


def with_gap(count: Any, **more: Any) -> HostWorld:
    """A log with one declared loss, and life after it."""
    world = HostWorld()
    world.answer()
    body = {"instance": world.instance, "after_seq": 1, "from": TIME, "to": TIME, "count": count}
    world.write("gap", body | more)
    world.beat()
    return world


@pytest.mark.parametrize("count", ["x", "unknown", "", None, True, -1, "9" * 300, [], 3])
@pytest.mark.parametrize("more", [{}, {"at_most": 3}, {"instance": ["list"]}])
def test_a_declared_loss_of_any_form_is_a_gap(tmp_path: Path, count: Any, more: dict[str, Any]) -> None:
    """The monitor tells one gap and goes on to the next entry; completeness ends with a report."""
    world = with_gap(count, **more)
    bench = bench_of(tmp_path, world)
    status = bench.look()
    assert bench.words() == ["gap"]
    assert status.is_current
    checkpoint = bench.monitor.watches[0].follower.opened
    assert checkpoint is not None
    report = check_completeness(world.source(), checkpoint.checkpoint, log_signer().vkey)
    assert [each.kind for each in report.findings].count("gap") == 1
    bench.close()


def genesis_with(delay: Any, monkeypatch: pytest.MonkeyPatch) -> HostWorld:
    """A log whose genesis states this merge delay."""
    write_log = World.write_log

    def odd(self: World, kind: str, body: dict[str, Any]) -> str:
        return write_log(self, kind, body | ({"max_merge_delay_s": delay} if kind == "genesis" else {}))

    monkeypatch.setattr(World, "write_log", odd)
    world = HostWorld()
    monkeypatch.undo()
    world.answer()
    world.beat()
    return world


@pytest.mark.parametrize("delay", ["soon", [1], {}, None, True, -5, "9" * 4000, 10**15])
def test_a_genesis_of_any_form_excuses_no_silence_for_ever(
    tmp_path: Path, delay: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An odd merge delay is none and a huge one is cut; the report says so, and silence is told."""
    bench = bench_of(tmp_path, genesis_with(delay, monkeypatch))
    status = bench.look()
    assert status.is_current
    assert any(text.startswith("merge delay: ") for text in status.reservations)
    bench.look(LONGEST_DELAY_S + 200)
    assert "silent" in bench.words()
    bench.close()


@pytest.mark.parametrize("where", ["chains", "lives", "look"])
def test_a_fault_of_this_program_about_one_entry_is_said_and_the_rest_is_read(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever part fails on it, the entries behind are judged, and the look is not called whole."""
    world = with_gap(3)
    world.beat(recorded=77)
    bench = bench_of(tmp_path, world)

    def fail(*_args: Any, **_named: Any) -> None:
        raise RecursionError

    chains = bench.monitor.watches[0].follower.books.fold.chains
    take = chains.take

    def fail_on_gaps(index: int, leaf_hash: bytes, data: bytes) -> Entry | None:
        if b'"kind":"gap"' in data:
            fail()
        return take(index, leaf_hash, data)

    if where == "chains":
        monkeypatch.setattr(chains, "take", fail_on_gaps)
    elif where == "lives":
        monkeypatch.setattr(Lives, "_gap", fail)
    else:
        monkeypatch.setattr(EntryFold, "_name", fail)
        world.cover(mode="fail_closed")
        world.serve(bench.source)  # type: ignore[arg-type]
    status = bench.look()
    assert status.is_current
    assert "counter_mismatch" in bench.words()
    assert any("could not be judged" in text for text in status.unread)
    assert any("fault of this program" in text for text in status.remarks)
    bench.restart()
    assert any("could not be judged" in text for text in bench.look(5).unread)
    bench.close()


def test_a_fault_of_one_check_does_not_end_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that fails as nobody expected is unread; those after it, and the next look, are made."""
    bench = bench_of(tmp_path, honest())
    bench.look()
    watch, made = bench.monitor.watches[0], []

    def fail(_look: object) -> None:
        raise RecursionError

    monkeypatch.setattr(Watch, "_checks", lambda _self: [fail, made.append])
    status = bench.look(5)
    assert len(made) == 1
    assert any("RecursionError" in text for text in status.unread)
    assert watch.follower.books.standing.looked_us
    monkeypatch.undo()
    assert bench.look(5).unread == ()
    bench.close()
