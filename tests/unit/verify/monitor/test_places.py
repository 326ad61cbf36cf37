"""The index of where things are: a promise judged by it is judged as by reading the whole log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auditlog.verify.monitor import walking
from auditlog.verify.monitor.clocks import Limits
from auditlog.verify.monitor.promised import _tiles_about
from auditlog.verify.promise_scan import scan
from auditlog.verify.promise_verdict import read_promise
from auditlog.verify.tlogclient import VerifiedTree
from tests.support import promise_world as worlds
from tests.support.memory_source import MemorySource
from tests.support.monitor_world import Bench, honest
from tests.support.promise_world import Kept, World
from tests.support.tlog_writer import ORIGIN

MADE = [
    "conflict", "other_content", "skipped_number", "skipped_by_gap", "skipped_by_restart", "skipped_life",
    "late", "absent", "declared_lost",
]  # fmt: skip


def _padded(world: World, entries: int) -> None:
    """More of the same producer, in other lives, so that there is something to leave out."""
    for number in range(entries):
        if number % 300 == 150:
            world.restart()
        world.decide()


def _long_ago() -> tuple[World, Kept]:
    """A promise of the middle of a long honest life of lives."""
    world = honest()
    _padded(world, 700)
    kept = world.answer()
    _padded(world, 700)
    return world, kept


@pytest.mark.parametrize("made", [*MADE, "long ago"])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_index_leads_to_all_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str, steps: int
) -> None:
    """The same view as of a full reading, whatever was done to the promise, in one look or several."""
    monkeypatch.setattr(walking, "BATCH_TILES", 1)
    world, kept = _long_ago() if made == "long ago" else getattr(worlds, made)()
    if made != "long ago":
        _padded(world, 700)
    world.publish()
    whole = world.entries
    bench = Bench(tmp_path, world.trust(0), MemorySource({}), origin=ORIGIN, limits=Limits(anchor_s=1e9))
    for step in range(1, steps + 1):
        world.entries = whole[: len(whole) * step // steps]
        source: Any = world.checkpoints.append(_signed(world)) or world.source()
        bench.source.files = source.files  # type: ignore[attr-defined]
        bench.look(1)
    follower = bench.monitor.watches[0].follower
    assert follower.opened is not None
    promise, note = read_promise(kept.note), follower.opened.note
    tiles = _tiles_about(follower, promise, len(whole))
    assert tiles is not None
    tree = VerifiedTree(bench.source, follower.opened.checkpoint)
    quiet: Any = lambda _done, _size: None  # noqa: E731
    assert scan(tree, note, promise, quiet, tiles=tiles) == scan(tree, note, promise, quiet)
    bench.close()


def _signed(world: World) -> str:
    """A checkpoint of what there is, signed by the log alone."""
    cosigners, world.cosigners = world.cosigners, []
    note = world.publish()
    world.cosigners = cosigners
    world.checkpoints.pop()
    return note


def test_an_open_promise_of_a_log_in_a_folder_does_not_cost_a_reading(tmp_path: Path) -> None:
    """Tries after the first fetch few bundles."""
    world = honest()
    world.answer(2600)
    kept = world.answer()
    _padded(world, 10)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "mine").write_text(kept.note)
    bench = Bench(
        tmp_path / "s", world.trust(0), world.serve(), origin=ORIGIN, promises=tmp_path / "p",
        limits=Limits(anchor_s=1e9, stale_s=1e9, slack_s=1e9),
    )  # fmt: skip
    bench.now_us = world.now_s * 1_000_000
    bench.look()
    fetched: list[str] = []
    fetch = bench.source.fetch

    def counting(path: str) -> bytes:
        fetched.append(path)
        return fetch(path)

    bench.source.fetch = counting  # type: ignore[method-assign]
    assert bench.look(61).promises == {"in the log": 1}
    assert 0 < sum("entries" in path for path in fetched) < len(world.entries) // 256
    bench.close()
