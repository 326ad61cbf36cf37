"""Every attack is noticed by whoever should notice it, with evidence; the honest log by nobody."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from auditlog.attack.errors import UnfitTargetError
from auditlog.attack.results import Piece, Results
from auditlog.attack.suite import ATTACKS, honest, run_suite
from auditlog.attack.table import attack_line, control_line
from auditlog.attack.target import read_target
from auditlog.attack.twin import arm
from auditlog.attack.world import make_world
from auditlog.cli.attack import rollback_guard
from auditlog.cli.main import run
from auditlog.core.trust import parse_trust
from auditlog.verify.evidence_check import check_evidence
from tests.support import readme
from tests.support.attacked_log import small_log
from tests.support.tlog_writer import numbered_entries, write_log

NOBODY_CAN = {"unpromised-call", "stolen-receipt-bare"}
ASKED_FOR = {
    "edit", "truncate", "fork", "rewind", "reorder", "withhold-tiles", "old-key", "stale-backup", "back-date",
    "foreign-entry", "forged-enrolment", "anchor-elsewhere", "anchor-in-another-slot", "anchor-before-entry",
    "duplicate-numbers", "lying-heartbeat", "drop-conflict", "drop-skipped", "drop-late", "drop-absent",
    "stolen-receipt", "edited-receipt",
}  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the one run of this module leaves its evidence."""
    return tmp_path_factory.mktemp("evidence")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Results:
    """One run of the whole suite over a small log without keys."""
    folder = tmp_path_factory.mktemp("copy")
    small_log(folder)
    before = _content(folder)
    logging.getLogger("auditlog.witness").addHandler(logging.NullHandler())
    target = read_target(folder, look_s=0)
    found = run_suite(target, tmp_path_factory.mktemp("scratch"), guard=rollback_guard, keep=kept)
    assert _content(folder) == before
    return found


