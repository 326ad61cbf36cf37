"""What is done in processes beside the service: the same results, and nothing is lost with a process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auditlog.core.batch import encode_batch
from auditlog.core.merkle import hash_leaves
from auditlog.core.note import Ed25519Verifier
from auditlog.errors import AuditLogError, DamagedStoreError, ImmutableObjectError
from auditlog.log.admission import Batch, CheckedBatch, check_batch, claimed_head
from auditlog.log.aside import BatchesAside, StagerAside
from auditlog.log.config import Layout, Stores, Visibility
from auditlog.log.processes import Processes
from auditlog.log.questions import Nothing
from auditlog.log.stager import Stager
from auditlog.log.tree import EMPTY_TREE, Tree, grow
from auditlog.storage.files import FileStore
from auditlog.storage.memory import MemoryState
from tests.support.testlog import ORIGIN, FakeProducer

LARGE = 600
"""Padding that makes a batch of 60 worth a process."""


@pytest.fixture
def producer() -> FakeProducer:
    """A producer whose number 0 was made already."""
    producer = FakeProducer("host")
    producer.enrolled(b"\x07" * 32)
    producer.start()
    return producer


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Two processes that have started."""
    found = Processes(2, patience_s=2)
    found.ask(Nothing())
    wait_until(lambda: found.running == 2)
    yield found
    found.close()


def wait_until(happens: Callable[[], bool]) -> None:
    """Wait for something that other threads bring about."""
    until = time.monotonic() + 30
    while not happens():
        assert time.monotonic() < until
        time.sleep(0.01)


def framed(batch: Batch) -> Batch:
    """The batch as it comes over the network."""
    return replace(batch, framed=encode_batch(batch.head_note, batch.entries))


def question(batch: Batch, *keys: Ed25519Verifier) -> tuple[Any, ...]:
    """The arguments of a check."""
    return batch, claimed_head(batch), ORIGIN, keys


def same(processes: Processes, asked: tuple[Any, ...]) -> CheckedBatch:
    """Check both ways; the result, which must be one."""
    before = processes.answered
    found = BatchesAside(processes)(*asked)
    assert found == check_batch(*asked)
    assert processes.answered == before + 1
    return found


def test_a_process_finds_what_the_caller_would(processes: Processes, producer: FakeProducer) -> None:
    """Decisions, a start, other kinds, a change of key and an end: findings are equal, member for member."""
    key = producer.signer.verifier
    decisions = [producer.decide(n, pad=LARGE) for n in range(60)]
    assert same(processes, question(framed(producer.batch(decisions)), key)).decides
    gap = producer.seal("coverage", {"model": "unregistered"})
    more = [producer.decide(n, pad=LARGE) for n in range(60)]
    assert same(processes, question(framed(producer.batch([gap, *more])), key)).prev
    last = {"instance": producer.instance, "seq": producer.seq, "leaf_hash": producer.prev.hex()}
    many = [producer.decide(n, pad=LARGE) for n in range(60)]
    last |= {"seq": producer.seq, "leaf_hash": producer.prev.hex()}
    end = producer.seal("retirement", {"producer": producer.producer.hex(), "last": last, "reason": "over"})
    batch = framed(producer.batch([*many, end]))
    assert same(processes, question(batch, key)).retires


@pytest.mark.parametrize("spoilt", ["signature", "entry", "order", "framing"])
def test_refusals_are_those_of_the_caller(processes: Processes, producer: FakeProducer, spoilt: str) -> None:
    """Whatever is wrong with a batch, the error is the one that `check_batch` raises."""
    entries = [producer.decide(n, pad=LARGE) for n in range(60)]
    batch, key = producer.batch(entries), producer.signer.verifier
    if spoilt == "signature":
        key = FakeProducer("another").signer.verifier
    elif spoilt == "entry":
        batch = Batch(batch.head_note, [*entries[:-1], entries[-1].replace(b"chat", b"chap")])
    elif spoilt == "order":
        batch = Batch(batch.head_note, [entries[1], entries[0], *entries[2:]])
    batch = framed(batch)
    if spoilt == "framing":
        batch = replace(batch, framed=b"\xff" * len(batch.framed or b""), entries=entries[:-1])
    asked = question(batch, key)
    with pytest.raises(AuditLogError) as here:
        check_batch(*asked)
    with pytest.raises(type(here.value)) as there:
        BatchesAside(processes)(*asked)
    assert str(there.value) == str(here.value)
    assert vars(there.value) == vars(here.value)
    assert processes.restarts == 0


def test_a_small_batch_starts_nothing(producer: FakeProducer) -> None:
    """What is checked sooner than it is handed over is checked at once."""
    processes = Processes(1)
    small = question(framed(producer.batch([producer.decide(1)])), producer.signer.verifier)
    assert BatchesAside(processes)(*small) == check_batch(*small)
    assert (processes.running, processes.answered) == (0, 0)
    processes.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_dies_or_hangs_costs_nothing(
    processes: Processes, producer: FakeProducer, how: signal.Signals
) -> None:
    """The batch is checked by its caller, and another process takes the place."""
    pids = processes.pids()
    for pid in pids:
        os.kill(pid, how)
    key = producer.signer.verifier
    for _ in range(2):
        batch = framed(producer.batch([producer.decide(n, pad=LARGE) for n in range(60)]))
        asked = question(batch, key)
        assert BatchesAside(processes)(*asked) == check_batch(*asked)
    assert processes.restarts == 2
    asked = question(framed(producer.batch([producer.decide(n, pad=LARGE) for n in range(60)])), key)
    # A batch that comes later starts new ones: not more often than once a second.
    wait_until(lambda: BatchesAside(processes)(*asked).decides and processes.running == 2)
    same(processes, asked)
    assert not set(pids) & set(processes.pids())


