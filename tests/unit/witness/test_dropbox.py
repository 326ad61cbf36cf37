"""The promise drop-box: bounded, keyless, nameless; broken only with evidence that a stranger can check."""

from __future__ import annotations

import dataclasses
import itertools
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auditlog.cli.witness_judge import BudgetedLookup, PromiseJudge, own_trust
from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.keys import Ed25519Signer
from auditlog.core.promise import sign_promise
from auditlog.core.scalars import format_time
from auditlog.core.signed import sign_one
from auditlog.core.witnessing import AddCheckpoint, format_add_checkpoint
from auditlog.errors import AuditLogError, SourceError
from auditlog.verify.promise_judge import judge_evidence
from auditlog.verify.promise_sources import View
from auditlog.witness.boxstore import BOX, BoxStore, Deposit, promise_id
from auditlog.witness.cosigner import Cosigner
from auditlog.witness.dropbox import BoxLimits, DropBox
from auditlog.witness.errors import DepositRefused
from auditlog.witness.followed import follow
from auditlog.witness.judging import Judged, Judgement, Judging, Outcome
from auditlog.witness.rates import Rates, network_of
from auditlog.witness.states import States
from tests.support import promise_world
from tests.support.log_over_http import ServedLog, served
from tests.support.promise_world import FakeLookup, Kept, World
from tests.support.tlog_writer import ORIGIN, log_signer


class Clock:
    """POSIX seconds, and seconds since whenever."""

    now = promise_world.START_S

    def __call__(self) -> int:
        return self.now


class Told:
    """A judge that says what it is told to."""

    def __init__(self, *outcomes: Judgement | AuditLogError) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[tuple[str, int, int]] = []

    def judge(self, origin: str, notes: Any, seen: Any) -> Judged:
        """One outcome a call, for every note."""
        self.asked.append((origin, len(notes), len(seen)))
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, AuditLogError):
            raise outcome
        return Judged([outcome] * len(notes), [f"note {len(self.asked)}"])


@pytest.fixture
def clock() -> Clock:
    """Set by hand."""
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[BoxStore]:
    """An empty box on disk."""
    store = BoxStore(tmp_path)
    yield store
    store.close()


def box_of(store: BoxStore, clock: Clock, url: str = "http://127.0.0.1:1", **limits: int) -> DropBox:
    """A box for the log of `promise_world`."""
    return DropBox(
        store, {ORIGIN: url}, BoxLimits(**limits), unix_s=clock, monotonic=lambda: float(clock.now)
    )


def promises(count: int) -> list[bytes]:
    """Different ones."""
    world = World()
    return [world.decide().note.encode() for _ in range(count)]


def refused(box: DropBox, body: bytes, peer: str = "192.0.2.1") -> DepositRefused:
    """The refusal of a deposit."""
    with pytest.raises(DepositRefused) as caught:
        box.deposit(body, peer)
    return caught.value


def test_a_deposit_is_kept_once_and_nothing_of_its_sender(
    store: BoxStore, clock: Clock, tmp_path: Path
) -> None:
    """The note, when it is due, and what became of it: that is all there is on the disk."""
    box, (note,) = box_of(store, clock), promises(1)
    said = box.deposit(note, "203.0.113.77")
    assert said == {"promise": promise_id(note.decode()), "state": "waiting", "is_new": True}
    assert box.deposit(note, "203.0.113.78")["is_new"] is False
    assert box.state(said["promise"]) == "waiting"
    assert box.state("../etc") is None
    store.close()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(b"203.0.113" not in path.read_bytes() for path in files)
    connection = sqlite3.connect(tmp_path / BOX)
    columns = {row[1] for row in connection.execute("PRAGMA table_info(promise)")}
    connection.close()
    assert columns == {"name", "origin", "note", "due_s", "until_s", "next_s", "tries", "state"}


