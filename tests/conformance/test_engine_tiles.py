"""What the engine publishes, behind `python3 -m http.server`, is all that a stranger's tlog client needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditlog.core.tiles import parse_path
from tests.conformance.outside_client import OutsideClient, expected_files, files_below, static_server
from tests.support.disk_log import DiskLog
from tests.support.testlog import ORIGIN, ManualWorkers

SIZES = (1, 255, 256, 257, 65_536, 70_000)
BATCH = 16_384


def grow(disk: DiskLog, workers: ManualWorkers, size: int) -> None:
    """Grow a log to a size by notices of its own, the cheapest entries, and publish it there."""
    log = disk.log or disk.create(workers)
    for number in range(log.tree_size, size):
        log.append_own("notice", {"detail": str(number), "what": "restored"})
        if number % BATCH == 0:
            log.run_pending()
    log.run_pending()
    disk.clock.advance(1.0)
    workers.run_planned()
    workers.run()


def test_a_stranger_reads_an_engine_log_to_the_byte(tmp_path: Path) -> None:
    """Signature, entries, tiles and root, at every size where the shape of the tree changes, as it grows."""
    disk, workers = DiskLog(tmp_path), ManualWorkers()
    for size in SIZES:
        grow(disk, workers, size)
        log = disk.log
        assert log is not None
        with static_server(tmp_path / "public") as port, OutsideClient("127.0.0.1", port, log.vkey) as client:
            seen = client.read()
        assert (seen.origin, seen.size) == (ORIGIN, size)
        assert seen.entries == log.reader.entries(0, size)
        # Partial tiles of sizes published before may stay, as long as their tile is not full.
        extra = files_below(tmp_path / "public") - expected_files(size)
        assert all(parse_path(path).is_partial for path in extra)
        assert not {str(parse_path(path).full) for path in extra} & expected_files(size)
    disk.close()


@pytest.mark.parametrize(
    ("visibility", "shown"), [("hashes", {"checkpoint", "tile"}), ("private", {"checkpoint"})]
)
def test_what_is_not_public_is_not_in_the_folder(visibility: str, shown: set[str], tmp_path: Path) -> None:
    """A log of hashes publishes no entries, a private one nothing but its checkpoint."""
    disk, workers = DiskLog(tmp_path, visibility=visibility), ManualWorkers()
    for size in (1, 300):
        grow(disk, workers, size)
    found = files_below(tmp_path / "public")
    assert {path.partition("/")[0] for path in found} == shown
    assert not [path for path in found if "entries" in path]
    disk.close()
