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
from auditlog.core.entry import parse_entry
from auditlog.core.policy import parse_policy
from auditlog.core.quorum import witnesses_policy
from auditlog.errors import GuardUnreachable, LogUnreachable, RollbackError
from auditlog.log import Log, create_log
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
    timeout_s = 30.0
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
        panel = WitnessPanel(
            self.signer.verifier,
            sources,
            policy,
            self.silence,
            is_alone=not self.beside,
            timeout_s=self.timeout_s,
        )
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
    state = bench.state.saved()
    grow(bench)
    grow(bench)
    bench.look()
    for store, objects in zip(stores, backup, strict=True):
        store.objects = objects
    bench.state.restore(state)
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
    now_s = other.clock.unix_us() // 1_000_000
    for member in bench.members:
        member.answer = lambda body, m=member: (200, m.signer.sign(_text(body), now_s).encode())
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


def not_found(_: str) -> tuple[int, bytes]:
    """What a proxy in front of a witness says, or anybody on the way: signed by nobody."""
    return 404, b"not found\n"


@pytest.mark.parametrize("silence", [Silence.ALL, Silence.QUORUM])
def test_a_witness_that_cosigned_us_is_not_believed_a_404(bench: Guarded, silence: Silence) -> None:
    """A restored backup: two say "not found", the third knows no more than the backup. Nothing is signed."""
    shown = bench.watched[2].shown
    restored(bench)
    bench.watched[2].shown, bench.silence, bench.beside = shown, silence, False
    for watched in bench.watched[:2]:
        watched.answer = not_found
    before = bench.public.objects["checkpoint"]
    with pytest.raises(GuardUnreachable, match=r"witness w1\S+: .*found 404, which nobody signed"):
        bench.restart()
    assert bench.public.objects["checkpoint"] == before


@pytest.mark.parametrize("where", ["checkpoint", "quorum-checkpoint", "cosigners"])
def test_any_trace_of_a_cosignature_makes_a_404_silence(bench: Guarded, where: str) -> None:
    """The published checkpoint, the last that had a quorum, or the list of all that ever cosigned."""
    note = bench.public.objects["checkpoint"]
    listed = bench.private.objects["cosigners"]
    assert listed == "".join(f"{vkey}\n" for vkey in sorted(m.signer.vkey for m in bench.members)).encode()
    bench.public.objects["checkpoint"] = note[: note.index(b"\n", note.index(b"\n\n") + 2) + 1]
    del bench.private.objects["cosigners"]
    for watched in bench.watched:
        watched.answer = not_found
    bench.workers = ManualWorkers()
    bench.restart()  # no trace: they may be new, and another guard vouches
    bench.public.objects["checkpoint"] = note[: note.index(b"\n", note.index(b"\n\n") + 2) + 1]
    bench.private.objects.pop("cosigners", None)
    store = bench.public if where == "checkpoint" else bench.private
    store.objects[where] = listed if where == "cosigners" else note
    with pytest.raises(GuardUnreachable, match="found 404"):
        bench.restart()


def test_a_witness_that_is_new_may_have_seen_nothing(bench: Guarded, tmp_path: Path) -> None:
    """One that was added to the settings starts with the log; from its first line on its 404 is silence."""
    bench.members[0].states.close()
    bench.members[0] = Direct("w4.example.org", tmp_path, bench)
    bench.watched[0] = Watched()
    keys = [Witness(each.signer.verifier, each) for each in bench.members]
    bench.witnesses = lambda: Inline(keys, bench.clock, timeout_s=2, refresh_s=300)
    bench.silence = Silence.ALL
    bench.restart()
    grow(bench)
    bench.look()
    bench.restart()
    bench.watched[0].answer = not_found
    with pytest.raises(GuardUnreachable, match=r"w4.*found 404"):
        bench.restart()


def test_a_witness_that_never_ends_its_answer_is_silent(bench: Guarded) -> None:
    """A start waits for the bound and no longer: the others decide, by what silence means."""
    release = threading.Event()

    def hang(_: str) -> tuple[int, bytes]:
        release.wait(30)
        return 500, b""

    bench.timeout_s = 0.2
    bench.watched[0].answer = hang
    bench.restart()
    bench.silence = Silence.ALL
    with pytest.raises(GuardUnreachable, match=r"witness w1\S+: expected an answer within 0.2 s, found none"):
        bench.restart()
    assert not release.is_set()
    release.set()


def test_a_fault_of_our_own_code_is_not_silence(bench: Guarded) -> None:
    """It ends the start, whatever silence means."""
    bench.silence = Silence.ANSWERED
    bench.watched[0].answer = lambda _: (1 // 0, b"")
    with pytest.raises(ZeroDivisionError):
        bench.restart()


def created(like: Guarded, *, beside: bool = True, key: bool = False, flag: bool = False) -> Log:
    """A log created in new stores, with the witnesses of another one."""
    fresh = Guarded(visibility="public", settings={"allow_unguarded": flag})
    fresh.members, fresh.watched, fresh.beside = like.members, like.watched, beside
    fresh.silence = like.silence
    around = {**fresh._around(), "engine": fresh.workers, "is_key_new": key}
    return create_log(fresh.config, fresh.stores, fresh.signer, fresh.clock, **around)


def test_a_known_log_is_not_created_again(bench: Guarded) -> None:
    """One witness that says so is enough, for a new key and with the flag too."""
    for watched in bench.watched[:2]:
        watched.answer = silent
    bench.silence = Silence.ANSWERED
    for key, flag in ((False, False), (True, False), (False, True)):
        with pytest.raises(RollbackError, match="no earlier log of this origin, found one of size 1"):
            created(bench, key=key, flag=flag)


@pytest.mark.parametrize("silence", list(Silence))
def test_a_key_that_is_older_than_the_log_needs_its_witnesses(bench: Guarded, silence: Silence) -> None:
    """An empty high-water file is that of a new log, or of a lost disk: nobody can tell."""
    bench.silence = silence
    for watched in bench.watched:
        watched.answer = silent
    for beside in (True, False):
        with pytest.raises(GuardUnreachable, match="the key is older than this call"):
            created(bench, beside=beside)
    for watched in bench.watched:
        watched.answer = not_found
    assert created(bench).tree_size == 1


def test_a_key_made_just_now_has_no_history(bench: Guarded) -> None:
    """Witnesses do not follow it yet: silence is told in the log lines, and the log is created."""
    bench.silence = Silence.ALL
    for watched in bench.watched:
        watched.answer = silent
    assert created(bench, key=True).tree_size == 1


def test_the_flag_creates_a_log_and_says_so_in_it(bench: Guarded) -> None:
    """Its second entry is a notice, for ever."""
    bench.silence = Silence.ALL
    for watched in bench.watched:
        watched.answer = silent
    log = created(bench, flag=True)
    notice = parse_entry(log.reader.entry(1)).body
    assert notice["what"] == "unguarded_start"
    assert "witnesses were silent when this log was created" in str(notice["detail"])
