"""The sender against logs that fail, lie, forget or contradict: resend, skip, stop; never spin."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from auditlog.capture import handover
from auditlog.capture import sender as sender_module
from auditlog.capture.adoption import Opening, begin_sealed
from auditlog.capture.books import SealedBook
from auditlog.capture.chain import empty_tip
from auditlog.capture.client import LogClient
from auditlog.capture.enrolment import check_enrolment, enrolment_note
from auditlog.capture.frames import SEALED
from auditlog.capture.metrics import Counters
from auditlog.capture.safety import Guard
from auditlog.capture.sender import Route, Sender
from auditlog.capture.spool import Spool
from auditlog.core.keys import Ed25519Signer
from auditlog.core.statements import producer_key_name
from tests.support.fake_service import Answer, FakeLog, problem

URL = "http://log.example/logs/main"
LOGGER = logging.getLogger("test.sender")


class Bench:
    """A slot's spool, a fake log, and a sender whose waits take no time but are counted."""

    def __init__(self, directory: Path, log: FakeLog, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log = log
        self.waits: list[float] = []
        self.conflicts: list[dict[str, object]] = []
        self.metrics = Counters()
        self._monkeypatch = monkeypatch
        signer = Ed25519Signer.from_seed(producer_key_name(log.origin, "p-0"), bytes(range(32)))
        with_client = self.client()
        answer = with_client.enrol("p-0", enrolment_note(signer, origin=log.origin, name="p-0"), signer.vkey)
        with_client.close()
        enrolment = check_enrolment(answer, signer=signer, origin=log.origin, name="p-0")
        self.opening = Opening(enrolment, signer, "test", lambda: 1_700_000_000_000_000)
        self.spool = Spool(directory, SEALED, segment_bytes=4096, start=empty_tip(enrolment.leaf_hash))
        self.book: SealedBook = begin_sealed(self.spool, self.opening, "ab" * 16, None)

    def client(self) -> LogClient:
        """A client of the fake log without a socket."""
        return LogClient(URL, lambda: "secret-token", transport=self.log.transport())

    def write(self, count: int, size: int = 0) -> None:
        """Put so many entries into the spool."""
        for _ in range(count):
            body = {"what": "stopped", "detail": "x" * size}
            self.spool.append([self.book.add("notice", body, 1_700_000_000_000_000)[0]])

    def new_life(self, instance: str) -> None:
        """Go on as another process life."""
        self.book = begin_sealed(self.spool, self.opening, instance, None)

    def sender(self, **changes: int) -> Sender:
        """A sender on this spool; `waits` fills while it runs."""
        sender = Sender(
            open_route=lambda _: Route(self.opening.enrolment, self.opening.signer, self.spool),
            open_client=self.client,
            on_conflict=self.conflicts.append,
            rng=bytes,
            metrics=self.metrics,
            guard=Guard(self.metrics, LOGGER),
            logger=LOGGER,
            **changes,
        )
        self._monkeypatch.setattr(sender, "_pause", self._pause(sender))
        return sender

    def _pause(self, sender: Sender) -> Callable[[float], None]:
        def pause(wait_s: float) -> None:
            self.waits.append(wait_s)
            if sender.is_drained or len(self.waits) > 200:
                sender.stop()

        return pause

    def run(self, **changes: int) -> Sender:
        """Run a sender until it has nothing to do or has stopped itself."""
        sender = self.sender(**changes)
        sender.run()
        return sender


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """An honest log and an enrolled producer."""
    return Bench(tmp_path / "spool", FakeLog(), monkeypatch)


def test_everything_arrives_in_batches_with_heads(bench: Bench) -> None:
    """All entries arrive in order, at most so many per batch; the fake log checks each head."""
    bench.write(25)
    sender = bench.run(max_batch_entries=10)
    assert max(len(batch) for batch in bench.log.batches) == 10
    assert len(bench.log.batches) <= 4
    assert len(bench.log.entries()) == 26
    assert sender.is_drained
    assert bench.spool.pending == 0


def test_a_batch_never_spans_two_lives(bench: Bench) -> None:
    """A head speaks for one instance, so the batch ends where a new life begins."""
    bench.write(2)
    bench.new_life("cd" * 16)
    bench.write(1)
    bench.run()
    assert [len(batch) for batch in bench.log.batches] == [3, 2]


def test_batches_are_bounded_in_bytes(bench: Bench) -> None:
    """Large entries make smaller batches."""
    bench.write(6, size=5000)
    bench.run(max_batch_bytes=12_000)
    assert max(len(batch) for batch in bench.log.batch_bytes) < 14_000
    assert len(bench.log.entries()) == 7


@pytest.mark.parametrize(
    "fault", ["hangup_before", "hangup_after", "error_before", "error_after", "nonsense_after"]
)
def test_same_bytes_again_until_acknowledged(bench: Bench, fault: str) -> None:
    """Whatever kind of non-answer comes back, the same batch is sent again and lands once."""
    bench.write(4)
    bench.log.faults.extend([fault] * 3)
    bench.run()
    assert len(bench.log.entries()) == 5
    assert len(set(bench.log.batch_bytes)) == 1
    assert bench.metrics.get("sender.unreachable") == 3


def test_pushback_waits_at_least_as_long_as_told(bench: Bench) -> None:
    """503 with Retry-After: the log's wish is the least we wait."""
    bench.write(1)
    bench.log.faults.extend(["pushback"] * 2)
    bench.run()
    assert len(bench.log.entries()) == 2
    assert [wait for wait in bench.waits if wait >= 1.0]


def test_backoff_grows_and_is_bounded(bench: Bench) -> None:
    """A log that is away is asked less and less often, but at least twice a minute."""
    bench.write(1)
    bench.log.faults.extend(["hangup_before"] * 12)
    bench.run()
    waits = bench.waits[:12]
    assert waits == sorted(waits)
    assert waits[0] < 0.2
    assert max(waits) <= sender_module.LONGEST_WAIT_S
    assert len(bench.log.entries()) == 2


def test_no_turn_without_progress_or_wait(bench: Bench) -> None:
    """Every request beyond those that carried something is followed by a wait."""
    bench.write(3)
    bench.log.faults.extend(["pushback", "hangup_after", "error_before", "malformed"])
    bench.run()
    posts = sum(path == "/batches" for _, path in bench.log.requests)
    assert posts <= len(bench.waits) + len(bench.log.batches) + 1


def test_log_that_already_has_a_part_is_continued(bench: Bench) -> None:
    """After a crash between 200 and forgetting, the log's newest entry says where to go on."""
    bench.write(5)
    bench.run(max_batch_entries=4)
    bench.spool._acknowledged = 0
    bench.write(2)
    bench.run()
    assert len(bench.log.entries()) == 8


def test_conflict_that_the_head_explains_is_resolved(bench: Bench) -> None:
    """A 409 because the log moved on without our knowing: what it has is skipped, the rest is sent."""
    bench.write(3)
    sender = bench.sender()
    other = bench.sender(max_batch_entries=2)
    position = {"done": False}
    submit = LogClient.submit

    def racing(client: LogClient, batch: bytes, count: int) -> None:
        if not position["done"]:
            position["done"] = True
            other.run()
            bench.write(1)
            chain = bench.log.chain()
            chain.entries, kept = [], chain.entries
            try:
                submit(client, batch, count)
            finally:
                chain.entries = kept + chain.entries
        else:
            submit(client, batch, count)

    bench._monkeypatch.setattr(LogClient, "submit", racing)
    sender.run()
    assert bench.metrics.get("sender.conflicts") == 1
    assert sender.state != "stopped"
    assert [entry.seq for entry in bench.log.entries()] == [0, 1, 2, 3, 4]


def test_true_conflict_stops_and_alarms(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A log whose newest entry of ours we never wrote: nothing more is sent, and everyone hears of it."""
    bench.write(2)
    bench.run()
    bench.log.chain().leaf_hash = "cc" * 32
    bench.write(1)
    with caplog.at_level(logging.CRITICAL):
        sender = bench.run()
    assert sender.state == "stopped"
    assert len(bench.conflicts) == 1
    assert bench.conflicts[0]["reason"] == "conflict"
    assert "sender stopped" in caplog.text
    assert bench.spool.pending >= 1


def test_log_that_forgot_acknowledged_entries_is_a_conflict(bench: Bench) -> None:
    """A log restored from an old backup cannot be continued from entries that are gone here."""
    bench.write(40, size=600)
    bench.run()
    assert bench.spool.first > 0
    chain = bench.log.chain()
    chain.instance, chain.seq, chain.leaf_hash, chain.entries = None, None, chain.producer, []
    sender = bench.run()
    assert sender.state == "stopped"
    assert len(bench.conflicts) == 1


def test_repeated_conflict_at_one_place_stops(bench: Bench) -> None:
    """A log that keeps answering 409 while its head agrees with ours does not make us spin."""
    bench.write(1)
    bench.log._extend = lambda chain, content: sender_conflict()  # type: ignore[method-assign]
    sender = bench.run()
    assert sender.state == "stopped"
    assert len(bench.conflicts) == 1
    assert sum(path == "/batches" for _, path in bench.log.requests) == 2


def sender_conflict() -> Answer:
    """A 409 without reason."""
    return problem(409, "chain_conflict")


def test_malformed_verdict_stops_without_setting_the_slot_aside(bench: Bench) -> None:
    """422 will not go away by itself; a restart may try again, so the slot stays."""
    bench.write(1)
    bench.log.faults.append("malformed")
    sender = bench.run()
    assert sender.state == "stopped"
    assert bench.conflicts == []


def test_refused_token_is_retried_slowly(bench: Bench) -> None:
    """401 waits and asks again, so that a rotated token needs no restart."""
    bench.write(1)
    bench.log.token = "another"
    sender = bench.sender()
    pauses = []

    def pause(wait_s: float) -> None:
        pauses.append(wait_s)
        if len(pauses) == 4:
            bench.log.token = "secret-token"
        if sender.is_drained:
            sender.stop()

    sender._pause = pause  # type: ignore[method-assign]
    sender.run()
    assert bench.metrics.get("sender.refused") == 4
    assert len(bench.log.entries()) == 2


def test_too_large_batches_are_halved(bench: Bench) -> None:
    """413 makes the batches smaller until they fit."""
    bench.write(30, size=1000)
    bench.log.max_batch = 8000
    bench.run()
    assert len(bench.log.entries()) == 31


def test_one_batch_in_flight(bench: Bench) -> None:
    """There is never a second request under way."""
    bench.write(30)
    bench.run(max_batch_entries=3)
    assert bench.log.most_in_flight == 1


def test_damaged_spool_stops_the_sender(bench: Bench) -> None:
    """A rotten frame is never skipped: what follows it would have no predecessor in the log."""
    bench.write(3)
    (path,) = bench.spool._directory.glob("*.segment")
    content = bytearray(path.read_bytes())
    content[len(content.rstrip(b"\0")) - 20] ^= 1
    path.write_bytes(bytes(content))
    bench.run()
    sender = bench.run()
    assert sender.state == "stopped"
    assert bench.conflicts == []


def test_a_batch_that_was_only_accepted_is_asked_for_and_not_sent_again(bench: Bench) -> None:
    """After a 202 the sender looks for the log's head until it shows the batch; it never spins."""
    bench.write(3)
    bench.log.faults.append("accepted")
    sender = bench.run()
    assert sender.is_drained
    assert len(bench.log.entries()) == 4
    assert bench.log.requests.count(("POST", "/batches")) == 1
    assert handover.ASK_S in bench.waits
    assert 0.0 not in bench.waits
    assert bench.spool.first > 0 or sender.is_in_step


def test_a_batch_that_was_accepted_and_lost_is_sent_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 202 promises nothing: after a while the same bytes are sent, and meanwhile nothing is promised."""
    bench.write(3)
    bench.log.faults.extend(["accepted_lost", "accepted_lost", "accepted_lost"])
    now = itertools.count(0.0, 1.0)
    monkeypatch.setattr(handover.Handover.__init__, "__defaults__", (lambda: next(now),))
    sender = bench.sender()
    steps: list[bool] = []
    pause = sender._pause

    def watched(wait_s: float) -> None:
        steps.append(sender.is_in_step)
        pause(wait_s)

    monkeypatch.setattr(sender, "_pause", watched)
    sender.run()
    assert len(bench.log.entries()) == 4
    assert bench.log.requests.count(("POST", "/batches")) == 4
    assert steps[0]
    assert not all(steps)
    assert sender.is_in_step


def test_what_is_written_meanwhile_waits_behind_the_accepted_batch(bench: Bench) -> None:
    """The batch that was accepted keeps its end, so that the head can be compared with it."""
    bench.write(2)
    bench.log.faults.append("accepted")
    sender = bench.sender()
    pause = sender._pause

    def write_more(wait_s: float) -> None:
        if len(bench.waits) == 0:
            bench.write(4)
        pause(wait_s)

    sender._pause = write_more  # type: ignore[method-assign]
    sender.run()
    assert [len(batch) for batch in bench.log.batches] == [3, 4]
    assert len(bench.log.entries()) == 7


def test_an_accepted_batch_whose_place_was_taken_is_a_conflict(bench: Bench) -> None:
    """A head that is neither before nor at the end of the batch is looked into like any other conflict."""
    bench.write(2)
    bench.log.faults.append("accepted_lost")
    sender = bench.sender()
    pause = sender._pause

    def take(wait_s: float) -> None:
        chain = bench.log.chain()
        chain.instance, chain.seq, chain.leaf_hash = "cd" * 16, 0, "ab" * 32
        pause(wait_s)

    sender._pause = take  # type: ignore[method-assign]
    sender.run()
    assert sender.state == "stopped"
    assert bench.conflicts[0]["reason"] == "conflict"