def test_what_is_no_promise_is_refused(store: BoxStore, clock: Clock) -> None:
    """Other notes, two signatures, another log's, a stranger's name, a merge-by in years."""
    box, world = box_of(store, clock), World()
    note = world.decide().note
    from tests.support.promise_world import read_promise

    promise = read_promise(note)
    stranger = Ed25519Signer.from_seed("stranger.example", b"s" * 32)
    line = note.splitlines(keepends=True)[-1]
    far = note.replace(promise.merge_by, "2031-01-01T00:00:00.000000Z")
    cases: list[tuple[bytes, int]] = [
        (b"", 400),
        (b"\xff", 400),
        (sign_one("auditlog/promise@v1\nx\n", stranger).encode(), 400),
        ((note + line).encode(), 400),
        (sign_promise(promise, stranger).encode(), 400),
        (far.encode(), 400),
        (note.replace(ORIGIN, "log.example/else").encode(), 404),
    ]
    for body, status in cases:
        assert refused(box, body).status == status
    assert store.counts() == {"waiting": 0, "broken": 0}


def test_the_box_is_bounded_in_number_and_bytes(store: BoxStore, clock: Clock) -> None:
    """Full is full, and says when to come back."""
    first, second, third = promises(3)
    box = box_of(store, clock, count=2)
    box.deposit(first, "a")
    box.deposit(second, "a")
    full = refused(box, third)
    assert (full.status, full.retry_after_s) == (503, 3600)
    assert refused(box_of(store, clock, bytes=2 * len(first)), third).status == 503
    assert box.deposit(first, "a")["is_new"] is False


def far_ahead(count: int, name: str = "gpu-0") -> list[bytes]:
    """Inventions of a producer that no log has, due in six days."""
    promise = World().decide().promise
    thief = Ed25519Signer.from_seed(f"{ORIGIN}/producer/{name}", b"t" * 32)
    merge_by = format_time((promise_world.START_S + 6 * 86_400) * 1_000_000)
    return [
        sign_promise(
            dataclasses.replace(promise, seq=n, merge_by=merge_by, producer="ab" * 32), thief
        ).encode()
        for n in range(1000, 1000 + count)
    ]


def test_a_box_full_of_far_promises_takes_those_that_are_due_soon(store: BoxStore, clock: Clock) -> None:
    """What is due last gives way, never what is due earlier; of another log nothing does."""
    box = box_of(store, clock, count=3)
    kept = [box.deposit(note, "a")["promise"] for note in far_ahead(3)]
    soon = [box.deposit(note, "a")["promise"] for note in promises(3)]
    assert [box.state(name) for name in (*kept, *soon)] == [None] * 3 + ["waiting"] * 3
    assert refused(box, far_ahead(1)[0]).status == 503
    urls = {ORIGIN: "http://127.0.0.1:1", "log.example/else": "http://127.0.0.1:1"}
    half = DropBox(store, urls, BoxLimits(count=7), unix_s=clock, monotonic=lambda: 0.0)
    assert refused(half, far_ahead(1)[0]).status == 503, "three of seven are the share of one of two logs"


def test_a_far_promise_of_nobody_is_forgotten_long_before_it_is_due(store: BoxStore, clock: Clock) -> None:
    """The log is asked after an hour; a promise of a producer that it has waits until it is due."""
    world = promise_world.honest_start()
    world.publish()
    (invented,) = far_ahead(1)
    merge_by = format_time((promise_world.START_S + 6 * 86_400) * 1_000_000)
    with world.drop():
        real = dataclasses.replace(world.decide().promise, merge_by=merge_by)
    with served(ServedLog(world.source(), FakeLookup(world))) as log:
        asked = Asked(world, log, store, clock)
        nobody, somebody = (
            asked.box.deposit(note, "a")["promise"]
            for note in (invented, sign_promise(real, world.key).encode())
        )
        clock.now += 3599
        assert asked.judging.judge_due() == 0
        clock.now += 1
        assert asked.judging.judge_due() == 2
        assert [asked.box.state(name) for name in (nobody, somebody)] == [None, "waiting"]
        clock.now += 86_400
        assert asked.judging.judge_due() == 0


def test_a_name_is_no_place_for_a_text(store: BoxStore, clock: Clock) -> None:
    """Of a stranger's own words a note holds 64 characters at most."""
    box = box_of(store, clock)
    assert box.deposit(far_ahead(1, "x" * 64)[0], "a")["is_new"]
    assert refused(box, far_ahead(1, "x" * 65)[0]).status == 400


