"""Producer chains: what no honest writer could have written is found, once, and named."""

from __future__ import annotations

from typing import Any

import pytest

from auditlog.core.anchor import log_id
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.core.note import Ed25519Signer, sign_note
from auditlog.verify.fsck import FsckReport, fsck
from tests.support.chain_log import ChainLog, ChainProducer
from tests.support.memory_source import MemorySource
from tests.support.tlog_writer import log_files, log_signer


def check(files: dict[str, bytes]) -> FsckReport:
    """Run fsck over these files."""
    return fsck(MemorySource(files), log_signer().vkey)


def chain_problems(log: ChainLog) -> list[str]:
    """The complaints of step 4 about an otherwise honest log."""
    report = check(log_files(log.entries))
    assert report.step("tree").outcome == report.step("entries").outcome == "passed"
    return report.step("chains").problems


def started() -> tuple[ChainLog, ChainProducer]:
    """A log with a producer that has written two entries."""
    log = ChainLog()
    producer = log.enrol("loan-0")
    producer.begin("a" * 32)
    producer.write("heartbeat", {})
    return log, producer


FORGED = Ed25519Signer.from_seed("log.example/test/producer/loan-1", b"\x44" * 32)


def test_the_log_skips_no_number() -> None:
    """A missing number and a wrong link of the log's own entries are found, once each."""
    log = ChainLog()
    log.log("notice", {"what": "stopped"}, seq=2)
    log.log("notice", {"what": "stopped"})
    log.log("notice", {"what": "stopped"}, prev="0" * 64)
    problems = chain_problems(log)
    assert len(problems) == 2
    assert "entry 1: expected the log's number 1" in problems[0]
    assert "entry 3" in problems[1]


def test_a_second_genesis_is_found() -> None:
    """A log begins once."""
    log = ChainLog()
    log.log("genesis", {}, seq=0, prev="0" * 64)
    assert len(chain_problems(log)) == 1


OTHER_VKEY = Ed25519Signer.from_seed("log.example/test", b"\x55" * 32).vkey


@pytest.mark.parametrize("vkeys", [None, [], [OTHER_VKEY], [7], log_signer().vkey])
def test_genesis_lists_the_key_that_signs(vkeys: object) -> None:
    """A log that names another key than its own, or none, contradicts itself."""
    problems = chain_problems(ChainLog(genesis={"vkeys": vkeys}))
    assert len(problems) == 1
    assert "the key that signs the log" in problems[0]
    assert chain_problems(ChainLog(genesis={"vkeys": [OTHER_VKEY, log_signer().vkey]})) == []


def anchoring(log: ChainLog, **changed: Any) -> None:
    """Write an anchor of the log's newest tree, but for the members changed."""
    body = {
        "type": "devnet@v0",
        "chain_id": 1,
        "contract": "0x" + "11" * 20,
        "log_id": log_id(log.origin).hex(),
        "size": len(log.entries),
        "root": root_hash([hash_leaf(entry) for entry in log.entries]).hex(),
        "tx": "0x" + "44" * 32,
        "block_number": 1,
        "block_hash": "0x" + "55" * 32,
        "block_time": "2026-01-01T00:00:00.000000Z",
    }
    log.log("anchor", body | changed)


def test_an_anchor_is_of_a_tree_the_log_had() -> None:
    """The newest tree, an older one, and the same one twice; over more than one tile."""
    log, producer = started()
    anchoring(log)
    anchoring(log)
    anchoring(log, size=2, root=root_hash([hash_leaf(entry) for entry in log.entries[:2]]).hex())
    for number in range(300):
        producer.write("heartbeat", {"number": number})
    anchoring(log)
    assert chain_problems(log) == []


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"log_id": "22" * 32}, "expected an anchor of the log id"),
        ({"root": "33" * 32}, "anchored at size 4, found 3333"),
        ({"size": 3}, "expected the root"),
        ({"size": 5}, "expected an anchored size of at most 4, found 5"),
        ({"size": 999_999}, "expected an anchored size of at most 4"),
    ],
)
def test_an_anchor_of_another_tree_is_found(changed: dict[str, Any], problem: str) -> None:
    """Another log's id, another root, a size the log did not have: the log was cut, or never was this one."""
    log, _ = started()
    anchoring(log, **changed)
    log.log("notice", {"what": "stopped"})
    problems = chain_problems(log)
    assert len(problems) == 1
    assert problem in problems[0]
    assert "entry 4" in problems[0]


