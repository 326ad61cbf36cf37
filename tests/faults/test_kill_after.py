"""Death right after any step took effect, and bits that flip: the next start is whole, or refuses to sign."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auditlog.errors import AuditLogError, Pushback, RollbackError, StorageError
from auditlog.log import HighWaterFile, LogConfig, Stores, open_log
from auditlog.storage.memory import Fault
from tests.support.faulty_store import Killed, StepStore, flip_bit
from tests.support.testlog import FakeProducer, ManualWorkers, TestBench


def prepared(entries: int = 247) -> tuple[TestBench, FakeProducer]:
    """A published log whose next batch fills the first tile."""
    bench = TestBench(visibility="public")
    bench.create()
    producer = bench.started("a")
    bench.send(producer, [producer.decide(n) for n in range(entries)])
    bench.publish()
    return bench, producer


def open_dying(bench: TestBench, steps: int) -> None:
    """Open the log on stores that die after so many writes took effect."""
    left = [steps]
    stores = Stores(
        StepStore(bench.public, left),
        StepStore(bench.private, left),
        StepStore(bench.staging, left),
        bench.state,
    )
    bench.workers = ManualWorkers()
    bench.log = open_log(
        bench.config, stores, bench.signer, bench.clock, outside=[bench.outside], engine=bench.workers
    )


@pytest.mark.parametrize("steps", range(14))
def test_death_after_each_write(steps: int) -> None:
    """However many writes took effect before death, the next start finishes them, and nothing is lost."""
    bench, producer = prepared()
    batch = [producer.decide(n) for n in range(300, 330)]
    try:
        open_dying(bench, steps)
        bench.send(producer, batch)
        bench.publish()
    except Killed:
        pass
    bench.restart()
    bench.send(producer, batch)
    bench.publish()
    assert len(bench.audit()) == 250 + 30


@pytest.mark.parametrize("steps", range(8))
def test_death_while_recovering(steps: int) -> None:
    """A start that dies is repeated by the next start."""
    bench, producer = prepared()
    batch = [producer.decide(n) for n in range(300, 330)]
    open_dying(bench, 0)  # staged and committed in this life, dead before the tiles
    with pytest.raises(Killed):
        bench.send(producer, batch)
    try:
        open_dying(bench, steps)
        bench.publish()
    except Killed:
        pass
    bench.restart()
    bench.send(producer, batch)
    bench.publish()
    assert len(bench.audit()) == 250 + 30


@pytest.mark.parametrize("bit", [0, 8 * 19 + 3, 8 * 60, 5_000, 70_001])
def test_a_flipped_bit_in_staging_is_found_before_signing(bit: int) -> None:
    """A start whose staged object changed by one bit refuses, and signs nothing."""
    bench, _ = prepared()
    (name,) = bench.staging.objects
    flip_bit(bench.staging, name, bit)
    before = dict(bench.public.objects)
    with pytest.raises(StorageError, match="staged object"):
        bench.restart()
    assert bench.public.objects == before


def test_every_byte_of_the_staged_object_counts() -> None:
    """No byte of a staged object can change unnoticed."""
    bench, producer = prepared(20)
    bench.send(producer, [producer.decide(n) for n in range(300, 560)])
    (name,) = bench.staging.objects
    whole = bench.staging.objects[name]
    for byte in range(0, len(whole), 997):
        flip_bit(bench.staging, name, byte * 8 + 1)
        with pytest.raises(StorageError):
            bench.restart()
        bench.staging.objects[name] = whole
    bench.restart()


def test_a_flipped_bit_in_a_tile_of_the_last_commit_is_found() -> None:
    """A full tile or bundle that changed after it was applied stops the next start."""
    for path in ("tile/0/000", "tile/entries/000"):
        bench, producer = prepared()
        bench.send(producer, [producer.decide(n) for n in range(300, 330)])
        flip_bit(bench.public, path, 4_321)
        with pytest.raises(StorageError, match=path):
            bench.restart()


def test_a_bit_that_flips_on_the_way_to_the_disk_is_found() -> None:
    """What comes back from staging is hashed before it is signed: a flip there is pushed back, then goes
    well.
    """
    bench, producer = prepared()
    log = bench.log
    assert log is not None
    real = bench.staging.get

    def flipped(path: str) -> bytes | None:
        data = real(path)
        return data and data[:-1] + bytes([data[-1] ^ 1])

    bench.staging.get = flipped  # type: ignore[method-assign]
    batch = [producer.decide(n) for n in range(300, 330)]
    before = bench.state.read()
    with pytest.raises(Pushback, match="staged object"):
        bench.send(producer, batch)
    assert bench.state.read() == before
    bench.staging.get = real  # type: ignore[method-assign]
    assert bench.send(producer, batch).count == 30


def test_a_damaged_tile_gives_no_receipt() -> None:
    """A proof that does not lead to the signed root is an error here, not in somebody's hands."""
    bench, producer = prepared(600)
    bench.send(producer, [producer.decide(1000)])
    bench.publish()
    flip_bit(bench.public, "tile/0/000", 777)
    log = bench.restart()
    with pytest.raises(StorageError, match="damage"):
        log.receipts.issue(10)
    assert producer.seq == 601


