"""Witnesses that are ahead of what the log shows here: kept, told in the end, never called the same."""

from __future__ import annotations

from pathlib import Path

from auditlog.cli.monitor_run import _lines
from auditlog.verify.monitor.beside import Beside, Other, checkpoint_path
from auditlog.verify.monitor.page import page
from auditlog.verify.monitor.status import LogStatus
from tests.support.memory_source import MemorySource
from tests.support.monitor_world import Bench, HostWorld, honest
from tests.support.tlog_writer import ORIGIN
from tests.unit.verify.monitor.test_beside import WITHOUT_ANCHORS


def other_branch() -> HostWorld:
    """A log that began as the one of `honest` and went another way, faster."""
    world = honest()
    world.entries[4], world.entries[5] = world.entries[5], world.entries[4]
    return world


def beside_of(world: HostWorld, shown: MemorySource) -> Beside:
    """One witness."""
    key = world.cosigners[0].key.verifier
    return Beside([Other("w0", "http://w0", key)], open_source=lambda _url: shown)


def bench_of(folder: Path, world: HostWorld, shown: MemorySource) -> Bench:
    """A monitor with that witness."""
    world.publish()
    return Bench(
        folder,
        world.trust(),
        world.source(),
        origin=ORIGIN,
        beside=beside_of(world, shown),
        limits=WITHOUT_ANCHORS,
    )


def show(shown: MemorySource, world: HostWorld) -> None:
    """The witness has this world's newest checkpoint."""
    shown.files[checkpoint_path(ORIGIN)] = world.publish().encode()


def said(status: LogStatus) -> str:
    """What the report and the page say of the others."""
    return "\n".join([*(line for line in _lines(status) if "witness w0" in line), page([status], [])])


def test_a_process_a_look_finds_what_one_process_finds(tmp_path: Path) -> None:
    """The witness is always ahead with another branch; each look is a new process: it is told."""
    world, other, shown = honest(), other_branch(), MemorySource({})
    bench = bench_of(tmp_path, world, shown)
    for _ in range(8):
        other.answer(4)
        other.beat()
        show(shown, other)
        world.answer(2)
        world.beat()
        world.serve(bench.source)  # type: ignore[arg-type]
        bench.beside = beside_of(world, shown)
        bench.restart()
        bench.look(10)
    assert bench.words() == ["witness_disagrees"]
    bench.close()


def test_a_log_that_does_not_reach_what_was_cosigned_is_told(tmp_path: Path) -> None:
    """It grows slowly here, far behind the witness: in time that is an alarm, once, and unread."""
    world, other, shown = honest(), other_branch(), MemorySource({})
    other.answer(90)
    show(shown, other)
    bench = bench_of(tmp_path, world, shown)
    statuses = []
    for seconds in (10, 1800, 1700, 200, 600):
        world.beat(seconds)
        world.serve(bench.source)  # type: ignore[arg-type]
        bench.beside = beside_of(world, shown)
        bench.restart()
        statuses.append(bench.look(seconds))
    assert bench.words().count("stale_checkpoint") == 1
    assert [any("another history" in text for text in status.unread) for status in statuses] == [
        False, False, False, True, True,
    ]  # fmt: skip
    assert "same history" not in said(statuses[-1])
    assert "not compared yet" in said(statuses[-1])
    bench.close()


def test_who_has_another_history_is_never_called_the_same(tmp_path: Path) -> None:
    """The report, the page and the JSON: disagrees, after a restart too; a witness that agrees: the same."""
    world, other, shown = honest(), other_branch(), MemorySource({})
    show(shown, world)
    bench = bench_of(tmp_path, world, shown)
    status = bench.look()
    assert said(status).count(f"same history up to {len(world.entries)} entries") == 2
    show(shown, other)
    for _ in range(2):
        status = bench.look(5)
        assert bench.words() == ["witness_disagrees"]
        assert "same history" not in said(status)
        assert said(status).count("ANOTHER HISTORY") == 2
        assert status.to_json()["others"][0]["state"] == "disagrees"
        show(shown, world)
        bench.beside = beside_of(world, shown)
        bench.restart()
    bench.close()
