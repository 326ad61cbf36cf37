"""Entries a dishonest log writes beside a broken promise hide nothing: bad rotations, decoys, copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from auditlog.core.merkle import hash_leaf
from auditlog.core.note import Ed25519Signer
from auditlog.core.promise import sign_promise
from auditlog.core.signed import sign_one
from auditlog.core.statements import MAX_ROTATIONS, rotation_text
from auditlog.verify.chains import ChainChecker
from auditlog.verify.promise_evidence import Cause, format_evidence
from auditlog.verify.promise_judge import judge_evidence
from auditlog.verify.promise_report import PromiseReport, Verdict
from auditlog.verify.promise_scan import MAX_STARTS
from auditlog.verify.promise_verdict import check_promise
from tests.support import promise_world
from tests.support.promise_world import MERGE_S, ORIGIN, FakeLookup, Kept, World
from tests.support.tlog_writer import log_signer


def convicted(
    world: World, promised: Kept, cause: Cause, *, quorum: int | None = None, **options: Any
) -> None:
    """The promise is found broken, and a stranger who gets the file finds the same."""
    report = judged(world, promised, quorum=quorum, **options)
    assert (report.exit_code, report.cause) == (1, cause), report.headline
    assert report.evidence is not None
    assert judge_evidence(format_evidence(report.evidence), world.trust(quorum)).exit_code == 0


def judged(world: World, promised: Kept, *, quorum: int | None = None, **options: Any) -> PromiseReport:
    """Well after it was due."""
    world.now_s += MERGE_S + 5
    world.publish()
    sight = world.sight(trust=world.trust(quorum), **options)
    return check_promise(promised.note, sight, now_us=world.now_s * 1_000_000)


def _other_key(world: World) -> Ed25519Signer:
    return Ed25519Signer.from_seed(world.key.name, b"x".ljust(32, b"\7"))


def _notes(world: World, key: Ed25519Signer, *signers: Ed25519Signer) -> dict[str, Any]:
    text = rotation_text(ORIGIN, world.identity, key.vkey)
    return {"vkey": key.vkey, "notes": [sign_one(text, signer) for signer in signers]}


BAD_ROTATIONS: dict[str, Callable[[World], dict[str, Any]]] = {
    "malformed": lambda world: {"x": 1},
    "by the new key alone": lambda world: _notes(world, _other_key(world), *[_other_key(world)] * 2),
    "by the old key alone": lambda world: _notes(world, _other_key(world), *[world.key] * 2),
    "to the key in force": lambda world: _notes(world, world.key, *[world.key] * 2),
}
bad_rotations = pytest.mark.parametrize("body", list(BAD_ROTATIONS.values()), ids=list(BAD_ROTATIONS))


def dropped(*, number_too: bool = True) -> tuple[World, Kept]:
    """A promised decision that never reaches the log."""
    world = World()
    world.decide()
    with world.drop(number_too=number_too):
        kept = world.decide()
    return world, kept


@bad_rotations
@pytest.mark.parametrize("asked", [False, True], ids=["read", "asked"])
def test_a_rotation_that_does_not_hold_hides_no_conflict(
    body: Callable[[World], dict[str, Any]], asked: bool
) -> None:
    """It changes no key: the promise is tried with those that hold, and the evidence shows only these."""
    world, kept = dropped()
    world.decide()
    world.write("rotation", body(world))
    world.publish()
    convicted(world, kept, Cause.CONFLICT, lookup=FakeLookup(world) if asked else None)


@bad_rotations
@pytest.mark.parametrize(
    ("cheat", "cause"),
    [
        (promise_world.skipped_number, Cause.SKIPPED),
        (promise_world.late, Cause.LATE),
        (promise_world.absent, Cause.ABSENT),
    ],
)
def test_a_rotation_that_does_not_hold_hides_nothing(
    cheat: Callable[[], tuple[World, Kept]], cause: Cause, body: Callable[[World], dict[str, Any]]
) -> None:
    """The same of the other three ways to break a promise; the bad rotation is in a life of nobody."""
    world, kept = cheat()
    entry = world._entry("rotation", body(world), world.identity, "f" * 32, 77, "0" * 64)
    world._append(entry)
    convicted(world, kept, cause, kept=world.checkpoints)


def test_an_answer_with_a_bad_rotation_in_it_hides_nothing() -> None:
    """Entries are closed, and the log answers with a rotation that does not hold among those that do."""
    world, kept = dropped()
    world.decide()
    at = len(world.entries)
    world.write("rotation", {"x": 1})
    world.now_s += MERGE_S + 5
    world.publish()

    class Answering(FakeLookup):
        def look_up(self, note: str) -> Any:
            view = super().look_up(note)
            tree = world.sight().tree(world.sight().open(world.checkpoints[-1]))
            bad = replace(view.producer, index=at, entry=world.entries[at], proof=tuple(tree.inclusion(at)))
            view.rotations = (bad, *view.rotations)
            return view

    convicted(
        world, kept, Cause.CONFLICT, source=world.source(bundles=False), lookup=Answering(world, at=(-2,))
    )


def test_a_key_behind_a_bad_rotation_is_the_producers_all_the_same() -> None:
    """A bad rotation, then one that holds: what the new key promised counts; the good one is shown."""
    world = World()
    world.write("rotation", {"x": 1})
    world.rotate()
    with world.drop():
        kept = world.decide()
    world.decide()
    report = judged(world, kept)
    assert (report.cause, report.evidence and len(report.evidence.rotations)) == (Cause.CONFLICT, 1)
    convicted(world, kept, Cause.CONFLICT)


def test_more_rotations_than_a_log_may_take_hide_nothing() -> None:
    """The 62nd changes no key: a promise by the enrolled key is proven, and its evidence is short."""
    world, kept = dropped()
    world.decide()
    for _ in range(MAX_ROTATIONS + 2):
        world.rotate()
    report = judged(world, kept)
    assert (report.cause, report.evidence and len(report.evidence.rotations)) == (Cause.CONFLICT, 1)
    convicted(world, kept, Cause.CONFLICT)


def test_an_answer_without_the_rotations_hides_nothing_that_is_open() -> None:
    """The look-up leaves out the change of keys; the entries are open, and show it."""
    world = World()
    world.rotate()
    with world.drop():
        kept = world.decide()
    world.decide()
    world.now_s += MERGE_S + 5
    world.publish()
    hidden = FakeLookup(world, without=("rotations",), at=(-1,))
    convicted(world, kept, Cause.CONFLICT, lookup=hidden)


def test_a_copy_of_the_enrolment_hides_nothing() -> None:
    """The enrolment again, behind the rotation that the promise needs."""
    world = World()
    enrolment = world.entries[1]
    world.rotate()
    with world.drop():
        kept = world.decide()
    world.decide()
    world.entries.append(enrolment)
    convicted(world, kept, Cause.CONFLICT)


@pytest.mark.parametrize("is_first", [False, True])
def test_a_second_successor_hides_nothing(is_first: bool) -> None:
    """One that does not follow the promised entry, and one that pretends to, before it or after it."""
    world, kept = dropped(number_too=False)
    if not is_first:
        world.decide()
    _stray_successor(world, kept)
    if is_first:
        world.decide()
    convicted(world, kept, Cause.SKIPPED, quorum=0)


def _stray_successor(world: World, kept: Kept) -> None:
    said = kept.promise
    world._append(
        world._entry("decision", {"x": 1}, world.identity, said.instance, said.seq + 1, said.leaf_hash.hex())
    )


def _start(world: World, instance: str, prev: str) -> None:
    body = {"note": "x", "software": ""}
    world._append(world._entry("instance", body, world.identity, instance, 0, prev))


@pytest.mark.parametrize("decoys", [1, MAX_STARTS - 1])
def test_lives_that_follow_nothing_hide_nothing(decoys: int) -> None:
    """Starts of lives that stand on no entry, before the one that leaves the promised number out."""
    world, kept = dropped()
    for number in range(decoys):
        _start(world, f"{number:032x}"[::-1], "ab" * 32)
    world.restart()
    world.decide()
    convicted(world, kept, Cause.SKIPPED, quorum=0)


def test_lives_that_stand_elsewhere_hide_nothing() -> None:
    """Starts on an entry of the log's, on one behind the promised number, and on one further on."""
    world, kept = dropped()
    before, said = world.prev, kept.promise
    _start(world, "b" * 32, hash_leaf(world.entries[0]).hex())
    beyond = world._entry(
        "notice", {"what": "stopped"}, world.identity, said.instance, said.seq + 5, "cd" * 32
    )
    _start(world, "c" * 32, world._append(beyond))
    _start(world, "d" * 32, hash_leaf(world.entries[-1]).hex())
    _start(world, "e" * 32, before)
    convicted(world, kept, Cause.SKIPPED, quorum=0)