def test_two_roots_anchored_at_one_size_are_found() -> None:
    """The first is the tree's; the second was of another history."""
    log, _ = started()
    anchoring(log)
    anchoring(log, size=4, root="33" * 32)
    assert "found a second" in chain_problems(log)[0]


def test_anchors_without_tiles_are_not_checked() -> None:
    """What cannot be compared with the tree is not called fine."""
    log, _ = started()
    anchoring(log)
    source = MemorySource(log_files(log.entries))
    source.refused = {path for path in source.files if path.startswith("tile/0")}
    report = fsck(source, log_signer().vkey)
    assert (report.step("chains").outcome, report.exit_code) == ("not_checked", 3)


@pytest.mark.parametrize(
    "changed",
    [
        {"vkey": "none"},
        {"vkey": 7},
        {"name": "loan-1"},
        {"name": "two words"},
        {"note": "none"},
        {"vkey": FORGED.vkey},
        {"note": sign_note("auditlog/producer@v1\nlog.example/test\nloan-0\n", [FORGED])},
    ],
)
def test_an_enrolment_needs_the_statement_of_its_key(changed: dict[str, Any]) -> None:
    """Another key, name or note does not enrol; what that producer writes is by an unknown one."""
    log = ChainLog()
    log.enrol("loan-0", **changed).begin("a" * 32)
    problems = chain_problems(log)
    assert len(problems) == 2
    assert "enrol" in problems[0]
    assert "expected an enrolled producer" in problems[1]


def test_a_producers_number_is_never_skipped_or_reused() -> None:
    """Gaps and repeats of a number, and a link past an entry, are each found once."""
    for seq in (1, 3):
        log, producer = started()
        producer.write("heartbeat", {}, seq=seq)
        producer.write("heartbeat", {})
        assert [f"found {seq}" in problem for problem in chain_problems(log)] == [True]
    log, producer = started()
    producer.write("heartbeat", {}, prev=producer.identity)
    producer.write("heartbeat", {})
    assert ["expected to follow" in problem for problem in chain_problems(log)] == [True]


def test_an_instance_begins_with_its_statement() -> None:
    """Number 0, kind instance, signed by the enrolled key, after the producer's last entry."""
    log, producer = started()
    producer.instance, producer.seq = "b" * 32, -1
    producer.write("heartbeat", {})
    assert ["begin with number 0" in problem for problem in chain_problems(log)] == [True]
    for changed in (
        {"body": {}},
        {"body": {"note": 7}},
        {"body": {"note": sign_note("x\n", [producer.signer])}},
    ):
        log, producer = started()
        producer.instance, producer.seq = "b" * 32, -1
        producer.write("instance", changed["body"])
        assert ["instance" in problem for problem in chain_problems(log)] == [True]
    log, producer = started()
    producer.begin("b" * 32, prev=producer.identity)
    assert len(chain_problems(log)) == 2


def test_a_past_instance_never_comes_back() -> None:
    """Once another instance has begun, entries of the old one are refused, and so is beginning it again."""
    log, producer = started()
    producer.begin("b" * 32)
    producer.instance, producer.seq = "a" * 32, 1
    producer.write("heartbeat", {})
    assert ["a past one" in problem for problem in chain_problems(log)] == [True]
    log, producer = started()
    producer.begin("b" * 32)
    producer.begin("a" * 32)
    assert ["a past one" in problem for problem in chain_problems(log)] == [True]
    log, producer = started()
    producer.write("instance", {"note": "again"})
    assert len(chain_problems(log)) == 1


def test_strangers_in_a_log_of_ours_are_found() -> None:
    """Bytes that are no entry, and entries of another origin, cannot have been admitted."""
    log, producer = started()
    log.entries.append(b"not an entry")
    producer.write("heartbeat", {}, origin="log.example/other")
    report = check(log_files(log.entries))
    assert report.other_entries == 2
    assert len(report.step("chains").problems) == 2


def test_unknown_kinds_and_odd_bodies_are_counted_not_judged() -> None:
    """Admission records them so that one odd record never blocks a chain; fsck says how many."""
    log, producer = started()
    producer.write("invented", {"anything": 1})
    producer.write("heartbeat", {}, v=2)
    producer.write("decision", {})
    report = check(log_files(log.entries))
    assert report.exit_code == 0
    assert (report.not_understood, report.kinds["invented"], report.odd_bodies >= 1) == (2, 1, True)
