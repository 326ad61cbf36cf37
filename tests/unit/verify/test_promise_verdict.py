"""Promises: each way to break one is caught with evidence, and an honest log never breaks any."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditlog.core.checkpoint import Checkpoint
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.core.note import Signature, format_signature
from auditlog.core.scalars import format_time
from auditlog.errors import ConfigurationError, MalformedError
from auditlog.verify.promise_evidence import (
    Cause,
    Evidence,
    EvidenceTooLargeError,
    evidence_size,
    format_evidence,
    parse_evidence,
)
from auditlog.verify.promise_judge import judge_evidence
from auditlog.verify.promise_report import PromiseReport, Verdict
from auditlog.verify.promise_verdict import OwnBytes, check_promise
from auditlog.verify.promise_view import LogSight
from auditlog.verify.report import Grade, Outcome
from tests.support import promise_world
from tests.support.promise_world import FakeLookup, Kept, World, honest_start
from tests.support.tlog_writer import ORIGIN

CHEATS: dict[Callable[[], tuple[World, Kept]], Cause] = {
    promise_world.conflict: Cause.CONFLICT,
    promise_world.other_content: Cause.CONFLICT,
    promise_world.skipped_number: Cause.SKIPPED,
    promise_world.skipped_by_gap: Cause.SKIPPED,
    promise_world.skipped_by_restart: Cause.SKIPPED,
    promise_world.skipped_life: Cause.SKIPPED,
    promise_world.late: Cause.LATE,
    promise_world.absent: Cause.ABSENT,
    promise_world.declared_lost: Cause.DECLARED_LOST,
}
cheats = pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.__name__)


def judged(world: World, kept: Kept, sight: LogSight | None = None, **options: object) -> PromiseReport:
    """The verdict now, with every checkpoint of the log in hand."""
    sight = sight or world.sight(kept=world.checkpoints)
    return check_promise(kept.note, sight, now_us=world.now_s * 1_000_000, **options)  # type: ignore[arg-type]


@cheats
@pytest.mark.parametrize("asked", [False, True], ids=["by reading", "by asking"])
def test_every_cheat_is_caught_with_evidence_a_third_party_verifies(
    cheat: Callable[[], tuple[World, Kept]], asked: bool
) -> None:
    """Each world of a dishonest operator gives its verdict, and an evidence file that stands on its own."""
    world, kept = cheat()
    lookup = FakeLookup(world) if asked else None
    source = world.source(bundles=not asked)
    report = judged(world, kept, world.sight(source, lookup=lookup, kept=world.checkpoints))
    cause = CHEATS[cheat]
    expected = Verdict.DECLARED_LOST if cause is Cause.DECLARED_LOST else Verdict.BROKEN
    assert (report.verdict, report.cause, report.exit_code) == (expected, cause, 1)
    assert report.evidence is not None
    written = format_evidence(report.evidence)
    assert format_evidence(parse_evidence(written)) == written
    told = judge_evidence(written, world.trust())
    assert (told.exit_code, told.report and told.report.cause) == (0, cause)
    assert told.headline.startswith("PROVEN: ")


@cheats
def test_evidence_needs_the_trust_file_it_is_checked_with(cheat: Callable[[], tuple[World, Kept]]) -> None:
    """A quorum with a witness more does not date it; without a quorum LATE and ABSENT are not datable."""
    world, kept = cheat()
    report = judged(world, kept)
    assert report.evidence is not None
    written = format_evidence(report.evidence)
    other = World(witnesses=3).trust()
    needs_date = CHEATS[cheat] in (Cause.LATE, Cause.ABSENT)
    assert judge_evidence(written, other).exit_code == (1 if needs_date else 0)  # the log's key is the same
    alone = judge_evidence(written, world.trust(quorum=0))
    assert alone.exit_code == (3 if needs_date else 0)
    assert alone.headline.startswith("NOT CHECKED: " if needs_date else "PROVEN: ")


def test_the_promised_entry_is_in_the_log() -> None:
    """Exit 0: the entry is there, byte for byte, by the promised time, and is what the promise says."""
    world = honest_start()
    kept = world.decide()
    world.now_s += 30
    world.publish()
    own = OwnBytes(kept.exchange_key, kept.request, kept.response)
    for sight in (world.sight(), world.sight(world.source(bundles=False), lookup=FakeLookup(world))):
        report = judged(world, kept, sight, own=own)
        assert (report.verdict, report.exit_code, report.index) == (Verdict.IN_LOG, 0, 6)
        assert {step.outcome for step in report.steps if step.number != 7} == {Outcome.PASSED}
        assert "on_time" in {fact.name for fact in report.graded(Grade.PROVEN)}


def test_a_promise_about_other_bytes_is_told() -> None:
    """The entry is in the log, and the caller's bytes are not those it records: exit 1."""
    world = honest_start()
    kept = world.decide()
    world.publish()
    report = judged(world, kept, own=OwnBytes(kept.exchange_key, kept.request, b"something else"))
    assert (report.verdict, report.bytes_differ, report.exit_code) == (Verdict.IN_LOG, True, 1)
    assert "other bytes than those you sent and got" in report.headline


