"""The committed state read whole, while others commit: a contract of every `LogState`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from auditlog.storage.ports import LogState
from auditlog.storage.records import (
    ChainHead,
    HeadUpdate,
    LossRecord,
    ProducerRecord,
    RetirementRecord,
    RotationRecord,
)
from tests.support.held import held
from tests.unit.storage.commits import changed

A, B, INSTANCE = b"a" * 32, b"b" * 32, "1" * 32
OWN = ChainHead("log", 0, bytes(32), 0)


def at(seq: int, index: int) -> ChainHead:
    """A head of a producer's chain."""
    return ChainHead(INSTANCE, seq, bytes([seq + 100]) * 32, index)


class SnapshotContract:
    """What every `LogState` does about snapshots."""

    def test_a_snapshot_is_of_one_commit(
        self, state: LogState, make_state: Callable[[str], LogState]
    ) -> None:
        """A commit that comes while it is read does not wait, and nothing of it shows."""
        writer, own_head = make_state("a.example/log"), {"own_expected": OWN, "own_head": OWN}
        first: dict[str, Any] = {
            "heads": [HeadUpdate(A, None, at(0, 1))],
            "producers": [ProducerRecord(A, "host-0", "v", "n", 1)],
            "rotations": [RotationRecord(A, 2, "v2")],
            "losses": [LossRecord(A, 3, INSTANCE, 4, 1, 2)],
        }
        second: dict[str, Any] = {
            "heads": [HeadUpdate(A, at(0, 1), at(1, 4)), HeadUpdate(B, None, at(0, 5))],
            "producers": [ProducerRecord(B, "host-1", "v", "n", 5)],
            "rotations": [RotationRecord(A, 6, "v3")],
            "retirements": [RetirementRecord(A, 7)],
            "losses": [LossRecord(A, 8, INSTANCE, 4, 1, 2)],
        }
        writer.commit(changed(previous_note="note 1\n", note="note 2\n", **own_head, **first))
        with state.snapshot() as seen:
            assert seen is not None
            writer.commit(changed(previous_note="note 2\n", note="note 3\n", **own_head, **second))
            assert seen.committed.note == "note 2\n"
            assert (seen.heads(), seen.producers()) == ({A: at(0, 1)}, first["producers"])
            lives = seen.rotations(), seen.retirements(), seen.declared_losses()
            assert lives == (first["rotations"], [], first["losses"])
        now = held(state)
        assert (now.committed.note, now.heads) == ("note 3\n", {A: at(1, 4), B: at(0, 5)})
        assert now.producers == first["producers"] + second["producers"]
        assert now.rotations == first["rotations"] + second["rotations"]
        assert now.retirements == second["retirements"]
        assert now.declared_losses == first["losses"] + second["losses"]