def test_none_is_left_behind(processes: Processes, producer: FakeProducer) -> None:
    """After `close` every process has ended, and a batch is checked all the same."""
    pids = processes.pids()
    processes.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert processes.ask(Nothing()) is None
    producer.decide(1)
    asked = question(
        framed(producer.batch([producer.decide(n, pad=LARGE) for n in range(60)])), producer.signer.verifier
    )
    assert BatchesAside(processes)(*asked) == check_batch(*asked)


ENTRIES = [f"entry {number}".encode() for number in range(1000)]
HASHES = hash_leaves(ENTRIES)


def folders(tmp_path: Path, visibility: Visibility = Visibility.HASHES) -> Layout:
    """The stores of a log in folders."""
    public, private, staging = (
        FileStore(tmp_path / name, for_all_to_read=name == "public")
        for name in ("public", "private", "staging")
    )
    return Layout(Stores(public, private, staging, MemoryState()), visibility)


def held(path: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a folder, temporary ones too, with its bytes and mode."""
    return {
        str(each.relative_to(path)): (each.read_bytes(), each.stat().st_mode & 0o777)
        for each in sorted(path.rglob("*"))
        if each.is_file()
    }


def two_commits(stager: Stager) -> list[Tree]:
    """Stage and apply a commit of 300 entries, then one of 700; the trees."""
    trees, at = [EMPTY_TREE], 0
    for end in (300, 1000):
        tree, full = grow(trees[-1], ENTRIES[at:end], HASHES[at:end])
        name, staged = stager.stage(trees[-1], tree, full, ENTRIES[at:end], HASHES[at:end])
        assert staged.bundles == {
            number: ENTRIES[number * 256 : number * 256 + 256] for number in range(at // 256, end // 256)
        }
        stager.apply(name, staged)
        trees.append(tree)
        at = end
    return trees


@pytest.mark.parametrize("visibility", list(Visibility))
def test_a_process_stages_and_applies_as_the_caller_would(
    processes: Processes, tmp_path: Path, visibility: Visibility
) -> None:
    """The same files with the same bytes and modes, and no temporary ones."""
    before = processes.answered
    two_commits(StagerAside(folders(tmp_path / "aside", visibility), processes))
    assert processes.answered == before + 4
    two_commits(Stager(folders(tmp_path / "here", visibility)))
    assert held(tmp_path / "aside") == held(tmp_path / "here")


@pytest.mark.parametrize("when", ["staged", "applied", "both"])
def test_a_process_lost_on_the_way_leaves_the_same_files(
    processes: Processes, tmp_path: Path, when: str
) -> None:
    """Killed before a staged commit is checked, before it is applied, or both times: it is done here."""

    class Killing(StagerAside):
        def stage(self, *arguments: Any) -> Any:
            """Lose every process first."""
            if when != "applied":
                kill_all(processes)
            return super().stage(*arguments)

        def apply(self, *arguments: Any) -> None:
            """The same."""
            if when != "staged":
                kill_all(processes)
            super().apply(*arguments)

    two_commits(Killing(folders(tmp_path / "aside"), processes))
    two_commits(Stager(folders(tmp_path / "here")))
    found = {name: value for name, value in held(tmp_path / "aside").items() if ".tmp/" not in name}
    assert found == held(tmp_path / "here")


def kill_all(processes: Processes) -> None:
    """End every process without a word."""
    for pid in processes.pids():
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("at", [0.1, 0.4, 0.7, 0.99])
def test_a_bit_that_flips_in_the_staged_bytes_is_found(
    processes: Processes, tmp_path: Path, at: float
) -> None:
    """What a process reads is what the disk holds: nothing else is signed."""

    class Flipping(FileStore):
        def put_new(self, path: str, data: bytes) -> None:
            """Store something else."""
            place = int(len(data) * at)
            super().put_new(path, data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])

    layout = folders(tmp_path)
    flipped = replace(layout, stores=replace(layout.stores, staging=Flipping(tmp_path / "staging")))
    tree, full = grow(EMPTY_TREE, ENTRIES, HASHES)
    with pytest.raises(DamagedStoreError):
        StagerAside(flipped, processes).stage(EMPTY_TREE, tree, full, ENTRIES, HASHES)
    wait_until(lambda: not list((tmp_path / ".public.tmp").iterdir()))


def test_entries_of_other_hashes_are_found(processes: Processes, tmp_path: Path) -> None:
    """An entry that changed in memory after it was admitted is not signed, whoever reads it back."""
    changed = [*ENTRIES[:500], b"another", *ENTRIES[501:]]
    tree, full = grow(EMPTY_TREE, changed, hash_leaves(changed))
    with pytest.raises(DamagedStoreError):
        StagerAside(folders(tmp_path), processes).stage(EMPTY_TREE, tree, full, changed, HASHES)


def test_damage_in_the_tree_is_told_by_the_caller(processes: Processes, tmp_path: Path) -> None:
    """Where a tile holds other bytes already, the error is that of a log without processes."""
    layout = folders(tmp_path)
    layout.stores.public.put_new("tile/0/000", b"x" * 8192)
    with pytest.raises(ImmutableObjectError, match="tile/0/000"):
        two_commits(StagerAside(layout, processes))
