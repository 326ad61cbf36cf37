"""AUDITLOG_ENABLED=0 leaves a mark, and the next recording start says so in the log, exactly once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from auditlog.capture.disabled import (
    FOLDER,
    DisabledMark,
    claim_disabled,
    mark_disabled,
    read_disabled,
)
from auditlog.core.bodies import check_body

HOUR_US = 3_600_000_000
START_US = 1_767_225_600_000_000


@pytest.fixture
def random() -> Callable[[int], bytes]:
    """Different bytes each time, the same in each run."""
    numbers = iter(range(1, 1000))
    return lambda count: next(numbers).to_bytes(count, "big")


def test_starts_are_counted_with_first_and_last_time(tmp_path: Path, random: Callable[[int], bytes]) -> None:
    """One file, private, whatever the number of starts; the clock going back moves the first."""
    for hour in (1, 2, 0):
        assert mark_disabled(tmp_path / "new", START_US + hour * HOUR_US, random)
    (mark,) = read_disabled(tmp_path / "new", START_US)
    assert mark == DisabledMark(START_US, START_US + 2 * HOUR_US, 3)
    (path,) = (tmp_path / "new" / FOLDER).iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    body = mark.to_body()
    assert check_body("notice", body) == []
    assert body["detail"] == {
        "from": "2026-01-01T00:00:00.000000Z",
        "to": "2026-01-01T02:00:00.000000Z",
        "starts": 3,
    }


def test_a_mark_is_claimed_once_and_cleared_only_when_declared(
    tmp_path: Path, random: Callable[[int], bytes]
) -> None:
    """Of several workers one declares it; dying, or failing to write, leaves it for the next start."""
    mark_disabled(tmp_path, START_US, random)
    (claim,) = claim_disabled(tmp_path, START_US)
    assert claim_disabled(tmp_path, START_US) == []
    claim.settled(False)
    (claim,) = claim_disabled(tmp_path, START_US)
    claim.settled(True)
    assert claim_disabled(tmp_path, START_US) == read_disabled(tmp_path, START_US) == []


def test_a_disabled_start_while_another_process_declares_is_not_lost(
    tmp_path: Path, random: Callable[[int], bytes]
) -> None:
    """It gets a mark of its own."""
    mark_disabled(tmp_path, START_US, random)
    (claim,) = claim_disabled(tmp_path, START_US)
    assert mark_disabled(tmp_path, START_US + HOUR_US, random)
    claim.settled(True)
    assert read_disabled(tmp_path, START_US) == [DisabledMark(START_US + HOUR_US, START_US + HOUR_US, 1)]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"from":1,"to":2,"starts":-1}', b'{"from":1,"to":"x","starts":1}', b"9" * 9000],
)
def test_a_torn_mark_still_stands_for_a_start(tmp_path: Path, content: bytes) -> None:
    """A power cut while it was counted up: at least one start, when the file was last written."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    path = folder / "a.json"
    path.write_bytes(content)
    os.utime(path, (START_US / 1e6, START_US / 1e6))
    assert read_disabled(tmp_path, START_US + 5) == [DisabledMark(START_US, START_US, 1)]


def test_where_nothing_can_be_written_nothing_is_raised(
    tmp_path: Path, random: Callable[[int], bytes]
) -> None:
    """The state directory is a file; reading and claiming find nothing."""
    (tmp_path / "state").write_text("a file")
    assert not mark_disabled(tmp_path / "state", START_US, random)
    assert claim_disabled(tmp_path / "state", START_US) == []
    assert read_disabled(tmp_path / "state", START_US) == []