def test_each_log_has_its_turn(store: BoxStore, clock: Clock) -> None:
    """One with many promises, or that answers slowly, does not keep the few of another waiting."""
    other = "log.example/else"
    for number in range(100):
        origin = other if number == 99 else ORIGIN
        deposit = Deposit(f"{number:064}", origin, "note", clock.now + number, clock.now + 9999)
        store.keep(deposit, most=1000, most_bytes=10**6, first_s=clock.now + 10**6)
    due = store.due(clock.now + 1000, 4)
    assert [(each.origin, int(each.name)) for each in due] == [
        (ORIGIN, 0),
        (other, 99),
        (ORIGIN, 1),
        (ORIGIN, 2),
    ]


def test_a_slow_log_is_given_up() -> None:
    """After the first answer that does not come in its time, or once all its time is spent."""
    gate, asked = threading.Event(), []

    class Slow:
        def look_up(self, note: str) -> View:
            asked.append(note)
            gate.wait(10)
            raise SourceError("expected an answer, found status 503", reason="unreachable")

    lookup = BudgetedLookup(Slow(), budget_s=30.0, timeout_s=0.05)
    for _ in range(8):
        with pytest.raises(SourceError):
            lookup.look_up("note")
    assert len(asked) == 1
    gate.set()
    ticks = itertools.count(0, 14)
    lookup = BudgetedLookup(Slow(), budget_s=30.0, timeout_s=15.0, monotonic=lambda: float(next(ticks)))
    for _ in range(8):
        with pytest.raises(SourceError):
            lookup.look_up("note")
    assert len(asked) == 1 + 3


def test_rates_bound_each_peer_and_all_together(store: BoxStore, clock: Clock) -> None:
    """A peer that has had its share waits; another goes on, until all have had theirs."""
    box = box_of(store, clock, per_peer_hour=2, per_hour=3)
    for peer in ("192.0.2.1", "192.0.2.1"):
        refused(box, b"no promise counts as well", peer)
    late = refused(box, b"", "192.0.2.1")
    assert (late.status, late.retry_after_s) == (429, 1801)
    assert refused(box, b"", "192.0.2.2").status == 400
    assert refused(box, b"", "192.0.2.3").status == 429
    clock.now += 1800
    assert refused(box, b"", "192.0.2.1").status == 400


def test_a_network_is_one_peer() -> None:
    """Of IPv6 the first half; an IPv4 address in IPv6 clothes is itself; what is no address is one peer."""
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1")
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("nonsense") == network_of("") == ""
    rates = Rates(2, 20_000, lambda: 0.0)
    taken = [rates.take(f"2001:db8:0:{number:x}::1") for number in range(20)]
    assert taken.count(0) == 16, "a network of 48 bits has the share of eight"
    assert rates.take("2001:db8:1::1") == 0
    for number in range(10_100):
        assert rates.take(f"10.{number // 65536}.{number // 256 % 256}.{number % 256}") == 0
    assert len(rates._peers) <= 10_000


def test_a_log_that_refuses_is_asked_ever_more_seldom_and_shown_as_withheld(
    store: BoxStore, clock: Clock
) -> None:
    """Never as broken; after its time the promise is dropped, and counted."""
    box = box_of(store, clock, keep_days=1)
    judge = Told(
        Judgement(Outcome.WITHHELD),
        AuditLogError("expected a log, found none"),
        Judgement(Outcome.WITHHELD),
        Judgement(Outcome.WITHHELD),
    )
    judging = Judging(box, judge, clock)
    (note,) = promises(1)
    name = box.deposit(note, "a")["promise"]
    assert judging.judge_due() == 0, "not due yet"
    clock.now += promise_world.MERGE_S + 5
    assert judging.judge_due() == 1
    assert (box.state(name), box.broken()) == ("withheld", [])
    (shown,) = box.withheld()["withheld"]
    assert (shown["promise"], shown["state"], shown["tries"]) == (name, "withheld", 1)
    assert "proves nothing" in box.withheld()["means"]
    assert judging.judge_due() == 0
    clock.now += 30
    assert judging.judge_due() == 1
    assert box.state(name) == "unreachable"
    clock.now += 59
    assert judging.judge_due() == 0
    clock.now += 1
    assert judging.judge_due() == 1
    assert [seen for _, _, seen in judge.asked] == [0, 1, 1], "checkpoints seen before are given again"
    clock.now += 2 * 86_400
    assert judging.judge_due() == 1
    assert (box.state(name), box.judged) == (None, {"withheld": 2, "unreachable": 1, "expired": 1})


