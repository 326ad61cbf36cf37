"""What a log does not show: nothing from the start is its right; what is missing among others is withheld."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from auditlog.errors import SourceError
from auditlog.verify.evidence_check import check_evidence
from auditlog.verify.monitor.clocks import Limits
from tests.support.memory_source import MemorySource
from tests.support.monitor_world import Bench, HostWorld, honest
from tests.support.tlog_writer import ORIGIN


class Partly(MemorySource):
    """Answers 503 for what begins with one of `away`."""

    away: tuple[str, ...] = ()

    def fetch(self, path: str) -> bytes:
        """One object, or `SourceError`."""
        if self.away and path.startswith(self.away):
            raise SourceError(f"expected status 200 for {path}, found 503", reason="unreachable")
        return super().fetch(path)


def bench_of(folder: Path, world: HostWorld, **options: object) -> Bench:
    """A monitor of what this world serves."""
    options.setdefault("limits", Limits(anchor_s=1e9, slack_s=1e9))
    world.publish()
    source = Partly(world.source().files)
    bench = Bench(folder, world.trust(0), source, origin=ORIGIN, **options)  # type: ignore[arg-type]
    bench.now_us = world.now_s * 1_000_000
    return bench


def go_on(bench: Bench, world: HostWorld, looks: int, every_s: float) -> None:
    """The log publishes on, and is looked at."""
    for _ in range(looks):
        world.answer()
        world.serve(bench.source)  # type: ignore[arg-type]
        bench.look(every_s)


@pytest.mark.parametrize("away", ["tile/entries/001", "tile/0/001", "tile/1/"])
def test_a_part_behind_503_is_withheld(away: str, tmp_path: Path) -> None:
    """The log signs on, and one part is away for longer than --stale-after: raised once, over its note; and
    nobody says that the log has signed nothing new.
    """
    world = honest()
    world.answer(300)
    bench = bench_of(tmp_path, world)
    bench.look()
    world.answer(300)
    bench.source.away = (away,)  # type: ignore[attr-defined]
    go_on(bench, world, 5, 600)
    assert bench.words() == []
    bench.restart()
    go_on(bench, world, 12, 600)
    assert bench.words() == ["tiles_withheld"]
    (line,) = bench.lines()
    assert check_evidence(bench.evidence(line), world.trust(0)).exit_code == 3
    bench.source.away = ()  # type: ignore[attr-defined]
    assert bench.look(600).is_current
    assert bench.words() == ["tiles_withheld"]
    assert bench.monitor.watches[0].follower.books.standing.stuck == {}
    bench.close()


def test_a_log_that_is_down_is_not_accused(tmp_path: Path) -> None:
    """All of it away for hours between two looks that met only a part of it away."""
    world = honest()
    bench = bench_of(tmp_path, world)
    bench.look()
    for _ in range(3):
        world.answer(300)
        bench.source.away = ("tile/",)  # type: ignore[attr-defined]
        go_on(bench, world, 1, 10)
        bench.source.down = True  # type: ignore[attr-defined]
        go_on(bench, world, 3, 3000)
        bench.source.down = False  # type: ignore[attr-defined]
        go_on(bench, world, 1, 10)
        bench.source.away = ()  # type: ignore[attr-defined]
        go_on(bench, world, 1, 10)
    assert "tiles_withheld" not in bench.words()
    bench.close()


def test_a_log_that_shows_no_tiles_from_the_start_is_not_accused(tmp_path: Path) -> None:
    """404 for each, as with 403: not checked, no alarm, the first time and later."""
    world = honest()
    world.answer(300)
    bench = bench_of(tmp_path, world)
    kept = dict(bench.source.files)  # type: ignore[attr-defined]
    bench.source.files = {"checkpoint": kept["checkpoint"]}  # type: ignore[attr-defined]
    for _ in range(2):
        status = bench.look(10)
        assert (bench.words(), status.alarms, status.is_current) == ([], {}, False)
        assert "could not be read" in status.unread[0]
    bench.close()


def test_an_alarm_before_the_first_checkpoint_stays(tmp_path: Path) -> None:
    """Some tiles are served and others are not: an alarm with a file, in every later report."""
    world = honest()
    world.answer(300)
    bench = bench_of(tmp_path, world)
    files = bench.source.files  # type: ignore[attr-defined]
    for path in [path for path in files if path.startswith("tile/0/001")]:
        del files[path]
    for _ in range(2):
        status = bench.look(10)
        assert status.alarms == {"tiles_withheld": 1}
        bench.restart()
    (line,) = bench.lines()
    assert check_evidence(bench.evidence(line), world.trust(0)).exit_code == 3
    bench.close()


def test_two_producers_of_one_name_are_two_silences(tmp_path: Path) -> None:
    """Both fell silent in the same instant."""
    world = honest()
    bench = bench_of(tmp_path, world, limits=Limits(anchor_s=1e9))
    bench.look()
    watched = bench.monitor.watches[0].follower.books.producers.watched
    first = watched[world.identity]
    watched["ee" * 32] = replace(first)
    bench.look(1)
    bench.look(3000)
    assert bench.words() == ["silent", "silent"]
    bench.close()