def test_a_stray_entry_of_the_left_out_life_hides_nothing() -> None:
    """A whole life is cut off; an entry of it also stands before the base that the next life follows."""
    world = World()
    stray = "9" * 32
    world._append(world._entry("notice", {"what": "stopped"}, world.identity, stray, 7, "ef" * 32))
    world.decide()
    prev = world.prev
    world.restart()
    world.entries[-1] = world.entries[-1].replace(world.instance.encode(), stray.encode())
    world.instance = stray
    with world.drop():
        kept = world.decide()
    world.prev = prev
    world.restart()
    world.decide()
    convicted(world, kept, Cause.SKIPPED, quorum=0)


def test_a_start_beside_a_successor_is_tried() -> None:
    """The next number pretends to follow the promised entry; the next life cuts both off."""
    world, kept = dropped()
    _stray_successor(world, kept)
    world.restart()
    convicted(world, kept, Cause.SKIPPED, quorum=0)


def test_a_promise_by_an_old_key_says_so() -> None:
    """Who stole a key that was replaced can still make promises with it: report and evidence tell of it."""
    world = World()
    stolen = world.key
    world.rotate()
    honest = world.decide()
    forged = sign_promise(replace(honest.promise, leaf_hash=b"\x42" * 32), stolen)
    report = judged(world, Kept(forged, b"", b"", b""))
    assert (report.verdict, report.cause) == (Verdict.BROKEN, Cause.CONFLICT)
    assert "Its key was replaced by entry 3: whoever had stolen it" in report.headline
    assert report.evidence is not None
    told = judge_evidence(format_evidence(report.evidence), world.trust())
    assert "replaced by entry 3" in told.headline
    assert "replaced_key" in {fact.name for fact in told.facts}
    assert "replaced" not in judged(world, honest).headline


@bad_rotations
def test_a_rotation_that_does_not_hold_changes_no_key_for_fsck(
    body: Callable[[World], dict[str, Any]],
) -> None:
    """It is the one complaint: the lives and the rotation behind it go on from the key that was in force."""
    world = World()
    at = len(world.entries)
    world.write("rotation", body(world))
    world.restart()
    world.rotate()
    world.restart()
    world.decide()
    problems: list[str] = []
    chains = ChainChecker(ORIGIN, problems.append, vkey=log_signer().vkey)
    for index, data in enumerate(world.entries):
        chains.take(index, hash_leaf(data), data)
    assert [problem.split(":")[0] for problem in problems] == [f"entry {at}"]
