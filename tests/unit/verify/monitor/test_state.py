"""The monitor's memory: the same whatever the steps, whole whenever it is killed, told exactly once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditlog.core.checkpoint import Checkpoint, sign_checkpoint
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.errors import ConfigurationError
from auditlog.verify.monitor import outbox, walking
from auditlog.verify.monitor.clocks import Limits
from auditlog.verify.monitor.store import Store
from tests.support.memory_source import MemorySource
from tests.support.monitor_world import Bench, comparable, eventful, honest
from tests.support.tlog_writer import ORIGIN, log_files, log_signer

WORLD = eventful()


def serve(size: int) -> MemorySource:
    """The first so many entries, signed."""
    entries = WORLD.entries[:size]
    source = MemorySource(log_files(entries))
    leaves = [hash_leaf(entry) for entry in entries]
    source.files["checkpoint"] = sign_checkpoint(
        Checkpoint(ORIGIN, size, root_hash(leaves)), log_signer()
    ).encode()
    return source


def bench(folder: Path, size: int) -> Bench:
    """A monitor that has not looked yet."""
    limits = Limits(anchor_s=1e9, stale_s=1e9, slack_s=1e9)
    return Bench(folder, WORLD.trust(0), serve(size), origin=ORIGIN, limits=limits)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one look at all of it gives."""
    monitor = bench(tmp_path_factory.mktemp("whole"), len(WORLD.entries))
    monitor.look()
    assert {"counter_mismatch", "entry_malformed", "anchor_fork", "model_changed"} <= set(monitor.words())
    found = comparable(monitor)
    monitor.close()
    return found


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_schedule_gives_the_same_state(
    data: st.DataObject, whole: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """However the log grew between looks, and wherever the monitor was started again."""
    sizes = data.draw(st.lists(st.integers(1, len(WORLD.entries)), max_size=5).map(sorted))
    restarts = data.draw(st.sets(st.integers(0, 6)))
    monitor = bench(tmp_path_factory.mktemp("schedule"), 1)
    for step, size in enumerate([*sizes, len(WORLD.entries)]):
        monitor.source.files = serve(size).files  # type: ignore[attr-defined]
        if step in restarts:
            monitor.restart()
        monitor.look()
    found = comparable(monitor)
    monitor.close()
    assert found == whole


class Killed(BaseException):
    """The process is gone."""


@contextmanager
def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Die at the so-many-th durable act: before or after a transaction, a file, a line."""
    count = [0]

    def tick() -> None:
        count[0] += 1
        if count[0] == step:
            raise Killed

    transaction, write, append = Store.transaction, outbox._write_once, outbox._append

    @contextmanager
    def watched(self: Store) -> Iterator[Any]:
        tick()
        with transaction(self) as connection:
            yield connection
            tick()
        tick()

    def writing(path: Path, content: bytes) -> None:
        tick()
        write(path, content)

    def appending(path: Path, text: str) -> None:
        tick()
        if text and count[0] + 1 == step:
            with path.open("a", encoding="utf-8") as file:
                file.write(text[: len(text) // 2])  # torn
        tick()
        append(path, text)
        tick()

    with monkeypatch.context() as patched:
        patched.setattr(Store, "transaction", watched)
        patched.setattr(outbox, "_write_once", writing)
        patched.setattr(outbox, "_append", appending)
        patched.setattr(walking, "BATCH_TILES", 1)
        yield count


def test_killed_at_every_step_it_goes_on_as_if_never_stopped(
    tmp_path: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each kill a new process gets to the same state; every alarm is told once, and has its file."""
    step, is_through = 0, False
    while not is_through:
        step += 1
        monitor = bench(tmp_path / str(step), len(WORLD.entries))
        with killed_at(step, monkeypatch):
            try:
                monitor.look()
                is_through = True
            except Killed:
                pass
        monitor.restart()
        monitor.look()
        assert comparable(monitor) == whole, step
        ids = [line["id"] for line in monitor.lines()]
        assert sorted(ids) == sorted(set(ids))
        assert len(ids) == len(whole["alarms"]), step
        assert all((monitor.folder / line["file"]).exists() for line in monitor.lines() if "file" in line)
        monitor.close()
    assert step > 10


def test_two_monitors_do_not_share_a_folder(tmp_path: Path) -> None:
    """The second is refused."""
    first = Store(tmp_path)
    with pytest.raises(ConfigurationError, match="found another"):
        Store(tmp_path)
    first.close()
    first.close()
    Store(tmp_path).close()


def test_a_batch_that_fails_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in the middle of a walk leaves the books as last written; the next look is whole."""
    monitor = bench(tmp_path, len(WORLD.entries))
    fold = monitor.monitor.watches[0].follower.books.fold
    take = fold.take

    def failing(index: int, leaf_hash: bytes, data: bytes) -> None:
        if index == 300:
            raise Killed
        take(index, leaf_hash, data)

    monkeypatch.setattr(fold, "take", failing)
    with pytest.raises(Killed):
        monitor.look()
    status = monitor.look()
    assert status.entries_size == len(WORLD.entries)
    monitor.close()


def test_memory_holds_few_producers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many producers only those of a batch and a bounded cache are in memory."""
    from auditlog.verify.monitor import kept

    monkeypatch.setattr(kept, "CACHED", 8)
    monkeypatch.setattr(walking, "BATCH_TILES", 1)
    world = honest()
    for number in range(600):
        world.enrol(f"gpu-x{number}")
    world.publish()
    monitor = Bench(tmp_path, world.trust(0), world.source(), origin=ORIGIN, limits=Limits(anchor_s=1e9))
    status = monitor.look()
    assert status.producers == 601
    chains = monitor.monitor.watches[0].follower.books.producers.chains
    assert len(chains._clean) + len(chains._touched) <= 8
    assert len(chains) == 601
    monitor.close()