def test_before_merge_by_nothing_is_broken() -> None:
    """Not published yet: not yet due, exit 3, whatever the log shows."""
    world = honest_start()
    kept = world.decide()
    for sight in (world.sight(), world.sight(world.source(bundles=False))):
        report = judged(world, kept, sight)
        assert (report.verdict, report.exit_code) == (Verdict.NOT_YET_DUE, 3)
    world.now_s += 61
    assert judged(world, kept).verdict is Verdict.NOT_CHECKED


def test_absence_without_a_date_is_not_checked() -> None:
    """No quorum in the trust file, or none after merge-by: said plainly, exit 3, no evidence."""
    world, kept = promise_world.absent()
    report = judged(world, kept, world.sight(trust=world.trust(quorum=0)))
    assert (report.verdict, report.exit_code, report.evidence) == (Verdict.NOT_CHECKED, 3, None)
    assert "no witness quorum" in report.headline
    world, kept = promise_world.absent()
    world.cosigners = world.cosigners[:1]
    world.publish()
    world.cosigners = World().cosigners
    report = judged(world, kept, world.sight(trust=world.trust(), kept=()))
    assert (report.verdict, report.exit_code) == (Verdict.NOT_CHECKED, 3)


def test_every_needed_cosignature_must_be_after_merge_by() -> None:
    """Two of two witnesses: with one of them before merge-by the state is not dated."""
    world = honest_start()
    with world.drop():
        kept = world.decide()
    world.now_s += 59
    early = world.publish()
    world.now_s += 2
    late = world.publish()
    lines = [*late.split("\n")[:-2], early.split("\n")[-2]]
    world.checkpoints = ["\n".join(lines) + "\n"]
    assert judged(world, kept).verdict is Verdict.NOT_CHECKED
    split = judged(world, kept, world.sight(trust=world.trust(quorum=1)))
    assert (split.verdict, split.exit_code) == (Verdict.NOT_CHECKED, 3)
    assert "too small to date" in split.headline


def test_a_partitioned_witness_convicts_nobody() -> None:
    """One of two: one saw the entry in time; the other, cut off, truthfully cosigns the old tree later."""
    world = honest_start()
    old, size = world.checkpoints[-1], len(world.entries)
    kept = world.decide()
    world.now_s += 1
    world.publish(witnesses=1)
    world.now_s += 7200
    leaves = [hash_leaf(entry) for entry in world.entries[:size]]
    again = world.cosigners[1].cosign(Checkpoint(ORIGIN, size, root_hash(leaves)), leaves, world.now_s)
    trust = world.trust(quorum=1)
    report = judged(world, kept, world.sight(trust=trust, kept=[old + again]))
    assert (report.verdict, report.evidence) == (Verdict.IN_LOG, None)
    world.checkpoints.append(old + again)
    assert judged(world, kept, world.sight(trust=trust)).cause is None


