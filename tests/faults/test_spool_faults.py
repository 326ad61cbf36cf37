"""The spool under torn, refused and misreported writes: what `append` took is there after any
crash, in order.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from auditlog.capture import spool as spool_module
from auditlog.capture.chain import empty_tip
from auditlog.capture.frames import HEADER_BYTES, SEALED, Record
from auditlog.capture.spool import Spool
from auditlog.errors import StorageError

INSTANCE = "ab" * 16
START = empty_tip(bytes(32))


def record(number: int, size: int = 40) -> Record:
    """A record whose bytes tell its number."""
    return Record(INSTANCE, number, 1_000_000 + number, f"{number:08d}".encode() + b"x" * size)


def open_spool(directory: Path, segment_bytes: int = 4096) -> Spool:
    """The spool of a new process life."""
    return Spool(directory, SEALED, segment_bytes=segment_bytes, start=START)


def everything(spool: Spool, first: int | None = None) -> list[Record]:
    """All records, read in small steps as the sender does."""
    number = spool.first if first is None else first
    found: list[Record] = []
    while step := spool.read(number, max_records=7, max_bytes=1000):
        found += step
        number += len(step)
    return found


class Disk:
    """Counts the spool's writes and syncs, and makes the chosen one fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.fail_at: int | None = None
        self.how = "refused"
        self._write, self._sync, self._sync_dir = spool_module.write_all, os.fdatasync, spool_module.sync_dir
        monkeypatch.setattr(spool_module, "write_all", self.write_all)
        monkeypatch.setattr(os, "fdatasync", self.fdatasync)
        monkeypatch.setattr(spool_module, "sync_dir", self.sync_dir)

    def _is_failing(self) -> bool:
        self.calls += 1
        return self.calls - 1 == self.fail_at

    def write_all(self, handle: int, content: bytes) -> None:
        """Write everything, nothing, or a part, then fail."""
        if self._is_failing():
            part = {"refused": 0, "torn": len(content) // 2, "misreported": len(content)}[self.how]
            self._write(handle, content[:part])
            raise OSError(28, "No space left on device")
        self._write(handle, content)

    def fdatasync(self, handle: int) -> None:
        """Sync or fail."""
        if self._is_failing():
            raise OSError(5, "Input/output error")
        self._sync(handle)

    def sync_dir(self, path: Path) -> None:
        """Sync or fail."""
        if self._is_failing():
            raise OSError(5, "Input/output error")
        self._sync_dir(path)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The spool's disk, ready to fail."""
    return Disk(monkeypatch)


def write_groups(spool: Spool, groups: list[list[Record]]) -> None:
    """Append all groups; a group that fails is tried again with the same bytes, as the writer does."""
    for group in groups:
        for _ in range(3):
            try:
                spool.append(group)
            except OSError:
                continue
            break
        else:
            raise AssertionError("the disk only fails once")


GROUPS = [[record(3 * g + i, size=900) for i in range(3)] for g in range(6)]
ALL = [one for group in GROUPS for one in group]


@pytest.mark.parametrize("how", ["refused", "torn", "misreported"])
@pytest.mark.parametrize("is_reloaded", [False, True])
def test_any_single_failure_loses_and_repeats_nothing(
    tmp_path: Path, disk: Disk, how: str, is_reloaded: bool
) -> None:
    """Every write and sync in turn fails; after the retry all records are there once, in order."""
    step = 0
    while True:
        directory = tmp_path / str(step)
        spool = open_spool(directory)
        disk.calls, disk.fail_at, disk.how = 0, step, how
        write_groups(spool, GROUPS)
        is_over = disk.calls <= step
        disk.fail_at = None
        if is_reloaded:
            spool.close()
            spool = open_spool(directory)
        assert everything(spool) == ALL
        spool.append([record(18)])
        spool.close()
        again = open_spool(directory)
        assert everything(again) == [*ALL, record(18)]
        assert again.tip.seq == 18
        again.close()
        if is_over:
            break
        step += 1
    assert step > 8


@pytest.mark.parametrize("how", ["refused", "torn", "misreported"])
def test_crash_right_after_a_failure_keeps_all_that_was_taken(tmp_path: Path, disk: Disk, how: str) -> None:
    """Dying after any failed write leaves a spool that holds every taken group, and at most the
    failed one too.
    """
    for step in range(14):
        directory = tmp_path / f"{how}{step}"
        spool = open_spool(directory)
        disk.calls, disk.fail_at, disk.how = 0, step, how
        taken = 0
        for group in GROUPS:
            try:
                spool.append(group)
            except OSError:
                break
            taken += len(group)
        disk.fail_at = None
        spool.close()
        again = open_spool(directory)
        found = everything(again)
        assert found == ALL[: len(found)]
        assert len(found) >= taken
        again.close()


def test_torn_tail_at_every_byte_is_cut_off(tmp_path: Path) -> None:
    """However short the newest segment was cut, the records before the cut stay and appending goes on."""
    directory = tmp_path / "spool"
    spool = open_spool(directory)
    records = [record(n, size=20) for n in range(6)]
    spool.append(records)
    spool.close()
    (path,) = directory.glob("*.segment")
    content = path.read_bytes()
    frame = (len(content) - HEADER_BYTES) // 6
    for length in range(HEADER_BYTES, len(content) + 1):
        path.write_bytes(content[:length])
        again = open_spool(directory)
        kept = (length - HEADER_BYTES) // frame
        assert everything(again) == records[:kept]
        torn = content[HEADER_BYTES + kept * frame : length]
        assert again.recovery.torn_bytes == len(torn.rstrip(b"\0"))
        assert path.stat().st_size == length - len(torn)
        again.append([record(kept, size=20)])
        assert again.tip.seq == kept
        again.close()
        path.write_bytes(content)


def test_room_left_by_a_killed_process_is_no_torn_write(tmp_path: Path) -> None:
    """A kill leaves the zeros ahead of the records: nothing is torn, and appending goes on."""
    directory = tmp_path / "spool"
    dead, records = open_spool(directory, segment_bytes=1 << 20), [record(n) for n in range(3)]
    dead.append(records)  # never closed
    (path,) = directory.glob("*.segment")
    assert path.stat().st_size > spool_module.PAD_BYTES
    again = open_spool(directory, segment_bytes=1 << 20)
    assert again.recovery.torn_bytes == 0
    again.append([record(3)])
    again.mark_clean()
    again.close()
    assert path.stat().st_size < spool_module.PAD_BYTES
    last = open_spool(directory, segment_bytes=1 << 20)
    assert last.recovery.is_clean
    assert everything(last) == [*records, record(3)]


@pytest.mark.parametrize("lost", [slice(0, 9), slice(40, 60), slice(100, 130)])
def test_a_power_cut_may_leave_any_block_of_the_newest_group(tmp_path: Path, lost: slice) -> None:
    """The room was there before the group: of a group that was never durable any part may be zeros."""
    directory = tmp_path / "spool"
    spool = open_spool(directory, segment_bytes=1 << 20)
    spool.append([record(0)])
    (path,) = directory.glob("*.segment")
    end = len(path.read_bytes().rstrip(b"\0"))
    spool.append([record(1), record(2)])
    content = bytearray(path.read_bytes())
    for at in range(end + lost.start, end + lost.stop):
        content[at] = 0
    path.write_bytes(bytes(content))
    again = open_spool(directory, segment_bytes=1 << 20)
    found = everything(again)
    assert found == [record(0), record(1), record(2)][: len(found)]
    assert 1 <= len(found) < 3
    assert not again.recovery.is_clean
    again.append([record(len(found))])
    assert everything(again) == [*found, record(len(found))]


def test_flipped_bits_anywhere_in_a_single_segment_never_change_a_record(tmp_path: Path) -> None:
    """A flipped byte loses records from there on, but never yields one that was not written."""
    directory = tmp_path / "spool"
    spool = open_spool(directory)
    records = [record(n, size=20) for n in range(4)]
    spool.append(records)
    spool.close()
    (path,) = directory.glob("*.segment")
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x41]) + content[at + 1 :])
        again = open_spool(directory)
        found = everything(again)
        assert found == records[: len(found)]
        again.close()
        for leftover in directory.iterdir():
            leftover.unlink()


