"""The contracts of `auditlog.storage.ports` as tests. Each implementation subclasses them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from auditlog.errors import CommitConflictError, ImmutableObjectError, StorageError
from auditlog.storage.ports import LogState, ObjectStore
from auditlog.storage.records import (
    AnchorRecord,
    BatchHead,
    ChainHead,
    ChainRun,
    GapRow,
    HeadUpdate,
    IndexRows,
    LossRecord,
    ModelRow,
    ProducerRecord,
    RetirementRecord,
    RotationRecord,
)
from tests.support.held import held
from tests.unit.storage.commits import changed
from tests.unit.storage.leaf_contract import LeafContract
from tests.unit.storage.promise_contract import PromiseContract
from tests.unit.storage.search_contract import SearchContract
from tests.unit.storage.snapshot_contract import SnapshotContract
from tests.unit.storage.standing_contract import StandingContract

A, B = b"a" * 32, b"b" * 32
INSTANCE = "0" * 31 + "1"


class StorageContract:
    """What every `ObjectStore` does."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        """An empty store."""
        raise NotImplementedError

    def test_what_was_put_is_got(self, store: ObjectStore) -> None:
        """Bytes come back as they went in, at any depth of path, empty ones too."""
        for path, data in (("checkpoint", b""), ("tile/0/x001/234.p/5", b"\x00\xff" * 1000)):
            store.put_new(path, data)
            assert store.get(path) == data

    def test_what_is_not_there_is_none(self, store: ObjectStore) -> None:
        """A path never written, or below or above one that was, holds nothing."""
        store.put_new("tile/0/000", b"x")
        assert store.get("tile/0/001") is None
        assert store.get("tile/0/000/1") is None

    def test_the_same_bytes_again_are_fine(self, store: ObjectStore) -> None:
        """Creating is idempotent for equal bytes."""
        store.put_new("tile/0/000", b"same")
        store.put_new("tile/0/000", b"same")
        assert store.get("tile/0/000") == b"same"

    @pytest.mark.parametrize("other", [b"other", b"sam", b"same!", b""])
    def test_other_bytes_are_refused_and_change_nothing(self, store: ObjectStore, other: bytes) -> None:
        """A create-only object keeps its first bytes."""
        store.put_new("tile/0/000", b"same")
        with pytest.raises(ImmutableObjectError, match="tile/0/000"):
            store.put_new("tile/0/000", other)
        assert store.get("tile/0/000") == b"same"

    @pytest.mark.parametrize("count", [1, 3, 40])
    def test_several_are_put_together(self, store: ObjectStore, count: int) -> None:
        """Many objects in one call are all there afterwards; the call may be repeated."""
        objects = [(f"tile/{n % 3}/{n:03d}", bytes([n]) * n) for n in range(count)]
        store.put_new_all(objects)
        store.put_new_all(objects)
        assert [store.get(path) for path, _ in objects] == [data for _, data in objects]

    def test_one_wrong_among_several_is_refused(self, store: ObjectStore) -> None:
        """An object that exists with other bytes makes the whole call fail."""
        store.put_new("tile/0/005", b"mine")
        with pytest.raises(ImmutableObjectError):
            store.put_new_all([(f"tile/0/{n:03d}", b"theirs") for n in range(10)])
        assert store.get("tile/0/005") == b"mine"

    def test_replace_takes_the_place(self, store: ObjectStore) -> None:
        """Replacing creates or overwrites."""
        store.replace("checkpoint", b"one")
        store.replace("checkpoint", b"two")
        assert store.get("checkpoint") == b"two"

    def test_replace_unless_asks_what_is_there(self, store: ObjectStore) -> None:
        """Nobody is asked about nothing; what stays, stays."""
        assert store.replace_unless("checkpoint", b"3", lambda found: True)
        assert not store.replace_unless("checkpoint", b"2", lambda found: found > b"2")
        assert store.get("checkpoint") == b"3"
        assert store.replace_unless("checkpoint", b"4", lambda found: found > b"4")
        assert store.get("checkpoint") == b"4"

    def test_replace_unless_has_its_turn_alone(self, store: ObjectStore) -> None:
        """However many write at once, the largest stays."""
        with ThreadPoolExecutor(8) as threads:
            for n in range(100):
                new = b"%03d" % (n * 37 % 100)
                threads.submit(store.replace_unless, "checkpoint", new, lambda found, new=new: found > new)
        assert store.get("checkpoint") == b"099"

    def test_list_is_sorted_and_by_prefix(self, store: ObjectStore) -> None:
        """Listing gives every path that begins with the prefix, in order, and nothing else."""
        for path in ("b", "a/2", "a/10", "ab"):
            store.put_new(path, b"")
        assert store.list() == ["a/10", "a/2", "ab", "b"]
        assert store.list("a/") == ["a/10", "a/2"]
        assert store.list("a") == ["a/10", "a/2", "ab"]
        assert store.list("nothing/here") == []

    def test_delete_forgets(self, store: ObjectStore) -> None:
        """A deleted object is gone, may be deleted again and put anew with other bytes."""
        store.put_new("a/b", b"one")
        store.delete("a/b")
        store.delete("a/b")
        assert store.get("a/b") is None
        assert store.list() == []
        store.put_new("a/b", b"two")
        assert store.get("a/b") == b"two"

    @pytest.mark.parametrize("path", ["", "/etc/passwd", "../out", "a/../../out", "a//b", "a/", "."])
    def test_paths_out_of_the_store_are_refused(self, store: ObjectStore, path: str) -> None:
        """A path with an empty, . or .. part is an error, never another place."""
        for call in (
            lambda: store.put_new(path, b"x"),
            lambda: store.replace(path, b"x"),
            lambda: store.get(path),
        ):
            with pytest.raises(StorageError):
                call()

    def test_of_many_creators_one_wins(self, store: ObjectStore) -> None:
        """Threads that create one path with different bytes: one succeeds, the rest are refused."""
        outcomes: list[str] = []

        def create(data: bytes) -> None:
            try:
                store.put_new("race", data)
                outcomes.append("won")
            except ImmutableObjectError:
                outcomes.append("refused")

        threads = [threading.Thread(target=create, args=(bytes([n]) * 1000,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["refused"] * 7 + ["won"]
        held = store.get("race")
        assert held is not None
        assert len(set(held)) == 1


def own(seq: int) -> ChainHead:
    """A head of the log's own chain."""
    return ChainHead("log", seq, bytes([seq]) * 32, seq)


