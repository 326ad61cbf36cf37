"""What a state store holds of one commit, read whole."""

from __future__ import annotations

from dataclasses import dataclass

from auditlog.storage.ports import CommitState
from auditlog.storage.records import (
    ChainHead,
    Committed,
    LossRecord,
    ProducerRecord,
    RetirementRecord,
    RotationRecord,
)


@dataclass(frozen=True)
class Held:
    """A committed state with its chains."""

    committed: Committed
    heads: dict[bytes, ChainHead]
    producers: list[ProducerRecord]
    rotations: list[RotationRecord]
    retirements: list[RetirementRecord]
    declared_losses: list[LossRecord]


def held(state: CommitState) -> Held:
    """What it holds of a log that was created."""
    with state.snapshot() as found:
        assert found is not None
        lives = found.rotations(), found.retirements(), found.declared_losses()
        return Held(found.committed, found.heads(), found.producers(), *lives)
