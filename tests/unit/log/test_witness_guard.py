"""Witnesses are asked before the first signature after a start; silence is never taken for nothing seen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.policy import parse_policy
from auditlog.core.quorum import witnesses_policy
from auditlog.errors import GuardUnreachable, LogUnreachable, RollbackError
from auditlog.log import create_log
from auditlog.log.witness_guard import Silence, WitnessPanel, WitnessSource
from tests.support.testlog import ORIGIN, ManualWorkers, TestBench
from tests.unit.log.test_witnesses import Direct, Inline, Witness

NAMES = ("w1.example.org", "w2.example.org", "w3.example.org")
Answer = Callable[[str], tuple[int, bytes]]


class Watched:
    """The monitoring address of a witness: what it cosigned last, or `answer` once that is set."""

    def __init__(self) -> None:
        self.shown: bytes | None = None
        self.answer: Answer | None = None
        self.asked: list[str] = []

    def newest(self, name: str) -> tuple[int, bytes]:
        """Status and body."""
        self.asked.append(name)
        if self.answer is not None:
            return self.answer(name)
        return (404, b"not found\n") if self.shown is None else (200, self.shown)


def silent(_: str) -> tuple[int, bytes]:
    """Nobody answers."""
    raise LogUnreachable("expected an answer, found ConnectError")


class Guarded(TestBench):
    """A log whose guards are three witnesses, and the memory source if `beside` is set."""

    watched: list[Watched]
    members: list[Direct]
    silence = Silence.QUORUM
    quorum = 2
    beside = True

    def look(self) -> None:
        """The monitoring addresses show what is published now."""
        note = self.public.objects["checkpoint"]
        text = note[: note.index(b"\n\n") + 2]
        log_line, *lines = note[len(text) :].splitlines(keepends=True)
        for member, watched in zip(self.members, self.watched, strict=True):
            own = [line for line in lines if member.signer.name.encode() in line]
            watched.shown = text + log_line + b"".join(own) if own else watched.shown

    def _around(self) -> dict[str, Any]:
        around = super()._around()
        policy = parse_policy(witnesses_policy([each.signer.vkey for each in self.members], self.quorum))
        sources = [
            WitnessSource(each.signer.verifier, watched)
            for each, watched in zip(self.members, self.watched, strict=True)
        ]
        panel = WitnessPanel(self.signer.verifier, sources, policy, self.silence, is_alone=not self.beside)
        around["outside"] = [*([self.outside] if self.beside else []), panel]
        return around


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Guarded]:
    """A created log of one entry, cosigned by all three, which show it."""
    bench = Guarded(visibility="public")
    bench.members = [Direct(name, tmp_path, bench) for name in NAMES]
    bench.watched = [Watched() for _ in NAMES]
    keys = [Witness(each.signer.verifier, each) for each in bench.members]
    bench.witnesses = lambda: Inline(keys, bench.clock, timeout_s=2, refresh_s=300)
    bench.create()
    bench.look()
    yield bench
    if bench.log is not None:
        bench.log.close()
    for each in bench.members:
        each.states.close()


def grow(bench: Guarded) -> None:
    """One more entry, published."""
    assert bench.log is not None
    bench.wait(bench.log.append_own("notice", {"what": "restored"}))
    bench.publish()


def restored(bench: Guarded) -> None:
    """The stores and the memory source go back to where they were before two more entries."""
    stores = (bench.public, bench.private, bench.staging)
    backup = deepcopy([each.objects for each in stores])
    state = deepcopy(
        {k: v for k, v in vars(bench.state).items() if not k.startswith("_fault") and k != "_lock"}
    )
    grow(bench)
    grow(bench)
    bench.look()
    for store, objects in zip(stores, backup, strict=True):
        store.objects = objects
    vars(bench.state).update(state)
    bench.outside.note = None


def test_a_witness_that_has_seen_the_log_lets_it_start(bench: Guarded) -> None:
    """Each is asked once, by the hash of the origin; equal and smaller trees are fine."""
    bench.restart()
    grow(bench)
    bench.restart()
    name = sha256(ORIGIN.encode()).hexdigest()
    assert all(each.asked[-2:] == [name, name] for each in bench.watched)


@pytest.mark.parametrize("who", range(3))
def test_a_restored_backup_is_refused_by_any_one_witness(bench: Guarded, who: int) -> None:
    """Whichever of them remembers the larger tree, nothing is signed."""
    before = bench.public.objects["checkpoint"]
    shown = [each.shown for each in bench.watched]
    restored(bench)
    for number, watched in enumerate(bench.watched):
        if number != who:
            watched.shown = shown[number]
    with pytest.raises(RollbackError, match=rf"witness w{who + 1}.*at least 3 entries.*found 1"):
        bench.restart()
    assert bench.public.objects["checkpoint"] == before


def test_another_history_of_the_same_size_is_refused(bench: Guarded) -> None:
    """Two logs with one key: what the witness saw is not ours."""
    other = Guarded(visibility="public")
    other.members, other.watched = bench.members, [Watched() for _ in NAMES]
    other.clock.advance(5)
    for member in bench.members:
        member.answer = lambda body, m=member: (200, m.signer.sign(_text(body), 9_000_000).encode())
    keys = [Witness(each.signer.verifier, each) for each in bench.members]
    other.witnesses = lambda: Inline(keys, bench.clock, timeout_s=2)
    other.settings = {"contact": "another"}
    other.create()
    other.look()
    bench.watched[1].shown = other.watched[1].shown
    with pytest.raises(RollbackError, match="another history"):
        bench.restart()


def _text(body: bytes) -> str:
    """The checkpoint text in a request."""
    return body.split(b"\n\n")[1].decode() + "\n"


@pytest.mark.parametrize(
    ("silence", "quorum", "away", "starts"),
    [
        (Silence.ALL, 2, 0, True),
        (Silence.ALL, 2, 1, False),
        (Silence.QUORUM, 2, 1, True),
        (Silence.QUORUM, 2, 2, False),
        (Silence.QUORUM, 3, 2, True),
        (Silence.QUORUM, 3, 3, False),
        (Silence.QUORUM, 1, 1, False),
        (Silence.QUORUM, 0, 1, False),
        (Silence.ANSWERED, 2, 3, True),
    ],
)
def test_what_silence_means_is_configured(
    bench: Guarded, silence: Silence, quorum: int, away: int, starts: bool
) -> None:
    """By `quorum`: only if those that are silent could have been one, was something possibly forgotten."""
    bench.silence, bench.quorum = silence, quorum
    for watched in bench.watched[:away]:
        watched.answer = silent
    if starts:
        bench.restart()
        return
    with pytest.raises(GuardUnreachable, match=r"expected an answer before signing .*found: witness w1"):
        bench.restart()


def test_witnesses_alone_guard_a_log(bench: Guarded) -> None:
    """Without another guard one answer at least is needed, and one that has seen the log."""
    bench.beside, bench.silence = False, Silence.ANSWERED
    bench.restart()
    for watched in bench.watched[:2]:
        watched.answer = silent
    bench.restart()
    bench.watched[2].shown = None
    with pytest.raises(RollbackError, match="expected a checkpoint seen earlier"):
        bench.restart()
    bench.watched[2].answer = silent
    with pytest.raises(GuardUnreachable):
        bench.restart()


def lies(bench: Guarded) -> dict[str, Answer]:
    """Answers that do not hold."""
    note = bench.watched[0].shown or b""
    stranger = CosignatureSigner.from_seed(NAMES[0], b"s" * 32)
    unsigned = note[: note.rindex("— ".encode())]
    return {
        "empty": lambda _: (200, b""),
        "garbage": lambda _: (200, b"\xff\xfe"),
        "not cosigned": lambda _: (200, unsigned),
        "cosigned by another": lambda _: (
            200,
            unsigned + stranger.sign(unsigned[: unsigned.index(b"\n\n") + 1].decode(), 5).encode(),
        ),
        "of another witness": lambda _: (200, bench.watched[1].shown or b""),
        "changed": lambda _: (200, note.replace(b"\n1\n", b"\n9\n")),
        "error": lambda _: (500, note),
        "redirect": lambda _: (302, b""),
    }


@pytest.mark.parametrize("number", range(8))
def test_an_answer_that_does_not_hold_is_silence(bench: Guarded, number: int) -> None:
    """It is neither believed nor taken for a witness that has seen nothing."""
    bench.silence = Silence.ALL
    bench.watched[0].answer = list(lies(bench).values())[number]
    with pytest.raises(GuardUnreachable):
        bench.restart()
    bench.watched[0].answer = None
    bench.restart()


def test_all_are_asked_at_once(bench: Guarded) -> None:
    """No start waits for one after the other: each answer here needs the other two under way."""
    together = threading.Barrier(3, timeout=20)
    for watched in bench.watched:
        shown = watched.shown or b""
        watched.answer = lambda _, shown=shown: (together.wait() * 0 + 200, shown)
    bench.restart()


def test_a_new_log_may_not_be_followed_yet(bench: Guarded) -> None:
    """Silence is fine at a creation that another guard vouches for; a witness that knows the log is not."""

    def create(*, beside: bool) -> None:
        fresh = Guarded(visibility="public")
        fresh.members, fresh.watched, fresh.beside = bench.members, bench.watched, beside
        around = {**fresh._around(), "engine": ManualWorkers()}
        create_log(fresh.config, fresh.stores, fresh.signer, fresh.clock, **around)

    with pytest.raises(RollbackError, match="no earlier log of this origin, found one of size 1"):
        create(beside=True)
    for watched in bench.watched:
        watched.answer = silent
    create(beside=True)
    with pytest.raises(GuardUnreachable):
        create(beside=False)
    for watched in bench.watched:
        watched.answer, watched.shown = None, None
    create(beside=False)
