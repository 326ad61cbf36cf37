"""Cosignatures are gathered before publication, from real cosigners, and no witness ever stops it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from auditlog.core.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.note import split_note
from auditlog.core.receipt import parse_receipt
from auditlog.core.witnessing import AddCheckpoint, format_add_checkpoint, format_tree_size
from auditlog.errors import StorageError
from auditlog.log.witnesses import Witness, Witnesses
from auditlog.storage.memory import Fault
from auditlog.witness.cosigner import Cosigner
from auditlog.witness.errors import WitnessRefusal
from auditlog.witness.states import States
from tests.support.testlog import ORIGIN, TestBench

NAMES = ("w1.example.org", "w2.example.org")


class Direct:
    """A transport without a network to a real cosigner; `answer`, once set, stands in for it."""

    def __init__(self, name: str, folder: Path, bench: TestBench) -> None:
        self.signer = CosignatureSigner.from_seed(name, name.encode().ljust(32, b"."))
        states = States(folder / name, self.signer.verifier)
        now = lambda: bench.clock.unix_us() // 1_000_000  # noqa: E731
        self.states = states
        self.cosigner = Cosigner([bench.signer.verifier], self.signer, states, now)
        self.answer: Callable[[bytes], tuple[int, bytes]] | None = None
        self.asked = 0

    def ask(self, body: bytes) -> tuple[int, bytes]:
        """What the cosigner says."""
        self.asked += 1
        if self.answer is not None:
            return self.answer(body)
        try:
            return 200, self.cosigner.add_checkpoint(body).encode()
        except WitnessRefusal as refusal:
            size = refusal.known_size
            return refusal.status, b"no\n" if size is None else format_tree_size(size)

    def close(self) -> None:
        """Nothing to let go of."""


class Inline(Witnesses):
    """Runs steps where they are asked for, as the bench runs the engine's."""

    def run(self, step: Callable[[], object]) -> None:
        """At once."""
        step()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[TestBench]:
    """A log, not created yet, with two witnesses that keep their memory over its restarts."""
    bench = TestBench(visibility="public")
    members = [Direct(name, tmp_path, bench) for name in NAMES]
    keys = [Witness(each.signer.verifier, each) for each in members]
    bench.members = members  # type: ignore[attr-defined]
    bench.witnesses = lambda: Inline(keys, bench.clock, timeout_s=0.2, refresh_s=300)
    yield bench
    if bench.log is not None:
        bench.log.close()
    for each in members:
        each.states.close()


def cosigners(bench: TestBench) -> list[str]:
    """Names on the published checkpoint, the log's own first, each verified."""
    keys = [bench.signer.verifier, *(each.signer.verifier for each in bench.members)]  # type: ignore[attr-defined]
    note = bench.public.objects["checkpoint"].decode()
    checkpoint, opened = open_checkpoint(note, keys, ORIGIN)
    assert bench.log is not None
    assert checkpoint.tree_size == bench.log.published_size == bench.log.tree_size
    assert opened.unknown == ()
    assert bench.log.published() == note
    return [each.name for each in opened.verified]


def grow(bench: TestBench) -> None:
    """One more entry, published."""
    assert bench.log is not None
    bench.wait(bench.log.append_own("notice", {"what": "restored"}))
    bench.publish()


def counts(bench: TestBench) -> dict[tuple[str, str], int]:
    """Asks by witness (w1, w2) and outcome."""
    assert bench.log is not None
    assert bench.log.witnesses is not None
    return {(name[:2], outcome): count for (name, outcome), count in bench.log.witnesses.counts.items()}


def test_a_published_checkpoint_carries_the_cosignatures_in_order(bench: TestBench) -> None:
    """Of every witness, from genesis on, and receipts carry them too."""
    bench.create()
    assert cosigners(bench) == [ORIGIN, *NAMES]
    producer = bench.started("p")
    bench.send(producer, [producer.decide(1)])
    bench.publish()
    assert cosigners(bench) == [ORIGIN, *NAMES]
    assert bench.log is not None
    receipt = parse_receipt(bench.log.receipts.issue(3))
    assert receipt.proof.checkpoint == bench.log.published()
    assert bench.log.cosignatures == 2


