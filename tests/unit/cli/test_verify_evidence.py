"""`auditlog verify` of evidence files: exit codes, words, and evidence among receipts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auditlog.cli.main import run
from tests.support import vectors_claims as vectors
from tests.support.claims_world import ClaimWorld, Value
from tests.support.vectors_evidence import conflict, encoded


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    """Exit code and JSON of one call."""
    code = run(["verify", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def laid_out(folder: Path, world: ClaimWorld, value: Value) -> tuple[Path, Path]:
    """An evidence file and a trust file."""
    file, trust = folder / "evidence.json", folder / "trust.json"
    file.write_bytes(encoded(value))
    trust.write_bytes(world.trust())
    return file, trust


def test_evidence_that_holds_is_exit_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it proves and against whom, in words and in JSON, by either command."""
    file, trust = laid_out(tmp_path, *vectors.duplicate())
    code, said = told(capsys, file, "--trust", trust)
    (report,) = said["evidence"]
    assert (code, said["exit_code"], said["receipts"]) == (0, 0, [])
    assert (report["v"], report["alarm"]) == ("auditlog/evidence-report@v1", "duplicate_number")
    assert (report["against"], report["index"]) == (["the log"], 8)
    assert run(["verify", str(file), "--trust", str(trust)]) == 0
    words = " ".join(capsys.readouterr().out.replace("|", " ").split())
    assert "PROVEN (duplicate_number) against the log log.example/loans" in words
    assert "This convicts: the log." in words
    assert run(["promise", "evidence", str(file), "--trust", str(trust)]) == 0


def test_evidence_about_one_of_two_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A producer's own words may be the log's: nobody alone is convicted."""
    world = ClaimWorld()
    file, trust = laid_out(tmp_path, world, world.claim("counter_mismatch", world.beat(9)))
    assert run(["verify", str(file), "--trust", str(trust)]) == 0
    words = " ".join(capsys.readouterr().out.replace("|", " ").split())
    assert "One of these did wrong, and this does not show which: the log, its producer." in words


def test_a_word_is_exit_3_and_damage_is_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """OBSERVED is not checked; an altered file proves nothing; one of several failing fails the call."""
    world = ClaimWorld()
    file, trust = laid_out(tmp_path, world, world.observed())
    code, said = told(capsys, file, "--trust", trust)
    assert (code, said["evidence"][0]["verdict"]) == (3, "OBSERVED")
    bad = tmp_path / "bad.json"
    bad.write_bytes(encoded(vectors.duplicate()[1]).replace(b'"index":7', b'"index":6', 1))
    code, said = told(capsys, file, bad, "--trust", trust)
    assert (code, [each["exit_code"] for each in said["evidence"]]) == (1, [3, 1])


def test_evidence_of_a_promise_is_evidence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The verdicts of promises by the same command, with their report; a missing file is usage."""
    world, value = conflict()
    file, trust = tmp_path / "evidence.json", tmp_path / "trust.json"
    file.write_bytes(encoded(value))
    trust.write_bytes(world.trust())
    code, said = told(capsys, file, "--trust", trust)
    assert (code, said["evidence"][0]["report"]["cause"]) == (0, "CONFLICT")
    assert said["evidence"][0]["against"] == ["the log", "its producer"]
    code, said = told(capsys, file, tmp_path / "none.json", "--trust", trust)
    assert (code, said["receipts"][0]["exit_code"]) == (2, 2)


def test_what_is_about_receipts_refuses_evidence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An expectation that nothing can be compared with is no silent success."""
    file, trust = laid_out(tmp_path, *vectors.duplicate())
    code, said = told(capsys, file, "--trust", trust, "--expect", "kind=decision")
    assert code == 2
    assert "--expect" in said["receipts"][0]["error"]
