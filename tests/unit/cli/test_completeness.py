"""`auditlog completeness`: exit codes, whose key it was, periods, and a log nobody can read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auditlog.cli.main import run
from auditlog.core.trust import format_trust
from tests.support.promise_world import World, honest_start


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small log, and a trust file."""
    lay_out(tmp_path, honest_start())
    return tmp_path


def lay_out(folder: Path, world: World) -> None:
    """The log as files."""
    world.publish()
    for path, content in world.source().files.items():
        target = folder / "log" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    (folder / "trust.json").write_bytes(format_trust(world.trust()))


def check(capsys: pytest.CaptureFixture[str], folder: Path, *more: object) -> tuple[int, Any]:
    """One call in JSON."""
    code = run(["completeness", "--log", str(folder / "log"), "--json", *map(str, more)])
    text = capsys.readouterr().out
    return code, json.loads(text) if text else None


def test_the_report_says_whose_key_it_was(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a trust file the key is the log's own word; with one it is not."""
    code, report = check(capsys, folder)
    assert (code, report["v"], report["producers"][0]["decisions"]) == (3, "auditlog/completeness@v1", 3)
    assert "the log's key was taken from the log itself" in report["reservations"]
    code, report = check(capsys, folder, "--trust", folder / "trust.json")
    assert len(report["reservations"]) == 1
    assert run(["completeness", "--log", str(folder / "log")]) == 3
    assert "NOT WHOLE: 1 loss(es)" in capsys.readouterr().out


def test_a_period_is_a_date_or_a_time(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Dates and times count; what is neither, or runs backwards, is exit 2."""
    trust = ("--trust", folder / "trust.json")
    _, report = check(capsys, folder, *trust, "--from", "2026-01-01T00:00:01Z", "--to", "2026-01-02")
    assert report["producers"][0]["decisions"] == 2
    assert check(capsys, folder, *trust, "--from", "yesterday")[0] == 2
    assert check(capsys, folder, *trust, "--from", "2026-01-02", "--to", "2026-01-01")[0] == 2


def test_a_broken_chain_is_exit_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A number left out."""
    world = honest_start()
    with world.drop(number_too=False):
        world.decide()
    world.decide()
    lay_out(folder, world)
    code, report = check(capsys, folder, "--trust", folder / "trust.json")
    assert (code, report["counts"]["contradiction"]) == (1, 1)


def test_a_log_that_cannot_be_opened_is_exit_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No checkpoint, or one of another log: there is nothing to look under."""
    assert run(["completeness", "--log", str(folder)]) == 2
    other = World(witnesses=1).trust()
    changed = json.loads(format_trust(other))
    changed["policy"] = changed["policy"].replace("log.example/test+", "log.example/other+")
    (folder / "other.json").write_text(json.dumps(changed))
    assert run(["completeness", "--log", str(folder / "log"), "--trust", str(folder / "other.json")]) == 2
