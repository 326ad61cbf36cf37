"""Making evidence files from a log that was read, and what a file of a stranger comes to."""

from __future__ import annotations

import copy
import json
import random
from itertools import islice

import pytest

from auditlog.core.trust import parse_trust
from auditlog.errors import MalformedError
from auditlog.verify import evidence_parts
from auditlog.verify.evidence_build import (
    EvidenceTooLargeError,
    Exhibits,
    entries_file,
    finding,
    fork_file,
    observed_file,
)
from auditlog.verify.evidence_check import check_evidence, is_evidence
from auditlog.verify.evidence_claim import MAX_ENTRIES
from auditlog.verify.evidence_parts import read_related
from auditlog.verify.finding import ALARMS, AlarmClass, Finding
from auditlog.verify.report import Grade
from auditlog.verify.tlogclient import TlogClient
from tests.support import format_world as fixed
from tests.support import vectors_claims as vectors
from tests.support.claims_world import ClaimWorld
from tests.support.evidence_mutations import EvidenceMutator, gained
from tests.support.memory_source import MemorySource
from tests.support.tlog_writer import log_files
from tests.support.vectors_evidence import encoded


def exhibits(world: ClaimWorld) -> tuple[Exhibits, str]:
    """The log as a monitor reads it, and its signed note."""
    source = MemorySource(log_files(world.entries, world.log_key))
    client = TlogClient(source, [world.log_key.verifier], origin=fixed.ORIGIN)
    note = client.checkpoint().note
    return Exhibits(client.tree(), note), note


def test_a_monitor_shows_entries_with_their_proofs() -> None:
    """ENTRIES from indices alone, with leaves or a head where the rule wants them."""
    world = ClaimWorld()
    before = copy.copy(world.life)
    first = world.decide(5)
    world.life = before
    second = world.decide(6)
    world.withheld(7)
    third = world.decide(8)
    shown, _ = exhibits(world)
    trust = parse_trust(world.trust())
    file = shown.entries("duplicate_number", [first, second])
    told = check_evidence(file, trust)
    assert (told.exit_code, told.alarm, told.against, told.index) == (0, "duplicate_number", ("the log",), 8)
    assert "two entries with one number" in told.headline
    hole = shown.entries("broken_chain", [third], with_leaves=True)
    assert check_evidence(hole, trust).exit_code == 0
    head = world.signed_head([first], leaf_hash=bytes(32))
    signed = shown.entries("broken_head", [first], head=head, producer=1)
    assert check_evidence(signed, trust).against == ("the log", "its producer")
    notice = shown.notice("backdated", [6], earlier=world.signed(6))
    assert check_evidence(notice, trust).verdict == "NOTICE"


def test_a_monitor_shows_forks_and_anchors() -> None:
    """FORK and ANCHOR against the tree that was read; what it has itself proves nothing."""
    world = ClaimWorld()
    index = world.anchor_entry(5, root="0" * 64)
    shown, note = exhibits(world)
    trust = parse_trust(world.trust())
    other = ClaimWorld()
    other.entries[4] = other.entries[4].replace(b"predict", b"predikt")
    fork = shown.fork(other.signed(6))
    told = check_evidence(fork, trust)
    assert (told.alarm, told.against) == ("fork", ("the log",))
    assert check_evidence(shown.fork(world.signed(6)), trust).exit_code == 1
    assert check_evidence(shown.anchor(5, world.anchor_note(5, root=bytes(32))), trust).exit_code == 0
    assert check_evidence(shown.anchor_entry(index), trust).against == ("the log",)
    with pytest.raises(MalformedError, match="larger"):
        shown.fork(ClaimWorld().signed().replace("\n7\n", "\n99\n", 1))
    assert note.startswith(fixed.ORIGIN)


def test_a_witness_that_cosigned_both_histories_is_named() -> None:
    """Its cosignature on one of them is what witnesses are for; on both it convicts the witness too."""
    told = {
        name: check_evidence(encoded(value), parse_trust(world.trust()))
        for name, world, value in vectors.forks()
    }
    assert told["fork-cosigned"].against == ("the log",)
    assert told["fork-cosigned-twice"].against == ("the log", "witness w1")


def test_an_observation_is_a_word_and_says_so() -> None:
    """Exit 3, stated by the key; what others signed is proven; the monitor's text cannot draw on a page."""
    world = ClaimWorld()
    key, note = fixed.signer("monitor.example"), world.signed()
    said = "a tile\nwas \x1b[2J not \u202e served: " + "x" * 900
    file = observed_file(
        "tiles_withheld", note, said, signer=key, time="2026-01-01T00:00:00.000000Z", shown=[world.signed(5)]
    )
    told = check_evidence(file, parse_trust(world.trust()))
    assert (told.exit_code, told.verdict, told.against) == (3, "OBSERVED", ())
    grades = {fact.name: fact.grade for fact in told.facts}
    assert grades["observed"] is Grade.STATED
    assert grades["shown"] is grades["tree_size"] is Grade.PROVEN
    assert {fact.by for fact in told.facts if fact.grade is Grade.STATED} == {"the monitor monitor.example"}
    assert any(key.vkey in fact.text for fact in told.facts)
    assert told.headline.isprintable()