def test_damage_before_good_segments_is_set_aside_and_counted(tmp_path: Path) -> None:
    """A rotten frame with segments after it: what follows is kept aside, the tip goes back, the
    loss is counted.
    """
    directory = tmp_path / "spool"
    spool = open_spool(directory)
    for group in GROUPS:
        spool.append(group)
    spool.close()
    segments = sorted(directory.glob("*.segment"))
    assert len(segments) > 3
    content = bytearray(segments[1].read_bytes())
    content[-10] ^= 1
    segments[1].write_bytes(bytes(content))
    again = open_spool(directory)
    found = everything(again)
    assert found == ALL[: len(found)]
    assert again.recovery.lost == len(ALL) - len(found)
    assert not again.recovery.is_clean
    assert len(list(directory.glob("*.damaged"))) == len(segments) - 1
    again.append([record(99)])
    again.close()
    assert everything(open_spool(directory)) == [*found, record(99)]


def test_acknowledged_segments_go_and_the_tip_stays(tmp_path: Path) -> None:
    """After everything was acknowledged the disk holds one segment, and a restart still knows the tip."""
    directory = tmp_path / "spool"
    spool = open_spool(directory)
    for group in GROUPS:
        spool.append(group)
    before = spool.size_bytes
    spool.acknowledge(18)
    assert spool.size_bytes < before / 3
    assert spool.pending == 0
    spool.close()
    again = open_spool(directory)
    assert (again.tip.seq, again.next) == (17, 18)
    assert again.read(18, max_records=5, max_bytes=1000) == []
    with pytest.raises(StorageError, match="dropped"):
        again.read(0, max_records=5, max_bytes=1000)