def test_a_restart_goes_on_from_what_the_witnesses_know(bench: TestBench) -> None:
    """From the published note, or from the 409 where that does not say it."""
    bench.create()
    bench.members[0].answer = lambda _: (503, b"")  # type: ignore[attr-defined]
    grow(bench)
    assert cosigners(bench) == [ORIGIN, NAMES[1]]
    bench.members[0].answer = None  # type: ignore[attr-defined]
    bench.restart()
    before = bench.members[1].asked  # type: ignore[attr-defined]
    grow(bench)
    assert cosigners(bench) == [ORIGIN, *NAMES]
    assert bench.members[1].asked == before + 1  # type: ignore[attr-defined]


def test_a_witness_that_is_away_is_asked_again_about_the_same_checkpoint(bench: TestBench) -> None:
    """A quiet log gets its quorum without a new entry."""
    bench.create()
    bench.members[0].answer = lambda _: (_ for _ in ()).throw(StorageError("gone"))  # type: ignore[attr-defined]
    grow(bench)
    assert cosigners(bench) == [ORIGIN, NAMES[1]]
    assert counts(bench)["w1", "unreachable"] == 1
    bench.members[0].answer = None  # type: ignore[attr-defined]
    bench.publish()
    assert cosigners(bench) == [ORIGIN, *NAMES]


def test_cosignatures_of_a_quiet_log_are_made_anew(bench: TestBench) -> None:
    """After the refresh interval both carry a newer date over the same tree."""
    bench.create()
    first = bench.public.objects["checkpoint"]
    bench.clock.advance(200)
    bench.workers.run_planned()
    bench.settle()
    assert bench.public.objects["checkpoint"] == first
    bench.log._publisher._plan_recosigning()  # type: ignore[union-attr]
    bench.clock.advance(300)
    bench.workers.run_planned()
    bench.settle()
    assert cosigners(bench) == [ORIGIN, *NAMES]
    assert split_note(first)[1][0] == split_note(bench.public.objects["checkpoint"])[1][0]
    assert bench.public.objects["checkpoint"] != first


def test_a_witness_that_hangs_holds_nobody_up_for_long(bench: TestBench) -> None:
    """After the bound the checkpoint is published; while it hangs it is not waited for."""
    bench.create()
    release = threading.Event()

    def hang(_: bytes) -> tuple[int, bytes]:
        release.wait(30)
        return 503, b""

    bench.members[0].answer = hang  # type: ignore[attr-defined]
    for _ in range(3):
        grow(bench)
        assert cosigners(bench) == [ORIGIN, NAMES[1]]
    assert bench.members[0].asked == 2  # type: ignore[attr-defined]
    assert (counts(bench)["w1", "late"], counts(bench)["w1", "not_asked"]) == (1, 2)
    release.set()


def forged(bench: TestBench) -> dict[str, Callable[[bytes], tuple[int, bytes]]]:
    """What a lying witness may answer, by the outcome that is counted."""
    own = bench.members[0].signer  # type: ignore[attr-defined]
    other = CosignatureSigner.from_seed(own.name, b"x" * 32)
    now = bench.clock.unix_us() // 1_000_000

    def text(body: bytes) -> str:
        return split_note(body.split(b"\n\n", 1)[1])[0]

    return {
        "lied": lambda _: (200, b""),
        "lied ": lambda _: (200, b"\xff\n"),
        "lied  ": lambda body: (200, other.sign(text(body), now).encode()),
        "lied   ": lambda body: (200, own.sign("another\n1\n2\n", now).encode()),
        "lied    ": lambda _: (409, b"many\n"),
        "odd_time": lambda body: (200, own.sign(text(body), now + 3600).encode()),
        "odd_time ": lambda body: (200, own.sign(text(body), 1).encode()),
        "odd_time  ": lambda body: (200, own.sign(text(body), now - 3600).encode()),
        "ahead": lambda _: (409, b"1000\n"),
        "refused": lambda _: (403, b"no\n"),
        "refused ": lambda _: (409, b"0\n"),
        "unreachable": lambda _: 1 / 0,  # type: ignore[dict-item, return-value]
    }


@pytest.mark.parametrize("number", range(12))
def test_a_witness_that_lies_costs_its_own_cosignature(bench: TestBench, number: int) -> None:
    """The line is not published, the answer is counted, and the other witness is there."""
    bench.create()
    outcome, answer = list(forged(bench).items())[number]
    bench.members[0].answer = answer  # type: ignore[attr-defined]
    grow(bench)
    assert cosigners(bench) == [ORIGIN, NAMES[1]]
    assert counts(bench)["w1", outcome.strip()] == 1