def test_evidence_beyond_the_limit_is_listed_without_a_file(store: BoxStore, clock: Clock) -> None:
    """Room for one of two."""
    box = box_of(store, clock, evidence_bytes=15)
    judging = Judging(box, Told(Judgement(Outcome.BROKEN, "CONFLICT", b"evidence\n")), clock)
    for note in promises(2):
        box.deposit(note, "a")
    clock.now += 100
    judging.judge_due()
    shown = box.broken()
    assert sorted(each["evidence"] is None for each in shown) == [False, True]
    found = [box.evidence(each["promise"]) for each in shown]
    assert sorted(found, key=str) == [None, b"evidence\n"] or sorted(found, key=str) == [b"evidence\n", None]
    samples = box.samples()
    assert ((("state", "broken"),), 2) in samples["promises"]
    assert samples["promises_bytes"] == [((), 9)]


class Asked:
    """A box whose log is served over HTTP and judged for real."""

    def __init__(self, world: World, log: ServedLog, store: BoxStore, clock: Clock, **options: Any) -> None:
        self.world, self.clock = world, clock
        self.log = follow([log_signer().vkey], url=log.url)
        trust = options.get("trust") or world.trust()
        newest = options.get("newest")
        judge = PromiseJudge([self.log], lambda _: trust, lambda _: newest, lambda: clock.now * 1_000_000)
        self.box = box_of(store, clock, log.url)
        self.judging = Judging(self.box, judge, clock)

    def settle(self, kept: Kept) -> str:
        """Deposit while there is time, and judge when it is due; the promise's id."""
        self.clock.now = promise_world.START_S
        name = str(self.box.deposit(kept.note.encode(), "a")["promise"])
        self.clock.now = self.world.now_s
        assert self.judging.judge_due() == 1
        return name


CHEATS = {
    "CONFLICT": promise_world.conflict,
    "SKIPPED": promise_world.skipped_by_restart,
    "LATE": promise_world.late,
    "ABSENT": promise_world.absent,
    "DECLARED_LOST": promise_world.declared_lost,
}


@pytest.mark.parametrize("cause", CHEATS)
def test_each_cheat_is_published_with_evidence(cause: str, store: BoxStore, clock: Clock) -> None:
    """Judged by asking the log over HTTP; the file convinces a verifier that has only a trust file."""
    world, kept = CHEATS[cause]()
    earlier = world.checkpoints[-2] if len(world.checkpoints) > 1 else None
    with served(ServedLog(world.source(), FakeLookup(world))) as log:
        asked = Asked(world, log, store, clock, newest=earlier)
        name = asked.settle(kept)
    (shown,) = asked.box.broken()
    assert (shown["promise"], shown["cause"], shown["origin"]) == (name, cause, ORIGIN)
    assert shown["verdict"] == ("declared lost" if cause == "DECLARED_LOST" else "broken")
    evidence = asked.box.evidence(name)
    assert evidence is not None
    assert judge_evidence(evidence, world.trust()).exit_code == 0
    assert asked.box.state(name) == shown["verdict"]
    assert asked.box.withheld()["withheld"] == []


def test_a_kept_promise_is_forgotten(store: BoxStore, clock: Clock, tmp_path: Path) -> None:
    """In the log: nothing of it stays, but a count."""
    world = promise_world.honest_start()
    kept = world.decide()
    promise_world.goes_on(world)
    with served(ServedLog(world.source(), FakeLookup(world))) as log:
        asked = Asked(world, log, store, clock)
        name = asked.settle(kept)
    assert asked.box.state(name) is None
    assert asked.box.judged == {"kept": 1}
    store.close()
    assert kept.note.splitlines()[5].encode() not in (tmp_path / BOX).read_bytes(), "not even in free pages"


