"""Creating and opening: genesis fixes what is fixed for ever, and nobody signs before the guard was asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditlog.core.checkpoint import Checkpoint, sign_checkpoint
from auditlog.core.entry import parse_entry
from auditlog.core.note import Ed25519Signer
from auditlog.core.proofs import EMPTY_ROOT
from auditlog.errors import (
    ConfigurationError,
    GuardUnreachable,
    LedgerError,
    LogHalted,
    MalformedError,
    Pushback,
    RollbackError,
    StorageError,
)
from auditlog.log import HighWaterFile, LogConfig, SeenTree, create_log, open_log
from auditlog.storage.memory import Fault
from auditlog.storage.records import Committed
from tests.support.testlog import ORIGIN, SECRET, MemorySource, TestBench


def test_genesis_binds_the_log() -> None:
    """The first entry names origin, key, visibility, merge delay and contact, and is published at once."""
    bench = TestBench(visibility="hashes", settings={"contact": "log@example.org", "max_merge_delay_s": 30})
    log = bench.create()
    genesis = parse_entry(log.reader.entry(0))
    assert (genesis.kind, genesis.origin, genesis.seq) == ("genesis", ORIGIN, 0)
    assert genesis.body == {
        "contact": "log@example.org",
        "max_merge_delay_s": 30,
        "visibility": "hashes",
        "vkeys": [log.vkey],
    }
    assert log.published_size == 1
    assert (log.origin, log.visibility, log.fault) == (ORIGIN, "hashes", None)


def test_a_log_is_created_once() -> None:
    """Where a log is, or was, no other is created."""
    bench = TestBench()
    bench.create()
    with pytest.raises(ConfigurationError, match="no log of origin"):
        bench.create()
    bench.state = TestBench().state
    with pytest.raises(ConfigurationError, match="empty folders"):
        bench.create()
    bench.public.objects.clear()
    with pytest.raises(RollbackError, match="no earlier log"):
        bench.create()


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.STORED])
@pytest.mark.parametrize("operation", ["staging.put_new", "state.commit", "outside.record"])
def test_a_failed_creation_can_be_finished(operation: str, fault: Fault) -> None:
    """Whichever step of a creation fails, creating again or opening gives a whole log."""
    bench = TestBench(visibility="public")
    hits: list[str] = []

    def once(name: str, path: str) -> Fault | None:
        if name == operation and not hits:
            hits.append(path)
            return fault
        return None

    bench.fault = once
    try:
        bench.create()
    except (StorageError, Pushback):
        bench.fault = None
        bench.create() if bench.state.read() is None else bench.restart()
    bench.publish()
    assert hits
    assert len(bench.audit()) == 1


def test_there_is_nothing_to_open_before_creation() -> None:
    """Opening never creates."""
    with pytest.raises(ConfigurationError, match="found none"):
        TestBench().restart()


def test_settings_must_agree_with_genesis() -> None:
    """What genesis fixed cannot be changed by a setting."""
    bench = TestBench(visibility="public")
    bench.create()
    bench.visibility = "hashes"
    with pytest.raises(ConfigurationError, match="genesis"):
        bench.restart()


def test_the_key_must_be_named_like_the_origin() -> None:
    """A key of another name cannot sign for this log."""
    bench = TestBench()
    bench.signer = Ed25519Signer.from_seed("another.example/log", bytes(32))
    with pytest.raises(ConfigurationError, match="key named"):
        bench.create()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"receipt_secret": b"short"}, ConfigurationError),
        ({"visibility": "secret"}, ValueError),
        ({"origin": "12345"}, MalformedError),
        ({"max_merge_delay_s": 0}, ConfigurationError),
    ],
)
def test_settings_are_checked(change: dict[str, object], error: type[Exception]) -> None:
    """A setting that cannot be is refused when it is given."""
    with pytest.raises(error):
        LogConfig(**({"origin": ORIGIN, "receipt_secret": SECRET} | change))  # type: ignore[arg-type]


def test_the_secret_is_not_shown() -> None:
    """Printing the settings does not print the secret."""
    assert repr(SECRET) not in repr(LogConfig(origin=ORIGIN, receipt_secret=SECRET))


class TestTheGuard:
    """The rollback guard."""

    def test_no_guard_needs_the_flag_and_leaves_a_notice(self) -> None:
        """Without any source a start is refused, or said in the log for ever."""
        bench = TestBench(visibility="public")
        with pytest.raises(ConfigurationError, match="explicit flag"):
            create_log(bench.config, bench.stores, bench.signer, bench.clock, engine=bench.workers)
        bench.settings = {"allow_unguarded": True}
        create_log(bench.config, bench.stores, bench.signer, bench.clock, engine=bench.workers)
        log = open_log(bench.config, bench.stores, bench.signer, bench.clock, engine=bench.workers)
        notices = [parse_entry(log.reader.entry(index)) for index in (1, 2)]
        assert [(entry.kind, entry.body["what"]) for entry in notices] == [("notice", "unguarded_start")] * 2

    def test_a_guard_that_forgot_needs_the_flag(self) -> None:
        """A high-water mark that is gone is not the same as one that was never there."""
        bench = TestBench()
        bench.create()
        bench.outside.note = None
        with pytest.raises(RollbackError, match="found none"):
            bench.restart()
        bench.settings = {"allow_unguarded": True}
        log = bench.restart()
        assert parse_entry(log.reader.entry(1)).body["what"] == "unguarded_start"
        bench.settings = {}
        assert bench.restart().tree_size == 2

    def test_another_history_is_refused(self) -> None:
        """A root that is not ours at that size stops the start."""
        bench = TestBench()
        bench.create()
        bench.outside.note = sign_checkpoint(Checkpoint(ORIGIN, 1, bytes(32)), bench.signer)
        with pytest.raises(RollbackError, match="another history"):
            bench.restart()

    def test_an_earlier_checkpoint_is_fine(self) -> None:
        """A guard that saw less than we hold is satisfied if what it saw is our past."""
        bench = TestBench()
        bench.create()
        producer = bench.started("a")
        old = bench.outside.note
        bench.send(producer, [producer.decide(n) for n in range(400)])
        bench.outside.note = old
        assert bench.restart().tree_size == 403
        assert bench.outside.note != old

    def test_a_guard_that_cannot_be_asked_stops_the_start(self) -> None:
        """No answer is not a yes."""

        class Silent(MemorySource):
            def newest(self) -> SeenTree | None:
                raise LedgerError("expected an answer, found none")

        bench = TestBench()
        bench.create()
        bench.outside = Silent()
        bench.settings = {"allow_unguarded": True}
        with pytest.raises(GuardUnreachable, match="before signing"):
            bench.restart()

    def test_a_guard_that_cannot_record_stops_the_engine(self) -> None:
        """The guard must not fall behind what was acknowledged."""
        bench = TestBench()
        log = bench.create()
        bench.fault = lambda name, path: Fault.REFUSED if name == "outside.record" else None
        with pytest.raises(LogHalted):
            bench.wait(log.append_own("notice", {"what": "restored"}))
        assert log.fault is not None
        with pytest.raises(LogHalted):
            log.append_own("notice", {"what": "restored"})
        bench.fault = None
        assert bench.restart().tree_size == 2

    def test_an_earlier_death_before_genesis_is_no_rollback(self) -> None:
        """The empty tree that a creation records first does not stand in its own way."""
        bench = TestBench()
        bench.outside.note = sign_checkpoint(Checkpoint(ORIGIN, 0, EMPTY_ROOT), bench.signer)
        assert bench.create().tree_size == 1


class TestTheHighWaterFile:
    """The guard in a file."""

    def test_it_remembers_the_newest_checkpoint(self, tmp_path: Path) -> None:
        """What was recorded last is what was seen."""
        signer = Ed25519Signer.from_seed(ORIGIN, bytes(32))
        guard = HighWaterFile(tmp_path / "deep" / "mark", signer.verifier)
        assert guard.newest() is None
        for size in (3, 5):
            guard.record(sign_checkpoint(Checkpoint(ORIGIN, size, bytes([size]) * 32), signer))
        assert guard.newest() == SeenTree(5, b"\x05" * 32)
        assert "mark" in guard.name

    def test_a_mark_never_goes_back_whoever_moved_it(self, tmp_path: Path) -> None:
        """Each record compares with what the file holds now, not with what this process left there."""
        signer = Ed25519Signer.from_seed(ORIGIN, bytes(32))
        notes = {n: sign_checkpoint(Checkpoint(ORIGIN, n, bytes([n]) * 32), signer) for n in (3, 4, 5, 9)}
        ours, theirs = (HighWaterFile(tmp_path / "mark", signer.verifier) for _ in range(2))
        for guard, size, held in (
            (ours, 3, 3),
            (theirs, 5, 5),
            (ours, 4, 5),
            (theirs, 3, 5),
            (ours, 9, 9),
            (ours, 5, 9),
        ):
            guard.record(notes[size])
            assert guard.newest() == SeenTree(held, bytes([held]) * 32)
        (tmp_path / "mark").write_bytes(notes[9].encode()[:40])
        ours.record(notes[4])
        assert ours.newest() == SeenTree(4, b"\x04" * 32)
        (tmp_path / "mark").unlink()
        ours.record(notes[3])
        assert ours.newest() == SeenTree(3, b"\x03" * 32)

    def test_damage_and_other_logs_are_errors(self, tmp_path: Path) -> None:
        """A file that cannot be believed is never taken for one that has nothing to say."""
        signer = Ed25519Signer.from_seed(ORIGIN, bytes(32))
        other = Ed25519Signer.from_seed("another.example/log", bytes(32))
        path = tmp_path / "mark"
        guard = HighWaterFile(path, signer.verifier)
        note = sign_checkpoint(Checkpoint(ORIGIN, 5, bytes(32)), signer)
        foreign = sign_checkpoint(Checkpoint(other.name, 5, bytes(32)), other)
        for text in ("", note[: len(note) // 2], note.replace("\n5\n", "\n4\n"), foreign):
            path.write_text(text, encoding="utf-8")
            with pytest.raises(StorageError, match="mark"):
                guard.newest()
        path.write_bytes(b"\xff\xfe")
        with pytest.raises(StorageError):
            guard.newest()
        path.unlink()
        path.mkdir()
        with pytest.raises(StorageError):
            guard.newest()


def test_a_commit_of_another_process_during_a_recovery_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It sweeps the very object that was about to be read: what is committed now is read instead, no halt."""
    bench = TestBench()
    first, second = bench.create(), bench.restart()

    def overtake(name: str) -> bytes | None:
        if name != committed().staged:
            return read(name)
        monkeypatch.undo()
        first.append_own("notice", {"what": "restored"})
        first.run_pending()
        return bench.staging.get(name)

    def committed() -> Committed:
        found = bench.state.read()
        assert found is not None
        return found

    first.append_own("notice", {"what": "restored"})
    first.run_pending()
    refused = second.append_own("notice", {"what": "late"})
    read = bench.staging.get
    monkeypatch.setattr(bench.staging, "get", overtake)
    second.run_pending()
    with pytest.raises(Pushback):
        refused.result(timeout=0)
    assert (second.fault, second.tree_size, first.tree_size) == (None, 3, 3)
