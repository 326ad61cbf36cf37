"""What is published without a quorum, what is held, and where receipts go meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from auditlog.core.checkpoint import open_checkpoint
from auditlog.core.policy import parse_policy
from auditlog.core.receipt import parse_receipt
from auditlog.errors import NotYetPublished
from auditlog.log.witnesses import Witness
from tests.support.testlog import ORIGIN, TestBench
from tests.unit.log.test_witnesses import Direct, Inline

NAMES = ("w1.example.org", "w2.example.org", "w3.example.org")
POLICY = "group pair any {1} {2}\ngroup both all {0} pair\nquorum both\n"
AWAY: Callable[[bytes], tuple[int, bytes]] = lambda _: (503, b"")  # noqa: E731


class Held(TestBench):
    """A bench with three witnesses under a policy of two levels."""

    members: list[Direct]
    must_hold: bool

    def away(self, *numbers: int) -> None:
        """From now on these do not answer, and the others do."""
        for number, member in enumerate(self.members):
            member.answer = AWAY if number in numbers else None

    def grow(self) -> None:
        """One more entry, and one attempt to publish it."""
        assert self.log is not None
        self.wait(self.log.append_own("notice", {"what": "restored"}))
        self.publish()

    def pause(self) -> None:
        """Time passes, so that nobody rests any more, and what was planned runs."""
        self.clock.advance(60)
        for _ in range(3):
            self.publish()

    @property
    def sizes(self) -> tuple[int, int]:
        """Tree sizes: committed and published."""
        assert self.log is not None
        return self.log.tree_size, self.log.published_size

    def standing(self) -> tuple[bool, int, int | None, bool]:
        """Whether the published checkpoint has a quorum, how many cosigned, the size that had one, held."""
        assert self.log is not None
        found = self.log.quorum
        assert found is not None
        return found.reached, found.cosigned, found.size, found.held_s > 0


def bench_of(tmp_path: Path, *, hold: bool, timeout_s: float = 0.3) -> Held:
    """Such a bench."""
    bench = Held(visibility="public")
    bench.members = [Direct(name, tmp_path, bench) for name in NAMES]
    keys = [Witness(each.signer.verifier, each) for each in bench.members]
    lines = "".join(f"witness {each.signer.name} {each.signer.vkey}\n" for each in bench.members)
    policy = parse_policy(lines + POLICY.format(*NAMES))
    bench.witnesses = lambda: Inline(keys, bench.clock, policy=policy, hold=hold, timeout_s=timeout_s)
    return bench


@pytest.fixture
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Held]:
    """A log, not created yet, that holds (or, by parameter, publishes)."""
    bench = bench_of(tmp_path, hold=getattr(request, "param", True))
    yield bench
    if bench.log is not None:
        bench.log.close()
    for each in bench.members:
        each.states.close()


def lines_of(note: str, bench: Held) -> set[str]:
    """Who signed a note."""
    keys = [bench.signer.verifier, *(each.signer.verifier for each in bench.members)]
    return {each.name for each in open_checkpoint(note, keys, ORIGIN)[1].verified}


def test_without_a_quorum_the_old_checkpoint_stays(bench: Held) -> None:
    """Entries are acknowledged; the first newer checkpoint with a quorum is published, with all of them."""
    bench.create()
    assert (bench.sizes, bench.standing()) == ((1, 1), (True, 3, 1, False))
    bench.away(0)
    for _ in range(3):
        bench.grow()
    assert bench.sizes == (4, 1)
    assert bench.standing()[3]
    assert bench.log is not None
    with pytest.raises(NotYetPublished):
        bench.log.receipts.issue(2)
    bench.away(1)
    bench.pause()
    assert (bench.sizes, bench.standing()) == ((4, 4), (True, 2, 4, False))
    bench.audit()


def test_a_group_of_which_nobody_answers_is_missed(bench: Held) -> None:
    """One of the pair is enough, none is not, however many others have cosigned."""
    bench.create()
    bench.away(1)
    bench.grow()
    assert bench.sizes == (2, 2)
    bench.away(1, 2)
    bench.grow()
    bench.pause()
    assert bench.sizes == (3, 2)


def test_even_the_first_checkpoint_waits(bench: Held) -> None:
    """A log whose witnesses are away from the beginning is created and shows nothing."""
    bench.away(0, 1, 2)
    bench.create()
    assert bench.sizes == (1, 0)
    assert "checkpoint" not in bench.public.objects
    bench.away()
    bench.pause()
    assert bench.sizes == (1, 1)


def test_a_restart_while_held_shows_nothing_new(bench: Held) -> None:
    """The next life goes on holding, asks from what the witnesses know, and publishes once it may."""
    bench.create()
    bench.away(0)
    bench.grow()
    bench.restart()
    bench.grow()
    assert bench.sizes == (3, 1)
    bench.away()
    bench.restart()
    bench.pause()
    assert (bench.sizes, bench.standing()[:2]) == ((3, 3), (True, 3))


def test_a_slow_witness_is_not_outrun_by_a_busy_log(tmp_path: Path) -> None:
    """An answer that comes after the bound counts for the checkpoint it is about, which is then published."""
    bench = bench_of(tmp_path, hold=True, timeout_s=0.05)
    bench.create()
    bench.away(1)
    slow, release = bench.members[0], threading.Event()

    def ask(body: bytes) -> tuple[int, bytes]:
        release.wait(30)
        return 200, slow.cosigner.add_checkpoint(body).encode()

    slow.answer = ask
    bench.grow()
    bench.grow()
    assert bench.sizes == (3, 1)
    release.set()
    for _ in range(500):
        if bench.sizes[1] >= 2:
            break
        threading.Event().wait(0.01)
        bench.publish()
    assert bench.sizes[1] >= 2
    assert bench.log is not None
    assert lines_of(bench.log.published(), bench) == {ORIGIN, NAMES[0], NAMES[2]}
    bench.log.close()
    for each in bench.members:
        each.states.close()


def test_a_witness_that_loops_over_409_is_asked_twice_and_left_alone(bench: Held) -> None:
    """Each gathering asks it two times at most, fewer and fewer gatherings ask it at all."""
    bench.create()
    sizes = iter(range(10**6))
    before = bench.members[0].asked
    bench.members[0].answer = lambda _: (409, b"%d\n" % (next(sizes) % 2))
    for _ in range(30):
        bench.grow()
    assert bench.sizes[1] == 1
    assert bench.members[0].asked - before <= 2 * 8
    bench.away()
    bench.pause()
    assert bench.sizes == (31, 31)


@pytest.mark.parametrize("bench", [False], indirect=True)
def test_a_log_that_publishes_says_that_a_quorum_is_missing(bench: Held) -> None:
    """The checkpoint is shown with what came; the standing says what had a quorum last, and how old it is."""
    bench.create()
    bench.away(0)
    bench.grow()
    assert (bench.sizes, bench.standing()) == ((2, 2), (False, 2, 1, False))
    bench.clock.advance(100)
    assert bench.log is not None
    assert bench.log.quorum is not None
    assert bench.log.quorum.age_s == pytest.approx(101, abs=1)
    assert [each.failures for each in bench.log.quorum.members] == [1, 0, 0]
    assert [each.known_size for each in bench.log.quorum.members] == [1, 2, 2]
    bench.away()
    bench.pause()
    assert bench.standing() == (True, 3, 2, False)


@pytest.mark.parametrize("bench", [False], indirect=True)
def test_receipts_go_into_the_newest_checkpoint_that_has_a_quorum(bench: Held) -> None:
    """Over restarts too; an entry after it gets the newest checkpoint, and a quorum once there is one."""
    bench.create()
    producer = bench.started("p")
    bench.send(producer, [producer.decide(1)])
    bench.publish()
    assert bench.log is not None
    with_quorum = bench.log.published()
    bench.away(0)
    bench.send(producer, [producer.decide(2)])
    bench.publish()
    bench.grow()
    for _ in range(2):
        assert bench.log is not None
        assert parse_receipt(bench.log.receipts.issue(3)).proof.checkpoint == with_quorum
        newest = parse_receipt(bench.log.receipts.issue(4)).proof.checkpoint
        assert newest == bench.log.published() != with_quorum
        assert lines_of(newest, bench) == {ORIGIN, *NAMES[1:]}
        assert bench.standing()[:3] == (False, 2, 4)
        bench.restart()
    bench.away()
    bench.pause()
    assert bench.log is not None
    for index in (3, 4):
        upgraded = parse_receipt(bench.log.receipts.issue(index)).proof.checkpoint
        assert lines_of(upgraded, bench) == {ORIGIN, *NAMES}


@pytest.mark.parametrize("bench", [False], indirect=True)
def test_a_pending_model_is_worth_more_than_a_quorum(bench: Held) -> None:
    """A decision whose model was named after the last quorum gets a receipt with the model in it."""
    bench.create()
    producer = bench.started("p")
    bench.send(producer, [producer.decide(1, model="pending")])
    bench.publish()
    bench.away(0)
    model = {
        "name": "m",
        "fingerprint": {"method": "files-sha256@v1", "root": "00" * 32, "files": 1},
    }
    bench.send(producer, [producer.seal("model", model)])
    bench.publish()
    assert bench.log is not None
    receipt = parse_receipt(bench.log.receipts.issue(3))
    assert receipt.proof.checkpoint == bench.log.published()
    assert 4 in [each.index for each in receipt.related]


@pytest.mark.parametrize("bench", [False], indirect=True)
@pytest.mark.parametrize("damage", [b"\xff", b"", b"not a note\n", None])
def test_a_kept_quorum_checkpoint_that_is_damaged_is_not_used(bench: Held, damage: bytes | None) -> None:
    """Garbage, or another log's: receipts go into the newest checkpoint, as if it had never been."""
    bench.create()
    bench.away(0)
    bench.grow()
    kept = bench.private.objects["quorum-checkpoint"]
    bench.private.objects["quorum-checkpoint"] = (
        kept.replace(b"\n1\n", b"\n2\n") if damage is None else damage
    )
    bench.restart()
    assert bench.log is not None
    assert parse_receipt(bench.log.receipts.issue(0)).proof.checkpoint == bench.log.published()
    assert bench.standing()[2] is None