def test_a_witness_of_another_history_refuses(bench: TestBench) -> None:
    """A log that forked gets no cosignature any more, and goes on without."""
    fork = sign_checkpoint(Checkpoint(ORIGIN, 2, bytes(32)), bench.signer)
    member = bench.members[0]  # type: ignore[attr-defined]
    assert member.ask(format_add_checkpoint(AddCheckpoint(0, (), fork)))[0] == 200
    bench.create()
    grow(bench)
    grow(bench)
    assert cosigners(bench) == [ORIGIN, NAMES[1]]
    assert counts(bench)["w1", "ahead"] == 1
    assert counts(bench)["w1", "inconsistent"] == 1
    request = format_add_checkpoint(AddCheckpoint(2, (), bench.log.published()))  # type: ignore[union-attr]
    assert member.ask(request)[0] == 422


def test_a_witness_of_an_older_protocol_says_409_for_another_root(bench: TestBench) -> None:
    """At an equal size it tells no size with it (C2SP before July 2026): another history, not a lie."""
    bench.create()
    grow(bench)
    bench.clock.advance(400)
    bench.members[0].answer = lambda _: (409, b"")  # type: ignore[attr-defined]
    bench.publish()
    assert counts(bench)["w1", "inconsistent"] == 1


def test_a_store_that_fails_does_not_lose_the_new_cosignatures_for_good(bench: TestBench) -> None:
    """Re-cosigning is tried again; what is shown is never half of it."""
    bench.create()
    bench.members[0].answer = lambda _: (503, b"")  # type: ignore[attr-defined]
    grow(bench)
    bench.members[0].answer = None  # type: ignore[attr-defined]
    bench.fault = lambda name, path: (
        Fault.REFUSED if (name, path) == ("public.replace", "checkpoint") else None
    )
    bench.publish()
    assert cosigners(bench) == [ORIGIN, NAMES[1]]
    bench.fault = None
    for _ in range(3):
        bench.publish()
    assert cosigners(bench) == [ORIGIN, *NAMES]


def test_a_date_is_true_for_as_long_as_the_checkpoint_stands(bench: TestBench) -> None:
    """An answer given when the checkpoint was first asked about holds later; one from before does not."""
    bench.create()
    first = bench.members[0]  # type: ignore[attr-defined]
    first.answer = lambda _: (503, b"")
    grow(bench)
    asked_s = bench.clock.unix_us() // 1_000_000
    text = split_note(bench.public.objects["checkpoint"].decode())[0]
    bench.clock.advance(4000)
    for date, counts_too in ((asked_s - 301, False), (asked_s - 300, True)):
        first.answer = lambda _, date=date: (200, first.signer.sign(text, date).encode())
        bench.clock.advance(100)
        bench.workers.run_planned()
        bench.settle()
        assert (NAMES[0] in cosigners(bench)) is counts_too


def test_a_published_line_with_an_impossible_date_is_dropped_at_a_start(bench: TestBench) -> None:
    """One that an older version took is not counted again, and a true one takes its place."""
    bench.create()
    text, _, lines = bench.public.objects["checkpoint"].decode().partition("\n\n")
    log_line = lines.splitlines(keepends=True)[0]
    old = bench.members[0].signer.sign(f"{text}\n", 1)  # type: ignore[attr-defined]
    bench.public.objects["checkpoint"] = f"{text}\n\n{log_line}{old}".encode()
    bench.restart()
    assert bench.log is not None
    assert bench.log.cosignatures == 0
    bench.publish()
    assert cosigners(bench) == [ORIGIN, *NAMES]
    assert old not in bench.log.published()


def test_who_cosigned_is_written_down_before_it_is_shown(bench: TestBench) -> None:
    """A store that fails holds no publication up, and the entry comes with the next."""
    wrote: list[str] = []

    def fault(name: str, path: str) -> Fault | None:
        if (name, path) == ("private.replace", "cosigners"):
            wrote.append(path)
            return Fault.REFUSED if len(wrote) == 1 else None
        if (name, path) == ("public.replace", "checkpoint"):
            wrote.append(path)
        return None

    bench.fault = fault
    bench.create()
    assert cosigners(bench) == [ORIGIN, *NAMES]
    assert "cosigners" not in bench.private.objects
    grow(bench)
    grow(bench)
    assert wrote == ["cosigners", "checkpoint", "cosigners", "checkpoint", "checkpoint"]
    vkeys = sorted(each.signer.vkey for each in bench.members)  # type: ignore[attr-defined]
    assert bench.private.objects["cosigners"].decode().splitlines() == vkeys