def test_a_log_that_is_down_or_refuses_is_not_convicted(store: BoxStore, clock: Clock) -> None:
    """Down: unreachable. Refusing: withheld. Back again: the truth."""
    world, kept = promise_world.conflict()
    with served(ServedLog(world.source(bundles=False), FakeLookup(world))) as log:
        asked = Asked(world, log, store, clock)
        log.status = 500
        name = asked.settle(kept)
        assert asked.box.state(name) == "unreachable"
        log.status, log.lookup = None, None
        clock.now += 30
        asked.judging.judge_due()
        assert asked.box.state(name) == "withheld", "it does not show whose promise it is"
        log.lookup = FakeLookup(world)
        clock.now += 60
        asked.judging.judge_due()
        assert asked.box.state(name) == "broken"
    other_world, other = promise_world.conflict()
    source = other_world.source(bundles=False)
    source.refused = {path for path in source.files if path.startswith("tile/")}
    with served(ServedLog(source)) as log:
        again = BoxStore(store._evidence.parent / "second")
        asked = Asked(other_world, log, again, clock)
        assert asked.box.state(asked.settle(other)) == "withheld"
        assert asked.box.broken() == []
        again.close()


def test_an_invented_promise_is_dropped(store: BoxStore, clock: Clock) -> None:
    """Of a producer that the log's tree does not have, or signed by nobody: it never stands as withheld."""
    world = promise_world.honest_start()
    kept = world.decide()
    promise_world.goes_on(world)
    stranger = World(producer="invented")
    invented = stranger.decide()
    with served(ServedLog(world.source(bundles=False))) as log:
        asked = Asked(world, log, store, clock)
        name = asked.settle(invented)
        assert (asked.box.state(name), asked.box.judged) == (None, {"no promise": 1})
        log.lookup = FakeLookup(world)
        forged = sign_promise(kept.promise, Ed25519Signer.from_seed(world.key.name, b"x" * 32))
        clock.now = promise_world.START_S
        name = str(asked.box.deposit(forged.encode(), "a")["promise"])
        clock.now = world.now_s
        asked.judging.judge_due()
        assert asked.box.broken() == []


@pytest.mark.parametrize(("cause", "state"), [("LATE", None), ("ABSENT", "withheld")])
def test_without_a_trust_file_nothing_is_dated(
    cause: str, state: str | None, store: BoxStore, clock: Clock
) -> None:
    """Neither late nor absent is published by the word of one witness, which may have been away itself."""
    world, kept = CHEATS[cause]()
    trust = own_trust(follow([log_signer().vkey]), world.cosigners[0].key.verifier.vkey)
    with served(ServedLog(world.source(), FakeLookup(world))) as log:
        asked = Asked(world, log, store, clock, trust=trust, newest=world.checkpoints[-1])
        name = asked.settle(kept)
    assert (asked.box.broken(), asked.box.state(name)) == ([], state)


def test_a_witness_that_was_away_convicts_no_honest_log(
    store: BoxStore, clock: Clock, tmp_path: Path
) -> None:
    """Back again, it cosigns the old checkpoint for a stranger: nothing came late by that."""
    world = World(witnesses=0)
    signer = CosignatureSigner.from_seed("witness.example/away", b"a" * 32)
    states = States(tmp_path / "away", signer.verifier)
    cosigner = Cosigner([log_signer().verifier], signer, states, lambda: world.now_s)
    old, size = world.publish(), len(world.entries)
    cosigner.add_checkpoint(format_add_checkpoint(AddCheckpoint(0, (), old)))
    world.now_s += 10
    kept = world.decide()
    world.now_s += 1
    world.publish()
    world.now_s += 600
    cosigner.add_checkpoint(format_add_checkpoint(AddCheckpoint(size, (), old)))
    cosigned = cosigner.newest(ORIGIN)
    states.close()
    assert cosigned is not None
    trust = own_trust(follow([log_signer().vkey]), signer.vkey)
    with served(ServedLog(world.source(), FakeLookup(world))) as log:
        asked = Asked(world, log, store, clock, trust=trust, newest=cosigned.note)
        asked.settle(kept)
    assert (asked.box.broken(), asked.box.judged) == ([], {"kept": 1})


@pytest.mark.parametrize("cause", ["CONFLICT", "SKIPPED", "DECLARED_LOST"])
def test_without_a_trust_file_what_needs_no_date_is_published(
    cause: str, store: BoxStore, clock: Clock
) -> None:
    """The log's own signatures prove it."""
    world, kept = CHEATS[cause]()
    trust = own_trust(follow([log_signer().vkey]), world.cosigners[0].key.verifier.vkey)
    with served(ServedLog(world.source(), FakeLookup(world))) as log:
        asked = Asked(world, log, store, clock, trust=trust)
        asked.settle(kept)
    (shown,) = asked.box.broken()
    assert shown["cause"] == cause