@pytest.mark.parametrize("witnesses", [1, 3])
def test_a_majority_dates_as_before(witnesses: int) -> None:
    """One of one and two of three convict by a bare quorum: no other quorum is left beside it."""
    world = World(witnesses=witnesses)
    with world.drop():
        kept = world.decide()
    world.now_s += 61
    world.publish(witnesses=witnesses // 2 + 1)
    trust = world.trust(quorum=witnesses // 2 + 1)
    report = judged(world, kept, world.sight(trust=trust))
    assert report.cause is Cause.ABSENT
    assert report.evidence is not None
    assert judge_evidence(format_evidence(report.evidence), trust).exit_code == 0


def test_merge_by_itself_is_still_in_time() -> None:
    """A checkpoint dated exactly at merge-by breaks nothing; one second later it does."""
    world = honest_start()
    with world.drop():
        kept = world.decide()
    world.now_s += 60
    world.publish()
    assert judged(world, kept).verdict is Verdict.NOT_CHECKED
    world.now_s += 1
    world.publish()
    assert judged(world, kept).cause is Cause.ABSENT


def test_refused_entries_and_tiles_are_withheld() -> None:
    """A log that shows neither who promised nor what it holds proves nothing, and that is said."""
    world, kept = promise_world.absent()
    source = world.source(bundles=False)
    assert judged(world, kept, world.sight(source)).verdict is Verdict.WITHHELD
    source = world.source(bundles=False)
    source.refused = {path for path in source.files if path.startswith("tile")}
    report = judged(world, kept, world.sight(source, lookup=FakeLookup(world)))
    assert (report.verdict, report.exit_code) == (Verdict.WITHHELD, 3)
    assert "hash tiles (refused)" in report.headline
    source.down = True
    report = judged(world, kept, world.sight(source))
    assert (report.verdict, report.exit_code) == (Verdict.NOT_CHECKED, 3)


def test_a_log_that_answers_half_is_caught_by_its_tiles() -> None:
    """The answer leaves out what contradicts: the tiles show the absence all the same."""
    for cheat in (promise_world.conflict, promise_world.skipped_number, promise_world.declared_lost):
        world, kept = cheat()
        silent = FakeLookup(world, without=("entry", "next", "base", "life", "gaps", "notices"))
        report = judged(world, kept, world.sight(world.source(bundles=False), lookup=silent))
        assert (report.verdict, report.cause) == (Verdict.BROKEN, Cause.ABSENT)


@cheats
@pytest.mark.parametrize("bundles", [True, False], ids=["entries open", "entries closed"])
def test_an_older_answer_hides_nothing_the_tree_proves(
    cheat: Callable[[], tuple[World, Kept]], bundles: bool
) -> None:
    """A look-up that keeps answering from before the cheat: the public, newest tree decides."""
    world, kept = cheat()
    lookup = FakeLookup(world, at=(0,))
    report = judged(
        world, kept, world.sight(world.source(bundles=bundles), lookup=lookup, kept=world.checkpoints)
    )
    cause = CHEATS[cheat]
    if not bundles and cause is not Cause.LATE:
        cause = Cause.ABSENT  # of closed entries the leaf hashes alone are seen
    if not bundles and cheat is promise_world.other_content:
        assert (report.verdict, report.cause) == (Verdict.WITHHELD, None)  # the entry is there, and not shown
        return
    assert (report.exit_code, report.cause) == (1, cause), report.headline
    assert report.evidence is not None
    assert judge_evidence(format_evidence(report.evidence), world.trust()).exit_code == 0
    assert lookup.asked == (1 if cheat is promise_world.absent else 2)  # its tree never grew


def test_an_older_answer_hides_nothing_a_kept_checkpoint_proves() -> None:
    """The public checkpoint is old too: one kept from elsewhere, whose tree is served, decides."""
    world, kept = promise_world.conflict()
    source = world.source()
    source.files["checkpoint"] = world.checkpoints[0].encode()
    sight = world.sight(source, lookup=FakeLookup(world, at=(0,)), kept=[world.checkpoints[-1]])
    assert judged(world, kept, sight).cause is Cause.CONFLICT


@pytest.mark.parametrize("bundles", [True, False], ids=["entries open", "entries closed"])
def test_a_newer_answer_hides_nothing_the_public_tree_proves(bundles: bool) -> None:
    """The look-up answers from a tree it does not serve, and leaves out what contradicts."""
    world, kept = promise_world.conflict()
    source = world.source(bundles=bundles)
    world.decide()
    world.publish()
    silent = FakeLookup(world, without=("entry", "next", "base", "life", "gaps", "notices"))
    report = judged(world, kept, world.sight(source, lookup=silent))
    assert report.cause is (Cause.CONFLICT if bundles else Cause.ABSENT), report.headline
    assert report.evidence is not None
    assert judge_evidence(format_evidence(report.evidence), world.trust()).exit_code == 0


def test_a_look_up_that_lags_is_asked_again() -> None:
    """A log that grows between two answers is honest: the second answer decides, nothing is read whole."""
    world = honest_start()
    kept = world.decide()
    world.now_s += 61
    world.publish()
    lookup = FakeLookup(world, at=(0, -1))
    report = judged(world, kept, world.sight(world.source(bundles=False), lookup=lookup))
    assert (report.verdict, lookup.asked) == (Verdict.IN_LOG, 2)


def test_an_older_answer_is_still_a_hint() -> None:
    """Entries are closed and the look-up lags: what it shows is proven into the newest tree by hash tiles."""
    world = honest_start()
    kept = world.decide()
    world.publish()
    world.decide()
    world.now_s += 61
    world.publish()
    lookup = FakeLookup(world, at=(1,))
    report = judged(world, kept, world.sight(world.source(bundles=False), lookup=lookup))
    assert (report.verdict, report.index) == (Verdict.IN_LOG, 6)
    assert "of the log's 8" in next(fact.text for fact in report.facts if fact.name == "index")


def test_an_entry_the_log_is_silent_about_is_found_in_its_tiles() -> None:
    """A look-up that denies what the tree holds is not believed; the entry's bytes are still asked for."""
    world = honest_start()
    kept = world.decide()
    world.now_s += 61
    world.publish()
    silent = FakeLookup(world, without=("entry",))
    assert judged(world, kept, world.sight(lookup=silent)).verdict is Verdict.IN_LOG
    report = judged(world, kept, world.sight(world.source(bundles=False), lookup=silent))
    assert (report.verdict, report.exit_code) == (Verdict.WITHHELD, 3)


def test_a_cut_or_forked_log_is_told() -> None:
    """Two histories are evidence of their own; fewer entries than were signed are withheld."""
    world = honest_start()
    kept = world.decide()
    first = world.publish()
    world.now_s += 61
    forked = honest_start()
    forked.decide('{"other":"history"}')
    forked.decide()
    forked.now_s = world.now_s
    forked.publish()
    key = world.cosigners[0].key
    wrong = format_signature(Signature(key.name, key.key_id, bytes(72)))
    for note in (first, first + wrong):
        report = judged(forked, kept, forked.sight(kept=[note]))
        assert (report.verdict, report.cause, report.exit_code) == (Verdict.BROKEN, Cause.FORK, 1)
    assert report.evidence is not None
    assert judge_evidence(format_evidence(report.evidence), world.trust()).exit_code == 0
    world.decide()
    newest = world.publish()
    behind = honest_start()
    behind.now_s = world.now_s
    assert judged(behind, kept, behind.sight(kept=[newest])).verdict is Verdict.WITHHELD


def test_a_promise_by_another_key_is_none() -> None:
    """A forged signature is no promise, exit 2; a key the log does not show is withheld, never broken."""
    world = honest_start()
    kept = world.decide()
    forged = Kept(kept.note.replace("unregistered", "pending"), b"", b"", b"")
    world.now_s += 61
    world.publish()
    report = judged(world, forged)
    assert (report.verdict, report.exit_code) == (Verdict.NO_PROMISE, 2)
    world.rotate()
    after = world.decide()
    world.publish()
    assert judged(world, after).verdict is Verdict.IN_LOG
    world.now_s += 61
    hidden = FakeLookup(world, without=("rotations",))
    report = judged(world, after, world.sight(world.source(bundles=False), lookup=hidden))
    assert (report.verdict, report.exit_code) == (Verdict.WITHHELD, 3)


def test_no_rotation_unsays_a_promise() -> None:
    """An operator who writes a change of keys before the promised number is caught all the same."""
    world = honest_start()
    with world.drop():
        world.decide()
        kept = world.decide()
    world.rotate()
    world.decide()
    world.now_s += 61
    world.publish()
    assert judged(world, kept).cause is Cause.CONFLICT


def test_another_log_is_the_callers_mistake() -> None:
    """A trust file without the log cannot judge; a file that is no promise is refused."""
    world = honest_start()
    with pytest.raises(ConfigurationError):
        LogSight(world.trust(), "log.example/other", world.source())
    with pytest.raises(MalformedError):
        check_promise("no note", world.sight(), now_us=0)
    assert world.sight().log.origin == ORIGIN


@pytest.mark.parametrize("count", [1, 2, 3, 255, 256, 257, 600])
def test_the_size_of_evidence_is_known_before_it_is_written(count: int) -> None:
    """What the leaf hashes take in the file: so a tree that is too large is refused at once, by its size."""
    evidence = Evidence(verdict=Cause.ABSENT, checkpoint="", leaves=(bytes(32),) * count)
    value = [base64.b64encode(bytes(32 * min(256, count - at))).decode() for at in range(0, count, 256)]
    assert evidence_size(evidence) == len(json.dumps(value, separators=(",", ":"))) - 1
    too_many = replace(evidence, leaves=(bytes(32),) * 4_716_800)
    with pytest.raises(EvidenceTooLargeError):
        format_evidence(too_many)


@pytest.mark.parametrize("damage", [b"", b"{}\n", b"\xff", b'{"v":"auditlog/evidence@v1"}\n'])
def test_anything_else_is_no_evidence(damage: bytes) -> None:
    """Any bytes give an answer: not proven."""
    told = judge_evidence(damage, World().trust())
    assert told.exit_code == 1
    assert told.headline.startswith("NOT PROVEN: ")


_ACTS = st.lists(
    st.sampled_from(
        ["decide", "decide", "decide", "heartbeat", "gap", "stop", "crash", "rotate", "publish", "wait"]
    ),
    max_size=25,
)


def _act(world: World, act: str, kept: list[Kept]) -> None:
    """One step of an honest operator's life."""
    if act == "decide":
        kept.append(world.decide())
    elif act == "heartbeat":
        world.write("heartbeat", {"interval_s": 30})
    elif act == "gap":
        world.gap(world.instance, world.seq, 1)
    elif act == "stop":
        world.write("notice", {"what": "stopped"})
        world.restart()
    elif act == "crash":
        lost, last = world.instance, world.seq
        world.restart()
        world.gap(lost, last)
    elif act == "rotate" and world.keys < 4:
        world.rotate()
    elif act == "publish":
        world.publish()
    elif act == "wait":
        world.publish()
        world.now_s += 45


@settings(max_examples=40, deadline=None)
@given(acts=_ACTS, asked=st.booleans(), bundles=st.booleans())
def test_an_honest_log_never_breaks_a_promise(acts: list[str], asked: bool, bundles: bool) -> None:
    """Whatever an honest operator lives through, no promise of it is ever called broken."""
    world, kept = World(), []
    for act in acts:
        _act(world, act, kept)
        world.now_s += 1
    world.publish()
    lookup = FakeLookup(world) if asked else None
    sight = world.sight(world.source(bundles=bundles), lookup=lookup, kept=world.checkpoints)
    for each in kept:
        for now_s in (world.now_s, world.now_s + 10_000):
            report = check_promise(each.note, sight, now_us=now_s * 1_000_000)
            assert report.cause is None, (report.headline, format_time(now_s * 1_000_000))
            if asked or bundles:
                assert report.verdict is Verdict.IN_LOG
