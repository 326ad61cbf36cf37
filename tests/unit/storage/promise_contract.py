"""The contract of promises, lives and losses in `auditlog.storage.ports`; `StateContract` takes it in."""

from __future__ import annotations

from auditlog.storage.ports import LogState
from auditlog.storage.records import (
    ChainHead,
    ChainRun,
    GapReach,
    HeadUpdate,
    IndexRows,
    KeptPromise,
    PromiseRow,
)
from tests.unit.storage.commits import changed

A, B = b"a" * 32, b"b" * 32
ONE, TWO = "1" * 32, "2" * 32


def promise(
    call: str = "x", *, seq: int = 1, leaf: bytes = B, note: str = "n", until_us: int = 100
) -> PromiseRow:
    """A row; `note` makes it another one."""
    return PromiseRow(call, A, ONE, seq, leaf, note, kept_us=1, until_us=until_us)


class PromiseContract:
    """What every `LogState` does about promises."""

    def test_a_promise_is_kept_once(self, state: LogState) -> None:
        """The same id and note again is the same promise, in one call or in two."""
        assert state.add_promises([promise(), promise()]) == [False, False]
        assert state.add_promises([promise()]) == [False]
        assert state.promises_of("x") == [KeptPromise(A, "n", conflicts=False)]
        assert state.promises_of("y") == []

    def test_a_second_promise_of_another_entry_is_kept_and_flagged(self, state: LogState) -> None:
        """For the same call, and for the same number of a chain under another id; not for the same entry."""
        state.add_promises([promise()])
        assert state.add_promises([promise(note="later merge-by")]) == [False]
        assert state.add_promises([promise(seq=2, leaf=A, note="other")]) == [True]
        assert state.add_promises([promise("z", leaf=A, note="third")]) == [True]
        assert [each.conflicts for each in state.promises_of("x")] == [False, False, True]
        assert [each.note for each in state.promises_of("z")] == ["third"]

    def test_old_promises_are_forgotten(self, state: LogState) -> None:
        """Those that were to be kept until earlier, and no other."""
        state.add_promises([promise("old", until_us=9), promise("new", seq=2, note="m", until_us=10)])
        assert state.forget_promises(10) == 1
        assert (state.promises_of("old"), len(state.promises_of("new"))) == ([], 1)

    def test_lives_follow_one_another(self, state: LogState) -> None:
        """The last run of an instance, and the first of the one that began after it."""
        committed = state.read()
        assert committed is not None
        head = ChainHead(TWO, 0, B, 9)
        runs = [ChainRun(A, ONE, 0, 2, 1), ChainRun(A, ONE, 3, 4, 6), ChainRun(A, TWO, 0, 0, 9)]
        state.commit(
            changed(
                previous_note=committed.note,
                note="next",
                own_expected=committed.own_head,
                own_head=committed.own_head,
                heads=[HeadUpdate(A, None, head)],
                runs=runs,
            )
        )
        assert state.last_run(A, ONE) == runs[1]
        assert state.last_run(A, "3" * 32) is None
        assert state.life_after(A, 7) == runs[2]
        assert state.life_after(A, 0) == runs[0]
        assert state.life_after(A, 9) is None
        assert state.life_after(B, 0) is None

    def test_gaps_are_found_by_the_number_they_cover(self, state: LogState) -> None:
        """One of another life covers all above; one of the same life what is below it."""
        size = state.index_size()
        later, own = GapReach(A, ONE, 5, 3, None), GapReach(A, ONE, 6, 2, 8)
        first = GapReach(A, ONE, 7, -1, None)
        state.add_index_rows(IndexRows(size, size + 8, reaches=[later, own, first]))
        assert state.gaps_covering(A, ONE, 4, 9) == [later, own, first]
        assert state.gaps_covering(A, ONE, 4, 1) == [later]
        assert state.gaps_covering(A, ONE, 8, 9) == [later, first]
        assert state.gaps_covering(A, ONE, 3, 9) == [own, first]
        assert state.gaps_covering(A, TWO, 4, 9) == state.gaps_covering(B, ONE, 4, 9) == []
        state.clear_index()
        assert state.gaps_covering(A, ONE, 4, 9) == []
