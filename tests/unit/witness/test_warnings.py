"""A witness that starts says what its owner should know about the way it is configured."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditlog.cli.main import run
from auditlog.cli.witness_serve import Overrides, build
from tests.support.tlog_writer import log_signer


def warned(folder: Path, *, url: str, promises: bool, mode: int = 0o600) -> list[str]:
    """Make a witness, and the events it would start with."""
    log = log_signer().vkey + (f"={url}" if url else "")
    init = ["witness", "init", str(folder), "--name", "witness.example/w", "--log", log]
    init += ["--high-water", str(folder / "high-water"), *(["--promises"] if promises else [])]
    assert run(init) == 0
    (folder / "witness.key").chmod(mode)
    running = build(folder / "witness.toml", Overrides(port=0))
    running.close()
    return [event for event, _ in running.warnings]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_private_key_that_others_can_read_is_told(tmp_path: Path, mode: int) -> None:
    """Group or anyone."""
    assert warned(tmp_path / "w", url="", promises=False, mode=mode) == ["key_file_open"]


def test_a_drop_box_that_no_log_belongs_to_is_told(tmp_path: Path) -> None:
    """No log has a URL, so that every deposit would be refused; and that nothing is dated."""
    assert warned(tmp_path / "w", url="", promises=True) == ["promises_of_no_log", "promises_not_dated"]


def test_a_drop_box_without_a_trust_file_is_told(tmp_path: Path) -> None:
    """It finds no promise late or absent."""
    assert warned(tmp_path / "w", url="https://log.example", promises=True) == ["promises_not_dated"]
    assert warned(tmp_path / "v", url="", promises=False) == []
