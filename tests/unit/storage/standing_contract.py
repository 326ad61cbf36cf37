"""The standing of a log as part of its commit point: a contract of every `LogState`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from auditlog.errors import CommitConflictError
from auditlog.storage.ports import LogState
from auditlog.storage.records import OPEN, QUIESCED, READ_ONLY, RETIRED, ChainHead
from tests.unit.storage.commits import changed

_FIRST, _SECOND = (ChainHead("log", seq, bytes([seq]) * 32, seq) for seq in (0, 1))
NEXT = changed(previous_note="note 1\n", note="note 2\n", own_expected=_FIRST, own_head=_SECOND)


def _standing(state: LogState) -> str:
    committed = state.read()
    assert committed is not None
    return committed.standing


class StandingContract:
    """Mixed into the contract of states, whose fixture `state` is a log with one commit."""

    def test_the_standing_is_compared_and_swapped(self, state: LogState) -> None:
        """A log begins open; a change expects what is there, and retired is not set this way."""
        assert _standing(state) == OPEN
        state.set_standing(OPEN, QUIESCED)
        assert _standing(state) == QUIESCED
        for expected, wanted in ((OPEN, READ_ONLY), (QUIESCED, RETIRED)):
            with pytest.raises(CommitConflictError):
                state.set_standing(expected, wanted)
        assert _standing(state) == QUIESCED

    def test_the_retention_document_is_compared_and_swapped(self, state: LogState) -> None:
        """It is kept through commits; its minimum never goes back, and another's is not passed over."""
        state.set_retention(None, "document 1", 256)
        for expected, minimum in ((None, 512), ("document 1", 0)):
            with pytest.raises(CommitConflictError):
                state.set_retention(expected, "document 2", minimum)
        state.set_retention("document 1", "document 2", 512)
        state.commit(NEXT)
        committed = state.read()
        assert committed is not None
        assert (committed.retention, committed.minimum) == ("document 2", 512)

    def test_a_read_only_log_takes_no_commit(self, state: LogState) -> None:
        """Quiesced, what was admitted is still committed; read-only, no process commits anything."""
        state.set_standing(OPEN, READ_ONLY)
        with pytest.raises(CommitConflictError):
            state.commit(NEXT)
        state.set_standing(READ_ONLY, QUIESCED)
        state.commit(NEXT)
        assert _standing(state) == QUIESCED

    def test_no_commit_follows_the_one_that_retires(self, state: LogState) -> None:
        """The successor's commit ends the log in the same transaction, whatever is tried afterwards."""
        state.commit(replace(NEXT, retires=True))
        assert _standing(state) == RETIRED
        after = changed(
            previous_note="note 2\n",
            note="note 3\n",
            own_expected=_SECOND,
            own_head=ChainHead("log", 2, b"2" * 32, 2),
        )
        with pytest.raises(CommitConflictError):
            state.commit(after)
        for wanted in (OPEN, READ_ONLY):
            with pytest.raises(CommitConflictError):
                state.set_standing(RETIRED, wanted)
        assert _standing(state) == RETIRED
