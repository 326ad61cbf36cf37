"""fsck: clean on honest logs of any kind, and every kind of damage is found and named."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditlog.core.checkpoint import Checkpoint
from auditlog.core.merkle import hash_leaf
from auditlog.core.note import Ed25519Signer, sign_note
from auditlog.core.tiles import decode_bundle, encode_bundle
from auditlog.errors import MalformedError
from auditlog.verify.fsck import FsckReport, fsck
from auditlog.verify.sources import FolderSource
from tests.support.chain_log import ChainLog, ChainProducer, sample_log
from tests.support.memory_source import MemorySource
from tests.support.tlog_writer import ORIGIN, log_files, log_signer, numbered_entries, write_log

VKEY = log_signer().vkey


@functools.cache
def _sample() -> tuple[ChainLog, ChainProducer]:
    return sample_log(600)


@functools.cache
def _sample_files() -> dict[str, bytes]:
    return log_files(_sample()[0].entries)


@functools.cache
def _foreign_files() -> dict[str, bytes]:
    return log_files(numbered_entries(70_000))


def check(files: dict[str, bytes], **options: Any) -> FsckReport:
    """Fsck over these files."""
    return fsck(MemorySource(files), VKEY, **options)


def outcomes(report: FsckReport) -> dict[str, str]:
    """Outcome of each step by name."""
    return {step.name: step.outcome for step in report.steps}


def test_an_honest_log_of_ours_is_clean() -> None:
    """Tree, entries and chains pass; entries are counted by kind; exit 0."""
    report = check(dict(_sample_files()))
    assert outcomes(report) == {
        "checkpoint": "passed",
        "tree": "passed",
        "entries": "passed",
        "chains": "passed",
        "heads": "nothing_to_check",
    }
    assert (report.exit_code, report.ours, report.producers) == (0, True, 2)
    assert report.kinds == {"genesis": 1, "producer": 2, "instance": 3, "heartbeat": 600, "notice": 1}
    assert (report.origin, report.tree_size, report.other_entries) == (ORIGIN, 607, 0)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 700])
def test_a_foreign_log_is_clean_and_its_entries_are_counted(size: int, tmp_path: Path) -> None:
    """Any tlog-tiles log is checked as a tree; there are no chains in it to check."""
    write_log(tmp_path, numbered_entries(size))
    report = fsck(FolderSource(tmp_path), VKEY, origin=ORIGIN)
    assert (report.exit_code, report.ours, report.other_entries) == (0, False, size)
    assert outcomes(report)["chains"] == "nothing_to_check"


def test_a_large_foreign_log_reports_progress() -> None:
    """70,000 entries: three levels of tiles, and progress to the end."""
    seen: list[tuple[int, int]] = []
    report = check(dict(_foreign_files()), progress=lambda done, size: seen.append((done, size)))
    assert report.exit_code == 0
    assert seen[0] == (8192, 70_000)
    assert seen[-1] == (70_000, 70_000)
    assert "277 tiles" in report.step("tree").detail


def test_the_key_may_have_another_name_than_the_origin() -> None:
    """Logs of others: the given key counts whatever it is called; a wanted origin is insisted on."""
    files = dict(log_files(numbered_entries(3)))
    text = files["checkpoint"].decode().split("\n\n")[0] + "\n"
    other = Ed25519Signer.from_seed("key.example/other", b"\x05" * 32)
    files["checkpoint"] = sign_note(text, [other]).encode()
    assert fsck(MemorySource(files), other.vkey).exit_code == 0
    assert fsck(MemorySource(files), other.vkey, origin="log.example/wanted").exit_code == 1


def test_a_log_without_bundles_is_checked_as_a_tree_only() -> None:
    """Entries and chains are not checked, exit 3; with the bundles missing or refused alike."""
    entries = _sample()[0].entries
    missing = MemorySource(log_files(entries, bundles=False))
    refused = MemorySource(dict(_sample_files()))
    refused.refused = {path for path in refused.files if path.startswith("tile/entries")}
    for source in (missing, refused):
        report = fsck(source, VKEY, heads=[_sample()[1].head()])
        assert outcomes(report) == {
            "checkpoint": "passed",
            "tree": "passed",
            "entries": "not_checked",
            "chains": "not_checked",
            "heads": "not_checked",
        }
        assert report.exit_code == 3


def test_a_private_log_shows_nothing_to_check() -> None:
    """Only the checkpoint is served: everything below it is not checked, exit 3, after few requests."""
    source = MemorySource({"checkpoint": _foreign_files()["checkpoint"]})
    report = fsck(source, VKEY)
    assert set(outcomes(report).values()) == {"passed", "not_checked", "nothing_to_check"}
    assert report.exit_code == 3
    assert len(source.asked) < 10


def test_an_unreachable_log_is_not_checked() -> None:
    """No answer proves nothing: exit 3."""
    source = MemorySource({})
    for source.down in (False, True):
        report = fsck(source, VKEY)
        assert (report.exit_code, report.origin) == (3, None)
        assert set(outcomes(report).values()) == {"not_checked"}


def test_a_log_that_goes_away_is_not_checked() -> None:
    """Losing the source in the middle is not a fault of the log, and ends soon."""

    class Dying(MemorySource):
        """Answers fifty times."""

        def fetch(self, path: str) -> bytes:
            """One object until then."""
            self.down = len(self.asked) >= 50
            return super().fetch(path)

    source = Dying(dict(_foreign_files()))
    report = fsck(source, VKEY)
    assert report.exit_code == 3
    assert len(source.asked) < 100


def test_a_checkpoint_by_another_key_fails() -> None:
    """A wrong signature or a text that is no checkpoint fails at step 1; nothing below is judged."""
    for note in (b"", b"\xff", _sample_files()["checkpoint"].replace(b"607", b"608")):
        report = check(_sample_files() | {"checkpoint": note})
        assert report.exit_code == 1
        assert outcomes(report)["checkpoint"] == "failed"
        assert outcomes(report)["tree"] == "not_checked"


def test_a_key_that_is_none_is_the_callers_mistake() -> None:
    """The vkey is not evidence."""
    with pytest.raises(MalformedError):
        fsck(MemorySource({}), "not a key")


def edited(files: dict[str, bytes], path: str, place: int, entry: bytes) -> dict[str, bytes]:
    """The files with one entry of a bundle replaced."""
    entries = decode_bundle(files[path])
    return files | {path: encode_bundle([*entries[:place], entry, *entries[place + 1 :]])}


def test_an_edited_entry_is_found_and_named() -> None:
    """The bundle no longer fits the tree, and the chain breaks at the next entry."""
    report = check(edited(dict(_sample_files()), "tile/entries/001", 7, b"{}"))
    assert outcomes(report)["tree"] == "passed"
    assert "entry 263" in report.step("entries").detail
    assert outcomes(report)["chains"] == "failed"
    assert report.exit_code == 1


@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/002.p/188", "tile/1/000.p/2", "tile/entries/001"])
@pytest.mark.parametrize("damage", ["flip", "short", "missing"])
def test_damage_to_any_file_is_found(path: str, damage: str) -> None:
    """A flipped bit, a missing byte or a missing file anywhere: exit 1, and the step says where."""
    files = log_files(numbered_entries(700))
    content = files.pop(path)
    if damage == "flip":
        files[path] = content[:-1] + bytes([content[-1] ^ 1])
    elif damage == "short":
        files[path] = content[:-1]
    report = check(files)
    step = report.step("entries" if "entries" in path else "tree")
    assert (report.exit_code, step.outcome) == (1, "failed")
    if damage != "flip":
        assert path in step.detail


@pytest.mark.parametrize("path", ["tile/1/000", "tile/2/000.p/1"])
def test_damage_to_upper_tiles_is_found(path: str) -> None:
    """A hash that is not the root of the tile below it is named with its place."""
    files = dict(_foreign_files())
    files[path] = b"\x00" * 32 + files[path][32:]
    report = check(files)
    assert outcomes(report)["tree"] == "failed"
    assert f"{path}: expected hash 0" in report.step("tree").detail


def test_holes_are_not_taken_for_a_log_without_entries() -> None:
    """With its first bundle hidden and others served, a log has a hole: exit 1, no chains over it."""
    files = dict(_sample_files())
    del files["tile/entries/000"]
    report = check(files)
    assert (outcomes(report)["entries"], outcomes(report)["chains"]) == ("failed", "not_checked")
    assert report.exit_code == 1


def test_a_signed_root_the_entries_do_not_give_fails() -> None:
    """Consistent tiles and bundles under another signed root: the signature is over another tree."""
    files = dict(_sample_files())
    text = f"{ORIGIN}\n607\n{'A' * 43}=\n"
    report = check(files | {"checkpoint": sign_note(text, [log_signer()]).encode()})
    assert outcomes(report)["tree"] == "failed"
    assert "as signed" in report.step("tree").detail
    assert Checkpoint(ORIGIN, 607, bytes(32)).tree_size == report.tree_size


def test_a_partial_tile_may_have_become_full() -> None:
    """A log that grew while it was read still serves everything the older checkpoint needs."""
    files = {
        path: content for path, content in log_files(numbered_entries(512)).items() if path != "checkpoint"
    }
    files["checkpoint"] = log_files(numbered_entries(300))["checkpoint"]
    files["tile/1/000.p/1"] = log_files(numbered_entries(300))["tile/1/000.p/1"]
    assert check(files).exit_code == 0


def started() -> tuple[ChainLog, ChainProducer]:
    """A log with a producer that has written two entries."""
    log = ChainLog()
    producer = log.enrol("loan-0")
    producer.begin("a" * 32)
    producer.write("heartbeat", {})
    return log, producer


def test_signed_heads_must_be_covered() -> None:
    """Heads of both instances pass; one the log was cut below, and one over other entries, fail."""
    log, producer = started()
    first = [producer.head(), producer.head(first_seq=1)]
    producer.begin("b" * 32)
    files = log_files(log.entries)
    honest = check(files, heads=[*first, producer.head()])
    assert (honest.exit_code, outcomes(honest)["heads"]) == (0, "passed")
    producer.write("heartbeat", {})
    cut = check(files, heads=[producer.head()])
    assert (cut.exit_code, outcomes(cut)["heads"]) == (1, "failed")
    other = check(log_files(log.entries), heads=[producer.head(root=hash_leaf(b"other"))])
    assert other.exit_code == 1


def test_heads_of_strangers_are_not_checked() -> None:
    """A head by a producer the log does not have says nothing about it; text that is no head fails."""
    log, _ = started()
    _, stranger = sample_log(3)
    report = check(log_files(log.entries), heads=[stranger.head(producer="9" * 64)])
    assert (report.exit_code, outcomes(report)["heads"]) == (3, "not_checked")
    assert check(log_files(log.entries), heads=["no note"]).exit_code == 1


def test_the_report_is_json_and_lines() -> None:
    """Every member is JSON; problems beyond the first hundred are counted, not kept."""
    log, producer = started()
    for number in range(150):
        producer.write("heartbeat", {"number": number}, prev="0" * 64)
    report = check(log_files(log.entries))
    step = report.step("chains")
    assert (len(step.problems), step.problem_count) == (100, 150)
    assert json.loads(json.dumps(report.to_json()))["steps"][3]["problem_count"] == 150
    assert report.lines()[3].startswith("4 chains     failed")
    assert report.lines()[-1] == "entries: 1 genesis, 151 heartbeat, 1 instance, 1 producer; 0 of other kinds"


_objects = st.one_of(st.binary(max_size=80), st.just(None), st.integers(0, 300))


@settings(max_examples=120, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(set(_sample_files()) - {"checkpoint"})), _objects, max_size=4))
def test_any_bytes_give_a_report(changes: dict[str, bytes | int | None]) -> None:
    """Replaced, truncated and missing objects: a report, and exit 0 only if nothing changed."""
    files = dict(_sample_files())
    for path, change in changes.items():
        if change is None:
            del files[path]
        else:
            files[path] = change if isinstance(change, bytes) else files[path][:change]
    assert (check(files).exit_code == 0) == (files == _sample_files())


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_entry_bytes_under_a_signed_tree_give_a_report(data: bytes) -> None:
    """The operator signs anything: as first entry it makes a foreign log, later it is a stranger's."""
    assert check(log_files([data])).exit_code == 0
    log, _ = started()
    assert check(log_files([*log.entries, data])).exit_code == 1
