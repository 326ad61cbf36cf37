"""Only copies are attacked: what looks live, or is no log, is refused before anything is tried."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from auditlog.attack.errors import LiveTargetError, UnfitTargetError
from auditlog.attack.target import read_target
from auditlog.cli.main import run
from tests.support.attacked_log import small_log


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of a small log."""
    small_log(tmp_path / "copy")
    return tmp_path / "copy"


def test_a_copy_is_read(copy: Path) -> None:
    """Its entries, origin and checkpoint come out; it has no keys."""
    target = read_target(copy, look_s=0)
    assert target.origin == "log.example/test"
    assert len(target.entries) == int(target.note.split("\n")[1])
    assert target.keys == {}


def test_a_locked_folder_is_live(copy: Path) -> None:
    """A lock that a process holds is never waited for."""
    path = copy / "service.lock"
    path.touch()
    assert read_target(copy, look_s=0)
    with path.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(LiveTargetError, match="locked"):
            read_target(copy, look_s=0)


def test_a_folder_that_its_configuration_names_is_live(copy: Path, tmp_path: Path) -> None:
    """The original is refused; a copy, whose configuration names the original, is read."""
    config = f'[[logs]]\nname = "main"\npublic_dir = "{copy / "log"}"\n'
    (copy / "auditlog.toml").write_text(config)
    with pytest.raises(LiveTargetError, match="set up with"):
        read_target(copy, look_s=0)
    other = tmp_path / "elsewhere" / "copy"
    shutil.copytree(copy, other)
    assert read_target(other, look_s=0)


def test_a_checkpoint_that_changes_is_live(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that publishes while it is looked at is refused."""
    path, looked = copy / "log" / "checkpoint", []

    def publish_meanwhile(seconds: float) -> None:
        looked.append(seconds)
        path.write_bytes(path.read_bytes() + b"x")

    monkeypatch.setattr(time, "sleep", publish_meanwhile)
    with pytest.raises(LiveTargetError, match="changes"):
        read_target(copy, look_s=0.6)
    assert looked == [0.6]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not tell who has what open")
def test_a_file_that_another_process_has_open_is_live(copy: Path) -> None:
    """Whoever writes there may be a log."""
    held = subprocess.Popen(
        [sys.executable, "-c", "import sys; f = open(sys.argv[1]); print(flush=True); sys.stdin.read()",
         str(copy / "log" / "checkpoint")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert held.stdout is not None
        held.stdout.readline()
        with pytest.raises(LiveTargetError, match="open in process"):
            read_target(copy, look_s=0)
    finally:
        held.communicate(b"", timeout=10)


def test_what_is_no_copy_of_a_log_is_usage(copy: Path, tmp_path: Path) -> None:
    """Nothing, a link, a folder without a log, one without entries, one with two logs: exit 2."""
    link = tmp_path / "link"
    link.symlink_to(copy)
    empty = tmp_path / "empty"
    empty.mkdir()
    for path in (tmp_path / "nothing", link, empty):
        with pytest.raises(UnfitTargetError):
            read_target(path, look_s=0)
    two = tmp_path / "two"
    shutil.copytree(copy, two / "a")
    shutil.copytree(copy, two / "b")
    with pytest.raises(UnfitTargetError, match="one folder"):
        read_target(two, look_s=0)
    shutil.rmtree(copy / "log" / "tile" / "entries")
    with pytest.raises(UnfitTargetError, match="entry bundles"):
        read_target(copy, look_s=0)
    assert run(["attack", "--target", str(empty)]) == 2
    assert run(["attack", "--target", str(copy), "--only", "no-such-attack"]) == 2
    assert run(["attack"]) == 2


def test_entry_bundles_may_lie_under_a_second_root(copy: Path) -> None:
    """A log that is not public keeps its bundles in another folder; both are copied."""
    whole = read_target(copy, look_s=0).entries
    (copy / "private" / "tile").mkdir(parents=True)
    shutil.move(copy / "log" / "tile" / "entries", copy / "private" / "tile" / "entries")
    assert read_target(copy, look_s=0).entries == whole