def test_a_lost_staging_folder_is_named() -> None:
    """Without the staged object of the committed tree there is no start, and the message says what is
    missing.
    """
    bench, _ = prepared()
    bench.staging.objects.clear()
    with pytest.raises(StorageError, match="expected the staged object of the committed tree of size 250"):
        bench.restart()


def test_another_key_does_not_open_the_log() -> None:
    """A log signed by another key of the same name is refused before anything is signed."""
    from auditlog.core.note import Ed25519Signer

    bench, _ = prepared()
    bench.signer = Ed25519Signer.from_seed(bench.signer.name, b"\x01" * 32)
    with pytest.raises(StorageError, match="signed by"):
        bench.restart()


def test_an_old_backup_of_the_stores_is_refused() -> None:
    """Database and folders from before the last batch, restored together: the guard outside knows better."""
    import copy

    bench, producer = prepared()
    backup = copy.deepcopy([bench.public.objects, bench.staging.objects])
    state = bench.state.saved()
    bench.send(producer, [producer.decide(n) for n in range(300, 330)])
    bench.public.objects, bench.staging.objects = backup
    bench.state.restore(state)
    with pytest.raises(RollbackError, match="at least 280 entries"):
        bench.restart()


def test_a_larger_published_checkpoint_is_refused() -> None:
    """What the world was shown cannot be larger than what the database holds."""
    bench, producer = prepared()
    state = bench.state.saved()
    staging = dict(bench.staging.objects)
    bench.send(producer, [producer.decide(n) for n in range(300, 330)])
    bench.publish()
    bench.state.restore(state)
    bench.staging.objects = staging
    bench.outside.note = None
    bench.settings = {"allow_unguarded": True}
    with pytest.raises(RollbackError, match="published checkpoint"):
        bench.restart()


def test_every_error_of_a_start_is_ours() -> None:
    """Garbage in any stored object gives an error of this project, or a healthy log; never a traceback."""
    bench, producer = prepared(300)
    bench.send(producer, [producer.decide(n) for n in range(300, 330)])
    for store in (bench.public, bench.staging):
        for path in list(store.objects):
            whole = store.objects[path]
            for garbage in (b"", b"\xff" * 40, whole[: len(whole) // 3], whole + b"\x00"):
                store.objects[path] = garbage
                with contextlib.suppress(AuditLogError):
                    bench.restart()
                store.objects[path] = whole
    assert isinstance(bench.config, LogConfig)
    bench.restart()
    bench.publish()
    bench.audit()


@pytest.mark.parametrize("changed", [{"seq": 5}, {"index": 0}, {"index": 10**6}, {"leaf_hash": bytes(32)}])
def test_a_damaged_row_of_the_logs_own_chain_is_found_before_signing(changed: dict[str, Any]) -> None:
    """The log's own chain goes on from what the database says; if the tree differs, no start."""
    bench, _ = prepared()
    committed = bench.state.read()
    assert committed is not None
    bench.state._committed = replace(committed, own_head=replace(committed.own_head, **changed))
    with pytest.raises(StorageError, match="log's own"):
        bench.restart()
    bench.state._committed = committed
    bench.restart()


def test_a_torn_object_beside_the_committed_one_is_no_reason_to_refuse() -> None:
    """Two staged objects can lead to one tree, if a commit came late; the one given up may be torn."""
    bench, producer = prepared()
    batch = [producer.decide(n) for n in range(300, 310)]
    bench.fault = lambda operation, path: Fault.STORED if operation == "staging.delete" else None
    bench.send(producer, batch)
    (name,) = [name for name in bench.staging.objects if name.startswith("250-260-")]
    bench.staging.objects[name.replace("250-", "1-", 1)] = bench.staging.objects[name][:100]
    bench.restart()
    bench.publish()
    assert len(bench.audit()) == 260


def test_a_high_water_mark_never_goes_back(tmp_path: Path) -> None:
    """Another process may commit between our commit and our record: the larger tree is what is remembered."""
    bench, producer = prepared()
    guard = HighWaterFile(tmp_path / "guard" / "mark", bench.signer.verifier)
    old = bench.contract.committed[-1]
    bench.send(producer, [producer.decide(300)])
    new = bench.contract.committed[-1]
    for note in (old, new, old):
        guard.record(note)
    seen = guard.newest()
    assert seen is not None
    assert seen.tree_size == 251
    guard.path.write_text("garbage")
    guard.record(old)
    assert guard.path.read_text() == old, "a torn mark is written anew"


def test_a_refused_start_says_what_to_do() -> None:
    """The operator reads which folder, which flag and what it means; nothing was signed."""
    bench, producer = prepared()
    state, staged = bench.state.saved(), dict(bench.staging.objects)
    bench.send(producer, [producer.decide(300)])
    newer = bench.state.saved(), dict(bench.staging.objects)
    bench.state.restore(state)
    bench.staging.objects = staged
    with pytest.raises(
        RollbackError, match=r"Nothing was signed\. .* newest database together with the newest"
    ):
        bench.restart()
    bench.state.restore(newer[0])
    bench.staging.objects = newer[1]
    bench.outside.note = None
    with pytest.raises(RollbackError, match=r"`allow_unguarded_start = true` .* `unguarded_start`"):
        bench.restart()