def test_clean_mark_is_taken_back_by_the_next_record(tmp_path: Path) -> None:
    """Only a mark with nothing after it says that the process ended in order."""
    directory = tmp_path / "spool"
    for mark in (True, False, True):
        spool = open_spool(directory)
        spool.append([record(0)])
        if mark:
            spool.mark_clean()
        spool.close()
        again = open_spool(directory)
        assert again.recovery.is_clean is mark
        again.close()


def test_reader_never_sees_what_is_not_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the sync of a group is under way the reader gets nothing of it."""
    spool = open_spool(tmp_path / "spool")
    spool.append([record(0)])
    seen: list[list[Record]] = []
    sync = os.fdatasync

    def slow_sync(handle: int) -> None:
        seen.append(everything(spool))
        sync(handle)

    monkeypatch.setattr(os, "fdatasync", slow_sync)
    spool.append([record(1)])
    assert seen == [[record(0)]]
    assert everything(spool) == [record(0), record(1)]


def test_reading_on_from_any_number_gives_the_same_records(tmp_path: Path) -> None:
    """Resuming in the middle of a segment (after a conflict) reads exactly from there."""
    spool = open_spool(tmp_path / "spool")
    for group in GROUPS:
        spool.append(group)
    for start in range(18):
        assert everything(spool, start) == ALL[start:]


def test_damage_while_running_is_reported_not_skipped(tmp_path: Path) -> None:
    """A frame that rots under a running sender is an error, never a silently shorter answer."""
    directory = tmp_path / "spool"
    spool = open_spool(directory, segment_bytes=1 << 20)
    spool.append(ALL)
    (path,) = directory.glob("*.segment")
    content = bytearray(path.read_bytes())
    content[len(content.rstrip(b"\0")) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(StorageError, match="damaged"):
        everything(spool)


def test_kill_between_any_two_steps_of_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the directory taken before every system call recovers to all that was taken by then."""
    directory = tmp_path / "spool"
    spool = open_spool(directory)
    copies: list[tuple[Path, int]] = []
    taken = 0

    def snapshot() -> None:
        target = tmp_path / f"copy{len(copies)}"
        shutil.copytree(directory, target)
        copies.append((target, taken))

    for name in ("write_all", "sync_dir"):
        real = getattr(spool_module, name)

        def before(*args: object, real: Callable[..., None] = real) -> None:
            snapshot()
            real(*args)
            snapshot()

        monkeypatch.setattr(spool_module, name, before)
    for group in GROUPS:
        spool.append(group)
        taken += len(group)
        spool.acknowledge(taken - 4)
    for copy, count in copies:
        again = open_spool(copy)
        found = everything(again)
        assert found == ALL[again.first : again.first + len(found)]
        assert again.next >= count
        again.close()