def at(seq: int, index: int, instance: str = INSTANCE) -> ChainHead:
    """A head of a producer's chain."""
    return ChainHead(instance, seq, bytes([seq + 100]) * 32, index)


GENESIS = changed(previous_note=None, note="note 1\n", own_expected=None, own_head=own(0))


class StateContract(PromiseContract, StandingContract, SearchContract, LeafContract, SnapshotContract):
    """What every `LogState` does."""

    @pytest.fixture
    def make_state(self) -> Callable[[str], LogState]:
        """Gives the state of a log by origin; the same origin again is a second connection to it."""
        raise NotImplementedError

    @pytest.fixture
    def state(self, make_state: Callable[[str], LogState]) -> LogState:
        """A log that was created."""
        state = make_state("a.example/log")
        state.commit(GENESIS)
        return state

    def test_a_log_never_created_is_none(self, make_state: Callable[[str], LogState]) -> None:
        """Before the first commit there is nothing, and nothing in the index."""
        state = make_state("a.example/log")
        assert state.read() is None
        with state.snapshot() as nothing:
            assert nothing is None
        assert state.index_size() == 0

    def test_a_log_is_created_once(self, state: LogState, make_state: Callable[[str], LogState]) -> None:
        """A second genesis is a conflict, from this connection or another."""
        for writer in (state, make_state("a.example/log")):
            with pytest.raises(CommitConflictError):
                writer.commit(GENESIS)
        committed = state.read()
        assert committed is not None
        assert (committed.note, committed.own_head) == ("note 1\n", own(0))

    def test_a_commit_moves_everything(self, state: LogState) -> None:
        """Note, own chain, heads, producers, runs and batch heads change together."""
        producer = ProducerRecord(A, "host-0", "vkey", "note", 1)
        state.commit(
            changed(
                previous_note="note 1\n",
                note="note 2\n",
                own_expected=own(0),
                own_head=own(1),
                heads=[HeadUpdate(A, None, at(4, 6))],
                producers=[producer],
                runs=[ChainRun(A, INSTANCE, 0, 4, 2)],
                batch_heads=[BatchHead(A, INSTANCE, 0, 4, "head")],
                decisions_size=7,
            )
        )
        committed = state.read()
        assert committed is not None
        assert (committed.note, committed.own_head, committed.decisions_size) == ("note 2\n", own(1), 7)
        assert committed.staged == "staged for note 2\n"
        assert held(state).producers == [producer]
        assert held(state).heads == {A: at(4, 6)}
        assert state.run_of(A, INSTANCE, 3) == ChainRun(A, INSTANCE, 0, 4, 2)
        assert state.batch_head_of(A, INSTANCE, 0) == BatchHead(A, INSTANCE, 0, 4, "head")

    @pytest.mark.parametrize(
        "change",
        [
            {"previous_note": "another\n"},
            {"previous_note": "note 1"},
            {"own_expected": own(1)},
            {"heads": [HeadUpdate(A, at(3, 3), at(4, 4))]},
            {"heads": [HeadUpdate(B, None, at(0, 9)), HeadUpdate(A, at(9, 9), at(10, 10))]},
        ],
    )
    def test_a_commit_on_another_state_changes_nothing(self, state: LogState, change: dict[str, Any]) -> None:
        """Whatever differs from what the change expects, all of it is refused."""
        wanted: dict[str, Any] = {
            "previous_note": "note 1\n",
            "note": "note 2\n",
            "own_expected": own(0),
            "own_head": own(1),
            "runs": [ChainRun(A, INSTANCE, 0, 0, 1)],
        }
        with pytest.raises(CommitConflictError):
            state.commit(changed(**(wanted | change)))
        committed = state.read()
        assert committed is not None
        assert (committed.note, committed.own_head) == ("note 1\n", own(0))
        assert held(state).heads == {}
        assert state.run_of(A, INSTANCE, 0) is None

    def test_a_head_that_moved_is_a_conflict(self, state: LogState) -> None:
        """The number, the instance and the leaf hash of a chain's head are all compared."""
        base = {"own_expected": own(0), "own_head": own(0)}
        state.commit(
            changed(previous_note="note 1\n", note="note 2\n", heads=[HeadUpdate(A, None, at(0, 1))], **base)
        )
        wrong = [at(1, 1), at(0, 1, "f" * 32), ChainHead(INSTANCE, 0, bytes(32), 1), None]
        for expected in wrong:
            with pytest.raises(CommitConflictError):
                state.commit(
                    changed(
                        previous_note="note 2\n",
                        note="note 3\n",
                        heads=[HeadUpdate(A, expected, at(1, 2))],
                        **base,
                    )
                )
        state.commit(
            changed(
                previous_note="note 2\n", note="note 3\n", heads=[HeadUpdate(A, at(0, 1), at(1, 2))], **base
            )
        )
        assert held(state).heads == {A: at(1, 2)}

    def test_a_name_enrols_once(self, state: LogState) -> None:
        """Two producers of one name are a conflict."""
        base = {"own_expected": own(0), "own_head": own(0)}
        state.commit(
            changed(
                previous_note="note 1\n",
                note="note 2\n",
                producers=[ProducerRecord(A, "host-0", "v", "n", 1)],
                **base,
            )
        )
        with pytest.raises(CommitConflictError):
            state.commit(
                changed(
                    previous_note="note 2\n",
                    note="note 3\n",
                    producers=[ProducerRecord(B, "host-0", "v", "n", 2)],
                    **base,
                )
            )

    def test_the_lives_of_producers_are_part_of_a_commit(self, state: LogState) -> None:
        """Keys, ends and declared losses come back in order of the log; nobody ends twice."""
        base = {"own_expected": own(0), "own_head": own(0)}
        turns, loss = (
            [RotationRecord(B, 5, "v2"), RotationRecord(A, 8, "v2")],
            LossRecord(A, 9, INSTANCE, 4, 1, 2),
        )
        state.commit(changed(previous_note="note 1\n", note="note 2\n", rotations=turns, **base))
        ends = [RetirementRecord(A, 10)]
        state.commit(
            changed(previous_note="note 2\n", note="note 3\n", losses=[loss], retirements=ends, **base)
        )
        again = changed(
            previous_note="note 3\n", note="note 4\n", retirements=[RetirementRecord(A, 11)], **base
        )
        with pytest.raises(CommitConflictError):
            state.commit(again)
        now = held(state)
        assert (now.rotations, now.retirements, now.declared_losses) == (turns, ends, [loss])

    def test_two_writers_commit_one_after_the_other(
        self, state: LogState, make_state: Callable[[str], LogState]
    ) -> None:
        """Of writers that build on one checkpoint, one succeeds; the others learn of it."""
        outcomes: list[str] = []

        def commit(number: int) -> None:
            change = changed(
                previous_note="note 1\n", note=f"note by {number}\n", own_expected=own(0), own_head=own(1)
            )
            try:
                make_state("a.example/log").commit(change)
                outcomes.append(f"note by {number}\n")
            except CommitConflictError:
                outcomes.append("conflict")

        threads = [threading.Thread(target=commit, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        committed = state.read()
        assert committed is not None
        assert sorted(outcomes) == sorted(["conflict"] * 3 + [committed.note])

    def test_logs_do_not_see_each_other(self, state: LogState, make_state: Callable[[str], LogState]) -> None:
        """Another origin in the same place is another log."""
        other = make_state("b.example/log")
        assert other.read() is None
        other.commit(changed(previous_note=None, note="theirs\n", own_expected=None, own_head=own(0)))
        state.add_index_rows(IndexRows(0, 1, A, ["d"]))
        assert other.indices_by_decision("d") == []
        assert other.index_size() == 0
        ours = state.read()
        assert ours is not None
        assert ours.note == "note 1\n"

    def test_runs_and_heads_are_found_by_number(self, state: LogState) -> None:
        """A number is in the one run that covers it, and under the lowest head that covers it."""
        state.commit(
            changed(
                previous_note="note 1\n",
                note="note 2\n",
                own_expected=own(0),
                own_head=own(0),
                runs=[ChainRun(A, INSTANCE, 0, 4, 10), ChainRun(A, INSTANCE, 5, 9, 30)],
                batch_heads=[BatchHead(A, INSTANCE, 0, 4, "h4"), BatchHead(A, INSTANCE, 3, 9, "h9")],
            )
        )
        assert [state.run_of(A, INSTANCE, seq) for seq in (4, 5, 10)] == [
            ChainRun(A, INSTANCE, 0, 4, 10),
            ChainRun(A, INSTANCE, 5, 9, 30),
            None,
        ]
        assert state.run_of(B, INSTANCE, 4) is None
        found = [state.batch_head_of(A, INSTANCE, seq) for seq in (4, 5, 10)]
        assert [head and head.note for head in found] == ["h4", "h9", None]

    def test_anchors_are_kept_once_and_move_the_outbox(self, state: LogState) -> None:
        """An anchor marks the outbox done up to its size, never back; the same again is kept once."""
        small = AnchorRecord("devnet@v0", 5, A, "cp 5", "ev 5")
        large = AnchorRecord("devnet@v0", 9, B, "cp 9", "ev 9")
        for anchor in (large, small, large):
            state.add_anchor(anchor)
        assert state.anchors() == [large, small]
        assert state.newest_anchor(4) == small
        assert state.newest_anchor(5) == large
        assert state.newest_anchor(9) is None
        committed = state.read()
        assert committed is not None
        assert committed.anchored_size == 9

    def test_the_index_grows_without_a_hole(self, state: LogState) -> None:
        """Rows follow on; rows from another place are refused whole."""
        state.add_index_rows(
            IndexRows(
                0,
                3,
                A + B + A[:8] + B[8:],
                [None, "one", "two"],
                models=[ModelRow(A, INSTANCE, 7, 0, A)],
                flags=[(1, "id_time"), (1, "unregistered_model")],
            )
        )
        assert state.flags(2) == []
        with pytest.raises(CommitConflictError):
            state.add_index_rows(IndexRows(2, 5, decisions=[None, None, "three"]))
        assert state.add_index_rows(IndexRows(3, 4, decisions=["one"])) == [3]
        assert state.index_size() == 4
        assert state.flags(3) == ["id_repeated"]
        assert state.indices_by_decision("one") == [1, 3]
        assert state.indices_by_decision("three") == []
        assert 0 in state.indices_by_leaf(A)
        assert state.indices_by_leaf(B) == [1]
        assert state.next_model(A, INSTANCE, 6) == ModelRow(A, INSTANCE, 7, 0, A)
        assert state.next_model(A, INSTANCE, 7) is None
        assert state.flags(1) == ["id_time", "unregistered_model"]

    def test_gaps_are_found_by_producer_and_end(self, state: LogState) -> None:
        """Those that end at a time or later, in order of their end; dropped with the index."""
        gaps = [
            GapRow(A, 2, 10, 90, None, True),
            GapRow(A, 0, 5, 50, 7, False),
            GapRow(B, 1, 0, 99, 1, False),
        ]
        state.add_index_rows(IndexRows(0, 3, gaps=gaps))
        assert state.gaps_ending(A, 50, 9) == [gaps[1], gaps[0]]
        assert state.gaps_ending(A, 50, 1) == [gaps[1]]
        assert state.gaps_ending(A, 51, 9) == [gaps[0]]
        assert state.gaps_ending(A, 91, 9) == []
        state.clear_index()
        assert state.gaps_ending(A, 0, 9) == []

    def test_an_id_repeated_within_one_step_is_flagged(self, state: LogState) -> None:
        """All but the first, wherever the first is."""
        assert state.add_index_rows(IndexRows(0, 3, decisions=["x", "y", "x"])) == [2]
        assert state.add_index_rows(IndexRows(3, 5, decisions=["y", "x"])) == [3, 4]
        assert [state.flags(index) for index in range(3)] == [[], [], ["id_repeated"]]

    def test_the_index_can_be_dropped(self, state: LogState) -> None:
        """Clearing leaves an empty index and the committed state as it was."""
        state.add_index_rows(IndexRows(0, 1, A, ["one"], flags=[(0, "id_time")]))
        state.clear_index()
        assert state.index_size() == 0
        assert state.indices_by_decision("one") == []
        assert state.flags(0) == []
        assert state.read() is not None