def test_a_finding_has_the_grade_of_its_file() -> None:
    """Proven, stated, or not checked where the trust file lacks something; none from what proves nothing."""
    world, value = vectors.duplicate()
    found = finding("duplicate_number", "twice", encoded(value), parse_trust(world.trust()))
    assert (found.grade, found.index, found.kind) == (Grade.PROVEN, 8, AlarmClass.CONVICTS)
    assert found.origin == fixed.ORIGIN
    assert found.to_json()["class"] == "convicts"
    word = finding("silent", "no word", encoded(world.observed()), parse_trust(world.trust()))
    assert word.grade is Grade.STATED
    world, value = vectors.backdated()
    late = finding("backdated", "late", encoded(value), parse_trust(world.trust(quorum="none")))
    assert (late.grade, late.origin) == (Grade.NOT_CHECKED, fixed.ORIGIN)
    honest = world.claim("duplicate_number", 5, 6)
    with pytest.raises(MalformedError, match="proves something"):
        finding("duplicate_number", "twice", encoded(honest), parse_trust(world.trust()))


def test_only_words_of_the_registry_are_raised() -> None:
    """Unknown words, and proofs without a file, are mistakes; every word has one class and one sentence."""
    with pytest.raises(ValueError, match="alarm"):
        Finding("odd_feeling", "log.example", "", None, Grade.STATED)
    with pytest.raises(ValueError, match="evidence"):
        Finding("fork", "log.example", "", None, Grade.PROVEN)
    assert Finding("fork", "log.example", "two", None, Grade.STATED).sentence.endswith(".")
    assert {alarm.word for alarm in ALARMS.values()} == set(ALARMS)


def test_what_has_no_room_in_a_file_is_said_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many entries, or leaves of too large a tree."""
    world = ClaimWorld()
    item = read_related(world.placed(6))
    with pytest.raises(EvidenceTooLargeError, match="16384"):
        entries_file("counter_mismatch", world.signed(), item, [item] * (MAX_ENTRIES + 1))
    shown, _ = exhibits(world)
    monkeypatch.setattr(evidence_parts, "MAX_EVIDENCE_BYTES", 100)
    with pytest.raises(EvidenceTooLargeError, match="leaf hashes"):
        shown.leaves()
    with pytest.raises(EvidenceTooLargeError):
        fork_file(world.signed(), world.signed(5), root=bytes(32), proof=[])


@pytest.mark.parametrize(
    ("middle", "verdict", "says"),
    [
        (b"[]," * 600_000, "ENTRIES", "of the characters"),
        (b"{}," * 600_000, "OBSERVED", "of the characters"),
        (b"1," * 1_100_000, "ABSENT", "of the characters"),
        (b'"%s",' % bytes(16 * 2**20).replace(b"\0", b"a"), "FORK", "16777216 bytes for this verdict"),
    ],
    ids=["arrays", "objects", "integers", "a-long-text"],
)
def test_what_is_too_large_is_refused_before_it_is_decoded(
    middle: bytes, verdict: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of bytes by the verdict, of values for all: neither costs time or memory by the value."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("auditlog.core.canonical.parse", never)
    file = b'{"a":[' + middle + b'1],"v":"auditlog/evidence@v1","verdict":"%s"}\n' % verdict.encode()
    told = check_evidence(file, parse_trust(ClaimWorld().trust()))
    assert (told.exit_code, says in told.headline) == (1, True)


def _mutated(count: int, seed: int) -> float:
    """Which part of the changed files was accepted as the same evidence; none proves more."""
    made = [(name, world, encoded(value)) for name, world, value in vectors.cases()]
    same = 0
    for number, (name, world, file) in enumerate(made):
        trust = parse_trust(world.trust())
        original = check_evidence(file, trust)
        others = [other for _, _, other in made[number + 1 :] + made[:number]]
        for changed in islice(EvidenceMutator(file, others, random.Random(f"{seed} {number}")), count):
            told = check_evidence(changed, trust)
            if told.exit_code != 0 or _is_renamed(file, changed) or _is_part(file, changed):
                continue
            if not _is_another(told.headline, made, name):
                assert gained(original, told) == [], changed
                same += 1
    return same / (count * len(made))


def _is_renamed(file: bytes, changed: bytes) -> bool:
    """The same entries may break two rules; that they break the other one too is as true."""
    return bool({**json.loads(changed), "alarm": ""} == {**json.loads(file), "alarm": ""})


def _is_part(file: bytes, changed: bytes) -> bool:
    """Some of the same entries of the same tree may break the rule by themselves: they were shown before."""
    before, after = json.loads(file), json.loads(changed)
    is_rest_alike = {**after, "entries": []} == {**before, "entries": []}
    return is_rest_alike and all(each in before["entries"] for each in after["entries"])


def _is_another(headline: str, made: list[tuple[str, ClaimWorld, bytes]], name: str) -> bool:
    """A splice, or another word for what the same entries show, may hold what a file of these shows too."""
    return any(
        other != name and check_evidence(file, parse_trust(world.trust())).headline == headline
        for other, world, file in made
    )


def test_no_mutation_of_a_claim_proves_more() -> None:
    """Whatever is changed, the file is refused, or proves what it or another of these proved.

    What proves the same has mostly lost a witness's line, which a conviction does not need.
    """
    assert _mutated(25, 1) < 0.06


@pytest.mark.long
def test_no_mutation_of_a_claim_proves_more_at_length() -> None:
    """The same, a hundred thousand times."""
    assert _mutated(2_000, 2) < 0.06


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"\xff" * 64, b'{"v":"auditlog/evidence@v1","verdict":"ENTRIES"}\n', b"[" * 100_000],
    ids=["empty", "object", "bytes", "bare", "deep"],
)
def test_any_bytes_get_a_report(data: bytes) -> None:
    """What is no evidence proves nothing, and nothing is raised."""
    told = check_evidence(data, parse_trust(ClaimWorld().trust()))
    assert (told.exit_code, told.against, told.verdict) == (1, (), None)
    assert is_evidence(data) == (b"auditlog/evidence@v1" in data)