def _content(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_every_attack_is_noticed_by_whoever_should(results: Results) -> None:
    """No piece that should notice misses its attack, and the evidence that is due is there and holds."""
    wrong = {each.name: (each.missed, each.lacks_evidence) for each in results.outcomes}
    assert {name: found for name, found in wrong.items() if found != ((), False)} == {}
    assert results.exit_code == 0
    assert len(results.outcomes) == len(ATTACKS)


def test_the_honest_control_raises_nothing(results: Results) -> None:
    """Growth, a host that stops and starts, and restarts of witness and monitor: everybody is silent."""
    assert results.control.raised == ()
    assert {each.piece for each in results.control.noticed} == set(Piece)
    assert all(each.said == "" for each in results.control.noticed)


def test_the_list_holds_what_was_asked_for(results: Results) -> None:
    """The cheats of the issue are all there, and those that nobody can notice are not left out."""
    names = {each.name for each in results.outcomes}
    assert names >= ASKED_FOR | NOBODY_CAN
    assert {each.name for each in results.outcomes if not each.should} == NOBODY_CAN
    for each in results.outcomes:
        assert each.should or each.why_none
        if not each.should:
            assert not any(piece.is_noticed for piece in each.noticed)


def test_evidence_convinces_with_the_trust_file_alone(results: Results, kept: Path) -> None:
    """Every file that was kept is judged by somebody who has nothing but trust.json."""
    trust = parse_trust((kept / "trust.json").read_bytes())
    files = sorted(kept.glob("*-*.json"))
    assert len(files) == sum(len(each.proofs) for each in results.outcomes)
    codes = {path.name: check_evidence(path.read_bytes(), trust).exit_code for path in files}
    assert set(codes.values()) == {0, 3}
    stated = {proof.alarm for each in results.outcomes for proof in each.proofs if proof.grade == "stated"}
    assert stated <= {"rewind", "tiles_withheld", "tiles_mismatch", "silent", "stale_checkpoint",
                      "quorum_missing"}  # fmt: skip


def test_a_forgery_with_every_key_is_perfect_inside_itself(results: Results) -> None:
    """Neither fsck nor completeness sees anything in a history written anew: what notices stands outside."""
    for each in results.outcomes:
        if each.name in {"edit", "delete", "reorder", "truncate", "drop-conflict", "drop-skipped"}:
            for piece in (Piece.FSCK, Piece.COMPLETENESS):
                found = each.of(piece)
                assert found is not None
                assert not found.is_noticed, (each.name, found.said)


def test_the_readme_shows_this_table(results: Results) -> None:
    """The README's rows are those of this run, whatever log was attacked there."""
    shown = readme.attack_table().splitlines()
    rows = [control_line(results.control), *map(attack_line, results.outcomes)]
    assert [line for line in shown if line in rows] == rows


def test_the_copy_s_own_keys_are_used_where_they_are(tmp_path: Path) -> None:
    """With every key in the folder the copy's own entries are attacked, and all is noticed as well."""
    small_log(tmp_path / "copy", with_keys=True)
    target = read_target(tmp_path / "copy", look_s=0)
    only = ("edit", "fork", "drop-conflict", "old-key")
    found = run_suite(target, tmp_path / "scratch", only=only, guard=rollback_guard)
    assert not found.is_twin
    assert found.exit_code == 0
    assert [each.name for each in found.outcomes] == list(only)


def test_the_command_lists_and_plays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--list names one attack a line and needs no target; --only plays one; --json is one object."""
    assert run(["attack", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [attack.name for attack in ATTACKS]
    small_log(tmp_path / "copy")
    command = ["attack", "--target", str(tmp_path / "copy"), "--only", "fork", "--json"]
    assert run(command) == 0
    (played,) = json.loads(capsys.readouterr().out)["attacks"]
    assert played["name"] == "fork"
    assert played["as_it_should_be"] is True


@pytest.mark.long
def test_the_honest_control_over_a_long_run(tmp_path: Path) -> None:
    """Two hundred rounds, with a restart of witness and monitor in each: nobody raises anything."""
    # A host that goes silent for half an hour would be raised, and rightly.
    small_log(tmp_path / "copy", is_stopped=True)
    world = make_world(arm(read_target(tmp_path / "copy", look_s=0)), tmp_path / "world")
    control = honest(world, tmp_path / "honest", rollback_guard, rounds=200)
    assert control.raised == ()
    assert control.entries > 500


def test_a_copy_that_is_no_log_of_ours_is_unfit(tmp_path: Path) -> None:
    """Entries of no kind, and a log whose own entries are odd: refused, or attacked and said so."""
    write_log(tmp_path / "other", numbered_entries(20))
    with pytest.raises(UnfitTargetError, match="genesis"):
        run_suite(read_target(tmp_path / "other", look_s=0), tmp_path / "a")
    world = small_log(tmp_path / "copy")
    odd = [*world.entries, b"[]", b'{"kind":"decision"}', b"no entry"]
    write_log(tmp_path / "odd", odd)
    found = run_suite(read_target(tmp_path / "odd", look_s=0), tmp_path / "b", only=("edit",))
    assert any("entry_malformed" in raised for raised in found.control.raised)
    assert found.exit_code == 1
    world.write_log("producer", {"vkey": 7})
    write_log(tmp_path / "worse", world.entries)
    with pytest.raises(UnfitTargetError, match="gone on with"):
        run_suite(read_target(tmp_path / "worse", look_s=0), tmp_path / "c")


def test_a_missed_attack_is_said_and_is_exit_1(results: Results) -> None:
    """Where a piece that should notice does not, the line says NO and the exit code follows."""
    from dataclasses import replace

    one = next(each for each in results.outcomes if each.name == "truncate")
    blind = replace(one, noticed=tuple(replace(each, is_noticed=False) for each in one.noticed))
    assert blind.missed == (Piece.RECEIPT, Piece.WITNESS, Piece.MONITOR)
    assert " NO " in attack_line(blind)
    assert replace(results, outcomes=(blind,)).exit_code == 1
    raised = replace(results.control, raised=("monitor: fork",))
    assert replace(results, control=raised).exit_code == 1
